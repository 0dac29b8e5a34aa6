"""Gradients pass through the interception: a zero that is added to the scores has the derivative of the scores."""

import keras
import numpy as np
from keras import layers, ops

from attnscope.interception import intercept


def build(dropout):
    inputs = keras.Input((3, 4))
    attended = layers.MultiHeadAttention(2, 5, dropout=dropout, name="mha")(inputs, inputs)
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(attended)))


def probed(model, x):
    """A function from a probe, which is added to the scores, to the sum of the outputs."""

    def loss(probe):
        def add(call):
            return call.scores() + ops.convert_to_tensor(probe)

        with intercept(add, model, batch=len(x), inputs=x):
            return ops.sum(model(x, training=False))

    return loss


def gradient(loss, probe):
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return np.asarray(jax.jit(jax.grad(loss))(probe))
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            probe = tf.convert_to_tensor(probe)
            tape.watch(probe)
            value = tf.function(loss)(probe)
        return tape.gradient(value, probe).numpy()
    import torch

    probe = torch.tensor(probe, requires_grad=True)
    loss(probe).backward()
    return probe.grad.numpy()


def test_the_zero_probe_has_the_gradient_of_the_scores(rng):
    for dropout in (0.0, 0.3):  # the fused call, and the softmax
        model = build(dropout)
        x = rng.normal(size=(2, 3, 4)).astype("float32")
        loss = probed(model, x)
        zeros = np.zeros((2, 2, 3, 3), "float32")
        found = gradient(loss, zeros)
        plain = float(ops.convert_to_numpy(ops.sum(model(x))))
        assert abs(float(ops.convert_to_numpy(loss(zeros))) - plain) < 1e-5
        step, expected = 0.5, np.zeros_like(zeros)  # the loss is linear in the probe, so any step is exact
        for cell in np.ndindex(zeros.shape):
            up, down = zeros.copy(), zeros.copy()
            up[cell], down[cell] = step, -step
            values = [float(ops.convert_to_numpy(loss(probe))) for probe in (up, down)]
            expected[cell] = (values[0] - values[1]) / (2 * step)
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_nothing_stays_patched_when_the_model_fails(rng):
    from attnscope.interception import functions

    watched = [(entry.owner, entry.name) for entry in functions.intercepted_functions()]
    before = [getattr(owner, name) for owner, name in watched]

    def fail(call):
        raise RuntimeError("in the handler")

    x = rng.normal(size=(2, 3, 4)).astype("float32")
    model = build(0.0)
    expected = ops.convert_to_numpy(model(x))
    try:
        with intercept(fail, model, batch=2):
            model(x)
    except RuntimeError as error:
        assert "in the handler" in str(error)
    else:
        raise AssertionError("the handler's error was swallowed")
    assert [getattr(owner, name) for owner, name in watched] == before
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), expected)


def test_of_nested_interceptions_the_innermost_takes_the_calls(rng):
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    model = build(0.0)
    seen = []
    with intercept(lambda call: seen.append(("outer", call.name)), model, batch=2):
        model(x)
        with intercept(lambda call: seen.append(("inner", call.name)), model, batch=2):
            model(x)
        model(x)
    assert seen == [("outer", "mha"), ("inner", "mha"), ("outer", "mha#1")]
