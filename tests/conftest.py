"""One backend per run: the one that KERAS_BACKEND names.

PyTorch runs every test; JAX and TensorFlow run those that are marked `every_backend`: see `run_all.sh`.
"""

import gc
import os

# Before JAX is loaded, and for the processes that tests start: it compiles programs that run once, on a few numbers.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import keras
import numpy as np
import pytest

from browser import chromium, open_page, problems  # noqa: F401, fixtures for the tests of pages


def pytest_xdist_make_scheduler(config, log):
    """What one of several processes runs as a whole, as it shares something costly: a file, or a family of KerasHub."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFileOrFamily(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            return f"{file}[{test.partition('[')[2]}" if file.endswith("test_keras_hub.py") and "[" in test else file

    return ByFileOrFamily(config, log)


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
