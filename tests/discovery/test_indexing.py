"""Axes are followed through indexing as people write it: with an ellipsis, new axes, single positions and parts."""

import keras
import numpy as np
import pytest
from keras import ops

import attnscope as ats

pytestmark = pytest.mark.every_backend


def new_axes(weights, x):
    return ops.sum(weights[..., None] * x[:, None], axis=-2)


def new_axes_at_both_ends(weights, x):
    return ops.sum(weights[:, None, ..., None] * x[:, None, None, ...], axis=-2)[:, 0]


def a_single_position(weights, x):
    return ops.matmul(ops.stack([weights, -weights], axis=-1)[..., 0], x)


def a_part(weights, x):
    return ops.matmul(weights, x[..., 1:])


def parts_on_both_sides(weights, x):
    return ops.matmul(ops.stack([weights, -weights], axis=1)[:, 0, ...], x[:, ..., 1:])


class Indexed(keras.layers.Layer):
    def __init__(self, weigh, **options):
        super().__init__(**options)
        self.weigh = weigh

    def call(self, x):
        return self.weigh(ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2)), axis=-1), x)


@pytest.mark.parametrize("sizes", [(2, 5, 3), (4, 4, 4)], ids=["primes", "equal"])
@pytest.mark.parametrize("weigh", [new_axes, new_axes_at_both_ends, a_single_position, a_part, parts_on_both_sides])
def test_axes_are_followed_through(weigh, sizes, rng):
    x = keras.Input(sizes[1:], name="x")
    model = keras.Model(x, Indexed(weigh, name="site")(x))
    data = rng.normal(size=sizes).astype("float32")
    (site,) = ats.sites(model, data)
    assert (site.taken, site.certainty, site.dims) == (True, "traced", ("sample", "query", "key"))
    assert (site.lineage["query"], site.lineage["key"]) == ("axis 1 of input 'x'",) * 2
    exponentials = np.exp(np.einsum("btc,bsc->bts", data, data).astype("float64"))
    np.testing.assert_allclose(
        ats.capture(model, data)["site"], exponentials / exponentials.sum(-1, keepdims=True), atol=1e-5
    )
