"""Streaming summaries equal those of the whole map, block by block and compiled."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.backends import current
from models import padded_tokens, seed_model, transformer

pytestmark = pytest.mark.every_backend


def received(scores, valid):
    """By the definition: the mean of each column over the valid queries."""
    out = np.full((*scores.shape[:2], scores.shape[-1]), np.nan)
    for sample, head, key in np.ndindex(out.shape):
        rows = [scores[sample, head, query, key] for query in range(scores.shape[2]) if valid[sample, query]]
        if rows:
            out[sample, head, key] = np.mean(rows, dtype="float64")
    return out


def entropy(scores):
    """By the definition, row by row in float64."""
    out = np.full(scores.shape[:3], np.nan)
    for place in np.ndindex(out.shape):
        row = scores[place].astype("float64")
        if row.sum() > 0:
            out[place] = -sum(p * np.log2(p) for p in row if p > 0)
    return out


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["fused", "softmax"])
@pytest.mark.parametrize("block", [None, 16], ids=["one block", "several blocks"])
@pytest.mark.parametrize("causal", [False, True])
def test_received_and_entropy_equal_the_full_map(rng, monkeypatch, dropout, block, causal):
    if block is not None:
        monkeypatch.setattr(current(), "tile_bytes", lambda tensor: 1)
    tokens = keras.Input((37,), dtype="int32")
    x = layers.Embedding(13, 10, mask_zero=True, embeddings_initializer="normal")(tokens)
    attended = layers.MultiHeadAttention(2, 5, dropout=dropout, name="mha")(x, x, use_causal_mask=causal)
    model = keras.Model(tokens, attended)
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_tensor(rng.normal(size=weight.shape).astype("float32")))
    inputs = padded_tokens(rng, samples=5, length=37)
    inputs[3] = 0
    full = ats.capture(model, inputs)
    scores, valid = full["mha"].values, full["mha"].coords["query_valid"].values
    np.testing.assert_array_equal(valid, inputs > 0)
    maps = ats.capture(model, inputs, summaries=[ats.Received(), ats.Entropy()], batch_size=3)
    assert maps.select("received")["mha"].dims == ("sample", "head", "key")
    assert maps.select("entropy")["mha"].dims == ("sample", "head", "query")
    np.testing.assert_allclose(maps.select("received")["mha"], received(scores, valid), atol=1e-6)
    np.testing.assert_allclose(maps.select("entropy")["mha"], entropy(scores), atol=1e-6)
    np.testing.assert_array_equal(maps["mha"].coords["key_valid"], full["mha"].coords["key_valid"])
    np.testing.assert_array_equal(maps.dataset("mha").coords["query_valid"], valid)
    np.testing.assert_allclose(maps.outputs, full.outputs, atol=1e-5)


def test_known_answers_one_key_gives_0_bits_and_eight_alike_give_3():
    inputs = keras.Input((8, 4))
    model = keras.Model(inputs, layers.MultiHeadAttention(1, 3, name="mha")(inputs, inputs))
    alike = ats.capture(model, np.ones((2, 8, 4), "float32"), summaries=[ats.Entropy(), ats.Received()])
    np.testing.assert_allclose(alike["mha"], 3.0, atol=1e-6)
    np.testing.assert_allclose(alike.select("received")["mha"], 1 / 8, atol=1e-7)
    single = keras.Input((1, 4))
    one = keras.Model(single, layers.MultiHeadAttention(1, 3, name="mha")(single, single))
    bits = ats.capture(one, np.ones((2, 1, 4), "float32"), summaries=[ats.Entropy()])
    np.testing.assert_array_equal(bits["mha"], 0.0)


def test_a_summary_of_a_users_own(rng):
    class Strongest(ats.Summary):
        missing = {"strongest": 0.0}  # noqa: RUF012

        def dims(self, dims):
            return tuple(dim for dim in dims if not dim.startswith("key"))

        def init(self, layout):
            return []

        def update(self, carry, block):
            return carry, ops.max(block.scores, axis=-1)

        def finish(self, carry, per_query):
            return {"strongest": per_query}

    model, x = transformer(), padded_tokens(rng)
    maps = ats.capture(model, x, summaries=[ats.Full(), Strongest()])
    for name in maps:
        np.testing.assert_allclose(maps.select("strongest")[name], maps[name].max("key"), atol=1e-7)


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["fused", "softmax"])
@pytest.mark.parametrize("block", [None, 16], ids=["one block", "several blocks"])
def test_the_strongest_keys_are_those_of_the_full_map(rng, monkeypatch, dropout, block):
    if block is not None:
        monkeypatch.setattr(current(), "tile_bytes", lambda tensor: 1)
    tokens = keras.Input((37,), dtype="int32")
    x = layers.Embedding(13, 10, mask_zero=True, embeddings_initializer="normal")(tokens)
    model = keras.Model(tokens, layers.MultiHeadAttention(2, 5, dropout=dropout, name="mha")(x, x))
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_tensor(rng.normal(size=weight.shape).astype("float32")))
    inputs = padded_tokens(rng, samples=5, length=37)
    full = ats.capture(model, inputs)["mha"].values
    maps = ats.capture(model, inputs, summaries=[ats.TopK(3), ats.Entropy()], batch_size=3)
    scores, keys = maps.select("top_scores")["mha"], maps.select("top_keys")["mha"]
    assert scores.dims == keys.dims == ("sample", "head", "query", "rank")
    assert keys.dtype == np.int32
    for place in np.ndindex(full.shape[:3]):
        strongest = sorted(full[place], reverse=True)[:3]
        np.testing.assert_allclose(scores.values[place], strongest, atol=1e-6)
        for weight, key in zip(scores.values[place], keys.values[place], strict=True):
            assert (weight == 0) == (key == -1)
            if key >= 0:
                np.testing.assert_allclose(full[(*place, key)], weight, atol=1e-6)
        named = [key for key in keys.values[place] if key >= 0]
        assert len(set(named)) == len(named)


def test_more_ranks_than_keys_are_as_many_as_there_are_keys(rng):
    model, x = seed_model(), rng.integers(1, 31, (5, 23))
    full = ats.capture(model, x)["attention_vec"].values
    maps = ats.capture(model, x, summaries=[ats.TopK(50)])
    assert maps["attention_vec"].dims == ("sample", "rank")
    np.testing.assert_allclose(maps["attention_vec"], -np.sort(-full, axis=1), atol=1e-7)
    np.testing.assert_array_equal(maps.select("top_keys")["attention_vec"], np.argsort(-full, axis=1, kind="stable"))


def test_the_number_of_ranks_is_a_whole_number():
    for k in (0, 2.5, True):
        with pytest.raises(ats.errors.InputError) as caught:
            ats.TopK(k)
        assert str(caught.value) == f"k is {k!r}, but a whole number of keys is needed: TopK(16)."


_MEASURE = """
import os, resource, sys, threading, time
import keras, numpy as np
import attnscope as ats

