"""JAX, TensorFlow and PyTorch give the same answers about the same weights and inputs.

Every formula is checked once, on PyTorch, against its plainest form. Here each answer is made on each backend, in a
process of its own, and compared with PyTorch's.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from attnscope.attribution import METHODS

SCRIPT = Path(__file__).parents[1] / "backend_answers.py"
OTHERS = ("jax", "tensorflow")
SITES = ("fused", "softmax")
EDITS = ("ablate", "uniform", "permute", "replace", "function")
TOLERANCE = {
    "outputs": 1e-6,
    "scores": 1e-6,
    "received": 1e-6,
    "entropy": 2e-6,
    "edits": 1e-6,
    "gradients": 5e-6,
    "values": 2e-6,
    "relevance": 2e-5,
}
"""How far two backends may differ, which sum float32 in other orders: as a part of the largest number there is.

Relevance has the most, where it is a small difference of two outputs.
"""


class Answers:
    """What one backend said."""

    def __init__(self, folder, backend):
        made = subprocess.run(
            [sys.executable, "-W", "ignore", SCRIPT, folder],
            env={**os.environ, "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr[-3000:]
        told = json.loads((folder / "sites.json").read_text())
        assert told["backend"] == backend
        self.sites = told["sites"]
        self.arrays = dict(np.load(folder / "answers.npz"))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return {backend: Answers(tmp_path_factory.mktemp(backend), backend) for backend in ("torch", *OTHERS)}


def assert_agree(answers, names):
    for name in names:
        expected = answers["torch"].arrays[name].astype("float64")
        assert np.nanmax(expected) - np.nanmin(expected) > 1e-3, f"{name} says nothing: it is the same everywhere"
        limit = TOLERANCE[name.split("/")[0]] * np.nanmax(np.abs(expected))
        for backend in OTHERS:
            np.testing.assert_allclose(
                answers[backend].arrays[name], expected, rtol=0, atol=limit, err_msg=f"{name} on {backend}"
            )


def test_every_backend_answers_the_same_questions(answers):
    names = answers["torch"].arrays.keys()
    assert {name.split("/")[0] for name in names} == set(TOLERANCE)
    for backend in OTHERS:
        assert answers[backend].arrays.keys() == names
        assert answers[backend].sites.keys() == answers["torch"].sites.keys()


def test_outputs_scores_and_streamed_summaries_agree(answers):
    assert_agree(
        answers, ["outputs", *(f"{what}/{site}" for what in ("scores", "received", "entropy") for site in SITES)]
    )


def test_gradients_by_scores_and_embeddings_agree(answers):
    assert_agree(answers, [f"gradients/{name}" for name in (*SITES, "embedded/embedding")])


@pytest.mark.parametrize("edit", EDITS)
def test_the_outputs_under_an_edit_agree(answers, edit):
    assert_agree(answers, [f"edits/{edit}/{site}" for site in SITES])


def test_value_vectors_their_norms_and_alti_agree(answers):
    parts = [f"values/{part}/{site}" for part in ("values", "rest", "output", "norms") for site in SITES]
    assert_agree(answers, [*parts, "values/alti"])


@pytest.mark.parametrize("method", [*METHODS, "heads by gradients", "heads by ablation"])
def test_the_answer_of_a_method_agrees(answers, method):
    assert_agree(answers, [f"relevance/{method}"])


def test_the_same_softmaxes_are_attention_with_the_same_axes_and_reasons(answers):
    for model, sites in answers["torch"].sites.items():
        assert sites, model
        for backend in OTHERS:
            assert answers[backend].sites[model] == sites, f"{model} on {backend}"
    taken = {site["taken"] for sites in answers["torch"].sites.values() for site in sites}
    assert taken == {True, False}
