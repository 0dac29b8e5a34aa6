"""The table of methods of attribution."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import xarray as xr

from attnscope.attribution._attention import raw, rollout
from attnscope.attribution._baselines import position, random
from attnscope.attribution._chefer import chefer
from attnscope.attribution._gradients import gradient_x_attention, gradient_x_input
from attnscope.attribution._integrated import integrated_gradients
from attnscope.attribution._occlusion import occlusion
from attnscope.attribution._removal_scores import Versions
from attnscope.attribution._shapley import shapley_estimate
from attnscope.attribution._subject import Subject
from attnscope.errors import MethodError


@dataclass(frozen=True)
class Method:
    """A way to tell how much each position counts.

    Attributes:
        compute: From a `Subject` and options of its own to dims ``(sample, position)``: an array, or what
            `Subject.relevance` makes of one.
        class_specific: Whether it reads the target; if not, it answers the same for every target.
        formula: In one line.
        source: Paper, with its year.
        needs: What the model must have.
    """

    compute: Callable[..., Any]
    class_specific: bool
    formula: str
    source: str
    needs: str

    @property
    def options(self) -> tuple[str, ...]:
        """Names of its options."""
        return tuple(inspect.signature(self.compute).parameters)[1:]


def shapley(
    subject: Subject,
    *,
    permutations: int = 16,
    removal: Any = None,
    kept: Any = None,
    seed: int = 0,
    versions: Versions | None = None,
) -> xr.DataArray:
    """Shapley values with their standard errors as the coordinate ``standard_error``; see `shapley_estimate`."""
    found = shapley_estimate(
        subject, permutations=permutations, removal=removal, kept=kept, seed=seed, versions=versions
    )
    relevance = subject.relevance(found.values, "shapley", class_specific=True, permutations=found.permutations)
    return relevance.assign_coords(standard_error=(relevance.dims, found.standard_error))


_MAPPED = "attention over the positions"
_REMOVABLE = "no more than to be run; something has to stand for what is removed"
_SMOOTH = "a target that can be differentiated; for tokens an Embedding layer"

METHODS: dict[str, Method] = {
    "raw": Method(raw, False, "mean_q mean_h A_hqj", "common practice; Jain and Wallace 2019", _MAPPED),
    "rollout": Method(
        rollout, False, "(prod_l (I + A_l) / 2)_qj", "Abnar and Zuidema 2020", f"self-{_MAPPED}, in one stream"
    ),
    "gradient_x_attention": Method(
        gradient_x_attention, True, "mean_lqh (A * dy/dA)+_qj", "Chefer et al. 2021, eq. 5", _MAPPED
    ),
    "chefer": Method(chefer, True, "R <- R + mean_h (A * dy/dA)+ R", "Chefer et al. 2021, section 3", _MAPPED),
    "gradient_x_input": Method(gradient_x_input, True, "sum_f x_jf dy/dx_jf", "Shrikumar et al. 2016", _SMOOTH),
    "integrated_gradients": Method(
        integrated_gradients,
        True,
        "sum_f (x - b)_jf int_0^1 dy/dx_jf da",
        "Sundararajan et al. 2017",
        _SMOOTH,
    ),
    "occlusion": Method(occlusion, True, "y(x) - y(x without j)", "Zeiler and Fergus 2014; Li et al. 2016", _REMOVABLE),
    "shapley": Method(
        shapley,
        True,
        "mean over orders of the loss when j goes",
        "Castro et al. 2009; Lundberg and Lee 2017",
        _REMOVABLE,
    ),
    "random": Method(random, False, "drawn evenly within 0 to 1", "a baseline", "nothing"),
    "position": Method(position, True, "mean over the other samples of the loss when j goes", "a baseline", _REMOVABLE),
}
"""By name. More can be added: ``METHODS["mine"] = Method(...)``."""


def method_of(name: str, options: Any = ()) -> Method:
    """The method of a name.

    Args:
        name: Its name.
        options: Names of options that it has to know.

    Raises:
        MethodError: There is none of that name, or it has no such option.
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
