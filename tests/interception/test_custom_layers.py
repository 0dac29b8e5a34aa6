"""Attention that people wrote themselves, on its own backend and in `keras.ops` on all three."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from models import (
    AttendingCell,
    Bahdanau,
    ByHand,
    bahdanau_model,
    framework_softmax,
    recurrent_model,
)

pytestmark = pytest.mark.every_backend

if keras.backend.backend() == "tensorflow":
    from tensorflow.nn import softmax as softmax_by_name
elif keras.backend.backend() == "jax":
    from jax.nn import softmax as softmax_by_name
else:
    from torch.nn.functional import softmax as softmax_by_name


def bahdanau_inputs(rng, samples=9):
    return [
        rng.normal(size=(samples, 4)).astype("float32"),
        rng.normal(size=(samples, 7, 6)).astype("float32"),
    ]


class Imported(Bahdanau):
    """Calls what this module imported by a name of its own."""

    def call(self, query, values):
        self.softmax = lambda logits, axis: softmax_by_name(logits, axis)
        return super().call(query, values)


@pytest.mark.parametrize(
    ("layer", "softmax"),
    [(Bahdanau, framework_softmax), (Bahdanau, ops.softmax), (Imported, None)],
    ids=["framework", "keras.ops", "imported by name"],
)
def test_a_softmax_in_a_users_layer_over_an_axis_that_is_not_the_last(rng, layer, softmax):
    model = bahdanau_model(layer=layer, softmax=softmax)
    x = bahdanau_inputs(rng)
    maps = ats.capture(model, x, batch_size=4)
    assert list(maps) == ["bahdanau"]
    _, weights = model.get_layer("bahdanau")(*x)
    assert maps["bahdanau"].dims == ("sample", "key")
    np.testing.assert_allclose(maps["bahdanau"], ops.convert_to_numpy(weights)[..., 0], atol=1e-6)
    np.testing.assert_allclose(maps.outputs, model.predict(x, verbose=0), atol=1e-6)


def test_every_way_to_call_softmax_on_torch(rng, backend):
    if backend != "torch":
        pytest.skip("PyTorch's own functions")
    import torch

    ways = [
        lambda logits, axis: torch.softmax(logits, axis),
        lambda logits, axis: torch.softmax(logits, dim=axis),
        lambda logits, axis: logits.softmax(axis),
        lambda logits, axis: logits.softmax(dim=axis),
        lambda logits, axis: torch.nn.Softmax(dim=axis)(logits),
    ]
    for way in ways:
        maps = ats.capture(bahdanau_model(softmax=way), bahdanau_inputs(rng))
        np.testing.assert_allclose(maps["bahdanau"].sum("key"), 1, atol=1e-6)
    assert "softmax" not in vars(torch.Tensor)


class FusedByFramework(layers.Layer):
    """The framework's own fused attention: PyTorch (B, H, T, D), JAX (B, T, H, D)."""

    def build(self, shape):
        self.project = self.add_weight(shape=(shape[-1], 2, 5), name="project")

    def call(self, x):
        heads = ops.einsum("btc,chd->bthd", x, self.project)
        if keras.backend.backend() == "jax":
            import jax

            return ops.sum(jax.nn.dot_product_attention(heads, heads * 2, heads, is_causal=True), axis=2)
        import torch

        heads = heads.transpose(1, 2)
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(heads, heads * 2, heads, is_causal=True).sum(1)


def test_the_frameworks_own_fused_attention(rng, backend):
    if backend == "tensorflow":
        pytest.skip("TensorFlow has none")
    x = rng.normal(size=(3, 7, 8)).astype("float32")
    layer = FusedByFramework(name="fused")
    inputs = keras.Input((7, 8))
    model = keras.Model(inputs, layer(inputs))
    maps = ats.capture(model, x)
    heads = np.einsum("btc,chd->bhtd", x, ops.convert_to_numpy(layer.project)).astype("float64")
    logits = np.einsum("bhtd,bhsd->bhts", heads, heads * 2) / np.sqrt(5)
    logits = np.where(np.tril(np.ones((7, 7), bool)), logits, -np.inf)
    exact = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(maps["fused"], exact / exact.sum(-1, keepdims=True), atol=1e-6)
    changed = ats.intervene(model, x, {"fused": lambda scores: scores})
    np.testing.assert_allclose(changed, maps.outputs, atol=1e-5)


