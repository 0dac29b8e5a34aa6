"""The table of attribution methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import xarray as xr

from attnscope.attribution._attention import raw, rollout
from attnscope.attribution._baselines import position, random
from attnscope.attribution._chefer import chefer
from attnscope.attribution._gradient_products import gradient_x_attention, gradient_x_input
from attnscope.attribution._integrated import integrated_gradients
from attnscope.attribution._occlusion import occlusion
from attnscope.attribution._removal import Kept, Removal
from attnscope.attribution._removal_scores import RemovalScores
from attnscope.attribution._shapley import shapley_estimate
from attnscope.attribution._subject import Subject
from attnscope.errors import MethodError
from attnscope.schema import SAMPLE


@dataclass(frozen=True)
class Method:
    """A method that says how much each position counts.

    Attributes:
        compute: From a `Subject` and options of its own to dims ``(sample, position)``: an array, or what
            `Subject.relevance` makes of one.
        class_specific: Whether it reads the target; if not, its answer is the same for every target.
        formula: The formula, in one line.
        source: The paper, with its year.
        needs: What the model must have.
        alone: Options with which the relevance of each sample is its own, whatever the other samples and the padding
            are, so that padding can be cut off; None where it never is.
        passes: About how often it runs each sample.
        signed: Whether its relevance tells what speaks for the target from what speaks against it; if not, it is never
            negative.
    """

    compute: Callable[..., np.ndarray | xr.DataArray]
    class_specific: bool
    formula: str
    source: str
    needs: str
    alone: frozenset[str] | None = None
    passes: int = 1
    signed: bool = True

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options of `compute`."""
        return tuple(inspect.signature(self.compute).parameters)[1:]


def shapley(
    subject: Subject,
    *,
    permutations: int = 16,
    removal: Removal | str | None = None,
    kept: Kept = None,
    seed: int = 0,
    removal_scores: RemovalScores | None = None,
) -> xr.DataArray:
    """Shapley values by sampling, as labelled arrays; `shapley_estimate` describes them and the options.

    Returns:
        dims ``(sample, key)``, float64, in the unit of the target, with the coordinate ``standard_error`` of the same
        dims and unit, and ``base`` and ``answer``, f(all removed) and f(x).
    """
    estimate = shapley_estimate(
        subject, permutations=permutations, removal=removal, kept=kept, seed=seed, removal_scores=removal_scores
    )
    relevance = subject.relevance(estimate.values, "shapley", class_specific=True, permutations=estimate.permutations)
    return relevance.assign_coords(
        standard_error=(relevance.dims, estimate.standard_error.reshape(relevance.shape)),
        base=(SAMPLE, estimate.answer - estimate.everything),
        answer=(SAMPLE, estimate.answer),
    )


IN_UNITS_OF_TARGET = frozenset(
    ("gradient_x_attention", "gradient_x_input", "integrated_gradients", "occlusion", "shapley", "position")
)
"""Methods whose relevance has the unit of what is explained."""
CHANGES_OF_ANSWER = frozenset(("integrated_gradients", "occlusion", "shapley"))
"""Methods whose relevance is by how much the answer changes; that of the others only ranks, or is a slope."""
_ALWAYS = frozenset[str]()
_MAPPED = "attention over the positions"
_REMOVABLE = "only to be run; something has to replace what is removed"
_SMOOTH = "a target that can be differentiated; for tokens an Embedding layer"

METHODS: dict[str, Method] = {
    "raw": Method(
        raw,
        False,
        "mean_q mean_h A_hqj",
        "common practice; Jain and Wallace 2019",
        _MAPPED,
        _ALWAYS,
        signed=False,
    ),
    "rollout": Method(
        rollout,
        False,
        "(prod_l (I + A_l) / 2)_qj",
        "Abnar and Zuidema 2020",
        f"self-{_MAPPED}, in one stream",
        _ALWAYS,
        signed=False,
    ),
    "gradient_x_attention": Method(
        gradient_x_attention,
        True,
        "mean_lqh (A * dy/dA)+_qj",
        "Chefer et al. 2021, eq. 5",
        _MAPPED,
        _ALWAYS,
        signed=False,
    ),
    "chefer": Method(
        chefer,
        True,
        "R <- R + mean_h (A * dy/dA)+ R",
        "Chefer et al. 2021, section 3",
        _MAPPED,
        _ALWAYS,
        signed=False,
    ),
    "gradient_x_input": Method(
        gradient_x_input, True, "sum_f x_jf dy/dx_jf", "Shrikumar et al. 2016", _SMOOTH, _ALWAYS
    ),
    "integrated_gradients": Method(
        integrated_gradients,
        True,
        "sum_f (x - b)_jf int_0^1 dy/dx_jf da",
        "Sundararajan et al. 2017",
        _SMOOTH,
        frozenset(("steps", "rule")),
        32,
    ),
    "occlusion": Method(occlusion, True, "y(x) - y(x without j)", "Zeiler and Fergus 2014; Li et al. 2016", _REMOVABLE),
    "shapley": Method(
        shapley,
        True,
        "mean over orders of the drop when j is removed",
        "Castro et al. 2009; Lundberg and Lee 2017",
        _REMOVABLE,
    ),
    "random": Method(random, False, "drawn uniformly within 0 to 1", "a baseline", "nothing", signed=False),
    "position": Method(
        position, True, "mean over the other samples of the drop when j is removed", "a baseline", _REMOVABLE
    ),
}
"""The methods by name. Add your own: ``METHODS["mine"] = Method(...)``."""


def method_of(name: str, options: Iterable[str] = ()) -> Method:
    """The method of that name.

    Args:
        name: Its name in `METHODS`.
        options: Names of options that it has to have.

    Raises:
        MethodError: There is no method of that name, or it has no such option.
    """
    if name not in METHODS:
        near = get_close_matches(str(name), METHODS, n=1)
        raise MethodError(
            f"The method is {name!r}, but one of {', '.join(map(repr, METHODS))} is needed: "
            f"method={(near or ['chefer'])[0]!r}."
        )
    method = METHODS[name]
    unknown = [option for option in options if option not in method.options]
    if unknown:
        known = ", ".join(method.options) or "none at all"
        raise MethodError(f"The method {name!r} has no option {unknown[0]!r}; its options are: {known}.")
    return method
