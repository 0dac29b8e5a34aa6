"""What runs on OpenVINO, Keras' backend for inference: these tests run under ``KERAS_BACKEND=openvino`` alone."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from models import bahdanau_model, transformer

if keras.backend.backend() != "openvino":
    pytest.skip("Keras does not run on OpenVINO here: KERAS_BACKEND=openvino", allow_module_level=True)

SAMPLES, LENGTH, WIDTH, HEADS, SIZE = 5, 7, 11, 2, 3


def attending(name="attention", dropout=0.0, length=LENGTH, width=WIDTH):
    states = keras.Input((length, width))
    attention = layers.MultiHeadAttention(HEADS, SIZE, dropout=dropout, name=name)
    attention.build((None, length, width), (None, length, width))
    attention.set_weights([np.random.default_rng(5).normal(size=w.shape) for w in attention.get_weights()])
    return keras.Model(states, attention(states, states))


def called(model, inputs):
    return ops.convert_to_numpy(model(inputs, training=False))


def scores_by_hand(model, states):
    query_kernel, query_bias, key_kernel, key_bias, *_ = model.get_layer("attention").get_weights()
    scores = np.zeros((len(states), HEADS, states.shape[1], states.shape[1]))
    for sample, of_sample in enumerate(states.astype("float64")):
        for head in range(HEADS):
            query = of_sample @ query_kernel[:, head] + query_bias[head]
            key = of_sample @ key_kernel[:, head] + key_bias[head]
            powers = np.exp(query @ key.T / np.sqrt(SIZE))
            scores[sample, head] = powers / powers.sum(axis=1, keepdims=True)
    return scores


def outputs_by_hand(model, states, scores):
    *_, value_kernel, value_bias, output_kernel, output_bias = model.get_layer("attention").get_weights()
    outputs = np.zeros((*states.shape[:2], WIDTH)) + output_bias
    for head in range(HEADS):
        values = states.astype("float64") @ value_kernel[:, head] + value_bias[head]
        outputs += scores[:, head] @ values @ output_kernel[head]
    return outputs


@pytest.fixture
def states(rng):
    return rng.normal(size=(SAMPLES, LENGTH, WIDTH)).astype("float32")


@pytest.mark.parametrize("dropout", [0.0, 0.1], ids=["fused", "softmax"])
def test_scores_and_outputs_are_the_formulas_whichever_way_keras_computes_them(states, dropout):
    model = attending(dropout=dropout)
    maps = ats.capture(model, states, batch_size=3)
    scores = scores_by_hand(model, states)
    np.testing.assert_allclose(maps["attention"].values, scores, atol=1e-5)
    np.testing.assert_allclose(maps.outputs, outputs_by_hand(model, states, scores), atol=1e-4)
    np.testing.assert_allclose(maps.outputs, called(model, states), atol=1e-4)


def test_edited_scores_reach_the_output(states):
    model = attending()
    evenly = ats.intervene(model, states, {"attention": ats.uniform()})
    by_hand = outputs_by_hand(model, states, np.full((SAMPLES, HEADS, LENGTH, LENGTH), 1 / LENGTH))
    np.testing.assert_allclose(evenly, by_hand, atol=1e-4)


def test_summaries_in_blocks_are_those_of_the_whole_matrix(rng):
    long = rng.normal(size=(2, 1201, WIDTH)).astype("float32")
    model = attending(length=1201)
    whole = ats.capture(model, long)["attention"].values.astype("float64")
    found = ats.capture(model, long, summaries=[ats.Received(), ats.Entropy()])
    np.testing.assert_allclose(found.select("received")["attention"], whole.mean(axis=2), atol=1e-6)
    bits = -(whole * np.log2(np.maximum(whole, 1e-37))).sum(axis=-1)
    np.testing.assert_allclose(found.select("entropy")["attention"], bits, atol=1e-4)


def test_new_weights_are_read_at_the_next_call(states):
    model = attending()
    ats.capture(model, states)
    model.set_weights([weight / 2 for weight in model.get_weights()])
    scores = ats.capture(model, states)["attention"].values
    np.testing.assert_allclose(scores, scores_by_hand(model, states), atol=1e-5)


def openvinos_own_softmax(logits, axis):
    import openvino.opset16 as opset
    from keras.src.backend.openvino.core import OpenVINOKerasTensor

    return OpenVINOKerasTensor(opset.softmax(logits.output, axis).output(0))


def test_a_softmax_of_openvinos_own_is_taken_and_told_from_class_probabilities(rng):
    model = bahdanau_model(softmax=openvinos_own_softmax)
    inputs = [rng.normal(size=(SAMPLES, 4)).astype("float32"), rng.normal(size=(SAMPLES, 7, 6)).astype("float32")]
    assert [(site.name, site.taken, site.reason) for site in ats.sites(model, inputs)] == [
        ("bahdanau", True, "its scores weight data along the softmax's axis"),
        ("classes", False, "class probabilities: the model returns them as they are"),
    ]
    assert ats.capture(model, inputs)["bahdanau"].dims == ("sample", "key")


class Mixture(layers.Layer):
    """Two experts, of which a softmax and a top-k choose one."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.gate, self.experts = layers.Dense(3), [layers.Dense(4) for _ in range(3)]

    def call(self, states):
        weights, chosen = ops.top_k(ops.softmax(self.gate(states)), 1)
        outputs = ops.stack([expert(states) for expert in self.experts], axis=-1)
        return weights * ops.sum(outputs * ops.expand_dims(ops.one_hot(chosen[..., 0], 3), -2), axis=-1)


