"""Which sequences attend to which, as a user declares it where nothing else says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from attnscope.errors import AttnscopeError
from attnscope.schema import Site

Roles: TypeAlias = Mapping[str, tuple[str, str]]
"""From a glob pattern of sites to the name of the sequence of their queries and of that of their keys."""


def declared_roles(
    sites: Sequence[Site], roles: Roles, matches: Callable[[Site, str], bool], error: type[AttnscopeError]
) -> dict[str, tuple[str, str]]:
    """The sequences of each site that some pattern means, by its name.

    Args:
        sites: All sites.
        roles: What was declared.
        matches: Whether a pattern means a site.
        error: What is raised where the roles are none.
    """
    if not isinstance(roles, Mapping):
        raise error(
            f"The roles are {roles!r}, but patterns of sites with two sequences each are needed, that of the queries "
            "first: roles={'*cross*': ('decoder', 'encoder')}."
        )
    for pattern, pair in roles.items():
        if not any(matches(site, pattern) for site in sites):
            raise error(
                f"The roles name {pattern!r}, which matches none of the sites {[site.name for site in sites]}. Name "
                "sites by patterns: roles={'*cross*': ('decoder', 'encoder')}."
            )
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise error(
                f"The roles say {pair!r} for {pattern!r}, but the names of two sequences are needed, that of the "
                f"queries first: roles={{{pattern!r}: ('decoder', 'encoder')}}."
            )
    return {site.name: pair for site in sites for pattern, pair in roles.items() if matches(site, pattern)}
