"""A run into a store that broke off goes on, wherever it broke off, and gives what an unbroken one gives."""

import keras
import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope.capturing._store import OnDisk
from attnscope.running import _runner as running
from models import padded_tokens, transformer

OPTIONS = {"batch_size": 3, "summaries": [ats.Full(), ats.TopK(2)], "labels": list("abcdefg"), "progress": False}


@pytest.fixture
def model_and_inputs(rng):
    return transformer(), padded_tokens(rng, samples=11)


def breaking_off(monkeypatch, *, after_batches):
    """Makes the run end with Ctrl-C before a batch reaches the store."""
    added = []

    def add(self, arrays, outputs, own=OnDisk.add):
        if len(added) == after_batches:
            raise KeyboardInterrupt
        added.append(1)
        own(self, arrays, outputs)

    monkeypatch.setattr(OnDisk, "add", add)


@pytest.mark.parametrize("after_batches", [1, 2, 3])
def test_what_broke_off_goes_on(model_and_inputs, tmp_path, monkeypatch, after_batches):
    model, x = model_and_inputs
    whole = ats.capture(model, x, store=tmp_path / "whole.zarr", **OPTIONS)
    with monkeypatch.context() as broken:
        breaking_off(broken, after_batches=after_batches)
        with pytest.raises(KeyboardInterrupt):
            ats.capture(model, x, store=tmp_path / "run.zarr", **OPTIONS)
    runs = []
    with monkeypatch.context() as counting:
        own = running.as_numpy
        counting.setattr(running, "as_numpy", lambda tensor: runs.append(1) or own(tensor))
        maps = ats.capture(model, x, store=tmp_path / "run.zarr", resume=True, **OPTIONS)
    assert len(runs) == 4 - after_batches
    for name in whole:
        xr.testing.assert_identical(maps.dataset(name).load(), whole.dataset(name).load())
    np.testing.assert_array_equal(maps.outputs, whole.outputs)


def test_a_whole_run_is_opened_and_not_run_again(model_and_inputs, tmp_path, monkeypatch):
    model, x = model_and_inputs
    first = ats.capture(model, x, store=tmp_path / "run.zarr", resume=True, **OPTIONS)
    monkeypatch.setattr(running, "as_numpy", None)  # would fail if a batch ran
    again = ats.capture(model, x, store=tmp_path / "run.zarr", resume=True, **OPTIONS)
    for name in first:
        xr.testing.assert_identical(again.dataset(name).load(), first.dataset(name).load())


def test_a_first_batch_that_broke_off_leaves_no_store(model_and_inputs, tmp_path, monkeypatch):
    model, x = model_and_inputs
    with monkeypatch.context() as broken:
        breaking_off(broken, after_batches=0)
        with pytest.raises(KeyboardInterrupt):
            ats.capture(model, x, store=tmp_path / "run.zarr", **OPTIONS)
    assert list(tmp_path.iterdir()) == []
    maps = ats.capture(model, x, store=tmp_path / "run.zarr", resume=True, **OPTIONS)
    assert maps.num_samples == 11
    assert [path.name for path in tmp_path.iterdir()] == ["run.zarr"]


def message(*args, **options):
    with pytest.raises(ats.errors.InputError) as caught:
        ats.capture(*args, **options)
    return str(caught.value)


def test_another_run_is_not_gone_on_with(model_and_inputs, tmp_path):
    model, x = model_and_inputs
    path = tmp_path / "run.zarr"
    ats.capture(model, x[:6], store=path, **OPTIONS)
    fix = "Give the model and the options that it was started with, or another path."
    assert message(model, x, store=path, resume=True, **{**OPTIONS, "summaries": [ats.Full()]}) == (
        f"{str(path)!r} holds a different run, with variables ['scores', 'top_keys', 'top_scores'] instead of "
        f"['scores']. {fix}"
    )
    assert message(model, x, store=path, resume=True, sites="attention_1", **OPTIONS) == (
        f"{str(path)!r} holds a different run, with sites ['attention_0', 'attention_1'] instead of ['attention_1']. "
        f"{fix}"
    )
    other = keras.models.clone_model(model)
    other.name = "other"
    assert message(other, x, store=path, resume=True, **OPTIONS) == (
        f"{str(path)!r} holds a different run, with model {model.name!r} instead of 'other'. {fix}"
    )
    assert message(model, x, store=path, resume=True, **{**OPTIONS, "batch_size": 4}) == (
        f"{str(path)!r} holds 6 samples, but a batch goes from sample 4 to 8, so the batches had another size. Give "
        "the batch_size= that the run was started with."
    )
    assert message(model, x[:3], store=path, resume=True, **OPTIONS) == (
        f"{str(path)!r} holds 6 samples, but 3 were given. Give all samples of that run, or open it: "
        "attnscope.open(path)."
    )
    assert ats.open(path).num_samples == 6


@pytest.mark.parametrize("what", ["inputs", "labels", "weights"])
def test_a_run_from_something_else_is_not_gone_on_with(model_and_inputs, tmp_path, what):
    model, x = model_and_inputs
    path = tmp_path / "run.zarr"
    ats.capture(model, x[:6], store=path, **OPTIONS)
    options = dict(OPTIONS)
    if what == "inputs":
        x = x.copy()
        x[5, 0] += 1
    elif what == "labels":
        options["labels"] = list("abcdefz")
    else:
        weight = model.weights[-1]
        weight.assign(weight + 1e-3)
    expected = (
        f"{str(path)!r} holds a run with other {what}. Give those that the run was started with, or another path."
    )
    if what == "inputs":
        expected = (
            f"{str(path)!r} holds 6 samples that were captured from other inputs. Give those that the run was started "
            "with, or another path."
        )
    assert message(model, x, store=path, resume=True, **options) == expected


def test_more_samples_go_behind_those_of_a_whole_run(model_and_inputs, tmp_path):
    model, x = model_and_inputs
    ats.capture(model, x[:6], store=tmp_path / "run.zarr", **OPTIONS)
    maps = ats.capture(model, x, store=tmp_path / "run.zarr", resume=True, **OPTIONS)
    whole = ats.capture(model, x, **OPTIONS)
    for name in whole:
        np.testing.assert_array_equal(maps[name], whole[name].astype("float16").astype("float32"))


def test_a_run_that_broke_off_is_not_opened_as_if_it_were_whole(model_and_inputs, tmp_path, monkeypatch):
    model, x = model_and_inputs
    path = tmp_path / "run.zarr"
    with monkeypatch.context() as broken:
        breaking_off(broken, after_batches=2)
        with pytest.raises(KeyboardInterrupt):
            ats.capture(model, x, store=path, **OPTIONS)
    with pytest.raises(ats.errors.IncompleteRunError) as caught:
        ats.open(path)
    assert str(caught.value) == (
        f"{str(path)!r} holds an interrupted run. Resume it with the model and the inputs that it was started "
        f"with: attnscope.capture(model, inputs, store={str(path)!r}, resume=True)."
    )


def test_there_is_nothing_to_resume_without_a_store(model_and_inputs):
    model, x = model_and_inputs
    assert message(model, x, resume=True, **OPTIONS) == (
        "resume=True was given, but it needs a store to resume: capture(..., store='run.zarr', resume=True)."
    )
