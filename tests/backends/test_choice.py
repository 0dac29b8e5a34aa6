"""Which backend runs: the option, the variable, the settings, or the first that is installed."""

import json
import os
import sys

import pytest

from attnscope.backends import _choice as backends
from attnscope.backends._choice import choose_backend
from attnscope.errors import UnsupportedError


def test_another_backend_than_the_running_one_is_refused(backend):
    other = next(name for name in backends.BACKENDS if name != backend)
    assert choose_backend(backend) == choose_backend() == backend
    with pytest.raises(UnsupportedError) as caught:
        choose_backend(other)
    assert str(caught.value) == (
        f"The backend {other!r} was asked for, but Keras already runs on {backend!r} in this process. Start a new one: "
        f"KERAS_BACKEND={other} python ..."
    )


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process in which Keras is not loaded yet, with these packages and settings."""

    def make(installed, *, variable=None, settings=None):
        monkeypatch.delitem(sys.modules, "keras")
        monkeypatch.setattr(backends, "find_spec", lambda name: name in installed or None)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setenv("KERAS_BACKEND", variable or "")
        if variable is None:
            monkeypatch.delenv("KERAS_BACKEND")
        if settings is not None:
            (tmp_path / "keras.json").write_text(json.dumps(settings))

    return make


@pytest.mark.parametrize(
    ("installed", "name", "variable", "configured", "chosen"),
    [
        (["tensorflow", "jax", "torch"], "torch", "jax", "tensorflow", "torch"),
        (["tensorflow", "jax", "torch"], None, "jax", "torch", "jax"),
        (["tensorflow", "jax", "torch"], None, None, "torch", "torch"),
        (["jax", "torch"], None, None, None, "jax"),
        (["torch"], None, None, "tensorflow", "torch"),
        (["jax", "openvino"], None, "openvino", None, "openvino"),
        (["jax", "openvino"], None, None, "openvino", "openvino"),
        (["jax", "openvino"], None, None, None, "jax"),
    ],
)
def test_the_backend_is_the_option_the_variable_the_settings_or_what_is_there(
    fresh, installed, name, variable, configured, chosen
):
    fresh(installed, variable=variable, settings=configured and {"backend": configured})
    assert choose_backend(name) == chosen
    assert os.environ["KERAS_BACKEND"] == chosen


@pytest.mark.parametrize(
    ("installed", "variable", "message"),
    [
        (
            [],
            None,
            "No backend of Keras is installed, but one of tensorflow, jax and torch is needed to run a "
            "model. Install one: pip install attnscope[jax]",
        ),
        (
            ["jax"],
            "torch",
            "The backend is 'torch', but that package is not installed. Install it: pip install "
            "attnscope[torch]; or name another: --backend, or KERAS_BACKEND.",
        ),
        (
            ["jax"],
            "numpy",
            "The backend is 'numpy', but one of tensorflow, jax and torch is needed: --backend jax, or "
            "KERAS_BACKEND=jax.",
        ),
    ],
)
def test_a_backend_that_is_not_there_is_said_with_its_mend(fresh, installed, variable, message):
    fresh(installed, variable=variable)
    with pytest.raises(UnsupportedError) as caught:
        choose_backend()
    assert str(caught.value) == message
