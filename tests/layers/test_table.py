"""Every layer in every way of running it: the scores are concrete, and those of the last pass.

`docs/make_layers_table.py` runs these tests on each backend and writes down what they saw.
"""

import os
import threading
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

import attnscope as ats
from layers_by_hand import LAYERS, SAMPLES, attending, padded, scores_by_hand, sequences

pytestmark = pytest.mark.every_backend

BATCH = 4  # of 7 samples: the last batch has 3

layers = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture
def saw(request, record_property):
    """Writes one cell of the table: the worst error of the scores that the test read."""

    def write(name, column, given, expected, remark="", tolerance=1e-6):
        assert type(given) is np.ndarray
        assert given.dtype == "float32"
        error = float(abs(given - expected).max())
        assert given.shape == expected.shape
        assert error <= tolerance
        record_property("layer", name)
        record_property("column", column)
        record_property("error", error)
        record_property("remark", remark)

    return write


@layers
def test_eager_calls(name, rng, saw):
    model, layer = attending(name)
    x = sequences(rng)
    model(x)
    model(x[:2])
    saw(name, "eager", layer.attention_scores, scores_by_hand(layer, x[:2]))


@pytest.mark.optimised
@layers
def test_predict_also_after_an_eager_call_between(name, rng, saw):
    model, layer = attending(name)
    x = sequences(rng)
    model.predict(x, batch_size=BATCH, verbose=0)
    model(x[:2])
    model.predict(x, batch_size=BATCH, verbose=0)
    saw(name, "predict", layer.attention_scores, scores_by_hand(layer, x[BATCH:]))


@layers
def test_fit_gives_the_scores_of_its_last_batch_before_the_last_step(name, rng, saw):
    model, layer = attending(name)
    x = sequences(rng)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, np.ones((SAMPLES, 2)), batch_size=BATCH, verbose=0)
    expected = scores_by_hand(layer, x[:3])
    model.fit(x[:3], np.ones((3, 2)), batch_size=BATCH, verbose=0, shuffle=False)
    assert abs(scores_by_hand(layer, x[:3]) - expected).max() > 1e-5
    saw(name, "fit", layer.attention_scores, expected)


@layers
def test_evaluate(name, rng, saw):
    model, layer = attending(name)
    x = sequences(rng)
    model.compile("sgd", "mse")
    model.evaluate(x, np.ones((SAMPLES, 2)), batch_size=BATCH, verbose=0)
    saw(name, "evaluate", layer.attention_scores, scores_by_hand(layer, x[BATCH:]))


@pytest.mark.optimised
@layers
@pytest.mark.filterwarnings("ignore:Model doesn't support `jit_compile=True`:UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_jit_on(name, rng, saw, backend, monkeypatch):
    """On PyTorch two layers meet the compiler's front, which is what meets our code; all of it, each layer, with
    ATTNSCOPE_EVERY_CASE=1.
    """
    if backend == "torch" and not os.environ.get("ATTNSCOPE_EVERY_CASE"):
        import torch

        if name not in ("InterpretableMultiHeadAttention", "AttentionPooling, dot"):
            pytest.skip("PyTorch compiles each layer for several seconds: ATTNSCOPE_EVERY_CASE=1")
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    model, layer = attending(name)
    x = sequences(rng)
    model.compile("sgd", "mse", jit_compile=True)
    model.predict(x, batch_size=BATCH, verbose=0)
    remark = "" if model.jit_compile else "without XLA"
    assert bool(remark) == (keras.backend.backend() == "tensorflow")
    saw(name, "jit on", layer.attention_scores, scores_by_hand(layer, x[BATCH:]), remark)


@layers
def test_jit_off(name, rng, saw):
    model, layer = attending(name)
    x = sequences(rng)
    model.compile("sgd", "mse", jit_compile=False)
    model.predict(x, batch_size=BATCH, verbose=0)
    saw(name, "jit off", layer.attention_scores, scores_by_hand(layer, x[BATCH:]))


@layers
def test_saved_and_loaded_models_give_the_same_and_start_without_scores(name, rng, saw, tmp_path):
    model, layer = attending(name)
    x = sequences(rng)
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.get_layer("attention").attention_scores is None
    np.testing.assert_array_equal(again.predict(x, verbose=0), expected)
    for loaded, saved in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(loaded.numpy(), saved.numpy())
    saw(name, "save/load", again.get_layer("attention").attention_scores, scores_by_hand(layer, x))


@layers
def test_mixed_precision(name, rng, saw):
    x = sequences(rng)
    for policy, tolerance in (("mixed_float16", 3e-3), ("mixed_bfloat16", 3e-2)):
        model, layer = attending(name, dtype=policy)
        model.predict(x, batch_size=BATCH, verbose=0)
        expected = scores_by_hand(layer, x[BATCH:])
        saw(name, "mixed precision", layer.attention_scores, expected, tolerance=tolerance)


@layers
def test_padding_gets_exactly_nothing_from_the_first_call_on(name, rng, saw):
    model, layer = attending(name, masked=True)
    x, mask = padded(rng)
    for run in (model, lambda x: model.predict(x, verbose=0)):
        run(x)
        scores = np.moveaxis(layer.attention_scores, 0, -2)  # (..., sample, key)
        assert scores[..., ~mask].max() == 0.0
    saw(name, "mask", layer.attention_scores, scores_by_hand(layer, x, mask))


@pytest.mark.parametrize("name", [name for name in LAYERS if "MultiHead" in name])
def test_causal(name, rng, saw):
    layer = LAYERS[name]()
    x = sequences(rng)
    inputs = keras.Input(x.shape[1:])
    keras.Model(inputs, layer(inputs, use_causal_mask=True)).predict(x, verbose=0)
    saw(name, "causal", layer.attention_scores, scores_by_hand(layer, x, causal=True))


@layers
def test_models_in_two_threads_do_not_mix(name, rng, saw):
    pairs = [attending(name), attending(name)]
    inputs = [sequences(rng), sequences(rng, samples=5)]
    read = [[], []]

    def work(number):
        for _ in range(5):
            pairs[number][0].predict(inputs[number], batch_size=BATCH, verbose=0)
            read[number].append(pairs[number][1].attention_scores)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (0, 1):
        expected = scores_by_hand(pairs[number][1], inputs[number][BATCH:])
        assert len(read[number]) == 5
        for scores in read[number]:
            saw(name, "threads", scores, expected)


@layers
def test_capture_sees_the_layer_and_agrees_with_it(name, rng, saw):
    model, layer = attending(name)
    x = sequences(rng)
    assert [site.name for site in ats.sites(model, x) if site.taken] == ["attention"]
    maps = ats.capture(model, x, batch_size=BATCH, progress=False)
    model.predict(x, verbose=0)
    saw(name, "capture", layer.attention_scores, maps["attention"].to_numpy())


def test_the_table_in_the_docs_has_a_row_for_each_layer_and_backend():
    page = (Path(__file__).parents[2] / "docs" / "layers.md").read_text()
    table = page.split("<!-- table: begin -->")[1].split("<!-- table: end -->")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.strip().splitlines()]
    assert [row[:2] for row in rows[2:]] == [
        [name, backend] for name in LAYERS for backend in ("JAX", "TensorFlow", "PyTorch")
    ]
    assert {len(row) for row in rows} == {14}
    assert "fails" not in table
