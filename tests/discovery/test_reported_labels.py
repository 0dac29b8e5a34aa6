"""Models that were reported to have been labelled wrongly, each with the right answer."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats

pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1:UserWarning"),
]


def drawn(rng, *shape):
    return rng.normal(size=shape).astype("float32")


def kinds(maps):
    return {finding.kind for finding in maps.findings}


def test_the_mask_of_a_text_is_not_that_of_as_many_patches(rng):
    picture, text = keras.Input((16, 16, 3), name="picture"), keras.Input((16,), dtype="int32", name="text")
    patches = layers.Reshape((16, 8))(layers.Conv2D(8, 4, 4)(picture))
    words = layers.Embedding(30, 8, mask_zero=True)(text)
    cross = layers.MultiHeadAttention(2, 4, name="cross")(words, patches)
    tokens = rng.integers(1, 30, (3, 16))
    tokens[:, 5:] = 0
    maps = ats.capture(keras.Model([picture, text], layers.Dense(3)(cross)), [drawn(rng, 3, 16, 16, 3), tokens])
    assert maps["cross"].key_valid.values.all()
    np.testing.assert_array_equal(maps["cross"].query_valid, tokens != 0)
    assert "padding" not in kinds(maps)


def test_validity_differs_by_step_where_the_sentences_do(rng):
    words = keras.Input((5,), dtype="int32")
    x = layers.LayerNormalization()(layers.Embedding(30, 8, mask_zero=True)(words))
    sentence = keras.Model(words, layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4, name="mha")(x, x)))
    document = keras.Input((3, 5), dtype="int32")
    vectors = layers.TimeDistributed(sentence, name="each")(document)
    model = keras.Model(document, layers.Dense(2)(layers.GlobalAveragePooling1D()(vectors)))
    data = rng.integers(1, 30, (1, 3, 5))
    data[0, 0, 2:] = data[0, 1, 4:] = 0
    scores = ats.capture(model, data, progress=False)["each/mha"]
    assert scores.key_valid.dims == ("sample", "step", "key")
    np.testing.assert_array_equal(scores.key_valid, data != 0)


class Graph(layers.Layer):
    """Heads on the third axis, under a name that nobody else uses."""

    def __init__(self, attn_heads, **options):
        super().__init__(**options)
        self.attn_heads = attn_heads

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.attn_heads, 4))

    def call(self, x):
        h = ops.einsum("bnf,fhd->bnhd", x, self.kernel)
        scores = ops.softmax(ops.einsum("bnhd,bmhd->bnhm", h, h))
        return ops.reshape(ops.einsum("bnhm,bmhd->bnhd", scores, h), (-1, x.shape[1], self.attn_heads * 4))


@pytest.mark.parametrize(("heads", "nodes"), [(2, 7), (7, 7), (2, 2), (7, 2)])
def test_heads_are_heads_on_whichever_axis(heads, nodes, rng):
    x = keras.Input((nodes, 5))
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling1D()(Graph(heads, name="graph")(x))))
    sizes = dict(ats.capture(model, drawn(rng, 4, nodes, 5), progress=False)["graph"].sizes)
    assert sizes == {"sample": 4, "head": heads, "query": nodes, "key": nodes}


class PerSample(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 1))

    def call(self, x):
        return ops.map(lambda one: ops.sum(ops.softmax(ops.matmul(one, self.kernel), axis=0) * one, 0), x)


def test_a_loop_over_the_samples_has_no_step(rng):
    x = keras.Input((6, 8))
    model = keras.Model(x, layers.Dense(2)(PerSample(name="pool")(x)))
    sizes = dict(ats.capture(model, drawn(rng, 40, 6, 8), progress=False)["pool"].sizes)
    assert sizes == {"sample": 40, "key": 6}


class WithEllipsis(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 2, 4))

    def call(self, x):
        h = ops.einsum("...tf,fhd->...thd", x, self.kernel)
        scores = ops.softmax(ops.einsum("...qhd,...khd->...hqk", h, h))
        return ops.reshape(ops.einsum("...hqk,...khd->...qhd", scores, h), (-1, x.shape[1], 8))


def test_an_einsum_with_an_ellipsis_is_seen_through(rng):
    x = keras.Input((6, 8))
    y = WithEllipsis(name="own")(layers.MultiHeadAttention(2, 4, name="mha")(x, x))
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D()(y)))
    maps = ats.capture(model, drawn(rng, 5, 6, 8), progress=False)
    assert {name: maps[name].dims for name in maps} == dict.fromkeys(["mha", "own"], ("sample", "head", "query", "key"))


class Instances(layers.Layer):
    """A bag of instances: weights over a stack, taken apart again."""

    def build(self, shapes):
        self.kernel = self.add_weight(shape=(shapes[0][-1], 1))

    def call(self, instances):
        weights = ops.softmax(ops.stack([ops.matmul(one, self.kernel) for one in instances]), axis=0)
        return [weights[n] for n in range(len(instances))]

    def compute_output_shape(self, shapes):
        return [(shape[0], 1) for shape in shapes]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_weights_that_are_taken_apart_again_are_attention(count, rng):
    bag = [keras.Input((8,)) for _ in range(count)]
    weighted = [layers.Multiply()(pair) for pair in zip(Instances(name="bag")(bag), bag, strict=True)]
    model = keras.Model(bag, layers.Dense(2)(layers.Add()(weighted)))
    [site] = ats.sites(model, [drawn(rng, 5, 8) for _ in bag])
    assert (site.taken, site.certainty, site.dims, site.shape) == (True, "traced", ("sample", "key"), (5, count))


def test_the_padding_of_a_masked_series_is_known(rng):
    series = keras.Input((6, 3))
    states = layers.LSTM(4, return_sequences=True)(layers.Masking(-1.0)(series))
    weights = layers.Activation("softmax", name="weights")(layers.Flatten()(layers.Dense(1)(states)))
    model = keras.Model(series, layers.Dense(1)(layers.Dot(axes=1)([weights, states])))
    data = drawn(rng, 3, 6, 3)
    data[:, 4:] = -1
    maps = ats.capture(model, data, progress=False)
    assert maps["weights"].key_valid[0].values.astype(int).tolist() == [1, 1, 1, 1, 0, 0]
    [finding] = [finding for finding in maps.findings if finding.kind == "padding"]
    share = maps["weights"].isel(key=slice(4, None)).sum("key").mean().item()
    assert finding.value == pytest.approx(share, abs=1e-6)
    assert finding.fix == (
        "put keras.layers.Softmax() in its place, which takes a mask: Softmax()(logits, mask=mask); or set the logits "
        "of padding to -1e9 in front of it: ops.where(mask, logits, -1e9); then train again"
    )


def test_two_texts_of_one_length_have_two_masks(rng):
    first, second = (keras.Input((6,), dtype="int32") for _ in range(2))
    embed = layers.Embedding(30, 8, mask_zero=True)
    a, b = embed(first), embed(second)
    weights = layers.Activation("softmax", name="weights")(layers.Dot(axes=-1)([a, b]))
    context = layers.Dot(axes=(2, 1))([weights, b])
    model = keras.Model([first, second], layers.Dense(1)(layers.GlobalAveragePooling1D()(context)))
    one, two = rng.integers(1, 30, (2, 3, 6))
    one[:, 2:] = two[:, 4:] = 0
    maps = ats.capture(model, [one, two], progress=False)
    np.testing.assert_array_equal(maps["weights"].key_valid, two != 0)
    np.testing.assert_array_equal(maps["weights"].query_valid, one != 0)
    assert "padding" in kinds(maps)


@pytest.mark.parametrize("method", ["rollout", "chefer"])
def test_a_value_of_the_same_sequence_by_another_layer_is_self_attention(method, rng):
    """As in DETR, where positions are added to query and key alone."""
    x = keras.Input((9, 4), name="x")
    place = layers.Embedding(9, 4)(ops.arange(9))
    placed = layers.Lambda(lambda pair: pair[0] + pair[1], output_shape=(9, 4))([x, place[None]])
    y = layers.MultiHeadAttention(2, 4, name="mha")(placed, layers.Dense(4)(x), key=placed)
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D()(y)))
    data = drawn(rng, 4, 9, 4)
    [site] = ats.sites(model, data)
    assert site.lineage["query"] == site.lineage["key"] == "axis 1 of input 'x'"
    if method == "chefer" and keras.backend.backend() == "openvino":
        return
    assert ats.attribute(model, data, target=1, method=method).dims == ("sample", "key")


def test_one_key_is_taken_and_a_finding(rng):
    import keras_hub

    model = keras_hub.models.MiTBackbone(
        layerwise_depths=[2, 2],
        image_shape=(32, 32, 3),
        hidden_dims=[4, 8],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[8, 4],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
    )
    maps = ats.capture(model, drawn(rng, 2, 32, 32, 3), progress=False)
    assert [site.taken for site in maps.sites] == [True] * 4
    single = [name for name in maps if maps[name].sizes["key"] == 1]
    assert single
    assert [finding.site for finding in maps.findings if finding.kind == "single_key"] == single


def test_that_everything_is_padding_is_one_finding():
    tokens = keras.Input((5,), dtype="int32")
    x = layers.LayerNormalization()(layers.Embedding(9, 4, mask_zero=True)(tokens))
    model = keras.Model(tokens, layers.Dense(1)(layers.MultiHeadAttention(2, 4, name="mha")(x, x)))
    assert [finding.kind for finding in ats.capture(model, np.zeros((2, 5), "int32"), progress=False).findings] == [
        "only_padding"
    ]


class CompiledCall(layers.Layer):
    """Its call is a function that the framework compiled, as a decorator does it."""

    def build(self, shape):
        self.dense = layers.Dense(1)
        self.dense.build(shape)
        self.own = self.call
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self.call = tf.function(self.own)
        elif keras.backend.backend() == "torch":
            import torch

            self.call = torch.compile(self.own, backend="eager")

    def call(self, x):
        return ops.sum(ops.softmax(self.dense(x), axis=1) * x, 1)

    def compute_output_shape(self, shape):
        return (shape[0], shape[-1])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_a_compiled_call_is_taken(rng):
    x = keras.Input((6, 8))
    model = keras.Model(x, layers.Dense(2)(CompiledCall(name="pool")(x)))
    data = drawn(rng, 5, 6, 8)
    expected = ops.convert_to_numpy(model(data))
    for _ in range(2):
        maps = ats.capture(model, data, progress=False)
        assert {name: maps[name].dims for name in maps} == {"pool": ("sample", "key")}
        np.testing.assert_allclose(maps.outputs, expected, atol=1e-5)


def test_a_run_of_a_model_that_has_changed_since_is_a_new_one(rng):
    data = drawn(rng, 8, 4, 3)
    dense = layers.Dense(3)
    x = keras.Input((4, 3))
    h = dense(x)
    model = keras.Model(x, layers.MultiHeadAttention(1, 3, name="mha")(h, h))
    for factor in range(6):
        dense.activation = lambda z, factor=factor: z * factor
        captured = ats.capture(model, data, progress=False)["mha"]
        states = dense(data)
        own = model.get_layer("mha")(states, states, return_attention_scores=True)[1]
        np.testing.assert_allclose(captured, ops.convert_to_numpy(own), atol=1e-6)
