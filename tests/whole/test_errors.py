"""Bad input gets a clear error: what was given, what was expected, the fix; compared whole."""

import keras
import numpy as np
import pytest
from keras import layers

import attnscope as ats
from attnscope.capturing import _memory as memory
from models import padded_tokens, transformer


def message(kind, function, *args, **kwargs):
    with pytest.raises(kind) as error:
        function(*args, **kwargs)
    return str(error.value)


def test_a_model_without_attention(rng):
    inputs = keras.Input((8,))
    dense = keras.Model(inputs, layers.Dense(3, activation="softmax", name="classes")(inputs))
    x = rng.normal(size=(4, 8)).astype("float32")
    assert message(ats.errors.NoAttentionError, ats.capture, dense, x) == (
        "The model's only softmax is no attention: 'classes' is left out: class probabilities: the model returns "
        "them as they are. To capture one anyway, ask for it by name: sites='classes'."
    )
    plain = keras.Model(inputs, layers.Dense(3)(inputs))
    assert message(ats.errors.NoAttentionError, ats.capture, plain, x) == (
        "The model computes no softmax and no fused attention, so there is no attention to capture. Weights that a "
        "layer computes by hand can be declared: ats.declare(LayerClass, output=1, dims=('sample', 'query', 'key'))."
    )
    assert list(ats.capture(dense, x, sites="classes")) == ["classes"]


def test_a_pattern_that_matches_nothing_names_the_nearest(rng):
    found = message(ats.errors.PatternError, ats.capture, transformer(), padded_tokens(rng), sites="atention_0")
    assert found == (
        "The pattern 'atention_0' matches none of the model's 3 sites. The nearest are: 'attention_0', 'attention_1'. "
        "Patterns are globs over the whole name: sites='encoder_0/*'. All names: ats.sites(model, inputs)."
    )


def test_an_unbuilt_model():
    class Unbuilt(keras.Model):
        def call(self, x):
            return x

    found = message(ats.errors.UnbuiltModelError, ats.capture, Unbuilt(name="mine"), np.ones((2, 3)))
    assert found == (
        "The model 'mine' is not built: it has no weights yet, so its attention would be random. Call it once on a "
        "batch and load its weights: model(x); model.load_weights(path)."
    )


def test_what_is_no_model():
    assert message(ats.errors.UnsupportedError, ats.capture, object(), np.ones(3)) == (
        "The model is a builtins.object, but a Keras 3 model is needed. A model of tf_keras, or an old "
        "file: model.save('old.h5'), then attnscope.load_model('old.h5')."
    )


def test_labels_of_the_wrong_length_name_both_numbers(rng):
    model, x = transformer(), padded_tokens(rng, samples=4)
    found = message(ats.errors.LabelError, ats.capture, model, x, labels=list("abc"))
    assert found == (
        "3 labels were given, but the number of positions is 7 along axis 1 of input 'tokens'. Give one label per "
        "position: labels=[...], or name the axis: labels={'key': [...]}."
    )
    words = [["a"] * 7, ["a"] * 3, ["a"] * 6, ["a"] * 7]
    found = message(
        ats.errors.LabelError, ats.capture, model, padded_tokens(rng, samples=6)[[5, 1, 2, 5]], labels=words
    )
    assert found == (
        "A sample has 6 labels, but the axis 'query' of 'attention_0' has 7 positions, 4 of them valid. Give one label "
        "per position, or one per valid position."
    )


def test_an_empty_batch(rng):
    model = transformer()
    assert message(ats.errors.InputError, ats.capture, model, np.zeros((0, 7), int)) == (
        "The inputs hold 0 samples, but at least one is needed to capture anything."
    )
    assert message(ats.errors.InputError, ats.capture, model, iter([])) == (
        "The inputs gave 0 batches, but at least one is needed to capture anything."
    )
    assert message(ats.errors.InputError, ats.capture, model, padded_tokens(rng), batch_size=0) == (
        "batch_size is 0, but a batch needs a whole number of samples: batch_size=32."
    )


