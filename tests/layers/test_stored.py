"""`attention_scores`: concrete, of the last pass, nobody else's; and the model is what it would be without."""

import copy
import pickle
import threading

import keras
import numpy as np
import pytest
from keras import ops

import attnscope as ats
from attnscope import errors
from layers_by_hand import LAYERS, attending, padded, scores_by_hand, sequences

MULTI_HEAD = "InterpretableMultiHeadAttention"
# How scores are kept is the same in all layers, so that JAX and TensorFlow meet it in one with heads and one without.
layers = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.every_backend if name in (MULTI_HEAD, "AttentionPooling, dot") else ())
        for name in LAYERS
    ],
)
only = {
    name: pytest.mark.skipif(keras.backend.backend() != name, reason=name) for name in ("jax", "tensorflow", "torch")
}


@layers
def test_there_are_none_before_a_pass_has_run(name, rng):
    model, layer = attending(name)
    assert layer.attention_scores is None
    layer(keras.Input((5, 6)))
    ats.sites(model, sequences(rng))
    assert layer.attention_scores is None


@layers
def test_a_symbolic_call_leaves_those_of_the_last_pass(name, rng):
    _, layer = attending(name)
    x = sequences(rng)
    layer(x)
    layer(keras.Input((5, 6)))
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x), atol=1e-6)


@layers
def test_what_is_read_is_the_callers_own(name, rng):
    _, layer = attending(name)
    layer(sequences(rng))
    read = layer.attention_scores
    read[:] = 7.0
    assert layer.attention_scores.max() <= 1.0


@layers
def test_a_call_that_fails_leaves_none(name, rng):
    _, layer = attending(name)
    layer(sequences(rng))
    with pytest.raises(Exception, match=r"(?i)shape|dim|size|incompatible"):
        layer(np.ones((3, 5, 8), dtype="float32"))
    assert layer.attention_scores is None


@layers
def test_the_last_of_many_batches_is_the_one_that_is_kept(name, rng):
    model, layer = attending(name)
    x = sequences(rng, samples=61)
    model.predict(x, batch_size=2, verbose=0)
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x[60:]), atol=1e-6)


@layers
def test_run_eagerly(name, rng):
    model, layer = attending(name)
    x = sequences(rng)
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    expected = scores_by_hand(layer, x)
    model.fit(x, np.ones((7, 2)), batch_size=7, verbose=0, shuffle=False)
    np.testing.assert_allclose(layer.attention_scores, expected, atol=1e-6)


@layers
def test_stored_scores_change_neither_outputs_nor_training(name, rng):
    trained = []
    x = sequences(rng)
    for store_scores in (True, False):
        keras.utils.set_random_seed(3)
        model, _ = attending(name, store_scores=store_scores)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(x, np.ones((7, 2)), batch_size=7, epochs=3, verbose=0, shuffle=False)
        trained.append([weight.numpy() for weight in model.weights])
    for stored, plain in zip(*trained, strict=True):
        np.testing.assert_allclose(stored, plain, atol=1e-6)


@layers
def test_a_layer_that_stores_none_says_so_and_how_to_get_them(name, rng):
    model, layer = attending(name, store_scores=False)
    x = sequences(rng)
    model.predict(x, verbose=0)
    with pytest.raises(errors.NoAttentionError) as error:
        _ = layer.attention_scores
    assert str(error.value) == (
        "The layer 'attention' was made with store_scores=False, so it keeps no scores. Make it with "
        "store_scores=True, or get the scores without it: ats.capture(model, x)."
    )
    maps = ats.capture(model, x, progress=False)
    np.testing.assert_allclose(maps["attention"].to_numpy(), scores_by_hand(layer, x), atol=1e-6)


