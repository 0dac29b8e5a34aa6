"""`capture`: every sample, whatever the model did before and whatever else runs at the same time."""

import threading

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.backend import nn as backend_nn

import attnscope as ats
from attnscope.errors import UnsupportedError
from attnscope.interception import _calls as calls
from attnscope.running import _compiled as compiled_room
from attnscope.running import _runner as running
from models import padded_tokens, seed_model, transformer

pytestmark = pytest.mark.every_backend


def scores_by_submodel(model, name, x):
    """The scores as Keras gives them where the softmax is a layer's output."""
    return keras.Model(model.input, model.get_layer(name).output).predict(x, verbose=0)


def test_the_recurrent_model_of_the_seed_is_found_without_a_name(rng):
    model = seed_model(name="activation_4")
    x = rng.integers(1, 31, (37, 23))
    maps = ats.capture(model, x)
    assert list(maps) == ["activation_4"]
    assert maps["activation_4"].dims == ("sample", "key")
    np.testing.assert_allclose(maps["activation_4"], scores_by_submodel(model, "activation_4", x), atol=1e-6)
    np.testing.assert_allclose(maps.outputs, model.predict(x, verbose=0), atol=1e-6)


def test_its_own_name_works_as_a_pattern(rng):
    x = rng.integers(1, 31, (5, 23))
    assert list(ats.capture(seed_model(), x, sites="attention_*")) == ["attention_vec"]


@pytest.mark.parametrize("jit", [False, True, "auto"])
def test_after_predict_and_fit_have_compiled_the_model_all_samples_come(rng, backend, jit):
    if backend == "torch" and jit is True:
        pytest.skip("torch.compile needs a C++ compiler")
    if backend == "jax" and jit is False:
        pytest.skip("JAX compiles each operation by itself, which takes long and changes nothing here")
    model = transformer()
    x = padded_tokens(rng)
    fresh = ats.capture(model, x, batch_size=4)
    model.compile(loss="sparse_categorical_crossentropy", jit_compile=jit)
    before = model.predict(x, verbose=0, batch_size=4)
    compiled = model.predict_function
    first = ats.capture(model, x, batch_size=4)
    second = ats.capture(model, x, batch_size=4)
    assert model.predict_function is compiled
    np.testing.assert_allclose(model.predict(x, verbose=0, batch_size=4), before, atol=1e-6)
    for name in fresh:
        assert first[name].sizes["sample"] == 11
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], fresh[name], atol=1e-6)
    model.fit(x, np.zeros(11), verbose=0, batch_size=4)
    after = ats.capture(model, x, batch_size=4)
    assert np.abs(after["attention_0"].values - first["attention_0"].values).max() > 1e-6
    np.testing.assert_allclose(after.outputs, model.predict(x, verbose=0, batch_size=4), atol=1e-6)


@pytest.mark.optimised
def test_the_output_is_the_same_before_during_and_after(rng):
    model = transformer()
    x = padded_tokens(rng)
    before = keras.ops.convert_to_numpy(model(x, training=False))
    during = ats.capture(model, x).outputs
    after = keras.ops.convert_to_numpy(model(x, training=False))
    np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(during, before, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("mask", ["none", "causal", "padding", "rows that may attend to nothing"])
def test_the_context_made_from_the_scores_is_the_models_own(rng, backend, monkeypatch, mask, dtype):
    if (backend, dtype) == ("jax", "float16"):
        pytest.skip("JAX itself computes no fused attention in float16 on a CPU")
    x = rng.normal(size=(5, 7, 6)).astype("float32")
    x[:, 4:] *= mask == "none" or mask == "causal"
    inputs = keras.Input((7, 6))
    allowed = keras.ops.not_equal(inputs[:, :, 0], 0)[:, None, :]
    if mask.startswith("rows"):
        allowed = keras.ops.logical_and(allowed, keras.ops.swapaxes(allowed, 1, 2))
    options = {"use_causal_mask": True} if mask == "causal" else {} if mask == "none" else {"attention_mask": allowed}
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 3, dtype=dtype)(inputs, inputs, **options))
    before = model.predict(x, verbose=0)
    runs = []
    own = backend_nn.dot_product_attention
    monkeypatch.setattr(backend_nn, "dot_product_attention", lambda *a, **k: runs.append(1) or own(*a, **k))
    monkeypatch.setattr(calls, "SMALL_BYTES", 0)
    during = ats.capture(model, x).outputs
    np.testing.assert_allclose(during, before, atol=1e-6 if dtype == "float32" else 0)
    differing_kernels = backend == "torch" and mask.startswith("rows")
    # Once to find the sites; again only where the context cannot come from the scores.
    assert len(runs) == 1 + (dtype == "float16" or differing_kernels)


