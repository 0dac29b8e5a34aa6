"""Findings, and as one those that say the same of several sites."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from attnscope.marks import name_with_path

MOST_NAMES = 4
"""How many names a message about several sites lists."""


class Part(Protocol):
    """What a message says of one site in particular. Its text is what `str` makes of it."""

    def together(self, others: Sequence[Any]) -> str:
        """What a message about several sites says in its place; `others` are the same part of the others."""


@dataclass(frozen=True)
class Figure:
    """A number.

    Attributes:
        value: The number.
        form: How it is written, as `format` takes it.
    """

    value: float
    form: str = ""

    def __str__(self) -> str:
        return format(self.value, self.form)

    def together(self, others: Sequence[Figure]) -> str:
        """From the smallest to the largest."""
        ordered = sorted((self, *others), key=lambda figure: figure.value)
        low, high = str(ordered[0]), str(ordered[-1])
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class NamesOf:
    """Names of layers, operations or dims.

    Attributes:
        names: The names.
    """

    names: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(map(repr, self.names))

    def together(self, others: Sequence[NamesOf]) -> str:
        """The first of them all, and how many more there are."""
        names = tuple(dict.fromkeys(name for each in (self, *others) for name in each.names))
        left = len(names) - MOST_NAMES
        return str(NamesOf(names)) if left < 2 else f"{NamesOf(names[:MOST_NAMES])} and {left} others"


@dataclass(frozen=True)
class KeyPosition:
    """One of the keys.

    Attributes:
        place: Its position.
    """

    place: int

    def __str__(self) -> str:
        return f"key {self.place}"

    def together(self, others: Sequence[KeyPosition]) -> str:
        """That key, or which it is."""
        places = sorted({each.place for each in (self, *others)})
        if len(places) == 1:
            return str(self)
        listed = ", ".join(map(str, places[:MOST_NAMES]))
        return f"one key ({listed}{', ...' if len(places) > MOST_NAMES else ''})"


@dataclass(frozen=True)
class HeadsOf:
    """Heads of a site.

    Attributes:
        site: Name of the site.
        heads: Their numbers.
        count: How many heads the site has; 0 where it has no such axis.
        queries: Whether it is their queries that are meant, and not the heads as a whole.
    """

    site: str
    heads: tuple[int, ...]
    count: int
    queries: bool = False

    def __str__(self) -> str:
        if not self.count:
            return "the queries"
        if len(self.heads) == self.count and self.count > 1:
            return self._of("all heads")
        if len(self.heads) > 1:
            return self._of(f"heads {', '.join(map(str, self.heads))}")
        return f"the queries of head {self.heads[0]}"

    def _of(self, heads: str) -> str:
        return f"the queries of {heads}" if self.queries else heads

    def together(self, others: Sequence[HeadsOf]) -> str:
        """The heads of one site by their numbers, those of several by how many there are."""
        everything = (self, *others)
        chosen = {(each.site, head) for each in everything for head in each.heads or (0,)}
        if len({each.site for each in everything}) == 1:
            return str(replace(self, heads=tuple(sorted({head for _, head in chosen}))))
        texts = {str(each) for each in everything}
        return texts.pop() if len(texts) == 1 else self._of(f"{len(chosen)} heads")


@dataclass(frozen=True)
class Finding:
    """Something that a reader of the maps needs to know.

    Attributes:
        kind: ``padding``, ``only_padding``, ``single_key``, ``empty``, ``uniform``, ``constant``, ``sink``,
            ``row_sum``, ``nan``, ``by_size``, ``not_run``, ``lost`` or ``unreached``.
        site: Name of the site.
        heads: The heads concerned; empty if it concerns all of them, or if the site has none.
        message: What was seen, with its figure.
        fix: What to do about it.
        value: The figure: a share, or the largest error.
        pattern: The message with a name in braces for each of its parts; empty if it has none.
        parts: What stands there for this site.
        short_name: What the site is called where it is shown; empty for its name.
    """

    kind: str
    site: str
    heads: tuple[int, ...]
    message: str
    fix: str
    value: float
    pattern: str = field(default="", repr=False, compare=False)
    parts: Mapping[str, Part] = field(default_factory=dict, repr=False, compare=False)
    short_name: str = field(default="", repr=False, compare=False)

    @classmethod
    def of(
        cls,
        kind: str,
        site: str,
        pattern: str,
        fix: str,
        value: float,
        parts: Mapping[str, Part],
        heads: tuple[int, ...] = (),
    ) -> Finding:
        """A finding whose message has parts."""
        return cls(kind, site, heads, pattern.format(**parts), fix, value, pattern, parts)

    @property
    def called(self) -> str:
        """What its site is called where it is shown."""
        return self.short_name or self.site

    @property
    def mend(self) -> str:
        """The earlier name of `fix`."""
        return self.fix

    @property
    def gist(self) -> tuple[str, str, str]:
        """What is the same in findings that differ only in their site and figures."""
        return self.kind, self.pattern or self.message, self.fix

    def to_dict(self) -> dict[str, object]:
        """It as plain values."""
        names = ("kind", "site", "heads", "message", "fix", "value")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Takes a pickled finding, also an older one: it had no parts, no short name, and its fix went by `mend`."""
        named = {"fix" if name == "mend" else name: value for name, value in state.items()}
        self.__dict__.update({"pattern": "", "parts": {}, "short_name": "", **named})


