"""One small page of each kind, with names that a test chooses."""

from dataclasses import replace

import keras
import numpy as np
import xarray as xr
from keras import layers

import attnscope as ats
from attnscope.explaining._method_choice import MethodChoice
from attnscope.pages import Bars, Section, report, save_report

PLAIN = [f"{kind} {place}" for place in range(13) for kind in ("height", "mass", "age")]
SAMPLES, FEATURES = 6, 12


def written(folder, texts, name="page"):
    """The pages by their kinds, each in a folder of its own under one file name.

    Args:
        folder: Where to write.
        texts: What everything on the pages is called: 36 or more of them, all different.
        name: Of the files, without the suffix.
    """
    made = {"report": _report, "card": _card, "viewer": _viewer, **dict.fromkeys(_MODELS, _explanation)}
    pages = {}
    for kind, write in made.items():
        (folder / kind).mkdir()
        pages[kind] = folder / kind / f"{name}.html"
        write(texts, pages[kind], kind)
    return pages


def softmax(logits):
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def _maps(texts, labels):
    rng = np.random.default_rng(2)
    scores = softmax(2 * rng.normal(size=(SAMPLES, 2, len(labels), len(labels))))
    scores[:, 0] = 1 / len(labels)
    scores[:, 1, :, 0] = np.nan
    maps = ats.AttentionMaps.from_arrays({texts[0]: scores, texts[4]: scores[:, :1]}, labels=labels)
    outputs = {texts[5]: xr.DataArray(softmax(rng.normal(size=(SAMPLES, 3))), dims=("sample", "class"))}
    ids = {"sample_id": ("sample", texts[:SAMPLES])}
    datasets = {name: maps.dataset(name).assign_coords(ids) for name in maps}
    return ats.AttentionMaps(datasets, outputs=outputs, attrs={"model": texts[1], "backend": texts[2]})


def _report(texts, path, kind):
    bars = Bars(texts[:2], texts[2:5], np.full((3, 2), 0.5), texts[6])
    page = report(
        _maps(texts, texts),
        title=texts[0],
        classes=texts[7:10],
        groups=(texts[10:12] * SAMPLES)[:SAMPLES],
        sections=[Section(texts[3], [texts[4]], bars)],
    )
    save_report(page, path)


def _viewer(texts, path, kind):
    relevance = xr.DataArray(
        np.random.default_rng(3).normal(size=(SAMPLES, FEATURES - 1)),
        dims=("sample", "key"),
        coords={"key_label": ("key", texts[1:FEATURES])},  # without the first, as it may be of a class token
        attrs={"method": texts[6], "target": texts[7], "units": texts[8]},
    )
    maps = _maps(texts, texts[:FEATURES])
    ats.view(maps, title=texts[0], labels=texts[:SAMPLES], relevance={texts[9]: relevance}).save(path)


def _named(texts):
    """A name that Keras and PyTorch take for a model or layer."""
    return texts[4].replace("/", "").replace("window.", "")


def _table(texts):
    inputs = keras.Input((FEATURES,), name="features")
    x = layers.EinsumDense("bf,fd->bfd", output_shape=(FEATURES, 4), bias_axes="fd")(inputs)
    x = layers.MultiHeadAttention(1, 4, name=_named(texts))(x, x)
    output = layers.Dense(2, activation="softmax")(layers.Flatten()(x))
    data = np.random.default_rng(3).normal(size=(SAMPLES, FEATURES)).astype("float32")
    return inputs, output, data, {"labels": texts[:FEATURES]}


def _text(texts):
    inputs = keras.Input((len(texts),), dtype="int32", name="words")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(50, 3, mask_zero=True)(inputs))
    output = layers.Dense(2, activation="softmax")(pooled)
    data = np.random.default_rng(4).integers(1, 50, size=(SAMPLES, len(texts)))
    return inputs, output, data, {"labels": [texts] * SAMPLES}


def _series(texts):
    inputs = keras.Input((FEATURES, 3), name="hours")
    output = layers.Dense(2, activation="softmax")(layers.Flatten()(inputs))
    data = np.random.default_rng(5).normal(size=(SAMPLES, FEATURES, 3)).astype("float32")
    return inputs, output, data, {"labels": texts[:FEATURES]}


def _picture(texts):
    inputs = keras.Input((8, 8, 3), name="picture")
    output = layers.Dense(2, activation="softmax")(layers.Flatten()(inputs))
    data = np.random.default_rng(6).normal(size=(SAMPLES, 8, 8, 3)).astype("float32")
    return inputs, output, data, {"grid": (2, 2)}


_MODELS = {"table": _table, "text": _text, "series": _series, "picture": _picture}
_VERDICTS = {"table": "explains", "text": "descriptive only", "series": "misleading here", "picture": "cannot tell"}


def _model(texts, kind):
    inputs, output, data, options = _MODELS[kind](texts)
    return keras.Model(inputs, output, name=_named(texts)), data, options


def _card(texts, path, kind):
    model, data, options = _model(texts, "table")
    names = {"classes": texts[7:9], "target": texts[7], **options}
    ats.evidence(model, data, methods=["raw", "occlusion"], permutations=2, progress=False, **names).save(path)


def _explanation(texts, path, kind):
    model, data, options = _model(texts, kind)
    names = {"classes": texts[7:9], "target": texts[7], "ids": texts[10 : 10 + SAMPLES], "samples": [0, 1]}
    truth = [texts[8]] * SAMPLES
    explanation = ats.explain(model, data, card=False, method="occlusion", truth=truth, **names, **options)
    judged = MethodChoice("occlusion", _VERDICTS[kind], (texts[5], texts[6]))
    replace(explanation, methods=(judged,)).save(path)
