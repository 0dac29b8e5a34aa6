"""Summaries read in tiles equal those of whole maps: where Keras' layers would build the matrix, and at fused calls."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.backends import current
from attnscope.interception import Layout, _calls
from attnscope.interception import _calls as calls
from attnscope.interception._location import Location
from models import padded_tokens

pytestmark = pytest.mark.every_backend

SUMMARIES = [
    ats.Entropy(),
    ats.Received(),
    ats.TopK(3),
    ats.Thumbnail(5),
    ats.Rows([0, -1]),
    ats.Distance(),
    ats.HeadMean(),
]
LENGTH, KEYS, HEADS = 37, 29, 6


def definitions(scores, queries_count):
    """Every summary by its definition, in float64, from whole maps; `queries_count` says which queries count."""
    scores = scores.astype("float64")
    counted = np.broadcast_to(queries_count[:, None, :], scores.shape[:3])
    with np.errstate(all="ignore"):
        bits = -np.where(scores > 0, scores * np.log2(np.where(scores > 0, scores, 1)), 0).sum(-1)
        bits[scores.sum(-1) == 0] = np.nan
        received = np.where(counted[..., None], scores, 0).sum(-2) / counted.sum(-1)[..., None]
        apart = abs(np.arange(scores.shape[2])[:, None] - np.arange(scores.shape[3]))
        rows, columns = (-(-size // 5) for size in scores.shape[2:])
        pictures = np.full((2, *scores.shape[:2], -(-scores.shape[2] // rows), -(-scores.shape[3] // columns)), np.nan)
        for sample, head, row, column in np.ndindex(pictures.shape[1:]):
            chosen = [q for q in range(row * rows, min(len(apart), (row + 1) * rows)) if queries_count[sample, q]]
            cells = scores[sample, head, chosen, column * columns : (column + 1) * columns]
            if chosen:
                pictures[:, sample, head, row, column] = cells.mean(), cells.max()
    return {
        "entropy": bits,
        "received": received,
        "top_scores": -np.sort(-scores, axis=-1)[..., :3],
        "thumbnail_mean": pictures[0],
        "thumbnail_max": pictures[1],
        "rows": scores[:, :, [0, -1]],
        "distance": np.where(counted, (scores * apart).sum(-1), np.nan),
        "head_mean": scores.mean(1),
    }


def compare(model, inputs, monkeypatch, *, self_attention=True):
    """Captures whole maps and summaries in small tiles, compares them, and gives both."""
    monkeypatch.setattr(calls, "SMALL_BYTES", 0)
    monkeypatch.setattr(current(), "tile_bytes", lambda tensor: 5000)
    summaries = [each for each in SUMMARIES if self_attention or not isinstance(each, ats.Distance)]
    full = ats.capture(model, inputs, progress=False)
    streamed = ats.capture(model, inputs, summaries=summaries, progress=False)
    (name,) = full
    expected = definitions(full[name].values, full.dataset(name).query_valid.values)
    for variable in (name for summary in summaries for name in summary.missing if name != "top_keys"):
        found = streamed.select(variable)[name]
        np.testing.assert_allclose(found, expected[variable], atol=1e-6, rtol=1e-6, err_msg=variable)
    np.testing.assert_allclose(streamed.outputs, full.outputs, atol=5e-6, rtol=5e-6)
    np.testing.assert_allclose(streamed.outputs, model.predict(inputs, verbose=0), atol=5e-6, rtol=5e-6)
    np.testing.assert_array_equal(streamed.dataset(name).query_valid, full.dataset(name).query_valid)
    np.testing.assert_array_equal(streamed.dataset(name).key_valid, full.dataset(name).key_valid)
    return full, streamed


def with_random_weights(model, rng):
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_tensor((0.4 * rng.normal(size=weight.shape)).astype("float32")))
    return model


def attention(kind, **options):
    if kind == "grouped":
        return layers.GroupQueryAttention(5, HEADS, 2, name="attention", **options)
    return layers.MultiHeadAttention(HEADS, 5, name="attention", **options)


def check_that_no_matrix_is_built(model, inputs, monkeypatch):
    """Once all is prepared, summaries call the layer's softmax no more, as the trace alone does."""
    monkeypatch.setattr(_calls, "SMALL_BYTES", 0)  # up to that the layer's own call runs beside
    calls = []
    original = layers.Softmax.call
    monkeypatch.setattr(layers.Softmax, "call", lambda *args, **options: calls.append(1) or original(*args, **options))
    ats.sites(model, inputs)

    for _ in range(2):
        calls.clear()
        ats.capture(model, inputs, summaries=[ats.Received(), ats.Full(rows=[1])], progress=False)
    assert not calls


