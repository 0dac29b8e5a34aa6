"""What sites are called where there is little room: ``layer 3`` in place of a path."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from attnscope.schema import Site, attends_across

_DIGITS = re.compile(r"[0-9]{1,9}")
_SIDES = ("encoder", "decoder")
_FIRST_NUMBERS = (0, 1)
"""What the first of numbered layers is called. Where they begin elsewhere, the number does not say which layer it is: a
name that Keras makes counts the layers of all models before it."""


def side_of(path: str) -> str:
    """The side of a model that a path leads to, ``encoder`` or ``decoder``; empty where its words name none.

    Example:
        >>> [side_of(path) for path in ("t5/encoder_decoder/decoder_layer_1", "bert/layer_1")]
        ['decoder', '']
    """
    for part in reversed(path.lower().split("/")):
        named = [side for side in _SIDES if side in part]
        if len(named) == 1:
            return named[0]
    return ""


def short_names(names: Sequence[str], crosses: Collection[str] = ()) -> dict[str, str]:
    """Short names of sites, unique among them.

    A site is called by the number of its layer where its path says it: sites whose paths differ in numbers alone, of
    which the outermost that differs increases from 0 or 1 in the order of execution. The sides of a model are named
    where there are two, and so is cross-attention beside self-attention. Any other site has the shortest end of its
    path that no other site has.

    Args:
        names: Names of the sites, unique, in the order of execution.
        crosses: Those of them that are cross-attention.

    Returns:
        The short name of each site, by its name, in the same order.

    Example:
        >>> short_names(["bert/layer_0/attention", "bert/layer_1/attention", "bert/pooler"])
        {'bert/layer_0/attention': 'layer 0', 'bert/layer_1/attention': 'layer 1', 'bert/pooler': 'pooler'}
    """
    crossing = set(crosses)
    both_sides = len({side_of(name) for name in names} - {""}) == len(_SIDES)
    both_kinds = 0 < len(crossing.intersection(names)) < len(names)
    paths = [
        _Path(name, side_of(name) if both_sides else "", both_kinds and name in crossing)
        for name in dict.fromkeys(names)
    ]
    short = {path.name: _tail(path, paths) for path in paths}
    for name, numbered in _numbered(paths).items():
        short[name] = numbered
    return _unique(short)


def short_site_names(sites: Iterable[Site]) -> dict[str, str]:
    """The short name of each site of a model, by its name; see `short_names`.

    Args:
        sites: The sites, in the order of execution.
    """
    sites = list(sites)
    crosses = [site.name for site in sites if attends_across(site.lineage, site.dims, site.path)]
    return short_names([site.name for site in sites], crosses)


@dataclass(frozen=True)
class _Path:
    """A name in its parts.

    Attributes:
        name: The whole name.
        side: What to call the side of the model; empty if it needs no name.
        crosses: Whether to say that it is cross-attention.
    """

    name: str
    side: str
    crosses: bool

    @cached_property
    def call(self) -> str:
        """``#2`` for the third call of the layer; empty for the first."""
        found = re.search(r"#[0-9]{1,9}$", self.name)
        return found[0] if found else ""

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Names of the layers, from the model down."""
        return tuple(self.name.removesuffix(self.call).split("/"))

    @cached_property
    def stems(self) -> tuple[str, ...]:
        """The parts without their numbers. Of layers of one name, Keras numbers the second with 1 and not the first."""
        return tuple(_DIGITS.sub("#", part).removesuffix("#").rstrip("_-") for part in self.parts)

    @cached_property
    def numbers(self) -> tuple[tuple[int, ...], ...]:
        """The numbers in each part; the last of each is that at its end, 0 where there is none."""
        return tuple(
            tuple(map(int, _DIGITS.findall(part))) + (() if re.search(r"[0-9]$", part) else (0,)) for part in self.parts
        )

    @property
    def family(self) -> tuple[object, ...]:
        """What the sites have in common that are numbered together."""
        return (self.stems, tuple(map(len, self.numbers))), self.call, self.side, self.crosses


@dataclass(frozen=True)
class _Family:
    """Sites whose paths differ in the number of the layer.

    Attributes:
        paths: Their paths.
        place: Which part of the paths has the number.
        layers: The number of each.
    """

    paths: tuple[_Path, ...]
    place: int
    layers: tuple[int, ...]

    def labels(self, qualifier: str = "", place: int = 0) -> dict[str, str]:
        """The short name of each.

        Args:
            qualifier: What else tells these sites from others; empty where nothing has to.
            place: Which part of the paths that is.
        """
        first = self.paths[0]
        before = [qualifier] if qualifier and place < self.place else []
        after = [qualifier] if qualifier and place > self.place else []
        ends = ", ".join(["", *after, *(["cross"] if first.crosses else [])])
        call = f" {first.call}" if first.call else ""
        return {
            path.name: " ".join(filter(None, [*before, path.side, f"layer {layer}"])) + ends + call
            for path, layer in zip(self.paths, self.layers, strict=True)
        }


def _numbered(paths: Sequence[_Path]) -> dict[str, str]:
    """Names by the number of the layer, of those sites whose paths say it."""
    members: dict[tuple[object, ...], list[_Path]] = defaultdict(list)
    for path in paths:
        members[path.family].append(path)
    families = [family for group in members.values() if (family := _family_of(group)) is not None]
    rivals: dict[tuple[object, ...], list[_Family]] = defaultdict(list)
    for family in families:
        rivals[family.paths[0].family[1:]].append(family)
    return {name: label for group in rivals.values() for name, label in _told_apart(group).items()}


def _family_of(paths: Sequence[_Path]) -> _Family | None:
    """Paths of equal stems as numbered layers; None if no number of theirs is certainly that of the layer."""
    for place in range(len(paths[0].parts)):
        for numbers in zip(*(path.numbers[place] for path in paths), strict=True):
            if len(set(numbers)) == 1:
                continue
            increases = all(one < other for one, other in pairwise(numbers))
            counts_attention_alone = place == len(paths[0].parts) - 1
            has_gaps = numbers[-1] - numbers[0] != len(numbers) - 1
            if not increases or numbers[0] not in _FIRST_NUMBERS or (counts_attention_alone and has_gaps):
                return None
            return _Family(tuple(paths), place, numbers)
    return None


def _told_apart(families: Sequence[_Family]) -> dict[str, str]:
    """Names of families which would otherwise share them; without those that nothing short tells apart."""
    shared = Counter(layer for family in families for layer in family.layers)
    if max(shared.values()) == 1:
        return {name: label for family in families for name, label in family.labels().items()}
    for place in range(min(len(family.paths[0].parts) for family in families)):
        stems = {family.paths[0].stems[place] for family in families}
        if len(stems) == len(families) and all(family.place != place for family in families):
            return {
                name: label
                for family in families
                for name, label in family.labels(family.paths[0].parts[place], place).items()
            }
    return {}


def _tail(path: _Path, paths: Sequence[_Path]) -> str:
    """The shortest end of a path that no other has, with the number of the call."""
    others = [other for other in paths if other is not path and other.call == path.call]
    for count in range(1, len(path.parts)):
        end = path.parts[-count:]
        if all(other.parts[-count:] != end for other in others):
            return "/".join(end) + path.call
    return path.name


def _unique(short: Mapping[str, str]) -> dict[str, str]:
    """The same, with the whole name in place of a short one that two sites would have."""
    counts = Counter(short.values())
    if max(counts.values(), default=1) == 1:
        return dict(short)
    return _unique({name: name if counts[label] > 1 else label for name, label in short.items()})
