"""What tests ask of a picture: the data that was drawn, the cells that are marked, and the words beside it."""

from unittest import mock

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "$x$",
    "$\\frac",
    "a\nb",
    "\u202eabc",
    "👩\u200d👩\u200d👧",
    "\0",
    "\ud800",
    "",
    " ",
    "x" * 300,
    "&lt;b&gt;",
    "日本語",
    "שלום",
    "مرحبا",
    "\u2028",
    "`${x}`",
    "\\",
    "_^{}%#&~",
    "\ufffe",
    "'\"",
    "🙂",
]


def softmax(logits):
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def scores(rng, *shape):
    return softmax(2 * rng.normal(size=shape))


def array(values, dims=("sample", "head", "query", "key"), site="encoder/mha", **coords):
    return xr.DataArray(values, dims=dims[-np.ndim(values) :], coords=coords, name="scores", attrs={"site": site})


def axes(width=6.0, height=5.0, **options):
    return Figure((width, height), layout="constrained", **options).add_subplot()


def drawn(ax):
    ax.figure.figure.draw_without_rendering()
    return ax


def cells(ax, number=0):
    """What a map is drawn of: values, NaN where the cell is left to other marks."""
    return np.ma.filled(ax.images[number].get_array().astype(float), np.nan)


def marked(ax, mark, shape):
    """Which cells lie within the hatching (``masked``) or the red (``nan``)."""
    paths = [patch.get_path() for patch in ax.patches if patch.get_gid() == mark]
    places = [(column, row) for row, column in np.ndindex(*shape)]
    inside = [path.contains_points(places) for path in paths]
    return np.any(inside, axis=0).reshape(shape) if inside else np.zeros(shape, bool)


def ticks(axis, laid_out=False):
    """Position and text of the ticks, once the picture is laid out."""
    if not laid_out:
        drawn(axis.axes)
    return list(zip(axis.get_ticklocs(), [label.get_text() for label in axis.get_ticklabels()], strict=True))


def title(ax):
    return ax.get_title(loc="left")


def remarks(ax):
    return " ".join(text.get_text() for text in ax.texts if text.get_gid() == "remarks").replace("\n", " ")


def bar(ax):
    """Label and tick texts of the colour bar."""
    found = next(other for other in ax.figure.axes if other.get_label() == "<colorbar>")
    drawn(found)
    upright = found.get_ylabel() != ""
    labels = found.get_yticklabels() if upright else found.get_xticklabels()
    return found.get_ylabel() or found.get_xlabel(), [label.get_text() for label in labels]


def written_words(figure):
    """What each text of a figure says as it is rendered, whether all of it is inside, and whether its ink is there."""
    canvas = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    said, draw = [], Text.draw

    def record(artist, given):
        if artist.get_visible() and artist.get_text():
            said.append(artist)
        return draw(artist, given)

    figure.draw(renderer)  # a layout settles at the first time
    renderer.clear()
    with mock.patch.object(Text, "draw", record):
        figure.draw(renderer)
    pixels = np.asarray(renderer.buffer_rgba())[..., :3].astype(int)
    words = []
    for artist in said:
        box = artist.get_window_extent(renderer)
        inside = box.x0 > -0.5 and box.y0 > -0.5 and box.x1 < pixels.shape[1] + 0.5 and box.y1 < pixels.shape[0] + 0.5
        left, right = max(0, round(box.x0)), round(box.x1)
        rows = slice(max(0, pixels.shape[0] - round(box.y1)), pixels.shape[0] - max(0, round(box.y0)))
        under = pixels[rows, left:right].reshape(-1, 3)
        words.append((artist.get_text(), bool(inside), bool(under.size and np.ptp(under, axis=0).max() > 40)))
    return words


def unreadable(figure):
    """The texts of a figure that are cut off at its edge, or that have no ink where they should be."""
    words = written_words(figure)
    assert words
    return [(text, inside, inked) for text, inside, inked in words if not (inside and inked)]


def relevance(samples, keys, seed=0, padded=0, **attrs):
    """Relevance as `ats.attribute` returns it; of every second sample the last positions are padding."""
    rng = np.random.default_rng(seed)
    names = [f"feature {n}" for n in range(keys)] if isinstance(keys, int) else list(keys)
    valid = np.ones((samples, len(names)), bool)
    valid[1::2, len(names) - padded :] = False
    values = np.where(valid, rng.normal(size=valid.shape), 0.0)
    attrs = {"method": "integrated_gradients", "target": "class 'malignant'", "class_specific": True, **attrs}
    coords = {"key_label": ("key", names), "key_valid": (("sample", "key"), valid)}
    return xr.DataArray(values, dims=("sample", "key"), coords=coords, name="relevance", attrs=attrs)


def overlaps(axis, laid_out=False):
    """Whether two tick labels that are seen lie over each other."""
    if not laid_out:
        drawn(axis.axes)
    boxes = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_text()]
    return any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[n + 1 :])
