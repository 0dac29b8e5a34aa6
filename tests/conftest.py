"""One backend per run: the one that KERAS_BACKEND names."""

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.fixture(scope="session")
def keras2(tmp_path_factory):
    """The folder of the files that `keras2_files` makes, once."""
    folder = tmp_path_factory.mktemp("keras2")
    made = subprocess.run(
        [sys.executable, "-W", "ignore", Path(__file__).parent / "keras2_files.py", folder],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return folder
