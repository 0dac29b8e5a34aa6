"""Several pictures in one file: as the pages of a PDF, or one below the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imsave

from attnscope.plot._canvas import TrueTypeFigure, embedded_fonts

DOTS = 200
"""Per inch, of pictures that are made of dots."""
_POINTS = 72
"""Per inch."""


def write(pictures: Sequence[Callable[[Figure], object]], path: Path, title: str) -> None:
    """Writes pictures into one file, without pyplot.

    Args:
        pictures: Each draws itself in the empty figure that it is given.
        path: Ends in ``.pdf``, where each picture has a page of its own as large as itself; or in ``.svg`` or ``.png``,
            where they stand one below the other.
        title: What the file says about itself.
    """
    figures = []
    for draw in pictures:
        figures.append(TrueTypeFigure())
        draw(figures[-1])
    {".pdf": _write_pdf, ".svg": _write_svg, ".png": _write_png}[path.suffix.lower()](figures, path, title)


def _write_pdf(figures: Sequence[Figure], path: Path, title: str) -> None:
    with embedded_fonts(), PdfPages(path, metadata={"Title": title}) as pages:  # fonts are written at its end
        for figure in figures:
            pages.savefig(figure)


def _write_svg(figures: Sequence[Figure], path: Path, title: str) -> None:
    for figure in figures:
        figure.set_dpi(_POINTS)  # what this kind of file counts in
    widths, heights = zip(*(figure.bbox.size for figure in figures), strict=True)
    with path.open("w", encoding="utf-8") as stream:
        renderer: Any = RendererSVG(  # type: ignore[no-untyped-call]
            max(widths), sum(heights), stream, image_dpi=DOTS, metadata={"Title": title}
        )
        for place, figure in enumerate(figures):
            below = sum(heights[place + 1 :])  # it draws from the bottom
            renderer.writer.start("g", transform=f"translate(0 {-below:g})")
            figure.draw(renderer)
            renderer.writer.end("g")
        renderer.finalize()


def _write_png(figures: Sequence[Figure], path: Path, title: str) -> None:
    drawn = []
    for figure in figures:
        figure.set_dpi(DOTS)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        drawn.append(np.asarray(canvas.buffer_rgba()).copy())
    ground = np.round(np.array(to_rgba(figures[0].get_facecolor())) * 255).astype(np.uint8)
    widest = max(pixels.shape[1] for pixels in drawn)
    sheet = np.concatenate([_widened(pixels, widest, ground) for pixels in drawn])
    imsave(path, sheet, format="png", dpi=DOTS, metadata={"Title": title})


def _widened(pixels: np.ndarray, width: int, ground: np.ndarray) -> np.ndarray:
    """Pixels with as many more at their right that a row has `width`."""
    right = np.broadcast_to(ground, (len(pixels), width - pixels.shape[1], len(ground)))
    return np.concatenate([pixels, right], axis=1)
