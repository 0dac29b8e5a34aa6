"""Heads taken out one after the other: what a metric says on the way, and how far one can go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import xarray as xr

from attnscope.attribution._head_importance import Head, MaskedHeads, Metric, heads_of, of_heads
from attnscope.discovery import Selection
from attnscope.errors import MethodError
from attnscope.schema import HEAD


def ablation_curve(
    model: keras.Model,
    inputs: Any,
    metric: Metric,
    order: xr.DataArray | Iterable[Head],
    *,
    sites: Selection = None,
    batch_size: int = 32,
) -> xr.DataArray:
    """The metric against the number of heads taken out, in an order.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It stays as it is.
        inputs: As for `capture`, in arrays.
        metric: From the outputs on all samples, as arrays, to one number.
        order: Importance of heads, dims ``(site, head)``: the least important goes first (of equals, the first). Or
            pairs of a site's name and a head's number.
        sites: Which sites, as for `capture`.
        batch_size: Samples at a time.

    Returns:
        dims ``(removed,)``: the metric with 0, 1, 2... heads taken out, float64; coordinates ``removed_site`` and
        ``removed_head`` name the last one (empty and -1 at 0). ``passes`` is samples times length.

    Raises:
        MethodError: There is no such head, or the metric gives no number.

    Source:
        Michel et al. 2019, "Are Sixteen Heads Really Better than One?", section 4.2, figure 3.
    """
    masked = MaskedHeads(model, inputs, metric, sites=sites, batch_size=batch_size)
    heads = _ordered(order)
    numbers = [masked(heads[:count]) for count in range(len(heads) + 1)]
    return _curve(numbers, heads).assign_attrs(method="head ablation curve", passes=masked.passes)


def prune(
    model: keras.Model,
    inputs: Any,
    metric: Metric,
    *,
    floor: float,
    most: int | None = None,
    sites: Selection = None,
    batch_size: int = 32,
) -> xr.Dataset:
    """Heads taken out greedily for as long as a metric stays at or above a floor.

    In each round every head that is left is tried, and the one without which the metric is highest goes (of equals, the
    first). Greedy: there may be a larger set that would do. The model is compiled once and stays as it is. The metric
    holds on these samples; choose on some, and report on others.

    Args:
        model: Any built Keras 3 model, or a KerasHub task.
        inputs: As for `capture`, in arrays.
        metric: From the outputs on all samples, as arrays, to one number; more is better.
        floor: What the metric is kept at.
        most: So many heads at the most; None for no limit.
        sites: Which sites, as for `capture`.
        batch_size: Samples at a time.

    Returns:
        ``round`` (site, head): in which round a head went, from 1; 0 where it is kept, NaN where there is none.
        ``metric`` (removed,): the metric after 0, 1, 2... rounds, with ``removed_site`` and ``removed_head``. The attr
        ``passes`` counts samples: with `n` heads, a round tries as many heads as are left.

    Raises:
        MethodError: The metric is below the floor with all heads, or gives no number.
    """
    masked = MaskedHeads(model, inputs, metric, sites=sites, batch_size=batch_size)
    whole = masked(())
    if not whole >= floor:
        raise MethodError(
            f"The metric of the whole model is {whole:.6g}, below the floor {floor:.6g}, so no head can go. Lower it: "
            f"floor={0.95 * whole if whole > 0 else whole:.6g}."
        )
    gone: list[Head] = []
    numbers = [whole]
    limit = len(masked.heads) if most is None else most
    while len(gone) < min(limit, len(masked.heads)):
        best, number = _best(masked, gone)
        if not number >= floor:
            break
        gone.append(best)
        numbers.append(number)
    rounds = [
        np.array([gone.index((site.name, head)) + 1.0 if (site.name, head) in gone else 0.0 for head in range(heads)])
        for site, heads in ((site, heads_of(site)) for site in masked.sites)
    ]
    return xr.Dataset(
        {"round": of_heads(masked.sites, rounds), "metric": _curve(numbers, gone)},
        attrs={"method": "greedy pruning", "floor": floor, "passes": masked.passes},
    )


def _best(masked: MaskedHeads, gone: list[Head]) -> tuple[Head, float]:
    tried = [(head, masked([*gone, head])) for head in masked.heads if head not in gone]
    return max(tried, key=lambda pair: -np.inf if np.isnan(pair[1]) else pair[1])


def _ordered(order: xr.DataArray | Iterable[Head]) -> list[Head]:
    if not isinstance(order, xr.DataArray):
        return [(str(name), int(head)) for name, head in order]
    if set(order.dims) != {"site", HEAD} or "site" not in order.coords:
        raise MethodError(
            f"The order has the dims {tuple(map(str, order.dims))}, but importance with dims ('site', 'head') and "
            "names of the sites is needed, as head_importance(model, inputs) gives it."
        )
    array = order.transpose("site", HEAD)
    flat = array.values.ravel()
    places = [place for place in np.argsort(flat, kind="stable") if not np.isnan(flat[place])]
    width = array.sizes[HEAD]
    return [(str(array["site"].values[place // width]), int(place % width)) for place in places]


def _curve(numbers: list[float], heads: list[Head]) -> xr.DataArray:
    coords = {
        "removed": np.arange(len(numbers)),
        "removed_site": ("removed", np.array(["", *(name for name, _ in heads)], dtype=str)),
        "removed_head": ("removed", np.array([-1, *(head for _, head in heads)])),
    }
    return xr.DataArray(np.array(numbers), dims="removed", coords=coords, name="metric")