def test_batches_of_any_size_give_the_same_and_need_one_trace(rng, monkeypatch):
    model = transformer()
    x = padded_tokens(rng, samples=11)
    whole = ats.capture(model, x, batch_size=11)
    runs = []

    def counting(model, body):
        def counted(model, given):
            runs.append(1)
            return body(model, given)

        return compiled_room.compiled(model, counted)

    monkeypatch.setattr(running, "compiled", counting)
    parts = ats.capture(model, x, batch_size=4)
    # PyTorch runs eagerly, so there it is once per batch.
    assert len(runs) == (3 if keras.backend.backend() == "torch" else 1)
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], atol=1e-6)
        np.testing.assert_array_equal(parts[name].coords["key_valid"], x > 0)
        np.testing.assert_array_equal(parts[name].coords["query_valid"], x > 0)
    np.testing.assert_allclose(parts.outputs, whole.outputs, atol=1e-6)


def test_two_threads_that_capture_and_one_that_predicts_never_mix(rng):
    one, two = transformer(length=5), transformer(length=7, heads=3)
    x, y = padded_tokens(rng, 13, 5), padded_tokens(rng, 13, 7)
    alone = {"one": ats.capture(one, x), "two": ats.capture(two, y)}
    predicted = two.predict(y, verbose=0)
    results, errors = {}, []

    def work(name, function):
        try:
            results[name] = [function() for _ in range(4)]
        except Exception as error:  # handed to the test, which fails on it
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=("one", lambda: ats.capture(one, x, batch_size=4))),
        threading.Thread(target=work, args=("two", lambda: ats.capture(two, y, batch_size=4))),
        threading.Thread(target=work, args=("plain", lambda: two.predict(y, verbose=0))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for name in ("one", "two"):
        for maps in results[name]:
            assert list(maps) == list(alone[name])
            for site in maps:
                np.testing.assert_allclose(maps[site], alone[name][site], atol=1e-6)
    for outputs in results["plain"]:
        np.testing.assert_allclose(outputs, predicted, atol=1e-6)


def inputs_of_every_kind(x, y):
    import tensorflow as tf
    import torch

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return x[index * 4 : (index + 1) * 4], y[index * 4 : (index + 1) * 4]

    tensors = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    return {
        "array": x,
        "list": [x],
        "tf.data": tf.data.Dataset.from_tensor_slices((x, y)).batch(4),
        "PyDataset": Data(),
        "DataLoader": torch.utils.data.DataLoader(tensors, batch_size=4),
        "generator": (x[start : start + 4] for start in range(0, len(x), 4)),
        "batches": [x[:4], x[4:8], x[8:]],
        "pairs": [(x[:4], y[:4]), (x[4:], y[4:])],
    }


def test_inputs_of_every_kind_give_the_same(rng):
    model = transformer()
    x = padded_tokens(rng)
    expected = ats.capture(model, x)
    for kind, inputs in inputs_of_every_kind(x, np.zeros(len(x))).items():
        maps = ats.capture(model, inputs, batch_size=4)
        assert maps.num_samples == 11, kind
        for name in expected:
            np.testing.assert_allclose(maps[name], expected[name], atol=1e-6, err_msg=kind)


def test_batches_of_different_length_are_filled_up_and_marked_invalid(rng):
    model = transformer(length=None)
    short, long = rng.integers(1, 13, (3, 5)), rng.integers(1, 13, (2, 7))
    maps = ats.capture(model, iter([short, long]), summaries=[ats.Full(), ats.Entropy()])
    scores = maps["attention_0"]
    assert scores.sizes == {"sample": 5, "head": 2, "query": 7, "key": 7}
    np.testing.assert_allclose(scores[:3, :, :5, :5], ats.capture(model, short)["attention_0"], atol=1e-6)
    assert not scores[:3, :, :, 5:].values.any()
    assert scores.coords["key_valid"].values.sum(1).tolist() == [5, 5, 5, 7, 7]
    assert np.isnan(maps.select("entropy")["attention_0"].values[:3, :, 5:]).all()


def test_subclassed_sequential_and_nested_models(rng):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = layers.MultiHeadAttention(2, 5, name="attend")
            self.second = layers.MultiHeadAttention(2, 5, name="attend")
            self.softmax = layers.Softmax(name="weights")

        def call(self, x):
            x = self.second(self.first(x, x), x)
            weights = self.softmax(keras.ops.sum(x, axis=-1))
            return keras.ops.sum(weights[..., None] * x, axis=1)

    x = rng.normal(size=(4, 7, 8)).astype("float32")
    model = Subclassed()
    model(x)
    assert list(ats.capture(model, x)) == ["attend", "attend#1", "weights"]

    def encoder(name):
        inputs = keras.Input((7, 8))
        return keras.Model(inputs, layers.MultiHeadAttention(2, 5, name="mha")(inputs, inputs), name=name)

    inputs = keras.Input((7, 8))
    nested = keras.Model(inputs, encoder("left")(inputs) + encoder("right")(inputs))
    maps = ats.capture(nested, x)
    assert list(maps) == ["left/mha", "right/mha"]
    assert np.abs(maps["left/mha"].values - maps["right/mha"].values).max() > 1e-4
    outer = keras.Sequential([keras.Input((7, 8)), encoder("only"), layers.Flatten()], name="outer")
    assert list(ats.capture(outer, x)) == ["only/mha"]


def test_a_layer_used_twice_is_two_sites_with_its_own_scores(rng):
    shared = layers.MultiHeadAttention(2, 5, name="shared")
    inputs = keras.Input((7, 8))
    once = shared(inputs, inputs)
    model = keras.Model(inputs, shared(once, once))
    x = rng.normal(size=(3, 7, 8)).astype("float32")
    maps = ats.capture(model, x)
    assert list(maps) == ["shared", "shared#1"]
    assert [site.call_index for site in maps.sites] == [0, 1]
    middle = keras.ops.convert_to_numpy(keras.Model(inputs, once)(x))
    alone = keras.Model(inputs, once)
    np.testing.assert_allclose(maps["shared"], ats.capture(alone, x)["shared"], atol=1e-6)
    np.testing.assert_allclose(maps["shared#1"], ats.capture(alone, middle)["shared"], atol=1e-5)


def test_texts_are_captured_as_the_tokens_that_the_model_makes_of_them():
    pytest.importorskip("tensorflow", reason="TextVectorization needs it on every backend")
    vectorize = layers.TextVectorization(output_sequence_length=5, vocabulary=["a", "b", "c"])
    inputs = keras.Input((), dtype="string", name="text")
    x = layers.Embedding(5, 8, mask_zero=True)(vectorize(inputs))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4, name="mha")(x, x))
    maps = ats.capture(model, np.array(["a b", "c b a a", "c"]))
    assert maps["mha"].coords["key_valid"].values.sum(1).tolist() == [2, 4, 1]
    assert maps["mha"].key_label.values[1].tolist() == ["c", "b", "a", "a", ""]
    assert maps.sites[0].lineage["key"] == "axis 1 of input 'text'"
    assert ats.sites(model)[0].shape == (2, 2, 5, 5)


