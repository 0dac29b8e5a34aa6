"""Where an operation lies in between that attnscope does not know, it says what is not known, and guesses nothing."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from models import Transformed

pytestmark = pytest.mark.every_backend


class WeighedWhenTransformed(layers.Layer):
    """Weights positions by scores that such an operation has changed the number of."""

    def call(self, x):
        scores = ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2)), axis=-1)
        spectrum = ops.rfft(scores)[0]
        return ops.matmul(spectrum, x[:, : spectrum.shape[-1]])

    def compute_output_shape(self, shape):
        return shape


@pytest.fixture
def series(rng):
    return rng.normal(size=(3, 7, 6)).astype("float32")


def test_dims_that_only_the_sizes_suggest_are_called_so(series):
    inputs = keras.Input((7, 6), name="series")
    x = Transformed()(inputs)
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 5, name="attention")(x, x))
    (site,) = ats.sites(model, series)
    assert (site.taken, site.certainty, site.dims) == (True, "by size", ("sample", "head", "query", "key"))
    maps = ats.capture(model, series)
    assert maps.sites[0].certainty == "by size"
    assert [(finding.kind, finding.site, finding.message) for finding in maps.findings] == [
        (
            "by_size",
            "attention",
            "its dims sample, head, query, key are guessed from their sizes, because the trail was lost at an "
            "operation that is not known",
        )
    ]


def test_a_softmax_whose_trail_is_lost_is_a_finding_of_each_capture(series, tmp_path):
    inputs = keras.Input((7, 6), name="series")
    x = inputs + layers.MultiHeadAttention(2, 5, name="attention")(inputs, inputs)
    model = keras.Model(inputs, WeighedWhenTransformed(name="unknown")(x))
    attention, unknown = ats.sites(model, series)
    assert (attention.taken, attention.certainty, attention.lost) == (True, "traced", "")
    assert not unknown.taken
    assert unknown.lost
    assert unknown.reason == (
        f"its trail was lost at the operation {unknown.lost!r}, so that it is not known what it weights; take it by "
        "name if it is attention"
    )
    maps = ats.capture(model, series)
    maps.save(tmp_path / "run.zarr")
    streamed = ats.capture(model, series, batch_size=2, store=tmp_path / "streamed.zarr")
    for kept in (maps, ats.open(tmp_path / "run.zarr"), streamed):
        assert list(kept) == ["attention"]
        assert [(finding.kind, finding.site, finding.message) for finding in kept.findings] == [
            (
                "lost",
                "unknown",
                f"a softmax was left out: its trail was lost at the operation {unknown.lost!r}, so it is not known "
                "whether it is attention",
            )
        ]
    named = ats.capture(model, series, sites=["attention", "unknown"])
    assert [finding.kind for finding in named.findings] == []
    exponentials = np.exp(np.einsum("btc,bsc->bts", *[_states(model, series)] * 2))
    np.testing.assert_allclose(named["unknown"], exponentials / exponentials.sum(-1, keepdims=True), atol=1e-5)


def _states(model, series):
    """What the softmax that is left out is computed from."""
    attended = keras.Model(model.input, model.get_layer("unknown").input)
    return ops.convert_to_numpy(attended(series)).astype("float64")
