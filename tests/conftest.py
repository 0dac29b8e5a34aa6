"""One backend per run: the one that KERAS_BACKEND names."""

import keras
import numpy as np
import pytest

from browser import chromium, open_page, problems  # noqa: F401, fixtures for the tests of pages


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    keras.utils.set_random_seed(7)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def backend():
    return keras.backend.backend()