@layers
def test_copies_start_without_scores_and_with_the_weights(name, rng):
    model, layer = attending(name)
    x = sequences(rng)
    expected = model.predict(x, verbose=0)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for again in (clone, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.get_layer("attention").attention_scores is None
        np.testing.assert_array_equal(again.predict(x, verbose=0), expected)
    assert layer.attention_scores.shape[0] == 7


@layers
def test_weights_files_hold_nothing_else(name, rng, tmp_path):
    weights = []
    for store_scores in (True, False):
        model, _ = attending(name, store_scores=store_scores)
        model.predict(sequences(rng), verbose=0)
        model.save_weights(tmp_path / f"{store_scores}.weights.h5")
        weights.append([weight.path for weight in model.weights])
    other, layer = attending(name, store_scores=False)
    other.load_weights(tmp_path / "True.weights.h5")
    assert len(weights[0]) == len(weights[1])
    assert len(layer.weights) == len(weights[0]) - 2  # the last Dense


@pytest.mark.every_backend
def test_reading_in_a_pass_of_another_thread_gives_one_whole_pass(rng):
    model, layer = attending(MULTI_HEAD)
    passes = [sequences(rng), sequences(rng, samples=3)]
    expected = [scores_by_hand(layer, x) for x in passes]
    model.predict(passes[0], verbose=0)
    done = threading.Event()

    def work():
        for number in range(20):
            model.predict(passes[number % 2], verbose=0)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    read = []
    while not done.is_set():
        read.append(layer.attention_scores)
    thread.join()
    assert read
    for scores in read:
        which = next(one for one in expected if len(one) == len(scores))
        np.testing.assert_allclose(scores, which, atol=1e-6)


@pytest.mark.every_backend
def test_two_layers_fed_by_one_masked_tensor_both_see_its_mask(rng):
    x, mask = padded(rng)
    first, second = LAYERS[MULTI_HEAD](name="first"), LAYERS[MULTI_HEAD](name="second")
    inputs = keras.Input(x.shape[1:])
    masked = keras.layers.Masking()(inputs)
    model = keras.Model(inputs, keras.layers.Add()([masked, first(masked), second(masked)]))
    model(x)
    for layer in (first, second):
        np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x, mask), atol=1e-6)
    model.predict(x, verbose=0)
    for layer in (first, second):
        np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x, mask), atol=1e-6)


@pytest.mark.filterwarnings("ignore:The `native_serialization` parameter:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@layers
def test_exported_models_give_the_same_and_store_nothing(name, rng, tmp_path):
    if keras.backend.backend() == "torch":
        pytest.skip("test_torch_programs_are_exported")
    import tensorflow as tf

    model, layer = attending(name, masked=True)
    x, _ = padded(rng)
    expected = model.predict(x, verbose=0)
    before = layer.attention_scores
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    np.testing.assert_allclose(served.serve(x[:3]).numpy(), expected[:3], atol=1e-6)
    np.testing.assert_array_equal(layer.attention_scores, before)
    graph = served.signatures["serving_default"].graph.as_graph_def()
    operations = {node.op for function in graph.library.function for node in function.node_def}
    if keras.backend.backend() == "tensorflow":  # on JAX, Keras itself assigns the state of the seeds
        assert "AssignVariableOp" not in operations
    assert not {"EagerPyFunc", "PyFunc"} & operations


@only["torch"]
@layers
def test_torch_programs_are_exported(name, rng):
    import torch

    model, layer = attending(name)
    x = sequences(rng)
    expected = model.predict(x, verbose=0)
    before = layer.attention_scores
    with torch.no_grad():
        program = torch.export.export(model, (torch.tensor(x),), strict=False)
        given = program.module()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(given, expected, atol=1e-6)
    np.testing.assert_array_equal(layer.attention_scores, before)


@only["jax"]
@layers
def test_no_tracer_leaks(name, rng):
    import jax

    _, layer = attending(name)
    x = sequences(rng)

    def loss(x):
        return ops.sum(layer.stateless_call(layer.trainable_variables, layer.non_trainable_variables, x)[0] ** 2)

    with jax.checking_leaks():
        jax.jit(jax.grad(loss))(ops.convert_to_tensor(x))
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x), atol=1e-6)