def test_weights_by_hand_are_declared_in_one_line_and_then_like_every_other(rng, tmp_path):
    inputs = keras.Input((7, 6))
    context, _ = ByHand(name="hand")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(context))
    x = rng.normal(size=(9, 7, 6)).astype("float32")
    with pytest.raises(ats.errors.NoAttentionError):
        ats.capture(model, x)
    declaration = ats.declare(ByHand, output=1, dims=("sample", "key", None))
    try:
        maps = ats.capture(model, x, batch_size=4, summaries=[ats.Full(), ats.Entropy()])
        _, weights = model.get_layer("hand")(x)
        np.testing.assert_allclose(maps["hand"], ops.convert_to_numpy(weights)[..., 0], atol=1e-6)
        assert maps.select("entropy")["hand"].dims == ("sample",)
        assert maps.sites[0].kind == "declared"
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", custom_objects={"ByHand": ByHand})
        np.testing.assert_allclose(ats.capture(loaded, x)["hand"], maps["hand"], atol=1e-6)
        with pytest.raises(ats.errors.InterventionError, match="declared from one of several outputs"):
            ats.intervene(model, x, {"hand": ats.uniform()})
    finally:
        ats.undeclare(declaration)
    [site] = ats.sites(model, x)
    assert (site.name, site.taken, site.dims) == ("hand", False, ())


def test_a_layer_that_returns_its_weights_alone_is_declared_and_edited(rng):
    class Weigh(layers.Layer):
        def call(self, states):
            energy = ops.exp(ops.sum(states, axis=-1))
            return energy / ops.sum(energy, axis=-1, keepdims=True)

    inputs = keras.Input((7, 6))
    weights = Weigh(name="weigh")(inputs)
    model = keras.Model(inputs, layers.Dot(axes=1)([weights, inputs]))
    x = rng.normal(size=(5, 7, 6)).astype("float32")
    declaration = ats.declare("Weigh", dims=("sample", "key"))
    try:
        mean = ats.intervene(model, x, {"weigh": ats.uniform()})
    finally:
        ats.undeclare(declaration)
    np.testing.assert_allclose(mean, x.mean(axis=1), atol=1e-6)


def test_a_softmax_inside_a_declared_layer_is_left_out(rng):
    declaration = ats.declare(Bahdanau, output=1, dims=("sample", "key", None))
    try:
        table = ats.sites(bahdanau_model(), bahdanau_inputs(rng))
    finally:
        ats.undeclare(declaration)
    assert [(site.kind, site.taken) for site in table][:2] == [("softmax", False), ("declared", True)]
    assert table[0].reason == "the declared output of its layer replaces it"


@pytest.mark.parametrize("masked", [False, True])
def test_attention_inside_a_recurrent_cell_is_stacked_over_the_steps(rng, masked):
    model = recurrent_model(mask_zero=masked)
    x = rng.normal(size=(5, 7, 6)).astype("float32")
    if masked:
        x[1, 4:] = 0
    table = ats.sites(model, x)
    assert [(site.name, site.dims, site.shape) for site in table] == [
        ("rnn/cell", ("sample", "step", "key"), (5, 7, 3))
    ]
    maps = ats.capture(model, x, batch_size=3)
    cell = model.get_layer("rnn").cell
    state, expected = np.zeros((5, 5)), []
    kernel, vector = (ops.convert_to_numpy(weight).astype("float64") for weight in (cell.kernel, cell.vector))
    for step in range(7):
        sensors = x[:, step].reshape(5, 3, 2).astype("float64")
        logits = (sensors * (1 + state @ vector)[:, None]).sum(-1)
        weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        context = (weights[..., None] * sensors).sum(1)
        new = np.tanh(np.concatenate([context, state], -1) @ kernel)
        kept = np.any(x[:, step] != 0, axis=-1, keepdims=True)
        state = np.where(kept, new, state) if masked else new
        expected.append(weights)
    np.testing.assert_allclose(maps["rnn/cell"], np.stack(expected, 1), atol=1e-5)
    np.testing.assert_allclose(maps.outputs, model.predict(x, verbose=0), atol=1e-5)
    assert isinstance(cell, AttendingCell)


