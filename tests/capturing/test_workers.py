"""What workers capture is what one process captures, to the byte, however often any of them is killed."""

import os
import pickle
import sys
from importlib.util import find_spec

import pytest

import attnscope as ats
from attnscope.capturing import _workers
from attnscope.capturing._workers import shards_per_piece
from attnscope.engines import Pool
from attnscope.engines._serving import Serving
from attnscope.errors import InputError
from attnscope.stores import _assembly, _layout, verify
from deadly_summary import Deadly
from models import padded_tokens, transformer

OPTIONS = {"labels": list("abcdefg"), "progress": False}


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("processes", marks=pytest.mark.skipif(sys.platform == "win32", reason="has no signals")),
        pytest.param("ray", marks=pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray", "ignore:.*:ResourceWarning")
def test_workers_of_which_one_is_killed_write_what_one_process_writes(rng, tmp_path, engine, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # Ray's workers import `deadly_summary`
    model, x = transformer(), padded_tokens(rng, samples=9_001)
    options = {"batch_size": 1_024, "summaries": [Deadly(tmp_path), ats.TopK(2)], **OPTIONS}
    ats.capture(model, x, store=tmp_path / "local.zarr", **options)
    maps = ats.capture(model, x, store=tmp_path / "run.zarr", engine=engine, workers=2, **options)
    assert (tmp_path / "killed").exists()
    assert maps.num_samples == 9_001
    assert content(tmp_path / "run.zarr") == content(tmp_path / "local.zarr")


class Here:
    """A worker in this process: what it is sent is pickled, as it is for others."""

    def __init__(self, work, ends_after):
        self.serving, self.left = Serving(pickle.dumps(work)), ends_after
        self.sent = b""

    def start(self):
        return self

    def ready(self, workers):
        return workers

    def pickled(self, piece):
        return pickle.dumps(piece)

    def give(self, piece):
        self.sent = piece

    def outcome(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.serving.outcome(self.sent)

    def end(self):
        pass


@pytest.fixture
def captured(rng, tmp_path, monkeypatch):
    """Captures the same samples into small shards: by a worker in this process, or without one."""
    monkeypatch.setattr(_layout, "MOST_ROWS", 8)
    model, x = transformer(), padded_tokens(rng, samples=61)

    def capture(name, *, batch_size, by="local", ends_after=99, samples=61, **options):
        monkeypatch.setattr(_workers, "pool", lambda engine, work, **_: Pool(Here(work, ends_after), 1))
        path = tmp_path / name
        options = {"batch_size": batch_size, "engine": by, **OPTIONS, **options}
        ats.capture(model, x[:samples], store=path, **options)
        return content(path)

    return capture


@pytest.mark.parametrize("batch_size", [3, 11, 64])
def test_shards_do_not_depend_on_where_batches_end(captured, batch_size):
    assert captured("run.zarr", by="processes", batch_size=batch_size) == captured("local.zarr", batch_size=batch_size)


@pytest.mark.parametrize(
    ("batch_size", "ends_after", "resumed_by"),
    [(3, 1, "local"), (3, 3, "processes"), (20, 2, "local"), (20, 3, "processes")],
)
def test_what_workers_left_is_resumed(captured, tmp_path, batch_size, resumed_by, ends_after, monkeypatch):
    monkeypatch.setattr(_workers, "MOST_BATCHES", 1)
    monkeypatch.setattr(_workers, "FEW_BATCHES", 1)
    with pytest.raises(KeyboardInterrupt):
        captured("run.zarr", by="processes", batch_size=batch_size, ends_after=ends_after)
    if (tmp_path / "run.zarr").exists():
        assert verify(tmp_path / "run.zarr").is_whole
    resumed = captured("run.zarr", by=resumed_by, batch_size=batch_size, resume=True)
    assert resumed == captured("local.zarr", batch_size=batch_size)


@pytest.mark.parametrize("samples", [27, 61])
def test_workers_resume_what_one_process_left(captured, tmp_path, samples):
    """Also where its last shard is incomplete, and is replaced."""
    captured("run.zarr", batch_size=3, samples=samples)
    resumed = captured("run.zarr", by="processes", batch_size=3, resume=True)
    assert verify(tmp_path / "run.zarr").is_whole
    assert resumed == captured("local.zarr", batch_size=3)


def test_an_incomplete_shard_is_whole_while_it_is_replaced(captured, tmp_path, monkeypatch):
    captured("run.zarr", batch_size=3, samples=27)
    renamed, replace = [], _assembly.put_in_place

    def stopped(path):
        renamed.append(path)
        if len(renamed) == 3:
            raise KeyboardInterrupt
        replace(path)

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(_assembly, "put_in_place", stopped)
        captured("run.zarr", by="processes", batch_size=3, resume=True)
    left = verify(tmp_path / "run.zarr")
    assert left.is_whole and left.samples == 27
    assert captured("run.zarr", by="processes", batch_size=3, resume=True) == captured("local.zarr", batch_size=3)


def test_a_piece_is_whole_batches_or_enough_of_them():
    assert [shards_per_piece(4096, size) for size in (1, 32, 4096)] == [1, 1, 1]
    assert shards_per_piece(8, 32) == 4
    assert shards_per_piece(4, 31) == 31
    assert shards_per_piece(4096, 30) == 1
    assert shards_per_piece(2048, 2047) == 16


def model_with_weights_of_its_own():
    model = transformer()
    model.name = "mine"
    return model


def test_a_worker_with_another_model_is_refused(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(_workers, "pool", lambda engine, work, **_: Pool(Here(work, 99), 1))
    with pytest.raises(InputError) as caught:
        ats.capture(
            model_with_weights_of_its_own,
            padded_tokens(rng),
            store=tmp_path / "run.zarr",
            engine="processes",
            **OPTIONS,
        )
    assert str(caught.value) == (
        "The model that a worker made, 'mine', differs from the one of the run in its weights. Every worker has to get "
        "the same one: give the path of a file, or a function that names all layers and loads the weights."
    )
    assert not (tmp_path / "run.zarr").exists()


def test_workers_need_a_store(rng):
    with pytest.raises(InputError) as caught:
        ats.capture(transformer(), padded_tokens(rng), engine="processes")
    assert str(caught.value) == (
        "engine='processes' was given, but workers write into a store: capture(..., store='run.zarr', "
        "engine='processes')."
    )