length = int(sys.argv[1])
inputs = keras.Input((length, 16))
model = keras.Model(inputs, keras.layers.MultiHeadAttention(8, 64, name="mha")(inputs, inputs))
small = keras.Input((256, 16))
warm = keras.Model(small, keras.layers.MultiHeadAttention(8, 64)(small, small))
summaries = [ats.Received(), ats.Entropy()]
ats.capture(warm, np.ones((1, 256, 16), "float32"), summaries=summaries)
x = np.random.default_rng(0).normal(size=(1, length, 16)).astype("float32")
def used():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
before, peak, done = used(), [0], threading.Event()
def watch():
    while not done.is_set():
        peak[0] = max(peak[0], used())
        time.sleep(0.005)
thread = threading.Thread(target=watch); thread.start()
maps = ats.capture(model, x, summaries=summaries)
done.set(); thread.join()
assert abs(float(maps["mha"].sum("key").mean()) - 1) < 1e-4
print(peak[0] - before)
"""


@pytest.mark.optimised
def test_received_and_entropy_of_4096_tokens_need_far_less_than_the_matrix(backend):
    """The matrix of all heads would take 537 MB. With every case, 8,192 tokens: 400 MB, where it would take 2.1 GB."""
    if backend == "torch" and tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15):
        pytest.skip("on PyTorch with Keras 3.13 it takes 0.6 GB; docs/cost.md says so")
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    tokens, limit = (8192, 400e6) if os.environ.get("ATTNSCOPE_EVERY_CASE") else (4096, 300e6)
    run = subprocess.run([sys.executable, "-c", _MEASURE, str(tokens)], capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout.split()[-1]) < limit