@dataclass(frozen=True)
class FindingGroup:
    """Findings that differ only in their sites and figures, as one.

    Attributes:
        findings: The findings, at least one.
    """

    findings: tuple[Finding, ...]

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites."""
        return tuple(dict.fromkeys(finding.site for finding in self.findings))

    @property
    def called(self) -> tuple[str, ...]:
        """What the sites are called where they are shown, in the order of `sites`."""
        return tuple({finding.site: finding.called for finding in self.findings}.values())

    @property
    def where(self) -> str:
        """What the site is called, or how many sites there are."""
        return self.called[0] if len(self.sites) == 1 else f"{len(self.sites)} sites"

    @property
    def fix(self) -> str:
        """What to do about it."""
        return self.findings[0].fix

    @property
    def message(self) -> str:
        """What was seen, with its figures: from the smallest to the largest."""
        first, *others = self.findings
        if not others or not first.pattern:
            return first.message
        parts = {name: part.together([each.parts[name] for each in others]) for name, part in first.parts.items()}
        return first.pattern.format(**parts)

    def __str__(self) -> str:
        """It in one line."""
        listed = f" ({', '.join(self.called)})" if len(self.sites) > 1 else ""
        return f"{self.where}: {self.message}{listed}"


class Findings(tuple[Finding, ...]):
    """Findings, shown as a list with their fixes: those that differ only in their site and figures as one."""

    __slots__ = ()

    def __new__(cls, items: Iterable[Finding] = ()) -> Findings:
        """A list of these findings."""
        return super().__new__(cls, tuple(items))

    def with_short_names(self, names: Mapping[str, str]) -> Findings:
        """The same, with sites called by these names where they are shown.

        Args:
            names: The short name of each site, by its name; a site that is not among them is called by its own.
        """
        return Findings(replace(item, short_name=names.get(item.site, "")) for item in self)

    @property
    def grouped(self) -> tuple[FindingGroup, ...]:
        """The findings as they are shown, in the order in which each was first found.

        Example:
            >>> seen = [Finding("single_key", site, (), "there is only 1 key", "see", 1.0) for site in ("a", "b", "c")]
            >>> [str(group) for group in Findings(seen).grouped]
            ['3 sites: there is only 1 key (a, b, c)']
        """
        groups: dict[tuple[str, str, str], list[Finding]] = {}
        for item in self:
            groups.setdefault(item.gist, []).append(item)
        return tuple(FindingGroup(tuple(items)) for items in groups.values())

    def __repr__(self) -> str:
        if not self:
            return "no findings"
        lines = []
        for group in self.grouped:
            lines.append(f"{group.where}: {group.message}")
            if len(group.sites) > 1:
                lines.append(f"    Sites: {', '.join(group.called)}")
            lines.append(f"    Fix: {group.fix}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no findings</p>"
        return f"<ul>{''.join(map(_item, self.grouped))}</ul>"


def _item(group: FindingGroup) -> str:
    named = [name_with_path(*names) for names in zip(group.called, group.sites, strict=True)]
    sites = f"<br><i>Sites:</i> {', '.join(named)}" if len(named) > 1 else ""
    where = named[0] if len(named) == 1 else group.where
    return f"<li><b>{where}</b>: {html.escape(group.message)}{sites}<br><i>Fix:</i> {html.escape(group.fix)}</li>"
