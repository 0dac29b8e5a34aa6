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


class InTwoLevels(keras.layers.Layer):
    """Attends to the second of two sequences behind each other, which begins where a sum of sizes says."""

    def call(self, first, second):
        both = ops.concatenate([first, second], axis=1)
        starts = ops.concatenate([ops.zeros((1,), "int32"), ops.cumsum(ops.array([first.shape[1]], "int32"))])
        sizes = (ops.shape(both)[0], second.shape[1], both.shape[2])
        keys = ops.slice(both, (0, starts[1] * 2 - starts[1], 0), sizes)
        return ops.matmul(ops.softmax(ops.matmul(first, ops.swapaxes(keys, 1, 2)), axis=-1), keys)


@pytest.mark.parametrize("sizes", [(5, 3), (4, 4)], ids=["primes", "equal"])
def test_a_slice_starts_where_the_model_computes_it_of_constants(sizes, rng):
    inputs = [keras.Input((size, 2), name=name) for name, size in zip(("first", "second"), sizes, strict=True)]
    model = keras.Model(inputs, InTwoLevels(name="site")(*inputs))
    data = [rng.normal(size=(2, size, 2)).astype("float32") for size in sizes]
    (site,) = ats.sites(model, data)
    assert site.certainty == "traced"
    assert (site.lineage["query"], site.lineage["key"]) == ("axis 1 of input 'first'", "axis 1 of input 'second'")


class FromThreeLevels(keras.layers.Layer):
    """The third of three sequences behind each other asks the second; one function says where each begins."""

    def call(self, *sequences):
        both = ops.concatenate(sequences, axis=1)
        first, second, third = (sequence.shape[1] for sequence in sequences)
        starts = [self.half(2 * first), self.half(2 * (first + second))]
        keys, queries = (
            ops.slice(both, (0, start, 0), (ops.shape(both)[0], size, both.shape[2]))
            for start, size in zip(starts, (second, third), strict=True)
        )
        return ops.matmul(ops.softmax(ops.matmul(queries, ops.swapaxes(keys, 1, 2)), axis=-1), keys)

    @staticmethod
    def half(number):
        return ops.floor_divide(ops.array(number, "int32"), ops.array(2, "int32"))


@pytest.mark.parametrize("sizes", [(3, 5, 7), (4, 4, 4)], ids=["primes", "equal"])
def test_a_function_that_is_called_again_gives_each_slice_its_own_start(sizes, rng):
    inputs = [keras.Input((size, 2), name=name) for name, size in zip("abc", sizes, strict=True)]
    model = keras.Model(inputs, FromThreeLevels(name="site")(*inputs))
    [site] = ats.sites(model, [rng.normal(size=(2, size, 2)).astype("float32") for size in sizes])
    assert (site.certainty, site.lineage["query"]) == ("traced", "axis 1 of input 'c'")
    assert site.lineage["key"] == "axis 1 of input 'b'"