@only["tensorflow"]
@layers
def test_a_pass_compiled_by_xla_runs_and_reading_says_what_to_do(name, rng):
    import tensorflow as tf

    model, layer = attending(name)
    x = sequences(rng)
    compiled = tf.function(model, jit_compile=True)
    for samples in (7, 3):
        np.testing.assert_allclose(compiled(tf.constant(x[:samples])), model.predict(x[:samples], verbose=0), atol=1e-6)
    compiled(tf.constant(x))
    with pytest.raises(errors.UnsupportedError) as error:
        _ = layer.attention_scores
    assert str(error.value) == (
        "XLA compiled the last pass of this layer, and on TensorFlow it cannot return an array whose shape may change "
        "from call to call. Compile without XLA: tf.function(..., jit_compile=False); or get the scores with "
        "ats.capture(model, x)."
    )
    model(x[:2])
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x[:2]), atol=1e-6)


@layers
def test_keras_is_told_not_to_choose_xla_where_that_would_lose_the_scores(name, backend):
    assert LAYERS[name]().supports_jit == (backend != "tensorflow")
    assert LAYERS[name](store_scores=False).supports_jit


@only["torch"]
@layers
def test_nothing_of_the_gradients_is_kept(name, rng):
    import torch

    _, layer = attending(name)
    output = layer(torch.tensor(sequences(rng), requires_grad=True))
    assert output.requires_grad
    assert layer.attention_scores.shape[0] == 7


@layers
def test_of_calls_that_one_function_makes_the_last_is_kept(name, rng):
    """Independent of each other, so that a compiler may run them in any order."""

    class Loop(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = LAYERS[name]()

        def call(self, x):
            return ops.concatenate([self.layer(x[:, step]) for step in range(4)], axis=1)

    model = Loop()
    for _ in range(5):
        x = rng.normal(size=(3, 4, 5, 6)).astype("float32")
        model.predict(x, verbose=0)
        expected = scores_by_hand(model.layer, x[:, 3])
        np.testing.assert_allclose(model.layer.attention_scores, expected, atol=1e-6)


@layers
def test_of_the_steps_of_a_wrapper_the_last_is_kept(name, rng):
    layer = LAYERS[name]()
    inputs = keras.Input((4, 5, 6))
    model = keras.Model(inputs, keras.layers.TimeDistributed(layer)(inputs))
    x = rng.normal(size=(3, 4, 5, 6)).astype("float32")
    model.predict(x, verbose=0)
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x[:, 3]), atol=1e-6)


@layers
def test_asking_for_shapes_is_no_pass_even_on_real_tensors(name):
    """Where an operation does not run on PyTorch's meta device, Keras runs the model on made-up numbers."""

    class NotOnMeta(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.layer = LAYERS[name]()

        def build(self, shape):
            self.layer.build(shape)

        def call(self, x):
            attended = self.layer(x)
            if str(getattr(attended, "device", "")) == "meta":
                raise NotImplementedError("meta")
            return attended

    outer = NotOnMeta()
    outer(keras.Input((None, 6)))
    assert outer.layer.attention_scores is None


@only["torch"]
@layers
def test_checkpointing_keeps_the_scores_of_its_first_pass(name, rng):
    import torch

    _, layer = attending(name)
    x = sequences(rng)
    inputs = torch.tensor(x, requires_grad=True)
    torch.utils.checkpoint.checkpoint(layer, inputs, use_reentrant=False).sum().backward()
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x), atol=1e-6)


@only["tensorflow"]
@layers
def test_tensorflows_own_saving_gives_the_same(name, rng, tmp_path):
    import tensorflow as tf

    model, _ = attending(name)
    x = sequences(rng)
    tf.saved_model.save(model, str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](tf.constant(x))
    np.testing.assert_allclose(*[array.numpy() for array in (*served.values(), model(x))], atol=1e-6)