def test_a_router_is_no_attention(states):
    inputs = keras.Input((WIDTH,))
    model = keras.Model(inputs, Mixture(name="mixture")(inputs))
    (site,) = ats.sites(model, states[:, 0])
    assert not site.taken
    assert site.reason == "a router: its scores go into a top-k or similar operation, which picks units"


class Repeated(layers.Layer):
    def call(self, states):
        def body(number, states):
            return number + 1, states + ops.softmax(states, axis=-1)

        return ops.while_loop(lambda number, states: number < 3, body, (0, states))[1]


def test_a_softmax_in_the_body_of_a_loop_is_said_to_be_out_of_reach(states):
    inputs = keras.Input((LENGTH, WIDTH))
    model = keras.Model(inputs, Repeated(name="repeated")(inputs))
    (site,) = ats.sites(model, states)
    assert not site.taken
    assert site.reason.startswith("it runs inside a compiled loop")


def test_gradients_are_refused_with_the_way_out(rng):
    tokens = rng.integers(1, 13, (SAMPLES, LENGTH))
    with pytest.raises(ats.errors.UnsupportedError) as error:
        ats.attribute(transformer(), tokens, method="chefer")
    assert str(error.value) == (
        "Gradients are needed here, but Keras on OpenVINO only runs models and computes none. Run the same model on "
        "another backend: KERAS_BACKEND=jax; or use a method without gradients, such as method='occlusion'."
    )


def test_occlusion_is_what_the_model_says_with_and_without_each_position(rng):
    tokens = rng.integers(1, 13, (SAMPLES, LENGTH))
    model = transformer(mask_zero=False)
    relevance = ats.attribute(model, tokens, method="occlusion", removal=ats.attribution.mask_token(12), target=1)
    for position in range(LENGTH):
        without = tokens.copy()
        without[:, position] = 12
        drop = called(model, tokens)[:, 1] - called(model, without)[:, 1]
        np.testing.assert_allclose(relevance.values[:, position], drop, atol=1e-5)


def test_a_saved_model_is_loaded_with_its_attention(states, tmp_path):
    model = attending()
    model.save(tmp_path / "model.keras")
    loaded = ats.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        ats.capture(loaded, states)["attention"].values, scores_by_hand(model, states), atol=1e-5
    )


def test_stored_scores_are_those_of_an_eager_call_and_predict_has_none(states):
    inputs = keras.Input((LENGTH, WIDTH))
    layer = ats.layers.AttentionPooling(3, name="pooling")
    model = keras.Model(inputs, layer(inputs))
    assert layer.attention_scores is None
    model(states)
    np.testing.assert_allclose(layer.attention_scores, ats.capture(model, states)["pooling"].values, atol=1e-6)
    model.predict(states, verbose=0)
    with pytest.raises(ats.errors.UnsupportedError) as error:
        layer.attention_scores  # noqa: B018
    assert str(error.value) == (
        "The layer's last pass ran in a graph that OpenVINO compiled, as predict does, which returns nothing but the "
        "model's outputs. Call the model itself, model(x), or take the scores without the layer: ats.capture(model, x)."
    )


def test_several_threads_each_get_their_own_samples(states):
    model = attending()
    with ThreadPoolExecutor(4) as pool:
        captured = list(pool.map(lambda factor: ats.capture(model, states * factor)["attention"].values, range(4)))
    for factor, scores in enumerate(captured):
        np.testing.assert_allclose(scores, scores_by_hand(model, states * factor), atol=1e-5)
