"""What all pictures are drawn with: axes, colours for light and dark pages, bars, hatching, crosses and remarks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.transforms import BboxBase

from attnscope.colours import diverging, luminance, palette, ramp
from attnscope.plot._guest import figure_of, make_room, points_of, right_end
from attnscope.plot._scale import Scale
from attnscope.plot._typesetting import broken, cut_front, plain_text, wrapped, written

if TYPE_CHECKING:
    from matplotlib.typing import ColorType

BELOW = "below 0"
"""Mark of the dashes in what is below 0."""
_MARGIN = 0.09
"""Inches around the axes."""
_NARROWEST = 2.5
"""Inches of a line of remarks over axes that are narrower."""
_LINE = 0.2
"""Inches that a line of a title is high."""
LONGEST_TITLE = 120
"""Longer ones are cut at their front: names of sites differ at their end."""
_DARK_PAGE = 0.18
"""Luminance, from 0 to 1, below which a page counts as dark."""


Place: TypeAlias = Axes | Figure | None
"""Where a picture is drawn: on axes; in an empty figure, which becomes as large as the picture needs; or in a new one
of pyplot's."""


def embedded_fonts() -> AbstractContextManager[None]:
    """Within it PDF and PostScript files hold their fonts as TrueType, whatever the user's settings say."""
    return rc_context({"pdf.fonttype": 42, "ps.fonttype": 42})


class TrueTypeFigure(Figure):
    """A figure whose PDF and PostScript files hold their fonts as TrueType, as publishers ask for.

    Matplotlib takes this from its settings, which are the user's: they are changed while a file is written, and back.
    """

    def savefig(self, *args: Any, **options: Any) -> None:
        """Writes the figure into a file, as `matplotlib.figure.Figure.savefig` does."""
        with embedded_fonts():
            super().savefig(*args, **options)


def new_figure(width: float, height: float, *, fixed: bool = False) -> Figure:
    """A figure of pyplot's, so that notebooks, ``plt.show()`` and ``plt.savefig(...)`` show what was drawn.

    Pyplot is imported here alone: whoever passes axes does not need it.

    Args:
        width: In inches.
        height: In inches.
        fixed: Whether the axes stay where they are put; by default a layout makes room for what is around them.
    """
    from matplotlib import pyplot

    return sized(pyplot.figure(figsize=(width, height), FigureClass=TrueTypeFigure), width, height, fixed=fixed)


def sized(figure: Figure, width: float, height: float, *, fixed: bool = False) -> Figure:
    """An empty figure with the size and the layout that a picture needs; the arguments are those of `new_figure`."""
    layout = None if fixed else ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=_MARGIN, compress=True)
    figure.set_size_inches(width, height)
    figure.set_layout_engine("none" if layout is None else layout)
    return figure


def axes_or_new(place: Place, width: float, height: float) -> Axes:
    """The axes to draw on; in a figure that is empty or new they sit at the upper left."""
    if isinstance(place, Axes):
        return place
    ax = (new_figure(width, height) if place is None else sized(place, width, height)).add_subplot()
    ax.set_anchor("NW")
    return ax


def is_dark(ax: Axes) -> bool:
    """Whether the page under the axes is dark."""
    for face in (ax.get_facecolor(), figure_of(ax).get_facecolor()):
        red, green, blue, alpha = to_rgba(face)
        if alpha > 0.5:
            return luminance(np.array((red, green, blue)) * 255) < _DARK_PAGE
    return False


def masked_style(ax: Axes) -> dict[str, Any]:
    """How patches for masked cells are filled on the page under the axes."""
    tokens = palette(dark=is_dark(ax))
    return {"facecolor": tokens["masked"], "edgecolor": tokens["hatch"], "hatch": "/////", "linewidth": 0}


def nan_colour(ax: Axes) -> str:
    """The colour of NaN on the page under the axes."""
    return palette(dark=is_dark(ax))["nan"]


def colour_map(dark: bool) -> Colormap:
    """The ramp of weights: 0 is the end nearest to the page; NaN and masked cells are left open for their marks."""
    table = ramp() / 255
    return _listed(table[::-1] if dark else table, "weights")


def difference_map(dark: bool) -> Colormap:
    """The ramp of differences: less is blue, none is the page, more is orange."""
    return _listed(diverging(dark=dark) / 255, "differences")


