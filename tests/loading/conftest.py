"""Files of Keras 2: TensorFlow takes long to make them, so they are kept for other backends and later runs."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "keras2_files.py"


@pytest.fixture(scope="session")
def keras2(request):
    """The folder of the files that `keras2_files` makes, in pytest's cache: another script makes them anew."""
    writers = " ".join(f"{name} {version(name)}" for name in ("tf_keras", "tensorflow", "numpy", "h5py"))
    made_by = hashlib.sha256(SCRIPT.read_bytes() + writers.encode()).hexdigest()[:16]
    cache = request.config.cache.mkdir("keras2_files")
    folder = cache / made_by
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for outdated in cache.iterdir():
                if outdated.is_dir():
                    shutil.rmtree(outdated)
            make(cache / "unfinished").rename(folder)
    return folder


def make(folder):
    folder.mkdir()
    script = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, folder],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.returncode == 0, script.stderr[-3000:]
    for file in folder.iterdir():
        file.chmod(0o444)
    return folder
