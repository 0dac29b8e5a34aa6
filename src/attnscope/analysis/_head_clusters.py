"""Heads that look at the same keys, gathered into groups."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from attnscope.analysis._head_distance import OTHER
from attnscope.analysis._scipy import scipy_room
from attnscope.errors import InputError, SchemaError
from attnscope.schema import HEAD

Linkage = Literal["average", "complete", "single"]


def head_clusters(
    distance: xr.DataArray,
    *,
    number: int | None = None,
    within: float | None = None,
    linkage: Linkage = "average",
) -> xr.Dataset:
    """Groups of heads by hierarchical clustering: the two nearest groups are joined until one remains; class-agnostic.

    Args:
        distance: Between every two heads, dims ``(head, head_other)``, from `head_distance`: symmetric, 0 or more, 0 on
            the diagonal, without NaN.
        number: How many groups (where ties make that many impossible, fewer); or `within`.
        within: Groups are joined up to this distance, in the unit of `distance`.
        linkage: What the distance between two groups is: the mean, the largest or the smallest between their heads.

    Returns:
        ``cluster``, dims ``(head,)``: number of the group, from 0, in the order in which they stand in the tree.
        ``order``, dims ``(place,)``: the heads in an order in which groups stand together, for pictures. ``joined``,
        dims ``(step, side)``: the two groups joined at each step (below the number of heads: a head; else that number
        plus the step that made the group), and ``height``, dims ``(step,)``, the distance at which they were.
        Coordinates of the heads stay.

    Raises:
        SchemaError: It is no such matrix.
        InputError: Not exactly one of `number` and `within` is given, or it lies outside, or there is no such linkage.
        NotInstalledError: SciPy is not installed.

    Source:
        Average linkage: Sokal and Michener 1958. Clark et al. 2019, section 6, show the heads of BERT by their
        distances.

    Example:
        >>> far = np.array([[0.0, 0.1, 0.9], [0.1, 0.0, 0.8], [0.9, 0.8, 0.0]])
        >>> groups = head_clusters(xr.DataArray(far, dims=("head", "head_other")), number=2)
        >>> len(set(groups.cluster.values.tolist()[:2])), groups.height.values.round(3).tolist()
        (1, [0.1, 0.85])
    """
    values = _checked(distance)
    heads = len(values)
    if linkage not in ("average", "complete", "single") or (number is None) == (within is None):
        raise InputError(
            f"number={number!r}, within={within!r} and linkage={linkage!r} were given, but exactly one of number and "
            "within, and the linkage 'average', 'complete' or 'single', are needed: head_clusters(distance, number=4)."
        )
    if (number is not None and not 1 <= number <= heads) or (within is not None and not within >= 0):
        raise InputError(
            f"number={number!r} and within={within!r} were given, but there are {heads} heads: a number within 1 to "
            f"{heads}, or a distance of 0 or more: head_clusters(distance, number={min(4, heads)})."
        )
    hierarchy = scipy_room("scipy.cluster.hierarchy")
    tree = hierarchy.linkage(values[np.triu_indices(heads, 1)], linkage)
    order = hierarchy.leaves_list(tree)
    rule = (number, "maxclust") if within is None else (within, "distance")
    flat = hierarchy.fcluster(tree, *rule)
    renumbered = {old: new for new, old in enumerate(dict.fromkeys(flat[order]))}
    cluster = np.array([renumbered[old] for old in flat])
    coords = {name: c for name, c in distance.coords.items() if c.dims == (HEAD,)}
    return xr.Dataset(
        {
            "cluster": (HEAD, cluster, {"units": "1", "long_name": "number of the group of a head"}),
            "order": ("place", order.astype(int), {"units": "1", "long_name": "heads, groups standing together"}),
            "joined": (
                ("step", "side"),
                tree[:, :2].astype(int),
                {"units": "1", "long_name": "groups that were joined"},
            ),
            "height": ("step", tree[:, 2], {"units": distance.attrs.get("units", "1"), "long_name": "their distance"}),
        },
        coords=coords,
        attrs={"linkage": linkage},
    )


def _checked(distance: xr.DataArray) -> np.ndarray:
    fits = set(distance.dims) == {HEAD, OTHER} and distance.sizes[HEAD] == distance.sizes[OTHER] >= 2
    if fits:
        values = distance.transpose(HEAD, OTHER).values.astype(np.float64)
        plain = np.isfinite(values).all() and (values >= 0).all() and not np.diag(values).any()
        if plain and np.allclose(values, values.T, rtol=0, atol=1e-9):
            return values
    raise SchemaError(
        f"An array with dimensions {tuple(map(str, distance.dims))} and shape {distance.shape} was given, but "
        "distances ('head', 'head_other') between two heads or more are needed: symmetric, 0 or more, 0 on the "
        "diagonal, without NaN. Make them: head_distance(maps)."
    )
