"""The evidence card: what was found about each method, as a table, in words, as JSON and as a page."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from attnscope.errors import CARDS, free_path
from attnscope.findings import Findings
from attnscope.marks import number, shown
from attnscope.pages import CardRules, card_element, card_page
from attnscope.plain_values import plain
from attnscope.trust._interval import Interval
from attnscope.trust._time_limit import Limited
from attnscope.trust._verdict import BASELINES, CHANGES, LIMITS, MARGIN, RULE, Verdict, in_short

_CARD_RULES = CardRules(RULE, LIMITS, BASELINES, unchanged_from=CHANGES, margin=MARGIN)


@dataclass(frozen=True)
class Judged:
    """What was found about one method, or baseline.

    Attributes:
        name: Its name.
        class_specific: Whether it reads the target; None for baselines.
        means: By removal: each measure, averaged over the samples, in the unit of the target.
        gains: By removal and baseline: how much more comprehensive it is, with an interval.
        randomised: Mean rank correlation of its relevance with that for the model with more and more parameters
            shuffled, by stage; the first is the output layer alone, the last is everything. Empty for baselines.
        independent: The same with one block of layers shuffled at a time, except for the output layer.
        sensitivity: Largest relative change of its relevance when the input is perturbed a little, see
            `max_sensitivity`: median over the samples; None for baselines, and for tokens, which cannot be perturbed a
            little.
        verdict: How faithful it is; None for baselines.
        passes: What its relevance cost in forward passes, in samples; answers that other methods had already computed
            cost nothing.
        gradient_passes: What its relevance cost in forward and backward passes, in samples.
    """

    name: str
    class_specific: bool | None
    means: dict[str, dict[str, float]]
    gains: dict[str, dict[str, Interval]]
    randomised: dict[str, float]
    verdict: Verdict | None
    independent: dict[str, float] = field(default_factory=dict)
    sensitivity: float | None = None
    passes: int = 0
    gradient_passes: int = 0


@dataclass(frozen=True)
class Moved:
    """How far the answer moves when attention changes; medians over the samples.

    Attributes:
        samples: How many samples were tested.
        spread: Standard deviation of the answer over the samples, to compare with.
        permuted: Absolute change when weights are permuted, see `permutation_test`.
        permutations: How many permutations were drawn.
        uniform: Absolute change when attention is uniform.
        distance: Largest Jensen-Shannon divergence (bits) found that keeps the answer within the tolerance; None where
            no scores were captured.
        tolerance: How far the answer may move in that test: a twentieth of the spread.
        site: The site whose attention that test changes; None where no scores were captured.
        passes: Forward passes of all three tests, in samples.
        short_name: What that site is called where it is shown; empty for its name.
    """

    samples: int
    spread: float
    permuted: float
    permutations: int
    uniform: float
    distance: float | None
    tolerance: float
    site: str | None
    passes: int
    short_name: str = ""

    @property
    def called(self) -> str:
        """What the site is called where it is shown."""
        return self.short_name or self.site or ""


@dataclass(frozen=True)
class EvidenceCard:
    """May these maps be believed? What was found, and how.

    A notebook displays it; `table` is for programs, and `save` writes a page or JSON.

    Attributes:
        model: Name of the model.
        target: What was explained.
        kind: What the positions are: ``tokens``, ``codes``, ``features``, ``steps`` or ``patches``.
        samples: How many samples were tested.
        given: How many samples were given.
        seed: Seed of everything that was drawn.
        judged: What was found about each method, by its name; the baselines last.
        margins: By removal: the gain in comprehensiveness that counts as none, in the unit of the target.
        moved: How far the answer moved when attention was changed; None where it was not, or there is no attention.
        stability: By method: mean rank correlation of its relevance between models trained from several seeds.
        retrained: Metric of the model trained with ``free`` and with ``uniform`` attention; None where not asked for.
        findings: The lint of the attention on these samples: padding, sinks, degenerate axes.
        passes: Forward passes, in samples.
        gradient_passes: Forward and backward passes, in samples.
        seconds: How long it took.
        notes: Anything else that a reader has to know.
        backend: The Keras backend it ran on.
        limit: The time limit that it was made within; None where there was none.
        weights: The digest of the model's weights, see `weights_digest`; empty where it is not known.
    """

    model: str
    target: str
    kind: str
    samples: int
    given: int
    seed: int
    judged: dict[str, Judged]
    margins: dict[str, float]
    moved: Moved | None
    stability: dict[str, float]
    retrained: dict[str, float] | None
    findings: Findings
    passes: int
    gradient_passes: int
    seconds: float
    notes: tuple[str, ...]
    backend: str
    limit: Limited | None = None
    weights: str = ""

    @property
    def verdicts(self) -> dict[str, str]:
        """By method: ``explains``, ``descriptive only``, ``misleading here`` or ``cannot tell``."""
        return {name: method.verdict.word for name, method in self.judged.items() if method.verdict is not None}

    @property
    def summary(self) -> tuple[str, str]:
        """Which methods may be used for this model, and what is wrong with the others, in two sentences."""
        verdicts = {name: method.verdict for name, method in self.judged.items() if method.verdict is not None}
        return in_short(verdicts, self.samples, self.given, self.limit)

    @property
    def removals(self) -> list[str]:
        """Names of the removals."""
        return list(next(iter(self.judged.values())).means)

    @property
    def table(self) -> xr.Dataset:
        """All numbers by method and removal.

        Dims ``(relevance, removal)`` for the measures' means, and for ``gain_over_random`` and ``gain_over_position``
        with ``_low`` and ``_high``; ``(relevance,)`` for ``randomised_head``, ``randomised_all`` and
        ``max_sensitivity``. NaN where a number does not exist.
        """
        methods, removals = list(self.judged), self.removals
        dims = ("relevance", "removal")
        measures = list(next(iter(next(iter(self.judged.values())).means.values())))
        variables: dict[str, Any] = {
            measure: (dims, [[self.judged[m].means[r][measure] for r in removals] for m in methods])
            for measure in measures
        }
        for baseline in BASELINES:
            gains = [[self.judged[m].gains[r].get(baseline) for r in removals] for m in methods]
            for name, attribute in (("", "mean"), ("_low", "low"), ("_high", "high")):
                values = [[math.nan if g is None else float(getattr(g, attribute)) for g in row] for row in gains]
                variables[f"gain_over_{baseline}{name}"] = (dims, values)
        stages = [list(self.judged[m].randomised.values()) or [math.nan] for m in methods]
        variables["randomised_head"] = (("relevance",), [correlations[0] for correlations in stages])
        variables["randomised_all"] = (("relevance",), [correlations[-1] for correlations in stages])
        sensitivity = [self.judged[m].sensitivity for m in methods]
        variables["max_sensitivity"] = (("relevance",), [math.nan if s is None else s for s in sensitivity])
        return xr.Dataset(variables, coords={"relevance": methods, "removal": removals}, attrs={"target": self.target})

    def __repr__(self) -> str:
        head = (
            f"Evidence on {shown(self.model)}, {shown(self.target)}: {self.samples} samples of {self.kind}, "
            f"{self.passes:,} forward and {self.gradient_passes:,} gradient passes, {self.seconds:.0f} s, "
            f"seed {self.seed}"
        )
        rows = [["", "verdict", *(f"{r}: over {b}" for r in self.removals for b in BASELINES)]]
        for name, method in self.judged.items():
            word = "baseline" if method.verdict is None else method.verdict.word
            rows.append([name, word, *(_gain(method.gains[r].get(b)) for r in self.removals for b in BASELINES)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*self.summary, head, *lines, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        return card_element(self, _CARD_RULES)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; NaN becomes None."""
        content = {"summary": self.summary, "verdicts": self.verdicts, **asdict(self)}
        content["rule"] = RULE
        content["limits"] = list(LIMITS)
        content["findings"] = [finding.to_dict() for finding in self.findings]
        values: dict[str, Any] = plain(content)
        return values

    def to_json(self) -> str:
        """The values of `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes a self-contained page, or JSON if the path ends in ``.json``.

        Args:
            path: Where to write.
            overwrite: Whether an existing file may be replaced.

        Returns:
            The path.

        Raises:
            WouldOverwriteError: `path` exists, and `overwrite` is False.
            InputError: The name ends in neither.
        """
        replacing = f"card.save({str(path)!r}, overwrite=True)"
        path = free_path(path, replacing, overwrite=overwrite, suffixes=CARDS)
        path.write_text(
            self.to_json() if path.suffix.lower() == ".json" else card_page(self, _CARD_RULES), encoding="utf-8"
        )
        return path


def _gain(gain: Interval | None) -> str:
    if gain is None:
        return "-"
    return f"{number(float(gain.mean))} [{number(float(gain.low))}, {number(float(gain.high))}]"
