"""A picture and the weights of its patches: what `image` draws, before any of it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attnscope.colours import LIGHTNESS
from attnscope.errors import LabelError, SchemaError
from attnscope.labels import patch_grid
from attnscope.marks import number_in_ascii
from attnscope.plot._panels import Head, Panels, Sample, Side, panels_of
from attnscope.quantities import ATTENTION, ATTENTION_RECEIVED
from attnscope.tensors import Tensor

_GREY = 0.02
"""How much the channels of a grey picture may differ."""


@dataclass(frozen=True)
class PatchWeights:
    """Weights of the patches, dims ``(row, column)``, and of the tokens that are not patches."""

    weights: np.ndarray
    masked: np.ndarray
    special: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Pictured:
    """A picture and its weights.

    Attributes:
        pixels: dims ``(height, width, 3)``, 0 to 1.
        patches: The weights.
        panels: Where they come from.
    """

    pixels: np.ndarray
    patches: PatchWeights
    panels: Panels

    @property
    def lightness(self) -> np.ndarray:
        """How light each pixel is, dims ``(height, width)``, 0 to 1."""
        return np.asarray(self.pixels @ LIGHTNESS)

    @property
    def needs_colour(self) -> bool:
        """Whether colours lie over the picture, and not darkness: it is signed, or grey itself."""
        return self.panels.quantity.signed or float(np.ptp(self.pixels, axis=-1).max()) < _GREY


def pictured(
    picture: ArrayLike | Tensor,
    array: xr.DataArray,
    *,
    grid: tuple[int, int] | None,
    sample: Sample,
    head: Head | None,
) -> Pictured:
    """A picture with the weights of one sample laid out on its patches; the arguments are those of `image`.

    Raises:
        SchemaError: `picture` is not a picture, or there is no such sample or head.
        LabelError: The grid is not known, or does not fit.
    """
    pixels = coloured_picture(picture)
    panels = _over_queries(panels_of(array, sample=sample, partial=True).one("mean" if head is None else head))
    return Pictured(pixels, _arranged(panels, array, grid), panels)


def coloured_picture(picture: ArrayLike | Tensor) -> np.ndarray:
    """A picture as red, green and blue, dims ``(height, width, 3)``, 0 to 1.

    Raises:
        SchemaError: It has other axes, or values outside of what pixels have.
    """
    pixels = np.asarray(picture.detach().cpu() if hasattr(picture, "detach") else picture)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3, 4):
        fix = "Its channels come first; move them to the end: np.moveaxis(picture, 0, -1)."
    else:
        fix = "To draw several pictures, say of which samples, images=[0, 1, 2]; or select one: pictures[0]."
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))) or 0 in pixels.shape:
        raise SchemaError(
            f"The picture has shape {pixels.shape}, but (height, width) or (height, width, channels) with 1, 3 or "
            f"4 channels is needed. {fix}"
        )
    whole = pixels.dtype.kind in "uib"
    values = pixels.astype(np.float64) / (255 if whole and pixels.dtype != bool else 1)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1 + 1e-6:
        least, most = (number_in_ascii(float(end(pixels.astype(float)))) for end in (np.nanmin, np.nanmax))
        raise SchemaError(
            f"The picture is {pixels.dtype} from {least} to {most}, but floats have to lie between 0 and 1, and "
            "integers between 0 and 255. Undo the model's preprocessing: picture / 255, or picture * std + mean."
        )
    values = np.clip(values.reshape(*values.shape[:2], -1)[..., :3], 0, 1)
    return np.broadcast_to(values, (*values.shape[:2], 3))


def _over_queries(panels: Panels) -> Panels:
    """The mean over the queries that are not padding and attend to something."""
    rows = panels.rows.valid & ~(panels.values[0] == 0).all(axis=-1)
    if len(panels.rows) == 1:
        return panels
    attending = panels.values[0][rows] if rows.any() else panels.values[0]
    side = Side("", ("",), False, np.ones(1, bool))
    masked = panels.masked[0][rows].all(axis=0) if rows.any() else panels.masked[0].all(axis=0)
    selection = (*panels.selection, f"mean of {len(attending)} queries")
    return Panels(
        attending.mean(axis=0)[None, None],
        masked[None, None],
        ("",),
        side,
        panels.columns,
        panels.site,
        selection,
        ATTENTION_RECEIVED if panels.quantity == ATTENTION else panels.quantity,
    )


def _arranged(panels: Panels, array: xr.DataArray, grid: tuple[int, int] | None) -> PatchWeights:
    rows, columns, first = _grid(panels.columns.labels, array, grid)
    values, masked = panels.values[0, 0], panels.masked[0, 0]
    inside = np.zeros(len(values), bool)
    inside[first : first + rows * columns] = True
    names = tuple(label for label, patch in zip(_names(panels.columns), inside, strict=True) if not patch)
    shape = (rows, columns)
    return PatchWeights(values[inside].reshape(shape), masked[inside].reshape(shape), values[~inside], names)


def _names(side: Side) -> tuple[str, ...]:
    return side.labels if side.named else tuple(f"token {label}" for label in side.labels)


def _grid(labels: tuple[str, ...], array: xr.DataArray, grid: tuple[int, int] | None) -> tuple[int, int, int]:
    """Rows, columns and the position of the first patch."""
    sinks = int(array.attrs.get("sinks", 0))
    before = len(labels) - sinks
    known, why = _known_grid(labels, array)
    if grid is not None:
        rows, columns = grid
        if known is not None and (rows, columns) != known[:2]:
            raise LabelError(
                f"grid={grid!r} was given, but {why} that the weights are of {known[0]} x {known[1]} patches. Write "
                f"grid={known[:2]}, or leave it out."
            )
        if rows < 1 or columns < 1 or rows * columns > before:
            raise LabelError(
                f"grid={grid!r} has {rows * columns} patches, but the weights have {before} keys. {_suggested(before)}"
            )
        return rows, columns, before - rows * columns
    if known is None:
        raise LabelError(
            f"The weights have {len(labels)} keys, but neither labels nor dims say how many rows and columns of "
            f"patches they are. {_suggested(before)}"
        )
    return known


def _known_grid(labels: tuple[str, ...], array: xr.DataArray) -> tuple[tuple[int, int, int] | None, str]:
    """Rows, columns and the position of the first patch, as far as the weights say them; and what says them."""
    sizes = [size for dim, size in array.sizes.items() if str(dim).startswith("key_")]
    if len(sizes) == 2:
        return (sizes[0], sizes[1], 0), "the dims key_0 and key_1 say"
    recorded = [int(size) for size in np.ravel(array.attrs.get("grid", ()))]
    if len(recorded) == 2 and recorded[0] * recorded[1] == len(labels):  # not so if keys were selected since
        return (recorded[0], recorded[1], 0), "attrs['grid'] says"
    return patch_grid(labels), "the labels say"


def _suggested(keys: int) -> str:
    for special in (0, 1, 2, 4, 5, 8):
        side = math.isqrt(max(0, keys - special))
        if side > 1 and side * side + special == keys:
            beside = (
                f", which leaves {special} special token{'s' if special > 1 else ''} before them" if special else ""
            )
            return f"Write, for example, grid=({side}, {side}){beside}."
    return "Write grid=(rows, columns)."