def colours_of(scale: Scale, dark: bool) -> Colormap:
    """The ramp of a scale: of weights, or around 0."""
    return difference_map(dark) if scale.signed else colour_map(dark)


def _listed(table: np.ndarray, name: str) -> Colormap:
    return ListedColormap(table, name=f"attnscope {name}").with_extremes(bad=(0, 0, 0, 0))


def norm_of(scale: Scale) -> Normalize:
    """How values become places on the ramp."""
    if scale.logarithmic:
        return LogNorm(scale.floor, scale.maximum, clip=True)
    return Normalize(-scale.maximum if scale.signed else 0, scale.maximum)


def ink_on(colour: Any) -> str:
    """Black or white, whichever is easier to read on a colour."""
    return "black" if luminance(np.array(to_rgba(colour)[:3]) * 255) > _DARK_PAGE else "white"


def add_bar(
    axes: Axes | Sequence[Axes], mappable: ScalarMappable, label: str, ticks: dict[float, str], **options: Any
) -> Colorbar:
    """Adds a colour bar with its ticks and its label."""
    first = axes if isinstance(axes, Axes) else axes[0]
    options.setdefault("pad", 0.1 / figure_of(first).bbox.width * figure_of(first).get_dpi())
    bar = figure_of(first).colorbar(mappable, ax=axes, **{"shrink": 0.8, "aspect": 28, **options})
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    bar.ax.tick_params(labelsize=points_of("small"), length=2)
    bar.ax.minorticks_off()
    bar.outline.set_linewidth(0.4)
    if bar.solids is not None:
        bar.solids.set_edgecolor("face")  # or else viewers of SVG and PDF show the seams between its colours
    dash_bar(bar, mappable, [axes] if isinstance(axes, Axes) else axes)
    texts, fonts = written([label], None)
    bar.set_label(wrapped(texts, _length_beside(axes, bar), 0.83 * rcParams["font.size"]), size="small")
    axis = bar.ax.yaxis if bar.orientation == "vertical" else bar.ax.xaxis
    plain_text(axis.label).set_fontfamily(fonts)
    return bar


def dash_bar(bar: Colorbar, mappable: ScalarMappable, axes: Sequence[Axes]) -> None:
    """Dashes in the half of a bar that is below 0, where what is drawn there has some."""
    least = float(np.min(mappable.norm.vmin or 0.0))
    if not least or not any(marks.get_gid() == BELOW for ax in axes for marks in ax.collections):
        return
    places = least * np.array((0.25, 0.5, 0.75))
    upright = bar.orientation == "vertical"
    lines = [
        [(0.3, place), (0.7, place)] if upright else [(place - 0.04 * least, 0.5), (place + 0.04 * least, 0.5)]
        for place in places
    ]
    colours = [ink_on(mappable.to_rgba(np.array(place))) for place in places]
    bar.ax.add_collection(LineCollection(lines, colors=colours, linewidths=1.1, gid=BELOW), autolim=False)


def _length_beside(axes: Axes | Sequence[Axes], bar: Colorbar) -> float:
    """Points that the label of a bar has along the axes."""
    boxes = [one.get_window_extent() for one in ([axes] if isinstance(axes, Axes) else axes)]
    low, high = ("y0", "y1") if bar.orientation == "vertical" else ("x0", "x1")
    length = max(getattr(box, high) for box in boxes) - min(getattr(box, low) for box in boxes)
    return float(length) * 72 / figure_of(bar.ax).get_dpi()


def frame(ax: Axes) -> None:
    """Thin edges around the cells."""
    for spine in ax.spines.values():
        spine.set_linewidth(0.5)


