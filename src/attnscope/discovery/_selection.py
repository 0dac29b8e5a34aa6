"""Which sites are asked for: by name, by pattern, by a predicate, or all that are attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase

import keras

from attnscope.errors import InputError, NoAttentionError, PatternError, kind_of
from attnscope.schema import Site, SiteTable

Selection = str | Iterable[str] | Callable[[Site], bool] | None
"""Which sites: a glob pattern, several, a predicate, or None for all that are attention."""


def selected(found: SiteTable, selection: Selection) -> SiteTable:
    """The sites that are asked for.

    Args:
        found: All sites of a model.
        selection: A glob pattern, several, a predicate, or None for all that are attention. A pattern also selects
            sites that are left out by default.

    Raises:
        PatternError: A pattern matches nothing; the message names the nearest.
        NoAttentionError: Nothing is asked for by name, and the model has no attention; or what is asked for
            cannot be taken.
    """
    chosen = SiteTable(site for site in found if wanted(site, selection))
    patterns = [selection] if isinstance(selection, str) else selection
    if patterns is not None and not callable(patterns):
        for pattern in patterns:
            if not any(matches(site, pattern) for site in found):
                raise PatternError(_no_match(pattern, found))
    takeable = SiteTable(site for site in chosen if site.dims)
    if takeable:
        return takeable
    raise NoAttentionError(_nothing(found, chosen))


def wanted(site: Site, selection: Selection) -> bool:
    if selection is None:
        return site.taken
    if callable(selection):
        return bool(selection(site))
    patterns = [selection] if isinstance(selection, str) else list(selection)
    return any(matches(site, pattern) for pattern in patterns)


def check_selection(selection: Selection) -> None:
    """Checks that sites are asked for in a way that can be followed.

    Raises:
        InputError: It is neither a pattern, nor several, nor a function of one's own.
    """
    is_function = callable(selection) and not isinstance(selection, (keras.Layer, type))
    if selection is None or isinstance(selection, str) or is_function:
        return
    items: list[object] = [selection]
    if isinstance(selection, Iterable) and not isinstance(selection, Iterator):
        items = list(selection)
    if all(isinstance(item, str) for item in items):
        return
    named = [item.name for item in items if isinstance(item, (Site, keras.Layer))]
    example: object = "encoder_0/*"
    if len(named) == len(items):
        example = named[0] if items == [selection] else named[:3]
    raise InputError(
        f"sites is {kind_of(selection)}, but names of sites or patterns of them are needed, or a function from a site "
        f"to True or False: sites={example!r}."
    )


def matches(site: Site, pattern: str) -> bool:
    """Whether a glob pattern matches this site: by name, path, or the last part of either."""
    names = {
        site.name,
        site.path,
        site.full_path,
        *site.full_path.split("/")[-1:],
        *site.path.split("/")[-1:],
    }
    return any(fnmatchcase(name, pattern) for name in names)


def _no_match(pattern: str, found: SiteTable) -> str:
    names = [site.name for site in found]
    near = get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
    listed = ", ".join(repr(name) for name in near) or "none: the model has no softmax at all"
    return (
        f"The pattern {pattern!r} matches none of the model's {len(found)} sites. The nearest are: {listed}. "
        "Patterns are globs over the whole name: sites='encoder_0/*'. All names: ats.sites(model, inputs)."
    )


def _nothing(found: SiteTable, chosen: SiteTable) -> str:
    if chosen:
        first = chosen[0]
        return f"The site {first.name!r} cannot be taken: {first.reason}."
    if not found:
        return (
            "The model computes no softmax and no fused attention, so there is no attention to capture. Weights that "
            "a layer computes by hand can be declared: "
            "ats.declare(LayerClass, output=1, dims=('sample', 'query', 'key'))."
        )
    taken = [site.name for site in found if site.taken]
    if taken:
        return (
            f"No site was chosen, but the model has attention at {', '.join(map(repr, taken[:4]))}. Leave sites out to "
            f"capture all of it, or name some: sites={taken[0]!r}."
        )
    reasons = "; ".join(f"{site.name!r} is left out: {site.reason}" for site in found[:3])
    if not any(site.dims for site in found):
        return f"The model computes softmaxes, but the scores of none of them can be taken: {reasons}."
    none = "The model's only softmax is no" if len(found) == 1 else f"None of the model's {len(found)} softmaxes is"
    return (
        f"{none} attention: {reasons}. To capture one anyway, ask for it by "
        f"name: sites={next(site.name for site in found if site.dims)!r}."
    )
