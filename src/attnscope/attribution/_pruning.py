"""Heads removed one after another: how a metric changes along the way, and how many heads can be removed."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import xarray as xr

from attnscope.attribution._head_importance import Head, MaskedHeads, Metric, heads_of, of_heads
from attnscope.discovery import Selection
from attnscope.errors import MethodError
from attnscope.schema import HEAD
from attnscope.tensors import Inputs


def ablation_curve(
    model: keras.Model,
    inputs: Inputs,
    metric: Metric,
    order: xr.DataArray | Iterable[Head],
    *,
    sites: Selection = None,
    batch_size: int = 32,
) -> xr.DataArray:
    """The metric against the number of heads removed, in a given order.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: Arrays or a structure of them, or raw texts or images for a task.
        metric: From the outputs on all samples, as arrays, to one number; higher is better.
        order: The importance of heads, dims ``(site, head)``: the least important is removed first (of equals, the
            first). Or pairs of a site's name and a head's number, from 0.
        sites: Which sites: a glob pattern, several, or a predicate; None for all that are attention.
        batch_size: Samples at a time.

    Returns:
        dims ``(removed,)``, float64, in units of the metric: the metric with 0, 1, 2... heads removed. The coordinates
        ``removed_site`` and ``removed_head`` name the last head removed (empty and -1 at 0). The attr ``passes`` is the
        number of samples times the length.

    Raises:
        MethodError: There is no such head, or the metric does not give a number.

    Source:
        Michel et al. 2019, "Are Sixteen Heads Really Better than One?", section 4.2, figure 3.
    """
    masked = MaskedHeads(model, inputs, metric, sites=sites, batch_size=batch_size)
    heads = _ordered(order)
    numbers = [masked(heads[:count]) for count in range(len(heads) + 1)]
    return _curve(numbers, heads).assign_attrs(method="head ablation curve", passes=masked.passes)


def prune(
    model: keras.Model,
    inputs: Inputs,
    metric: Metric,
    *,
    floor: float,
    most: int | None = None,
    sites: Selection = None,
    batch_size: int = 32,
) -> xr.Dataset:
    """Removes heads greedily for as long as a metric stays at or above a floor.

    In each round every remaining head is tried, and the one without which the metric is highest is removed (of equals,
    the first). This is greedy: there may be a larger set that could be removed. The model is compiled once. The metric
    is known for these samples only; choose heads on some samples, and report on others.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: Arrays or a structure of them, or raw texts or images for a task.
        metric: From the outputs on all samples, as arrays, to one number; higher is better.
        floor: The metric never falls below this.
        most: The largest number of heads to remove; None for no limit.
        sites: Which sites: a glob pattern, several, or a predicate; None for all that are attention.
        batch_size: Samples at a time.

    Returns:
        ``round`` (site, head), float64: the round in which a head was removed, from 1; 0 where it is kept, NaN where a
        site has fewer heads. ``metric`` (removed,), float64: the metric after 0, 1, 2... rounds, with the coordinates
        ``removed_site`` and ``removed_head``. The attr ``passes`` counts samples; a round runs all of them once for
        each remaining head.

    Raises:
        MethodError: The metric of the whole model is below the floor, or the metric does not give a number.
    """
    masked = MaskedHeads(model, inputs, metric, sites=sites, batch_size=batch_size)
    whole = masked(())
    if not whole >= floor:
        raise MethodError(
            f"The metric of the whole model is {whole:.6g}, below the floor {floor:.6g}, so no head can be removed. "
            f"Lower the floor: floor={0.95 * whole if whole > 0 else whole:.6g}."
        )
    removed: list[Head] = []
    numbers = [whole]
    limit = len(masked.heads) if most is None else most
    while len(removed) < min(limit, len(masked.heads)):
        best, number = _best(masked, removed)
        if not number >= floor:
            break
        removed.append(best)
        numbers.append(number)
    rounds = [
        np.array(
            [removed.index((site.name, head)) + 1.0 if (site.name, head) in removed else 0.0 for head in range(heads)]
        )
        for site, heads in ((site, heads_of(site)) for site in masked.sites)
    ]
    return xr.Dataset(
        {"round": of_heads(masked.sites, rounds), "metric": _curve(numbers, removed)},
        attrs={"method": "greedy pruning", "floor": floor, "passes": masked.passes},
    )


def _best(masked: MaskedHeads, removed: list[Head]) -> tuple[Head, float]:
    """The remaining head without which the metric is highest, and that metric."""
    tried = [(head, masked([*removed, head])) for head in masked.heads if head not in removed]
    return max(tried, key=lambda pair: -np.inf if np.isnan(pair[1]) else pair[1])


def _ordered(order: xr.DataArray | Iterable[Head]) -> list[Head]:
    if not isinstance(order, xr.DataArray):
        return [(str(name), int(head)) for name, head in order]
    if set(order.dims) != {"site", HEAD} or "site" not in order.coords:
        raise MethodError(
            f"The order has the dims {tuple(map(str, order.dims))}, but importance with dims ('site', 'head') and "
            "the names of the sites is needed, as head_importance(model, inputs) gives it."
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
