"""A backend is one object behind one protocol: another one in its place is asked for everything that differs."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope import backends
from attnscope.backends import Backend, _current
from attnscope.discovery import discover
from attnscope.errors import UnsupportedError
from attnscope.handlers import Differentiator
from attnscope.running import Network


class Toy:
    """Hands on what it is asked to the backend that Keras runs on, and notes what that was."""

    def __init__(self, real):
        self.real = real
        self.asked = set()

    def tile_bytes(self, tensor):
        """So few that there are several tiles of any map."""
        self.asked.add("tile_bytes")
        return 1

    def __getattr__(self, name):
        self.asked.add(name)
        return getattr(self.real, name)


@pytest.fixture
def toy(monkeypatch):
    """A toy backend in force; what compiled runs were kept by others is not used."""
    real = backends.current()
    monkeypatch.setattr(_current, "_REGISTERED", {})
    toy = Toy(real)
    backends.register(keras.backend.backend(), toy)
    return toy


def model_and_inputs(rng):
    """Two kinds of attention: one that is a softmax in Keras' own layer, one in a layer written by hand."""
    inputs = keras.Input((7, 6))
    x = layers.MultiHeadAttention(2, 3, dropout=0.1, name="mha")(inputs, inputs)
    scores = layers.Softmax(name="attend")(ops.matmul(x, ops.swapaxes(x, 1, 2)))
    outputs = layers.Dense(5)(layers.GlobalAveragePooling1D()(ops.matmul(scores, x)))
    return keras.Model(inputs, outputs), rng.normal(size=(3, 7, 6)).astype("float32")


class OutOfReach(layers.Layer):
    """A softmax and a fused call where the framework's own tracing lets nothing out."""

    def call(self, x):
        if keras.backend.backend() == "torch":
            import torch

            attend = torch.nn.functional.scaled_dot_product_attention
            return torch.vmap(lambda one: attend(one, one, torch.softmax(one, -1)))(x[:, None])[:, 0]
        start = (ops.convert_to_tensor(0), x)
        return ops.while_loop(lambda n, x: n < 2, lambda n, x: (n + 1, x * ops.softmax(x)), start)[1]


ASKED = {name for name in [*vars(Backend), *Backend.__annotations__] if not name.startswith("_")}


def test_everything_that_differs_is_asked_of_the_backend(rng, toy):
    model, x = model_and_inputs(rng)
    expected = np.asarray(model.predict(x, verbose=0))
    assert [site.taken for site in ats.sites(model, x)] == [True, True]
    maps = ats.capture(model, x, progress=False)
    tokens = keras.Input((None, 6))
    of_any_length = keras.Model(tokens, layers.MultiHeadAttention(2, 3)(tokens, tokens))
    for length in (7, 5):
        ats.capture(of_any_length, x[:1, :length], progress=False)
    np.testing.assert_allclose(maps.outputs, expected, atol=1e-6)
    np.testing.assert_allclose(ats.intervene(model, x, {"mha": ats.replace(maps["mha"])}), expected, atol=1e-5)
    network = Network(model, x)
    found = discover(network)
    [run] = Differentiator(model, lambda outputs, rows: outputs[:, 0], sites=found.chosen).run(network)
    assert set(run.gradients) == {"mha", "attend"}
    fused = keras.Input((33, 6))
    streaming = keras.Model(fused, layers.MultiHeadAttention(2, 3, name="mha")(fused, fused))
    x = rng.normal(size=(2, 33, 6)).astype("float32")
    received = ats.capture(streaming, x, summaries=[ats.Received(), ats.Entropy()], progress=False)["mha"]
    np.testing.assert_allclose(received, ats.capture(streaming, x, progress=False)["mha"].mean("query"), atol=1e-6)
    masked = np.ones((2, 256, 6), "float32")
    masked[0, 250:] = 0
    inputs = keras.Input((256, 6))
    sequence = layers.Masking()(inputs)
    large = keras.Model(inputs, layers.MultiHeadAttention(4, 3)(sequence, sequence))
    ats.capture(large, masked, progress=False)
    inputs = keras.Input((7, 6))
    ats.sites(keras.Model(inputs, OutOfReach()(inputs)), np.ones((2, 7, 6), "float32"))
    texts = keras.Input((1,), dtype="string")
    bag = layers.TextVectorization(output_mode="multi_hot", vocabulary=["good", "bad"])(texts)
    with pytest.raises(UnsupportedError, match="no tokens"):
        ats.sites(keras.Model(texts, layers.Dense(2)(bag)), np.array([["good"], ["bad"]]))
    assert toy.asked == ASKED


def test_a_backend_that_there_is_no_file_of_is_refused(monkeypatch):
    monkeypatch.setattr(_current, "_REGISTERED", {})
    monkeypatch.setattr(keras.backend, "backend", lambda: "abacus")
    with pytest.raises(UnsupportedError) as error:
        backends.current()
    assert str(error.value) == (
        "Keras runs on 'abacus', but attnscope reads attention on tensorflow, jax and torch. Start Python again with "
        "one of them: KERAS_BACKEND=jax."
    )
