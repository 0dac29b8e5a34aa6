"""What the scores weight is told from gates that weight the scores, from codes that pick them, and from assignments."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats


class Attention(layers.Layer):
    """Attention whose scores are gated, position by position, by data of their own size."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, x):
        logits = ops.matmul(ops.matmul(x, self.kernel), ops.swapaxes(x, -1, -2))
        return self.weigh(ops.softmax(logits), ops.sigmoid(logits), x)

    def compute_output_shape(self, shape):
        return (*shape[:-1], shape[-1])


class Gated(Attention):
    """Values have features."""

    def weigh(self, scores, gate, x):
        return ops.matmul(scores * gate, x)


class GatedSeries(Attention):
    """Values are single numbers."""

    def weigh(self, scores, gate, x):
        return x * ops.sum(scores * gate * ops.expand_dims(x[..., 0], -2), axis=-1, keepdims=True)


class EdgesFirst(Attention):
    """Pairs of positions are weighted as well, and before the positions."""

    def weigh(self, scores, gate, x):
        return ops.einsum("...ts,...tsd->...td", scores, ops.expand_dims(gate, -1) * ops.ones(5)) + scores @ x


@pytest.mark.parametrize("size", [7, 5], ids=["distinct", "equal"])
@pytest.mark.parametrize("layer", [Gated, GatedSeries, EdgesFirst])
def test_a_gate_on_the_scores_is_not_what_they_weight(layer, size):
    series = keras.Input((size, 5), name="series")
    (site,) = ats.sites(keras.Model(series, layer(name="own")(series)))
    assert (site.dims, site.certainty) == (("sample", "query", "key"), "traced")
    assert site.lineage["query"] == site.lineage["key"] == "axis 1 of input 'series'"
    rows = keras.Input((3, size, 5), name="rows")
    (site,) = ats.sites(keras.Model(rows, layer(name="own")(rows)))
    assert site.dims == ("sample", "window", "query", "key")
    assert (site.lineage["window"], site.lineage["query"]) == ("axis 1 of input 'rows'", "axis 2 of input 'rows'")


class Copies(layers.Layer):
    """Weights the codes of the words of a text, as a pointer does."""

    def call(self, scores, text):
        return ops.einsum("bt,btv->bv", scores, ops.one_hot(text, 11))


class Picks(layers.Layer):
    """The score at a position that an input names."""

    def call(self, scores, place):
        return ops.sum(scores * ops.cast(ops.expand_dims(place, -1) == ops.arange(7), scores.dtype), -1, keepdims=True)


@pytest.mark.every_backend
def test_codes_of_words_are_weighted_and_a_code_of_a_position_picks():
    text, place = keras.Input((7,), name="text", dtype="int32"), keras.Input((), name="place", dtype="int32")
    logits = layers.Flatten()(layers.Dense(1)(layers.Embedding(11, 4)(text)))
    copied = Copies()(layers.Softmax(name="pointer")(logits), text)
    picked = Picks()(layers.Softmax(name="start")(logits), place)
    sites = ats.sites(keras.Model([text, place], [copied, picked]), [np.ones((3, 7), "int32"), np.ones(3, "int32")])
    taken = {site.name: (site.taken, site.reason) for site in sites}
    assert taken == {
        "pointer": (True, "its scores weight data along the softmax's axis"),
        "start": (False, "nothing that depends on the input is weighted by it"),
    }


class Slots(layers.Layer):
    """Slot attention: positions are shared out among slots, which are means of them."""

    def build(self, shape):
        self.slots = self.add_weight(shape=(3, shape[-1]))

    def call(self, x):
        shares = ops.softmax(ops.matmul(x, ops.transpose(self.slots)))
        return ops.einsum("bns,bnd->bsd", shares / ops.sum(shares, axis=1, keepdims=True), x)


def test_an_assignment_to_slots_is_named_and_can_be_taken(rng):
    series = keras.Input((7, 5), name="series")
    model = keras.Model(series, Slots(name="slots")(series))
    data = rng.normal(size=(2, 7, 5)).astype("float32")
    (site,) = ats.sites(model, data)
    assert not site.taken
    assert site.reason == (
        "it weights data, but along another axis than the softmax's, as where positions are assigned to slots or "
        "clusters; take it by name if it is attention"
    )
    scores = ats.capture(model, data, sites="slots", progress=False)["slots"]
    assert dict(scores.sizes) == {"sample": 2, "query": 7, "key": 3}