def test_texts_of_which_no_tokens_are_seen_need_a_backend_that_takes_texts(backend):
    pytest.importorskip("tensorflow", reason="TextVectorization needs it on every backend")
    vectorize = layers.TextVectorization(output_mode="multi_hot", vocabulary=["a", "b", "c"], name="bag")
    inputs = keras.Input((1,), dtype="string", name="text")
    x = layers.Dense(3)(layers.Reshape((4, 1))(vectorize(inputs)))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4, name="mha")(x, x))
    texts = np.array([["a b"], ["c"]])
    if backend == "tensorflow":
        assert ats.capture(model, texts)["mha"].sizes["key"] == 4
        return
    for run in (ats.sites, ats.capture):
        with pytest.raises(UnsupportedError) as caught:
            run(model, texts)
        assert str(caught.value) == (
            "The text 'text' goes into the TextVectorization 'bag', which gives 'multi_hot' and no tokens. Give the "
            "tokens to the model that begins behind it: keras.Model(tokens, outputs)."
        )


def test_sites_are_listed_without_computing_anything(rng):
    model = transformer()
    table = ats.sites(model)
    assert [(site.name, site.taken) for site in table] == [
        ("attention_0", True),
        ("attention_1", True),
        ("classes", False),
    ]
    assert table[2].reason == "class probabilities: the model returns them as they are"
    assert table[0].shape == (2, 2, 7, 7)
    assert ats.sites(model, padded_tokens(rng))[0].shape == (11, 2, 7, 7)
    by_name = ats.capture(model, padded_tokens(rng), sites=["classes", "*_1"])
    assert list(by_name) == ["attention_1", "classes"]
    by_predicate = ats.capture(model, padded_tokens(rng), sites=lambda site: site.name.endswith("1"))
    assert list(by_predicate) == ["attention_1"]