class Scanned(layers.Layer):
    """A softmax inside of one of Keras' loops."""

    def __init__(self, loop, **kwargs):
        super().__init__(**kwargs)
        self.loop = loop

    def call(self, x):
        def weigh(row):
            weights = ops.softmax(ops.sum(row, axis=-1), axis=-1)
            return ops.sum(weights[..., None] * row, axis=1)

        in_time = ops.transpose(x, (1, 0, 2, 3))
        if self.loop == "scan":
            start = ops.zeros_like(in_time[0, :, 0])
            total, _ = ops.scan(lambda carry, row: (carry + weigh(row), carry), start, in_time)
            return total
        if self.loop == "fori_loop":
            steps = in_time.shape[0]
            start = ops.zeros_like(in_time[0, :, 0])
            return ops.fori_loop(0, steps, lambda n, total: total + weigh(in_time[n]), start)
        if self.loop == "while_loop":
            start = (ops.convert_to_tensor(0), ops.zeros_like(in_time[0, :, 0]))
            steps = in_time.shape[0]
            return ops.while_loop(
                lambda n, total: n < steps, lambda n, total: (n + 1, total + weigh(in_time[n])), start
            )[1]
        run = ops.map if self.loop == "map" else ops.vectorized_map
        return ops.sum(run(weigh, in_time), axis=0)

    def compute_output_shape(self, shape):
        return (shape[0], shape[-1])


@pytest.mark.parametrize("loop", ["scan", "map", "vectorized_map", "fori_loop"])
def test_a_softmax_in_a_loop_of_keras_is_stacked_over_the_steps(rng, loop):
    inputs = keras.Input((3, 7, 5))
    model = keras.Model(inputs, Scanned(loop, name="scanned")(inputs))
    x = rng.normal(size=(2, 3, 7, 5)).astype("float32")
    before = ops.convert_to_numpy(model(x))
    maps = ats.capture(model, x, sites="scanned")
    assert maps["scanned"].dims == ("sample", "step", "key")
    exact = np.exp(x.sum(-1))
    np.testing.assert_allclose(maps["scanned"], exact / exact.sum(-1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(maps.outputs, before, atol=1e-5)


def test_a_softmax_in_a_while_loop_is_left_out_with_its_reason_and_leaks_nothing(rng, backend):
    inputs = keras.Input((3, 7, 5))
    attended = layers.MultiHeadAttention(2, 3, attention_axes=(2,), name="mha")(inputs, inputs)
    model = keras.Model(inputs, Scanned("while_loop", name="loop")(attended))
    x = rng.normal(size=(2, 3, 7, 5)).astype("float32")
    table = {site.name: site for site in ats.sites(model, x)}
    if backend == "torch":
        assert table["loop"].dims == ("sample", "key")
        return
    assert not table["loop"].taken
    assert "compiled loop" in table["loop"].reason
    maps = ats.capture(model, x)
    assert list(maps) == ["mha"]
    np.testing.assert_allclose(maps.outputs, model.predict(x, verbose=0), atol=1e-5)
    with pytest.raises(ats.errors.NoAttentionError, match=r"The site 'loop' cannot be taken: it runs inside"):
        ats.capture(model, x, sites="loop")


def test_time_distributed_attention_is_stacked(rng):
    word = keras.Input((7, 5))
    weights = layers.Softmax(axis=1, name="weights")(layers.Dense(1)(word))
    words = keras.Model(word, layers.Flatten()(layers.Dot(axes=1)([weights, word])), name="words")
    inputs = keras.Input((3, 7, 5))
    model = keras.Model(inputs, layers.TimeDistributed(words, name="sentences")(inputs))
    x = rng.normal(size=(2, 3, 7, 5)).astype("float32")
    maps = ats.capture(model, x)
    (name,) = maps
    assert name == "sentences/weights"
    assert maps[name].dims == ("sample", "step", "key")
    single = ats.capture(words, x.reshape(6, 7, 5))["weights"].values.reshape(2, 3, 7)
    np.testing.assert_allclose(maps[name], single, atol=1e-6)
    np.testing.assert_allclose(maps.outputs, model.predict(x, verbose=0), atol=1e-6)


def test_no_tracer_leaks(rng, backend):
    if backend != "jax":
        pytest.skip("JAX's own check")
    import jax

    x = rng.normal(size=(5, 7, 6)).astype("float32")
    with jax.checking_leaks():
        maps = ats.capture(recurrent_model(), x)
    assert maps["rnn/cell"].shape == (5, 7, 3)


class SelfAttention(layers.Layer):
    """Attention in two lines, as people write it for a first try."""

    def call(self, x):
        weights = ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2)), axis=-1)
        return ops.matmul(weights, x)


