"""Interventions change what they say and nothing else; masked cells stay masked."""

import keras
import numpy as np
import pytest
import xarray as xr
from keras import layers, ops

import attnscope as ats
from models import padded_tokens, seed_model, transformer

pytestmark = pytest.mark.every_backend


@pytest.fixture(params=[0.0, 0.3], ids=["fused", "softmax"])
def masked(request, rng):
    """One attention layer over tokens with padding, its weights large enough to choose."""
    tokens = keras.Input((7,), dtype="int32")
    x = layers.Embedding(13, 6, mask_zero=True, name="embedding")(tokens)
    attended = layers.MultiHeadAttention(2, 5, dropout=request.param, name="mha")(x, x)
    model = keras.Model(tokens, attended)
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_tensor(rng.normal(size=weight.shape).astype("float32")))
    return model, padded_tokens(rng, samples=6, length=7)


def output_of(model, tokens, scores):
    """The layer's output for given scores, by hand."""
    layer, embedding = model.get_layer("mha"), model.get_layer("embedding")
    x = ops.convert_to_numpy(embedding(tokens)).astype("float64")
    kernel, bias = (ops.convert_to_numpy(w).astype("float64") for w in layer.value_dense.weights)
    values = np.einsum("bsc,chd->bshd", x, kernel) + bias
    context = np.einsum("bhts,bshd->bthd", scores, values)
    kernel, bias = (ops.convert_to_numpy(w).astype("float64") for w in layer.output_dense.weights)
    return np.einsum("bthd,hdc->btc", context, kernel) + bias


def test_an_edit_that_changes_nothing_changes_nothing(masked):
    model, tokens = masked
    same = ats.intervene(model, tokens, {"mha": lambda scores: scores}, batch_size=4)
    np.testing.assert_allclose(same, model.predict(tokens, verbose=0), atol=1e-5)


def test_uniform_attends_equally_to_what_is_not_masked(masked):
    model, tokens = masked
    valid = tokens > 0
    scores = np.broadcast_to((valid / valid.sum(1, keepdims=True))[:, None, None], (6, 2, 7, 7))
    changed = ats.intervene(model, tokens, {"mha": ats.uniform()}, batch_size=4)
    np.testing.assert_allclose(changed[valid], output_of(model, tokens, scores)[valid], atol=1e-4)


def test_ablated_heads_add_nothing(masked):
    model, tokens = masked
    valid = tokens > 0
    scores = ats.capture(model, tokens)["mha"].values.astype("float64")
    scores[:, 1] = 0
    changed = ats.intervene(model, tokens, {"mha": ats.ablate(1)}, batch_size=4)
    np.testing.assert_allclose(changed[valid], output_of(model, tokens, scores)[valid], atol=1e-4)


def test_replaced_scores_are_used_and_masked_cells_stay_masked(masked, rng):
    model, tokens = masked
    valid = tokens > 0
    given = rng.random((6, 2, 7, 7)).astype("float32")
    expected = output_of(model, tokens, given * valid[:, None, None, :])
    changed = ats.intervene(model, tokens, {"mha": ats.replace(given)}, batch_size=4)
    np.testing.assert_allclose(changed[valid], expected[valid], atol=1e-4)
    labelled = xr.DataArray(given.transpose(3, 1, 0, 2), dims=("key", "head", "sample", "query"))
    again = ats.intervene(model, tokens, {"mha": ats.replace(labelled)}, batch_size=4)
    np.testing.assert_array_equal(again, changed)
    shared = ats.intervene(model, tokens, {"mha": ats.replace(given[0])}, batch_size=4)
    expected = output_of(model, tokens, given[:1] * valid[:, None, None, :])
    np.testing.assert_allclose(shared[valid], expected[valid], atol=1e-4)


def test_permuted_rows_hold_the_same_scores_among_the_same_keys(masked):
    model, tokens = masked
    before = ats.capture(model, tokens)["mha"].values
    seen = {}

    def spy(scores, call):
        edited = ats.permute(3)(scores, call)
        seen["edited"] = edited
        return edited

    from attnscope.interception import intercept

    def handler(call):
        return spy(call.scores(), call)

    with intercept(handler, model, batch=6, inputs=tokens):
        model(tokens, training=False)
    edited = ops.convert_to_numpy(seen["edited"])
    valid = tokens > 0
    for sample in range(6):
        rows, permuted = before[sample][:, valid[sample]], edited[sample][:, valid[sample]]
        assert not permuted[..., ~valid[sample]].any()
        np.testing.assert_allclose(np.sort(rows, -1), np.sort(permuted, -1), atol=1e-6)
    assert np.abs(edited - before).max() > 0.1
    first = ats.intervene(model, tokens, {"mha": ats.permute(3)}, batch_size=6)
    np.testing.assert_array_equal(first, ats.intervene(model, tokens, {"mha": ats.permute(3)}, batch_size=6))
    other = ats.intervene(model, tokens, {"mha": ats.permute(4)}, batch_size=6)
    assert np.abs(first - other)[valid].max() > 1e-3


def test_the_seeds_attention_is_edited_too(rng):
    model = seed_model()
    x = rng.integers(1, 31, (5, 23))
    one_hot = np.zeros(23, "float32")
    one_hot[-1] = 1
    changed = ats.intervene(model, x, {"attention_vec": ats.replace(one_hot)})
    states = keras.Model(model.input, model.layers[2].output).predict(x, verbose=0)[:, -1]
    expected = ops.convert_to_numpy(model.get_layer("classes")(states))
    np.testing.assert_allclose(changed, expected, atol=1e-5)


def test_the_model_is_as_before(rng):
    model, x = transformer(), padded_tokens(rng)
    before = model.predict(x, verbose=0)
    ats.intervene(model, x, {"attention_*": ats.uniform()})
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_wrong_edits_say_what_they_gave(rng):
    model, x = transformer(), padded_tokens(rng, samples=4)
    with pytest.raises(ats.errors.InterventionError) as error:
        ats.intervene(model, x, {"attention_0": lambda scores: scores[..., :3]})
    assert str(error.value) == (
        "The edit of 'attention_0' was given scores of shape (4, 2, 7, 7) and gave (4, 2, 7, 3); an edit keeps the "
        "shape."
    )
    with pytest.raises(ats.errors.InterventionError) as error:
        ats.intervene(model, x, {"attention_0": ats.ablate([1, 2])})
    assert str(error.value) == "The heads [2] are to be ablated at 'attention_0', but its heads are 0 to 1."
    with pytest.raises(ats.errors.InterventionError) as error:
        ats.intervene(model, x, {"attention_0": ats.replace(np.ones((3, 2, 7, 7)))})
    assert str(error.value) == (
        "The scores for 'attention_0' hold 3 samples, but the inputs hold 4; one row per sample is needed, or none at "
        "all: leave 'sample' out to give all the same."
    )
    with pytest.raises(ats.errors.InterventionError) as error:
        ats.intervene(model, x, {"attention_0": ats.replace(np.ones((5, 7)))})
    assert str(error.value) == (
        "The scores for 'attention_0' have shape (5, 7), but the site has (4, 2, 7, 7) with dims ('sample', 'head', "
        "'query', 'key'); 'sample' may be left out."
    )
    with pytest.raises(ats.errors.PatternError):
        ats.intervene(model, x, {"attention_9": ats.uniform()})