def test_several_outputs_and_several_inputs_keep_their_structure(rng):
    left, right = keras.Input((7, 8), name="left"), keras.Input((5, 8), name="right")
    attended = layers.MultiHeadAttention(2, 5, name="cross")(left, right)
    model = keras.Model(
        {"left": left, "right": right}, {"attended": attended, "sum": keras.ops.sum(attended, axis=(1, 2))}
    )
    x = {name: rng.normal(size=(6, size, 8)).astype("float32") for name, size in (("left", 7), ("right", 5))}
    maps = ats.capture(model, x, batch_size=4, labels={"query": list("abcdefg"), "key": list("vwxyz")})
    expected = model.predict(x, verbose=0)
    assert set(maps.outputs) == {"attended", "sum"}
    for name, array in maps.outputs.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-6, atol=1e-6)
    assert maps["cross"].coords["key_label"].values.tolist() == list("vwxyz")
    assert maps["cross"].coords["query_label"].values.tolist() == list("abcdefg")


def test_what_was_compiled_is_used_again_until_the_model_changes(rng, monkeypatch):
    model, x = transformer(), padded_tokens(rng)
    made = []

    def counting(model, body):
        made.append(1)
        return compiled_room.compiled(model, body)

    monkeypatch.setattr(running, "compiled", counting)
    first = ats.capture(model, x)
    again = ats.capture(model, x)
    assert len(made) == 1
    np.testing.assert_array_equal(first["attention_1"], again["attention_1"])
    model.get_layer("attention_0").query_dense.bias.assign(np.full((2, 5), 3.0))
    assert np.abs(ats.capture(model, x)["attention_0"].values - first["attention_0"].values).max() > 1e-4
    assert len(made) == 1  # weights are read anew, so nothing need be compiled
    model.get_layer("attention_1")._inverse_sqrt_key_dim = 3.0
    changed = ats.capture(model, x)
    assert len(made) == 2
    assert np.abs(changed["attention_1"].values - first["attention_1"].values).max() > 1e-4
    ats.capture(model, x, sites="attention_0")
    ats.capture(model, x, summaries=[ats.Entropy()])
    assert len(made) == 4


def test_batches_whose_lengths_come_again_are_labelled_right(rng):
    model = transformer(length=None)
    batches = [rng.integers(1, 13, (3, size)) for size in (5, 7, 5)]
    maps = ats.capture(model, iter(batches))
    assert maps["attention_0"].coords["key_valid"].values.sum(1).tolist() == [5] * 3 + [7] * 3 + [5] * 3


def test_a_model_is_not_kept_alive(rng):
    import gc
    import weakref

    model = transformer()
    ats.capture(model, padded_tokens(rng))
    gone = weakref.ref(model)
    del model
    gc.collect()
    keras.backend.clear_session()
    gc.collect()
    assert gone() is None


def test_an_encoders_and_a_decoders_padding_of_one_length_are_not_mixed(rng):
    source, target = keras.Input((5,)), keras.Input((5,))
    h = layers.Embedding(9, 8, mask_zero=True, name="encoder_embedding")(source)
    g = layers.Embedding(9, 8, mask_zero=True, name="decoder_embedding")(target)
    h = layers.MultiHeadAttention(2, 4, name="encoder_attention")(h, h)
    g = layers.MultiHeadAttention(2, 4, name="decoder_attention")(g, g, use_causal_mask=True)
    model = keras.Model([source, target], layers.MultiHeadAttention(2, 4, name="cross")(g, h))
    maps = ats.capture(model, [np.array([[1, 2, 3, 0, 0]]), np.array([[0, 0, 1, 2, 3]])])
    valid = {
        name: (scores.query_valid.values[0].tolist(), scores.key_valid.values[0].tolist())
        for name, scores in maps.items()
    }
    left, right = [True] * 3 + [False] * 2, [False] * 2 + [True] * 3
    assert valid == {"encoder_attention": (left, left), "decoder_attention": (right, right), "cross": (right, left)}


def test_capturing_changes_no_state_of_the_model(rng):
    class Counting(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")
            self.seeds = keras.random.SeedGenerator(3)

        def call(self, x):
            self.calls.assign_add(1.0)
            return x + keras.random.normal((8,), seed=self.seeds)

    inputs = keras.Input((5, 8))
    x = Counting(name="counting")(inputs)
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4, name="mha")(x, x))
    before = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    x = rng.normal(size=(4, 5, 8)).astype("float32")
    ats.capture(model, x, batch_size=2)
    ats.intervene(model, x, {"mha": ats.uniform()})
    for variable, was in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), was, err_msg=variable.path)
    one, two = (ats.intervene(model, iter([x[:2], x[2:]]), {"mha": ats.uniform()}) for _ in range(2))
    assert one.shape == (4, 5, 8)
    np.testing.assert_array_equal(one, two)
