"""One backend per run: the one that KERAS_BACKEND names.

PyTorch runs every test; JAX and TensorFlow run those that are marked `every_backend`: see `run_all.sh`.
"""

import gc
import os
import zlib
from collections import defaultdict

# Before JAX is loaded, and for the processes that tests start: it compiles programs that run once, on a few numbers.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import keras
import numpy as np
import pytest

from browser import chromium, free_windows, open_page, problems  # noqa: F401, fixtures for the tests of pages

DEALT = ("jax", "tensorflow")
"""The backends among which cases are dealt out."""


def pytest_xdist_make_scheduler(config, log):
    """What one of several processes runs as a whole, as it shares something costly: a file, or a family of KerasHub."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFileOrFamily(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            return f"{file}[{test.partition('[')[2]}" if file.endswith("test_keras_hub.py") and "[" in test else file

    return ByFileOrFamily(config, log)


def pytest_collection_modifyitems(config, items):
    """With ``-m every_backend`` a test that has many cases meets some of them on JAX and others on TensorFlow.

    Each runs one in two, or in ``every_backend(share=...)``, and never none; all where ATTNSCOPE_EVERY_CASE is set.
    Which ones is told by their names alone.
    """
    here = keras.backend.backend()
    if config.option.markexpr != "every_backend" or os.environ.get("ATTNSCOPE_EVERY_CASE") or here not in DEALT:
        return
    tests = defaultdict(list)
    for item in items:
        if item.get_closest_marker("every_backend"):
            tests[item.nodeid.partition("[")[0]].append(item)
    left = set()
    for cases in tests.values():
        for place, item in enumerate(sorted(cases, key=lambda item: zlib.crc32(item.nodeid.encode()))):
            share = item.get_closest_marker("every_backend").kwargs.get("share", 2)
            if len(cases) > 1 and place % share != DEALT.index(here) % share:
                left.add(item)
    config.hook.pytest_deselected(items=list(left))
    items[:] = [item for item in items if item not in left]


def pytest_collection_finish():
    """Three frameworks are loaded for good, so that no search for garbage need look at them again."""
    gc.collect()
    gc.freeze()


def start_anew():
    """No test sees what ran before it: Keras counts names and draws numbers from the start."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(7)


@pytest.fixture(autouse=True)
def _whatever_ran_before():
    start_anew()
    yield
    start_anew()  # for what the next file makes for all of its tests


@pytest.fixture(autouse=True)
def _optimised_where_a_test_is_about_it(request, monkeypatch):
    if request.node.get_closest_marker("optimised") is None:
        yield
        return
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # what `run_all.sh` sets; a process that a test starts goes without
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def backend():
    return keras.backend.backend()
