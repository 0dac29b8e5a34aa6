"""Groups of heads that look at the same keys."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from attnscope.analysis._head_distance import OTHER
from attnscope.analysis._scipy import scipy_room
from attnscope.errors import InputError, SchemaError
from attnscope.schema import HEAD, require_one_array

Linkage = Literal["average", "complete", "single"]


def head_clusters(
    distance: xr.DataArray,
    *,
    number: int | None = None,
    within: float | None = None,
    linkage: Linkage = "average",
) -> xr.Dataset:
    """Groups heads by hierarchical clustering: the two nearest groups are joined until one remains; class-agnostic.

    Args:
        distance: The distance between every two heads, dims ``(head, head_other)``, from `head_distance`: symmetric, 0
            or more, 0 on the diagonal, without NaN.
        number: Number of groups (fewer if ties make that many impossible); give this or `within`.
        within: Groups are joined up to this distance, in the unit of `distance`.
        linkage: The distance between two groups: the mean, the largest or the smallest distance between their heads.

    Returns:
        ``cluster``, dims ``(head,)``: number of the group, from 0, in the order of the tree. ``order``, dims
        ``(place,)``: the heads in an order that keeps groups together, for pictures. ``joined``, dims ``(step,
        side)``: the two groups joined at each step (a number below the number of heads is a head; otherwise it is the
        number of heads plus the step that made the group), and ``height``, dims ``(step,)``: the distance at which they
        were joined. The coordinates of the heads are kept.

    Raises:
        SchemaError: It is not such a matrix.
        InputError: Not exactly one of `number` and `within` is given, it is out of range, or the linkage is unknown.
        NotInstalledError: SciPy is not installed.

    Source:
        Average linkage: Sokal and Michener 1958. Clark et al. 2019, section 6, arrange the heads of BERT by their
        distances.

    Example:
        >>> far = np.array([[0.0, 0.1, 0.9], [0.1, 0.0, 0.8], [0.9, 0.8, 0.0]])
        >>> groups = head_clusters(xr.DataArray(far, dims=("head", "head_other")), number=2)
        >>> len(set(groups.cluster.values.tolist()[:2])), groups.height.values.round(3).tolist()
        (1, [0.1, 0.85])
    """
    require_one_array(distance, "head_clusters", "Compute their distances: head_distance(maps).")
    values = _checked(distance)
    heads = len(values)
    if linkage not in ("average", "complete", "single") or (number is None) == (within is None):
        raise InputError(
            f"number={number!r}, within={within!r} and linkage={linkage!r} were given, but exactly one of number and "
            "within, and the linkage 'average', 'complete' or 'single', are needed: head_clusters(distance, number=4)."
        )
    if (number is not None and not 1 <= number <= heads) or (within is not None and not within >= 0):
        raise InputError(
            f"number={number!r} and within={within!r} were given, but there are {heads} heads, so a number within 1 to "
            f"{heads}, or a distance of 0 or more, is needed: head_clusters(distance, number={min(4, heads)})."
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
            "order": ("place", order.astype(int), {"units": "1", "long_name": "heads, with groups kept together"}),
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
        "distances ('head', 'head_other') between two or more heads are needed: symmetric, 0 or more, 0 on the "
        "diagonal, without NaN. Compute them: head_distance(maps)."
    )