@pytest.mark.filterwarnings("ignore:.*does not support masking")  # grouped attention of Keras' says so of itself
@pytest.mark.parametrize(
    ("kind", "causal", "padded"),
    [("plain", False, True), ("plain", True, False), ("grouped", True, True), ("grouped", False, False)],
    ids=["padding", "causal", "grouped, causal, padding", "grouped"],
)
def test_with_dropout_a_layer_of_keras_builds_no_matrix_for_summaries(rng, monkeypatch, kind, causal, padded):
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(13, 10, mask_zero=padded)(tokens)
    model = with_random_weights(keras.Model(tokens, attention(kind, dropout=0.3)(x, x, use_causal_mask=causal)), rng)
    inputs = padded_tokens(rng, samples=3, length=LENGTH)
    inputs[1] = 0
    check_that_no_matrix_is_built(model, inputs, monkeypatch)
    compare(model, inputs, monkeypatch)


def test_with_dropout_cross_attention_builds_no_matrix_either(rng, monkeypatch):
    asking, asked = keras.Input((LENGTH, 7), name="asking"), keras.Input((KEYS, 11), name="asked")
    mask = keras.Input((LENGTH, KEYS), dtype="bool", name="allowed")
    attended = attention("plain", dropout=0.1)(asking, asked, attention_mask=mask)
    model = with_random_weights(keras.Model([asking, asked, mask], attended), rng)
    inputs = [rng.normal(size=(3, LENGTH, 7)).astype("float32"), rng.normal(size=(3, KEYS, 11)).astype("float32")]
    allowed = rng.uniform(size=(3, LENGTH, KEYS)) < 0.6
    allowed[1, 5] = False
    check_that_no_matrix_is_built(model, [*inputs, allowed], monkeypatch)
    compare(model, [*inputs, allowed], monkeypatch, self_attention=False)


def test_a_layer_that_is_asked_for_its_scores_or_trains_keeps_its_own_way(rng):
    inputs = keras.Input((LENGTH, 7))
    attended, scores = attention("plain", dropout=0.1)(inputs, inputs, return_attention_scores=True)
    model = keras.Model(inputs, [attended, scores])
    data = rng.normal(size=(2, LENGTH, 7)).astype("float32")
    maps = ats.capture(model, data, summaries=[ats.Received()], progress=False)
    own = next(output for output in maps.outputs.values() if output.ndim == 4).values
    np.testing.assert_allclose(maps["attention"], own.mean(2), atol=1e-6)


def plain_scores(query, key, *, scale, cap=None, bias=None, mask=None, causal=False):
    """By the definition, head by head in float64."""
    scores = np.empty((len(query), HEADS, query.shape[1], key.shape[1]))
    for sample, head in np.ndindex(scores.shape[:2]):
        shared = head // (HEADS // key.shape[2])
        logits = scale * query[sample, :, head].astype("float64") @ key[sample, :, shared].astype("float64").T
        if cap is not None:
            logits = logits / (1 + abs(logits) / cap)
        if bias is not None:
            logits = logits + bias[0, head]
        allowed = np.ones(logits.shape, bool) if mask is None else mask[0, 0]
        allowed = np.tril(allowed) if causal else allowed
        powers = np.where(allowed, np.exp(logits - logits.max(-1, keepdims=True)), 0)
        scores[sample, head] = powers / np.maximum(powers.sum(-1, keepdims=True), 1e-30)
    return scores