def head_line(ax: Axes, title: str, remarks: Sequence[str] = (), left: float | None = None) -> None:
    """Writes the title, and under it, smaller, the remarks about the picture.

    Args:
        ax: Over which to write.
        title: One line, or more where its words would leave the figure.
        remarks: As many lines as they need.
        left: Inches of the figure that lie left of the axes, where they stand alone in it; None for the axes' width.
    """
    make_room(ax)
    heading = plain_text(ax.set_title("", loc="left", fontsize=_title_size()))
    texts, fonts = written([title, *filter(None, remarks)] if title else list(filter(None, remarks)), None)
    heading.set_fontfamily(fonts)
    width = _width_of(ax) if left is None else _inches(figure_of(ax).bbox, ax) - left
    heading.set_text(texts[0] if title else "")
    note = wrapped(texts[1:] if title else texts, 72 * width, 0.83 * float(heading.get_fontsize()))
    if note:
        size = float(_note(ax, note, fonts, heading.get_color()).get_fontsize())
        lines = note.count("\n") + (1 if title else 0)  # without a title, a blank one makes room for the highest line
        ax.set_title(heading.get_text() or " ", loc="left", pad=rcParams["axes.titlepad"] + 2 + 1.25 * size * lines)
    _keep_inside(heading, ax, grow=left is not None)
    make_room(ax, upwards=True)


def _keep_inside(heading: Text, ax: Axes, *, grow: bool) -> None:
    """Breaks a title that would be cut off at the right end of the figure, which may grow by the lines."""
    text, figure = cut_front(heading.get_text(), LONGEST_TITLE), figure_of(ax)
    heading.set_text(text)
    if heading.get_window_extent().x1 < right_end(ax) - 0.4 * figure.bbox.width:
        return
    needed, before = heading.get_window_extent().width, [text]
    for _ in range(3):
        heading.set_text("\n".join(" " for _ in before))  # a layout moves axes away from a title that is too wide
        settle(ax)
        room = right_end(ax) - _MARGIN * figure.get_dpi() - heading.get_window_extent().x0
        lines = broken(text, max(8, int(0.97 * len(text) * room / needed))) if needed > room > 0 else [text]
        heading.set_text("\n".join(lines))
        if len(lines) <= len(before):
            break
        if grow and isinstance(figure, Figure):
            figure.set_figheight(figure.get_figheight() + _LINE * (len(lines) - len(before)))
        before = lines


def label_lines(ax: Axes, words: Sequence[str]) -> str:
    """The label of an x axis, in lines that fit the part of the figure that is the axes'."""
    points = 72 * (right_end(ax) - ax.get_window_extent().x0) / figure_of(ax).get_dpi()
    return wrapped(words, min(330, max(points, 1.0)), 0.9 * rcParams["font.size"])


def title_over(figure: Figure | SubFigure, title: str, remarks: Sequence[str]) -> None:
    """Writes the title and the remarks above all axes of a new figure."""
    texts, fonts = written([part for part in (title, *remarks) if part], None)
    points, wide = rcParams["font.size"], 0.96 * figure.bbox.width * 72 / figure.get_dpi()
    first = texts[:1] if title else []
    lines = [wrapped(part, wide, points) for part in (first, texts[len(first) :])]
    over = figure.suptitle("\n".join(filter(None, lines)), x=0.02, ha="left", fontsize="medium")
    over.set_fontfamily(fonts)
    plain_text(over)


def _width_of(ax: Axes) -> float:
    """Inches that a remark over axes may take: theirs, which cells of one shape can make far less than their place."""
    place = _inches(ax.get_window_extent(), ax)
    room = _room(ax)
    return float(min(max(_inches(ax.get_window_extent(), ax), min(place, _NARROWEST)), room))


def _room(ax: Axes) -> float:
    """Inches from the left end of axes to the right end of what is theirs in the figure, at least 1."""
    settle(ax)
    return max(1.0, float(right_end(ax) - ax.get_window_extent().x0) / figure_of(ax).get_dpi() - _MARGIN)


def settle(ax: Axes) -> None:
    """Lays the figure out, so that axes have the place that they will have."""
    figure = figure_of(ax).figure
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    ax.apply_aspect()


def _inches(box: BboxBase, ax: Axes) -> float:
    return float(box.width) / figure_of(ax).get_dpi()


def _title_size() -> float | str:
    size: float | str = rcParams["axes.titlesize"]
    return "medium" if size == "large" else size


def _note(ax: Axes, text: str, fonts: Sequence[str], colour: ColorType) -> Text:
    note = ax.annotate(
        text,
        (0, 1),
        (0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        va="bottom",
        ha="left",
        fontsize="small",
        fontfamily=list(fonts),
        color=colour,
        alpha=0.75,
        annotation_clip=False,
        gid="remarks",
    )
    note.set_in_layout(False)  # the title makes the room for it; a layout would narrow the axes until it fits over them
    return plain_text(note)
