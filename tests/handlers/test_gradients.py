"""Gradients pass through the interception: a zero that is added to the scores has the derivative of the scores.

`test_backends_agree` compares the gradients of each backend with PyTorch's, which are here compared with differences.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from attnscope.discovery._discover import discover
from attnscope.handlers._gradients import Differentiator
from attnscope.interception import intercept
from attnscope.running import Network


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


def test_the_zero_probe_has_the_gradient_of_the_scores(rng):
    import torch

    for dropout in (0.0, 0.3):  # the fused call, and the softmax
        model = build(dropout)
        x = rng.normal(size=(2, 3, 4)).astype("float32")
        loss = probed(model, x)
        zeros = np.zeros((2, 2, 3, 3), "float32")
        probe = torch.tensor(zeros, requires_grad=True)
        loss(probe).backward()
        found = probe.grad.numpy()
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


def two_layers():
    """Token numbers, an embedding, a fused call and a softmax, and three classes."""
    numbers = keras.Input((5,), dtype="int32")
    x = layers.Embedding(11, 4, mask_zero=True, name="tokens")(numbers)
    x = x + layers.MultiHeadAttention(2, 3, name="first")(x, x)
    x = x + layers.MultiHeadAttention(3, 2, dropout=0.1, name="second")(x, x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(numbers, layers.Dense(3, activation="softmax")(layers.Dense(7, activation="tanh")(x)))


def differentiated(model, x, batch_size, **options):
    network = Network(model, x, batch_size=batch_size)
    sites = discover(network).chosen
    wanted = lambda outputs, rows: ops.take_along_axis(outputs, rows["column"][:, None], axis=1)[:, 0]  # noqa: E731
    columns = np.arange(len(x), dtype="int32") % 3
    runs = Differentiator(model, wanted, sites=sites, inputs=True, **options).run(network, extras={"column": columns})
    parts = [
        ({name: array[: run.batch.size] for name, array in run.gradients.items()}, run.target[: run.batch.size])
        for run in runs
    ]
    names = parts[0][0]
    return {name: np.concatenate([part[0][name] for part in parts]) for name in names}, np.concatenate(
        [part[1] for part in parts]
    )


def test_derivatives_by_scores_and_embeddings_are_finite_differences_in_every_batch(rng):
    model = two_layers()
    x = rng.integers(1, 11, (5, 5)).astype("int32")
    x[1, 3:] = 0
    gradients, target = differentiated(model, x, batch_size=2)
    columns = np.arange(5) % 3
    np.testing.assert_allclose(target, model.predict(x, verbose=0)[np.arange(5), columns], atol=1e-6)
    assert {name: array.shape for name, array in gradients.items()} == {
        "first": (5, 2, 5, 5),
        "second": (5, 3, 5, 5),
        "embedded/tokens": (5, 5, 4),
    }
    step = 0.02
    for name in ("first", "second", "embedded/tokens"):
        for cell in [(0, *[1] * (gradients[name].ndim - 1)), (1, *[0] * (gradients[name].ndim - 1)), (4, 1, 2, 3)]:
            cell = cell[: gradients[name].ndim]
            values = [moved(model, x, name, cell, change)[cell[0], columns[cell[0]]] for change in (step, -step)]
            expected = (values[0] - values[1]) / (2 * step)
            assert abs(gradients[name][cell] - expected) < 2e-4, (name, cell)


def moved(model, x, name, cell, change):
    """The model's outputs with one number inside of it changed."""
    from keras import tree

    def add(tensor):
        delta = np.zeros(tuple(tensor.shape), "float32")
        delta[cell] = change
        return tensor + ops.convert_to_tensor(delta)

    handler = lambda call: add(call.scores()) if call.name == name else None  # noqa: E731
    embedded = lambda layer, path, numbers, result: add(result) if name == f"embedded/{path}" else result  # noqa: E731
    with intercept(handler, model, batch=len(x), inputs=x, embedded=embedded):
        return np.asarray(tree.map_structure(ops.convert_to_numpy, model(x, training=False)))


@pytest.mark.every_backend
def test_floating_inputs_are_differentiated_by_their_number(rng):
    model = build(0.0)
    x = rng.normal(size=(3, 3, 4)).astype("float32")
    network = Network(model, x, batch_size=3)
    [run] = Differentiator(model, lambda outputs, rows: outputs[:, 0], inputs=True).run(network)
    assert list(run.gradients) == ["inputs/0"]
    for cell in [(0, 0, 0), (2, 1, 3)]:
        values = []
        for change in (1e-2, -1e-2):
            given = x.copy()
            given[cell] += change
            values.append(float(model.predict(given, verbose=0)[cell[0], 0]))
        assert abs(run.gradients["inputs/0"][cell] - (values[0] - values[1]) / 2e-2) < 2e-3


@pytest.mark.every_backend
def test_an_embedding_may_be_edited_on_its_way(rng):
    model = two_layers()
    x = rng.integers(1, 11, (3, 5)).astype("int32")
    seen = {}

    def embed(layer, path, numbers, result, rows):
        seen[path] = tuple(result.shape)
        return result * 0

    _, target = differentiated(model, x, 3, embed=embed)
    zero = two_layers()
    zero.set_weights(model.get_weights())
    zero.get_layer("tokens").embeddings.assign(np.zeros((11, 4)))
    np.testing.assert_allclose(target, zero.predict(x, verbose=0)[np.arange(3), np.arange(3) % 3], atol=1e-6)
    assert seen == {"tokens": (3, 5, 4)}


@pytest.mark.every_backend
def test_nothing_stays_patched_when_the_model_fails(rng):
    from attnscope.interception import _functions as functions

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


@pytest.mark.every_backend
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
