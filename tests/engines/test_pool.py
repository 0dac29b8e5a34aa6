"""Workers do each piece of work once, whatever becomes of them, and say what went wrong."""

import signal
import sys

import pytest

from attnscope.engines import check_engine, pool
from attnscope.errors import InputError, NotInstalledError, WorkerDiedError
from workers_of_tests import Squares


def workers(work, count=2):
    return pool(
        "processes", work, workers=count, environment={"SAID": "to workers"}, named=lambda piece: f"no. {piece}"
    )


def test_every_piece_is_done_once_though_a_worker_is_killed(tmp_path):
    with workers(Squares(tmp_path, dies_at=5, deaths=2)) as pool_of_two:
        results = sorted(pool_of_two.results(range(11)))
    assert results == [(number, (number**2, "to workers")) for number in range(11)]
    assert len(list(tmp_path.iterdir())) == 2


def test_an_error_is_raised_where_the_work_was_given(tmp_path):
    with workers(Squares(tmp_path, fails_at=3), 1) as pool_of_one, pytest.raises(ZeroDivisionError) as caught:
        list(pool_of_one.results(range(11)))
    assert caught.value.__notes__[0].startswith("It was raised in a worker:\nTraceback")


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
def test_work_at_which_workers_end_again_and_again_is_given_up(tmp_path):
    with workers(Squares(tmp_path, dies_at=1, deaths=9), 1) as pool_of_one, pytest.raises(WorkerDiedError) as caught:
        list(pool_of_one.results(range(2)))
    assert str(caught.value) == (
        f"3 workers ended at the same work, no. 1; the last one was ended by signal {signal.SIGKILL:d}. If memory ran "
        "out, take fewer workers or a smaller batch_size. If this is a script that is run as a program, put what it "
        "does under: if __name__ == '__main__':"
    )


def test_what_cannot_be_sent_is_said(tmp_path):
    with pytest.raises(InputError) as caught:
        workers(lambda: None)
    assert str(caught.value).startswith("What the workers need cannot be sent to another process: ")


def test_without_ray_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotInstalledError) as caught:
        pool("ray", Squares(tmp_path), workers=1, environment={}, named=str)
    assert str(caught.value) == (
        "engine='ray' needs Ray, which is not installed. Install it: pip install \"attnscope[ray]\"."
    )


@pytest.mark.parametrize(
    ("engine", "count", "message"),
    [
        (
            "threads",
            2,
            "engine is 'threads', but it must be one of 'local', 'processes' or 'ray': engine='processes'.",
        ),
        (
            "local",
            2,
            "workers=2 was given, but with engine='local' this process does all of the work. Give engine='processes' "
            "too, or leave workers out.",
        ),
        (
            "ray",
            0,
            "workers is 0, but a whole number of workers is needed, one at least: workers=4.",
        ),
    ],
)
def test_workers_that_there_cannot_be(engine, count, message):
    with pytest.raises(InputError) as caught:
        check_engine(engine, count)
    assert str(caught.value) == message