def fused_call(query, key, value, mask=None, bias=None, **settings):
    """A call of the fused kind, of arrays."""
    dims, sizes = ("sample", "head", "query", "key"), (*query.shape[:3:2], query.shape[1], key.shape[1])
    layout = Layout(tuple(((dim, size),) for dim, size in zip(dims, sizes, strict=True)), dims)
    return calls.FusedCall(
        *(calls.Occurrence(Location((), "a", "a")), "fused", len(query), layout, {}, ()),
        *(ops.convert_to_tensor(tensor) for tensor in (query, key, value)),
        *(None if limit is None else ops.convert_to_tensor(limit) for limit in (mask, bias)),
        **settings,
    )


@pytest.mark.parametrize("keys", [509, 8191])
def test_the_entropy_of_long_rows_is_exact_to_a_few_roundings_of_its_dtype(rng, monkeypatch, keys):
    monkeypatch.setattr(current(), "tile_bytes", lambda tensor: 4 * 16 * keys)
    query, key = (rng.normal(size=(1, positions, 1, 5)).astype("float32") for positions in (31, keys))
    spread = ops.convert_to_numpy(fused_call(query, key, key, scale=1.0).read([ats.Entropy()])["entropy"])[0, 0]
    logits = (query[0, :, 0] @ key[0, :, 0].T).astype("float64")  # the model's own dtype has rounded them
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    scores = powers / powers.sum(-1, keepdims=True)
    np.testing.assert_allclose(spread, -(scores * np.log2(scores)).sum(-1), atol=1.5e-6, rtol=0)


SETTINGS = {
    "soft cap": {"cap": 3.0},
    "soft cap and causal": {"cap": 2.0, "causal": True},
    "bias and mask": {"bias": True, "mask": True},
    "mask and causal": {"mask": True, "causal": True},
}


@pytest.mark.parametrize("shared", [HEADS, 2], ids=["own keys", "grouped keys"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_soft_caps_biases_masks_and_grouped_keys_count_in_tiles(rng, monkeypatch, shared, settings):
    monkeypatch.setattr(current(), "tile_bytes", lambda tensor: 5000)
    query, key, value = (rng.normal(size=(2, LENGTH, heads, 5)).astype("float32") for heads in (HEADS, shared, shared))
    bias = (3 * rng.normal(size=(1, HEADS, LENGTH, LENGTH))).astype("float32") if "bias" in settings else None
    mask = rng.uniform(size=(1, 1, LENGTH, LENGTH)) < 0.7 if "mask" in settings else None
    if mask is not None:
        mask[..., 0, :], mask[..., 1:, 0] = False, True  # the first query may attend to nothing
    fused = fused_call(
        *(query, key, value, mask, bias),
        scale=0.7,
        is_causal="causal" in settings,
        soft_cap=settings.get("cap"),
    )
    read = {name: ops.convert_to_numpy(array) for name, array in fused.read(SUMMARIES).items()}
    limits = {"cap": settings.get("cap"), "bias": bias, "mask": mask, "causal": "causal" in settings}
    scores = plain_scores(query, key, scale=0.7, **limits)
    expected = definitions(scores, np.broadcast_to((scores.sum(-1) > 0)[:, 0], (2, LENGTH)))
    for variable, array in expected.items():
        np.testing.assert_allclose(read[variable], array, atol=1e-6, rtol=1e-6, err_msg=variable)
    places = np.maximum(read["top_keys"], 0)
    named = np.where(read["top_keys"] < 0, 0, np.take_along_axis(scores, places, axis=-1))
    np.testing.assert_allclose(named, read["top_scores"], atol=1e-6)