def test_arrays_that_differ_in_length():
    left, right = keras.Input((7, 8), name="left"), keras.Input((5, 8), name="right")
    model = keras.Model([left, right], layers.MultiHeadAttention(2, 5)(left, right))
    found = message(ats.errors.InputError, ats.capture, model, [np.ones((3, 7, 8)), np.ones((4, 5, 8))])
    assert found == (
        "The inputs have the shapes (3, 7, 8) for 'left', (4, 5, 8) for 'right', but all need the same number of "
        "samples along the first axis."
    )


def test_nan_in_the_scores_is_kept_and_reported(rng):
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4, name="mha")(inputs, inputs))
    x = rng.normal(size=(3, 5, 8)).astype("float32")
    x[1, 2, 0] = np.nan
    maps = ats.capture(model, x)
    nans = np.isnan(maps["mha"].values)
    assert nans[1][:, 2].all()
    assert nans[1][:, :, 2].all()
    assert not nans[[0, 2]].any()
    (finding,) = [item for item in maps.findings if item.kind == "nan"]
    assert finding.message == f"{nans.sum()} scores are NaN or infinite"


def test_a_result_that_would_not_fit_is_refused_before_the_run(rng, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    found = message(ats.errors.TooLargeError, ats.capture, transformer(), padded_tokens(rng, samples=11))
    assert found == (
        "The maps of 11 samples at 2 sites would take 8.6 kB, but only 1.0 kB of memory is free. Keep less: "
        "summaries=[ats.Received(), ats.Entropy()], sites='one_of_them', fewer samples; or write to disk: "
        "store='run.zarr'."
    )
    assert 11 * 2 * 2 * 7 * 7 * 4 == 8624


def test_nothing_is_overwritten(rng, tmp_path):
    model, x = transformer(), padded_tokens(rng, samples=4)
    maps = ats.capture(model, x, store=tmp_path / "run.zarr")
    found = message(ats.errors.WouldOverwriteError, ats.capture, model, x, store=tmp_path / "run.zarr")
    assert found.endswith(
        "already exists and is not overwritten: give another path, remove it, or resume it: resume=True."
    )
    assert message(ats.errors.WouldOverwriteError, maps.save, tmp_path / "run.zarr").endswith(
        "already exists and is not overwritten: maps.save(path, overwrite=True)."
    )


def test_declarations_that_do_not_fit(rng):
    found = message(ats.errors.DeclarationError, ats.declare, "Layer", dims=("sample", "keys"))
    assert found == (
        "The dims ('sample', 'keys') were declared, but each axis needs one of ('sample', 'head', 'query', 'key'), "
        "none of them twice, with 'sample' and 'key' among them: dims=('sample', 'query', 'key')."
    )
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layers.Dense(3, name="dense")(inputs))
    declaration = ats.declare("dense", output=1, dims=("sample", "query", "key"))
    try:
        found = message(ats.errors.DeclarationError, ats.capture, model, np.ones((2, 5, 8), "float32"))
    finally:
        ats.undeclare(declaration)
    assert found == (
        "The declared layer 'dense' returns one output, but output 1 is declared to be its attention. Name one "
        "that it returns: ats.declare('dense', output=..., dims=('sample', 'query', 'key'))."
    )


def test_a_missing_site_names_those_there_are(rng):
    maps = ats.capture(transformer(), padded_tokens(rng))
    with pytest.raises(KeyError, match="There is no site 'other' among the 2 that were captured"):
        maps["other"]
    assert message(ats.errors.SchemaError, maps.select, "entropy") == (
        "'entropy' was not captured at 'attention_0', only ['scores']. Ask for it: ats.capture(..., "
        "summaries=[ats.Full(), ats.Received(), ats.Entropy()])."
    )
