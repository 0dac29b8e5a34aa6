"""What tests ask of a picture: the data that was drawn, the cells that are marked, and the words beside it."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

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


def overlaps(axis, laid_out=False):
    """Whether two tick labels that are seen lie over each other."""
    if not laid_out:
        drawn(axis.axes)
    boxes = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_text()]
    return any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[n + 1 :])
