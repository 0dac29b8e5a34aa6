"""What may be explained, and what an error says where a target does not fit the model's outputs."""

import numpy as np
import pytest

from attnscope.attribution import AtStep
from attnscope.attribution._targets import targets_of
from attnscope.errors import TargetError

CLASSES = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1]], "float32")
NAMED = {"grade": CLASSES, "size": np.array([[3.0], [5.0]], "float32")}
STEPS = np.arange(2 * 3 * 5, dtype="float32").reshape(2, 3, 5)


def test_a_target_of_a_named_output_reads_that_output():
    [target] = targets_of({"grade": 2}, NAMED)
    assert target.words == "class 2 of grade"
    np.testing.assert_array_equal(target.of(NAMED), CLASSES[:, 2].astype(float))
    several = targets_of({"grade": [0, 1]}, NAMED)
    assert [target.words for target in several] == ["class 0 of grade", "class 1 of grade"]
    np.testing.assert_array_equal([target.of(NAMED) for target in several], CLASSES[:, :2].T.astype(float))


@pytest.mark.parametrize(
    ("target", "outputs", "message"),
    [
        (
            {"grades": 1},
            NAMED,
            "The target names the outputs ['grades'], but one of 'grade', 'size' is needed: target={'grade': 0}.",
        ),
        (
            {"grade": 1},
            CLASSES,
            "The target names the outputs ['grade'], but the model's outputs have no names. Leave the name out: "
            "target=1; or read one of several: target=lambda outputs: outputs[0][:, 1].",
        ),
        (
            1,
            NAMED,
            "The model has several outputs ('grade', 'size'), but the target 1 does not say which. Name one: "
            "target={'grade': 0}.",
        ),
        (
            AtStep(3, 2),
            STEPS,
            "The target is at step 3, but the output has 3, numbered from 0. Give one of 0 to 2, or count from the "
            "end: AtStep(-1, 2).",
        ),
        (
            AtStep(0, 2),
            CLASSES,
            "The target is AtStep(step=0, token=2), but the outputs have the shape (2, 3), and (sample, step, token) "
            "is needed. For classes give the number of one: target=1.",
        ),
    ],
)
def test_a_target_that_does_not_fit_is_an_error_that_says_what_would(target, outputs, message):
    with pytest.raises(TargetError) as caught:
        targets_of(target, outputs)
    assert str(caught.value) == message