def test_attention_between_two_equal_layers_is_found(rng):
    inputs = keras.Input((7, 6))
    x = layers.Dense(6, activation="silu")(inputs)
    x = SelfAttention(name="attend")(x)
    model = keras.Model(inputs, layers.Dense(6, activation="silu")(x))
    assert [site.taken for site in ats.sites(model)] == [True]


def test_gates_and_routers_are_left_out_with_their_reason():
    inputs = keras.Input((8,))
    gate = layers.Dense(3, activation="softmax", name="gate")(inputs)
    experts = ops.stack([layers.Dense(6)(inputs) for _ in range(3)], axis=1)
    mixture = keras.Model(inputs, layers.Dense(2)(ops.einsum("be,bed->bd", gate, experts)))
    (site,) = ats.sites(mixture)
    assert (site.taken, site.reason) == (
        False,
        "a gate: it weights the outputs of parallel layers (experts), not positions",
    )

    class Route(layers.Layer):
        def call(self, probabilities, x):
            values, chosen = ops.top_k(probabilities, 2)
            weights = ops.sum(ops.one_hot(chosen, 5) * values[..., None], axis=1)
            experts = ops.stack([x * number for number in range(5)], axis=1)
            return ops.einsum("be,bed->bd", weights, experts)

        def compute_output_shape(self, probabilities_shape, x_shape):
            return x_shape

    router = layers.Dense(5, activation="softmax", name="router")(inputs)
    (site,) = ats.sites(keras.Model(inputs, Route()(router, inputs)))
    assert (site.taken, site.reason) == (
        False,
        "a router: its scores go into a top-k or similar operation, which picks units",
    )


def test_weights_that_a_dense_layer_makes_for_the_time_steps_are_attention():
    inputs = keras.Input((7, 5), name="series")
    states = layers.LSTM(6, return_sequences=True)(inputs)
    weights = layers.Dense(7, activation="softmax", name="weights")(layers.Permute((2, 1))(states))
    weighted = layers.multiply([states, layers.Permute((2, 1))(weights)])
    (site,) = ats.sites(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(weighted))))
    # Each of the 6 units of the states has weights of its own for the 7 time steps of that very unit.
    assert (site.name, site.taken, site.certainty) == ("weights", True, "traced")
    assert dict(zip(site.dims, site.shape, strict=True)) == {"sample": 2, "head": 6, "key": 7}
    assert site.lineage["key"] == "axis 1 of input 'series'"


def test_torchs_own_attention_modules_are_taken(rng, backend):
    if backend != "torch":
        pytest.skip("PyTorch's own modules")
    import torch

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = torch.nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attend(x, x, x, need_weights=True, average_attn_weights=False)[0]

    module = Wrapped().eval()
    layer = keras.layers.TorchModuleWrapper(module, name="wrapped", output_shape=(None, 5, 8))
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layer(inputs))
    x = torch.tensor(rng.normal(size=(3, 5, 8)).astype("float32"))
    with torch.no_grad():
        _, expected = module.attend(x, x, x, need_weights=True, average_attn_weights=False)
    maps = ats.capture(model, x.numpy())
    assert maps["wrapped"].dims == ("sample", "head", "query", "key")
    np.testing.assert_allclose(maps["wrapped"], expected.numpy(), atol=1e-6)


def test_a_framework_function_as_an_activation_is_taken(backend):
    if backend == "torch":
        pytest.skip("PyTorch's softmax needs its dim")
    inputs = keras.Input((7, 6))
    scores = layers.Activation(softmax_by_name, name="weights")(layers.Dot(axes=2)([inputs, inputs]))
    model = keras.Model(inputs, layers.Dot(axes=(2, 1))([scores, inputs]))
    activation = model.get_layer("weights").activation
    assert [(site.name, site.taken) for site in ats.sites(model)] == [("weights", True)]
    assert model.get_layer("weights").activation is activation
