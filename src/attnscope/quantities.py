"""What the numbers of a picture are: attention, a difference, or relevance. It decides their scale and their words."""

from __future__ import annotations

from dataclasses import dataclass, replace

import xarray as xr

from attnscope.marks import number, readable, shortened
from attnscope.schema import RECEIVED

LONGEST_TARGET = 80
"""Of longer words for what is explained, the middle is left out."""
LEFT_OVER = 0.01
"""Part of the way from base to answer that relevance may lack and still be said to add up."""
RELEVANCE = "relevance"
"""Name of the arrays that `ats.attribute` returns."""


@dataclass(frozen=True)
class Quantity:
    """What a number of a picture is.

    Attributes:
        name: What is written along the scale: ``attention``, ``integrated gradients, logit of 'malignant'``.
        noun: What a sentence calls it: ``attention``, ``relevance``.
        signed: Whether it has two sides of 0: the scale is then symmetric around 0, with blue for less than 0 and
            orange for more.
    """

    name: str
    noun: str = "attention"
    signed: bool = False

    @property
    def one(self) -> str:
        """What a sentence calls one of the numbers."""
        return "weight" if self.noun == "attention" else "value"

    @property
    def several(self) -> str:
        """What a sentence calls several of them."""
        return f"{self.one}s"

    def compared(self) -> Quantity:
        """What the first minus the second of two such numbers is."""
        return replace(self, name=f"{self.name}: first minus second", signed=True)


ATTENTION = Quantity("attention")
ATTENTION_RECEIVED = Quantity("attention received")


def quantity_of(array: xr.DataArray) -> Quantity:
    """What the numbers of an array are, as far as its name and attrs say.

    Relevance is what `ats.attribute` returns, and any array that is called ``relevance`` or names a ``method``. Shares
    of one by a method (``units`` of 1) have no other side of 0. All else is attention.
    """
    if not is_relevance(array):
        return ATTENTION_RECEIVED if array.name == RECEIVED else ATTENTION
    return Quantity(relevance_in_words(array), RELEVANCE, array.name == RELEVANCE or array.attrs.get("units") != "1")


def is_relevance(array: xr.DataArray) -> bool:
    """Whether an array holds relevance by some method, and no attention."""
    return array.name == RELEVANCE or "method" in array.attrs


def relevance_in_words(array: xr.DataArray) -> str:
    """The method of relevance, and what it explains: ``integrated gradients, logit of 'malignant'``."""
    attrs = array.attrs
    method = str(attrs.get("long_name") or str(attrs.get("method", RELEVANCE)).replace("_", " "))
    units = str(attrs.get("units", ""))
    units = "" if units == "1" else units
    if attrs.get("class_specific") in (False, 0):
        return f"{method}, whatever the target" if array.name == RELEVANCE else method
    target = target_of(array)
    if not target:
        return f"{method} ({units})" if units else method
    return f"{method}, {target_in_words(target, units)}"


def remarks_on(array: xr.DataArray) -> list[str]:
    """What a picture of relevance says besides its scale: the model's number, and the verdict on the method.

    An explanation knows them: of a single sample the coordinates ``answer`` and ``decision``, and the attr ``verdict``.
    """
    remarks = []
    if "decision" in array.coords and "answer" in array.coords and array.coords["answer"].ndim == 0:
        answer, decision = number(float(array.coords["answer"])), readable(str(array.coords["decision"].item()))
        explained = target_in_words(target_of(array), str(array.attrs.get("units", "")))
        remarks += [] if answer == decision else [f"{explained}: {answer}"]
    return [*remarks, str(array.attrs.get("verdict", ""))]


def target_in_words(target: str, units: str = "") -> str:
    """What is explained, with its unit: ``logit of 'malignant'``, ``class 'malignant'``, ``the output in hours``."""
    if not units:
        return target
    if target.startswith("the output"):
        return f"{target} in {units}"
    return f"{units} of {target.removeprefix('class ') if target[:7] in _QUOTED else target}"


_QUOTED = ("class '", 'class "')


def target_of(array: xr.DataArray) -> str:
    """What relevance explains: the target that was selected, else the only one; empty where it is not known."""
    chosen = array.coords.get("target")
    if chosen is not None and chosen.ndim == 0:
        return shortened(str(chosen.item()), LONGEST_TARGET)
    named = array.coords.get("sample_target")
    if named is not None and named.ndim == 0:
        return shortened(str(named.item()), LONGEST_TARGET)
    words = shortened(str(array.attrs.get("target", "")), LONGEST_TARGET)
    return "" if words == "several" else words
