"""What one backend says of models that are the same on all: ``KERAS_BACKEND=jax python backend_answers.py FOLDER``.

Weights and inputs are drawn by NumPy, so they are the same numbers everywhere. The arrays go into ``answers.npz``, the
tables of sites into ``sites.json``. `test_backends_agree.py` runs this on each backend.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

import attnscope as ats
from attnscope.attribution import METHODS, alti, attribute, head_ablation, head_importance, norms, values
from attnscope.discovery import discover
from attnscope.handlers import Differentiator, dealt_out
from attnscope.handlers._edits import Change
from attnscope.running import Network
from models import AttendingCell, Bahdanau, padded_tokens, seed_model, transformer

BATCH = 4
"""Samples at a time; the eleven samples make three batches, the last of them short."""


def encoder():
    """Tokens with padding; the first attention is fused, the second has its softmax in sight."""
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    x = layers.Embedding(13, 10, mask_zero=True, name="embedding")(tokens)
    for name, dropout in (("fused", 0.0), ("softmax", 0.3)):
        normed = layers.LayerNormalization(name=f"norm_{name}")(x)
        x = layers.Add(name=f"add_{name}")(
            [x, layers.MultiHeadAttention(2, 5, dropout=dropout, name=name)(normed, normed)]
        )
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="last")(x))
    return keras.Model(tokens, layers.Dense(3, activation="softmax", name="classes")(pooled))


def with_drawn_weights(model):
    rng = np.random.default_rng(23)
    for weight in model.weights:
        if "float" in weight.dtype:
            weight.assign(ops.convert_to_tensor(rng.normal(size=weight.shape).astype("float32") / 2))
    return model


def scores(model, tokens):
    maps = ats.capture(model, tokens, batch_size=BATCH, summaries=[ats.Full(), ats.Received(), ats.Entropy()])
    yield "outputs", maps.outputs.values
    for name in maps:
        yield f"scores/{name}", maps[name].values
        for summary in ("received", "entropy"):
            yield f"{summary}/{name}", maps.select(summary)[name].values


def gradients(model, tokens):
    """Of the probability of a class of its own for each sample, by scores, embeddings and what goes into them."""
    network = Network(model, tokens, batch_size=BATCH)
    sites = discover(network).chosen
    columns = np.arange(len(tokens), dtype="int32") % 3
    chosen = lambda outputs, rows: ops.take_along_axis(outputs, rows["column"][:, None], axis=1)[:, 0]  # noqa: E731
    runs = list(Differentiator(model, chosen, sites=sites, inputs=True).run(network, extras={"column": columns}))
    for name in runs[0].gradients:
        yield f"gradients/{name}", np.concatenate([run.gradients[name][: run.batch.size] for run in runs])


def edits(model, tokens):
    rng = np.random.default_rng(29)
    replacing = rng.dirichlet(np.ones(7), (len(tokens), 2, 7)).astype("float32")
    drawn = rng.random((BATCH, 2, 7, 7)).astype("float32")  # each framework draws other numbers from one seed
    chosen = {
        "ablate": ats.ablate(heads=[1]),
        "uniform": ats.uniform(),
        "permute": Change(
            "permuted", lambda scores, call: dealt_out(scores, call, ops.convert_to_tensor(drawn[: scores.shape[0]]))
        ),
        "replace": ats.replace(replacing),
        "function": lambda scores: ops.square(scores),
    }
    for edit, change in chosen.items():
        for site in ("fused", "softmax"):
            changed = ats.intervene(model, tokens, {site: change}, batch_size=BATCH, progress=False)
            yield f"edits/{edit}/{site}", changed


def carried(model, tokens):
    for name, found in values(model, tokens, batch_size=BATCH).items():
        for part in ("values", "rest", "output"):
            yield f"values/{part}/{name}", found[part].values
    for name, lengths in norms(model, tokens, batch_size=BATCH).items():
        yield f"values/norms/{name}", lengths.values
    yield "values/alti", alti(model, tokens, batch_size=BATCH).values


def relevance(model, tokens):
    removal = {"removal": ats.attribution.mask_token(12)}
    options = {
        "integrated_gradients": {"steps": 8},
        "occlusion": removal,
        "shapley": {**removal, "permutations": 4},
        "position": removal,
    }
    for method in METHODS:
        found = attribute(model, tokens, target=2, method=method, batch_size=BATCH, **options.get(method, {}))
        yield f"relevance/{method}", found.values
    yield "relevance/heads by gradients", head_importance(model, tokens, target=2, batch_size=BATCH).values
    metric = lambda outputs: float(outputs[:, 2].mean())  # noqa: E731
    yield "relevance/heads by ablation", head_ablation(model, tokens, metric, batch_size=BATCH).values


def words():
    """The mean of words, weighed by a softmax that has no name of attention."""
    inputs = keras.Input((7, 6))
    weights = layers.Softmax(axis=1, name="weights")(layers.Dense(1)(inputs))
    return keras.Model(inputs, layers.Flatten()(layers.Dot(axes=1)([weights, inputs])), name="words")


class ByHeads(layers.Layer):
    """Attention as people write it themselves: heads by einsum, their scores by a product of matrices."""

    def build(self, shape):
        self.project = self.add_weight(shape=(shape[-1], 2, 5), name="project")

    def call(self, x):
        heads = ops.transpose(ops.einsum("btc,chd->bthd", x, self.project), (0, 2, 1, 3))
        weights = ops.softmax(ops.matmul(heads, ops.swapaxes(heads, 2, 3)))
        return ops.mean(ops.matmul(weights, heads), axis=1)


def zoo():
    """Models whose softmaxes are attention, or are not, each for a reason of its own."""
    yield "encoder", encoder()
    yield "transformer without a mask", transformer(mask_zero=False)
    yield "recurrent classifier", seed_model()
    states = keras.Input((7, 6))
    query = keras.Input((4,))
    yield "additive attention", keras.Model([query, states], Bahdanau(name="bahdanau")(query, states)[0])
    activated = layers.Dense(6, activation="silu")(states)
    attended = layers.Dense(5, activation="silu")(ByHeads(name="heads")(activated))
    yield "attention written by hand", keras.Model(states, attended)
    yield (
        "sentences of words",
        keras.Model(sentences := keras.Input((3, 7, 6)), layers.TimeDistributed(words(), name="sentences")(sentences)),
    )
    yield "cell", keras.Model(states, layers.RNN(AttendingCell(name="cell"), name="rnn")(states))
    memory = keras.Input((11, 6))
    grouped = layers.GroupQueryAttention(3, 4, 2, name="grouped")(states, memory)
    yield "cross attention", keras.Model([states, memory], layers.Attention(name="plain")([grouped, memory]))
    grid = keras.Input((3, 5, 8))
    both = layers.MultiHeadAttention(2, 3, attention_axes=(1, 2), name="both")(grid, grid)
    yield (
        "attention over rows and columns",
        keras.Model(grid, layers.MultiHeadAttention(2, 3, attention_axes=(2,), name="rows")(both, both)),
    )
    weighed = layers.Dense(7, activation="softmax", name="weights")(layers.Permute((2, 1))(states))
    yield "weights for the steps", keras.Model(states, layers.multiply([states, layers.Permute((2, 1))(weighed)]))
    features = keras.Input((8,))
    gate = layers.Dense(3, activation="softmax", name="gate")(features)
    experts = ops.stack([layers.Dense(6)(features) for _ in range(3)], axis=1)
    yield "mixture of experts", keras.Model(features, ops.einsum("be,bed->bd", gate, experts))
    router = layers.Dense(5, activation="softmax", name="router")(features)
    chosen, places = ops.top_k(router, 2)
    yield "router", keras.Model(features, ops.sum(ops.one_hot(places, 5) * chosen[..., None], axis=1))
    yield "classes alone", keras.Model(features, layers.Dense(3, activation="softmax", name="classes")(features))


def main(folder):
    tokens = padded_tokens(np.random.default_rng(17))
    model = with_drawn_weights(encoder())
    parts = (scores, gradients, edits, carried, relevance)
    np.savez(folder / "answers.npz", **{name: array for part in parts for name, array in part(model, tokens)})
    told = ("name", "layer_class", "dims", "shape", "taken", "reason", "sinks", "loop")
    tables = {name: [{key: site[key] for key in told} for site in ats.sites(model).to_dicts()] for name, model in zoo()}
    (folder / "sites.json").write_text(json.dumps({"backend": keras.backend.backend(), "sites": tables}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
