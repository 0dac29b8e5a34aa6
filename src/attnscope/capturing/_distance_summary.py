"""How far each query looks, without the map."""

from __future__ import annotations

from keras import ops

from attnscope.capturing._summaries import PerQuery
from attnscope.errors import InputError
from attnscope.interception import Block
from attnscope.schema import DISTANCE, KEY, QUERY, Site
from attnscope.tensors import Tensor


class Distance(PerQuery):
    """How far each query looks on average, in tokens: ``sum_k a[q, k] * abs(q - k)``.

    Every key counts at its position. (`attnscope.analysis.mean_distance` of whole maps can leave out padding that the
    model does not mask, sinks and named tokens.)

    Result dims: the site's without its keys, within 0 to the largest distance. NaN at queries that are not valid.

    Raises:
        InputError: A site is not self-attention over one axis.

    Source:
        Vig and Belinkov 2019, "Analyzing the Structure of Attention in a Transformer Language Model".
    """

    variable = DISTANCE

    def check(self, site: Site) -> None:
        """Queries and keys are to be positions of one sequence."""
        sources = [site.lineage.get(dim) for dim in (QUERY, KEY)]
        if {QUERY, KEY} <= {*site.dims} and (None in sources or sources[0] == sources[1]):
            return
        raise InputError(
            f"Distance() needs self-attention over one axis, but the site {site.name!r} has the dimensions "
            f"{tuple(site.dims)}, with the queries from {sources[0]} and the keys from {sources[1]}. Choose "
            "other sites: sites='encoder*'."
        )

    def values(self, block: Block) -> Tensor:
        """Those of the block."""
        sizes = dict(zip(block.layout.dims, block.layout.shape, strict=True))
        queries = ops.arange(int(block.row_shape[-1]), dtype="int32") + block.start
        apart = ops.abs(queries[:, None] - ops.arange(sizes[KEY], dtype="int32")[None, :])
        far = block.mean_of(ops.cast(apart, "float32"))
        return far if block.query_valid is None else ops.where(block.query_valid, far, float("nan"))
