"""What a person sees of the viewer: pixels of the screen, numbers as they are told, and the maps to look at."""

import io
import re
from functools import cache

import numpy as np
from PIL import Image

import attnscope as ats
from attnscope import colours
from attnscope.marks import rounded_up


def softmax(logits):
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return (raised / raised.sum(-1, keepdims=True)).astype("float32")


def names(prefix, count):
    return [f"{prefix}{place}" for place in range(count)]


def translation(seed=5):
    """Three samples of an encoder, a causal decoder and the attention between them, by name, and their maps."""
    rng = np.random.default_rng(seed)
    logits = lambda heads, rows, columns: rng.normal(size=(3, heads, rows, columns)) * 2  # noqa: E731
    causal = np.where(np.tri(7, dtype=bool), logits(2, 7, 7), -np.inf)
    arrays = {
        "encoder_0/attention": softmax(logits(3, 13, 13)),
        "encoder_1/attention": softmax(logits(3, 13, 13)),
        "decoder_0/attention": softmax(causal),
        "decoder_0/cross_attention": softmax(logits(5, 7, 13)),
    }
    labels = {"enc*": names("source", 13), "*cross*": {"query": names("target", 7), "key": names("source", 13)}}
    labels["decoder_0/attention"] = names("target", 7)
    roles = {"enc*": ("source", "source"), "dec*": ("target", "target"), "*cross*": ("target", "source")}
    return arrays, ats.AttentionMaps.from_arrays(arrays, labels=labels, roles=roles)


def saved(folder, maps, name="view", **options):
    """A page of some maps."""
    size = {"max_bytes": options.pop("max_bytes")} if "max_bytes" in options else {}
    return ats.view(maps, **options).save(folder / f"{name}.html", overwrite=True, **size)


def one_site(scores, labels=None, site="site"):
    """Maps of one site; `scores` without samples."""
    return ats.AttentionMaps.from_arrays({site: np.asarray(scores, "float32")[None]}, labels=labels)


def screen(locator):
    """What is drawn, `(row, column, 3)`, one pixel per CSS pixel."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot(animations="disabled"))).convert("RGB"))


def settled(page):
    """Waits until nothing is being drawn and two frames look alike."""
    before = None
    for _ in range(60):
        page.wait_for_selector("[aria-busy]", state="detached")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        now = page.screenshot(type="jpeg", quality=60)
        if now == before:
            return
        before = now
    raise AssertionError("the page goes on changing")


def grid(page):
    """The one canvas that is a grid of cells: all heads, or one map."""
    return page.get_by_role("grid")


def readout(page):
    """The sentence about what is pointed at."""
    return page.locator(".readout:visible").first


def cell_shown(page):
    """The cell that the keyboard's cursor is at: what it is called, and its box in pixels of the grid."""
    name, box = page.get_by_role("gridcell").evaluate(
        """(cell) => {
            const [own, outer] = [cell, cell.closest('[role=grid]')].map((element) => element.getBoundingClientRect());
            return [cell.getAttribute('aria-label'), [own.x - outer.x, own.y - outer.y, own.width, own.height]];
        }"""
    )
    return name, tuple(box)


def middle_colour(pixels, box):
    """The commonest colour near the middle of a box of the grid: no label, no line of a cross-hair is so large."""
    x, y, width, height = box
    part = pixels[int(y + 0.3 * height) : int(y + 0.7 * height) + 1, int(x + 0.3 * width) : int(x + 0.7 * width) + 1]
    found, counts = np.unique(part.reshape(-1, 3), axis=0, return_counts=True)
    return found[counts.argmax()]


ramp_of = cache(colours.ramp)


def expected_colour(value, maximum, *, scale="sqrt", ramp="sea", dark=False):
    """The colour of a weight on the stated scale, by the ramps that Python has too."""
    share = min(1, max(0, value / maximum))
    share = {"linear": share, "sqrt": share**0.5, "log": max(0, 1 + np.log10(share) / 4) if share else 0}[scale]
    table = ramp_of(ramp)
    return (table[::-1] if dark else table)[round(share * 255)]


def end_of_scale(arrays):
    """Where the colour scale ends unless told otherwise."""
    return rounded_up(max(float(np.nanmax(array)) for array in arrays))


_TOLD = [
    (r"0 exactly", lambda m: ("exact", 0.0, 0.0)),
    (r"([\d.e-]+) exact", lambda m: ("exact", float(m[1]), 0.0)),
    (r"(-?[\d.e-]+) ± ([\d.e-]+)", lambda m: ("coded", float(m[1]), float(m[2]))),
    (r"under ([\d.e-]+)", lambda m: ("below", 0.0, float(m[1]))),
    (r"at most ([\d.e-]+)", lambda m: ("pooled", 0.0, float(m[1]))),
    (r"masked", lambda m: ("masked", 0.0, 0.0)),
    (r"not a weight(?:: (\S+))?", lambda m: ("odd", m[1], 0.0)),
]
_CELL = re.compile(r"query (\d+) “?(.*?)”? → key (\d+) “?(.*?)”?: (.*)", re.DOTALL)


def told(sentence):
    """`(query, key, kind, value, bound)` of a sentence about a cell."""
    plain = sentence.replace("\u2068", "").replace("\u2069", "")
    found = _CELL.fullmatch(plain)
    assert found, f"no sentence about a cell: {sentence!r}"
    number = found[5].removesuffix(" (A \N{MINUS SIGN} B)")
    assert "-" not in number  # which is a hyphen
    for pattern, read in _TOLD:
        match = re.fullmatch(pattern, number.replace("\N{MINUS SIGN}", "-"))
        if match:
            return int(found[1]), int(found[3]), *read(match)
    raise AssertionError(f"no number that is told so: {number!r}")


def same_colour(found, expected, tolerance=3):
    """Whether two colours look the same."""
    return np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= tolerance
