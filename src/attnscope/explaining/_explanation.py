"""An explanation: what was found about each chosen sample, as a table, in words, as a page and as pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attnscope.attribution import method_of
from attnscope.errors import EXPLANATIONS, PICTURES, InputError, MethodError, NotInstalledError, counted, free_path
from attnscope.explaining._method_choice import MethodChoice
from attnscope.explaining._pictures import draw, write
from attnscope.findings import Finding
from attnscope.marks import number, readable, shown, signed_number
from attnscope.pages import explanation_element, explanation_page, use_in_words
from attnscope.plain_values import cell, plain, shortest, writable
from attnscope.position_kinds import names_along
from attnscope.schema import SAMPLE, SAMPLE_ID
from attnscope.trust import EvidenceCard

if TYPE_CHECKING:
    import pandas as pd

    from attnscope.plot import Axes, Place

MOST_IN_ERRORS = 8
"""How many ids an error names."""
MOST_IN_WORDS = 3
"""How many parts of a sample its line in a terminal names."""


@dataclass(frozen=True)
class Explanation:
    """What a model's answers for some samples depend on, with the verdict on the method that says so.

    A notebook displays it; `table` is for programs, `plot` draws a sample, and `save` writes a page, JSON, CSV or
    pictures.

    Attributes:
        model: Name of the model.
        target: What is explained.
        kind: What the positions are: ``tokens``, ``codes``, ``features``, ``steps`` or ``patches``.
        removal: What replaces a removed position, such as ``the mean of its column``.
        methods: The method that is drawn, and the one beside it: none, one or two.
        card: The evidence card that the verdicts are from; None where nothing was tested.
        findings: For each sample the findings of the lint on its attention.
        notes: Anything else that a reader has to know.
        table: Everything about the samples. Dims ``(by, sample, key)`` for ``relevance``, by method and in the unit of
            each; ``(sample, removed)`` for ``answer_without`` the top positions, as many as the coordinate says;
            ``(sample, key)`` for ``value`` (also ``feature``, of time steps) and ``attention``, the mean over sites,
            heads and valid queries; ``(sample,)`` for ``answer``, for ``base`` where the method adds up from it, and,
            of two methods, for ``agreement``, the rank correlation of their relevance; ``(sample, class)`` for
            ``by_class``. Coordinates: ``sample_id``, ``decision``, ``truth`` (empty where it is not known), ``verdict``
            of each method, ``key_label``, ``key_valid``. A variable that cannot be known is not there. Attrs:
            ``target``, ``units`` and ``grid`` where they are known, ``dtype`` of the model's answers.
        right: Of how many samples, of all that were given, the model says what is right, and of how many that is known;
            None where it is known of none, and of numbers.
    """

    model: str
    target: str
    kind: str
    removal: str
    methods: tuple[MethodChoice, ...]
    card: EvidenceCard | None
    findings: tuple[tuple[Finding, ...], ...]
    notes: tuple[str, ...]
    table: xr.Dataset
    right: tuple[int, int] | None = None

    @property
    def ids(self) -> list[str]:
        """The ids of the samples, in their order."""
        return [str(name) for name in self.table[SAMPLE_ID].values]

    @property
    def method(self) -> str | None:
        """The method that is drawn; None where the card lets none through."""
        return self.methods[0].name if self.methods else None

    @property
    def verdict(self) -> str:
        """The card's word on that method; ``not tested`` where there is no card."""
        return self.methods[0].verdict if self.methods else "no method may be drawn"

    def __len__(self) -> int:
        return len(self.ids)

    def to_pandas(self) -> pd.DataFrame:
        """One row per sample and position: id, decision, answer, truth, what is explained, the verdict on each method,
        name, value and the relevance by each method. The answer is the target's number.

        Patches without names have their row and column in place of one. Half a character, as tokenizers make them, is
        written as its code, as files have it.

        Raises:
            NotInstalledError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise NotInstalledError("to_pandas() needs pandas, which is not installed: pip install pandas.") from error
        rows = [
            {name: writable(value) if isinstance(value, str) else value for name, value in row.items()}
            for row in self.rows()
        ]
        return pd.DataFrame(rows, columns=self._columns)

    def rows(self) -> list[dict[str, object]]:
        """The rows of `to_pandas`, without pandas; padding is left out."""
        return [row for sample in range(len(self)) for row in self._rows_of(sample)]

    def _rows_of(self, sample: int) -> list[dict[str, object]]:
        one = self.table.isel({SAMPLE: sample})
        readers = self._readers(one)
        places = [tuple(map(int, place)) for place in np.argwhere(one["key_valid"].values)]
        return [{name: read(place) for name, read in readers.items()} for place in places]

    @property
    def _columns(self) -> list[str]:
        """Names of the columns, which are the same for all samples."""
        return list(self._readers(self.table.isel({SAMPLE: 0})))

    def _readers(self, one: xr.Dataset) -> dict[str, Callable[[tuple[int, ...]], object]]:
        """For each column of a sample's rows what stands there, by the place of the position."""
        flat = {name: np.asarray(one[name].values) for name in one.variables}
        known: dict[str, object] = {
            "id": str(one[SAMPLE_ID].item()),
            "decision": str(one["decision"].item()),
            "answer": self._of_model(one["answer"]),
        }
        known |= {"truth": str(one["truth"].item())} if "truth" in one.coords else {}
        columns: dict[str, Callable[[tuple[int, ...]], object]] = {
            name: lambda _, value=value: value  # type: ignore[misc]
            for name, value in known.items()
        }
        columns |= {name: lambda _, value=value: value for name, value in self._explained.items()}  # type: ignore[misc]
        columns["position"] = lambda place: place[0] if len(place) == 1 else ", ".join(map(str, place))
        if "key_label" in flat:
            columns["name"] = lambda place: str(flat["key_label"][place])
        elif "grid" in self.table.attrs:
            width = int(self.table.attrs["grid"][1])
            columns |= {"row": lambda place: place[0] // width, "column": lambda place: place[0] % width}
        if flat.get("value", np.empty(())).shape == flat["key_valid"].shape:
            columns["value"] = lambda place: shortest(flat["value"][place])
        for row, choice in enumerate(self.methods):
            columns[choice.name] = lambda place, row=row: float(flat["relevance"][(row, *place)])  # type: ignore[misc]
        if "attention" in flat:
            columns["attention"] = lambda place: float(flat["attention"][place])
        return columns

    @property
    def _explained(self) -> dict[str, str]:
        """What the relevance is about, and the verdict on each method, by the names of their columns."""
        return {"target": self.target} | {f"verdict on {choice.name}": choice.verdict for choice in self.methods}

    def _of_model(self, value: object) -> float:
        """A number that the model gave, by the fewest digits that read back as it in the type of its outputs."""
        decimal: float = shortest(np.asarray(value, dtype=self.table.attrs["dtype"]))
        return decimal

    @property
    def relevance(self) -> xr.DataArray:
        """The relevance by the method that is drawn, as `ats.attribute` returns it, for any picture of `ats.plot`.

        It knows what the model says of each sample and the verdict on the method, and every picture says both.

        Raises:
            MethodError: No method is drawn.
        """
        if not self.methods:
            raise MethodError(
                f"There is no relevance: no method may be drawn for {shown(self.model)!r}. Name one, and it is drawn "
                "with its verdict: method='occlusion'."
            )
        choice, table = self.methods[0], self.table
        relevance = table["relevance"].isel(by=0, drop=True)
        known = {name: table[name] for name in ("base", "answer") if name in table}
        attrs = {
            **{name: table.attrs[name] for name in ("units", "grid", "positions", "dtype") if name in table.attrs},
            "method": choice.name,
            "target": self.target,
            "class_specific": method_of(choice.name).class_specific,
            "verdict": choice.in_words,
        }
        return relevance.assign_coords(known).assign_attrs(attrs)

    def plot(self, sample: object = None, *, ax: Place = None) -> Axes:
        """Draws one sample with Matplotlib, by its kind.

        A text is drawn by `plot.tokens`, a picture by `plot.image`, a series by `plot.series`, all else by `plot.bars`.
        The title says the id and what the model says; the lines below it say the verdict on the method; the scale says
        the method, the unit and the target.

        Args:
            sample: Its id, which may be left out where there is only one sample.
            ax: Where to draw: axes, or an empty figure, which becomes as large as needed; default: on a new pyplot
                figure.

        Returns:
            The axes.

        Raises:
            InputError: There is no such sample, or there are several and none is named.
            MethodError: No method is drawn.
            NotInstalledError: Matplotlib is not installed.
        """
        return self._drawn(self._place_of(sample), ax)

    def _drawn(self, sample: int, ax: Place) -> Axes:
        return draw(self.kind, self.table.isel({SAMPLE: sample}), self.relevance.isel({SAMPLE: sample}), ax)

    def _place_of(self, sample: object) -> int:
        ids = self.ids
        if sample is None and len(ids) == 1:
            return 0
        if sample is not None and str(sample) in ids:
            return ids.index(str(sample))
        called = ", ".join(map(repr, ids[:MOST_IN_ERRORS])) + (" and so on" if len(ids) > MOST_IN_ERRORS else "")
        what = "No sample was named" if sample is None else f"There is no sample {str(sample)!r} in this explanation"
        raise InputError(f"{what}: the ids are {called}. Name one of them: explanation.plot({ids[0]!r}).")

    def __repr__(self) -> str:
        of = counted(len(self), "sample")
        lines = [f"{shown(self.model)}, {shown(self.target)}: {of} of {self.kind}", use_in_words(self)]
        for sample, name in enumerate(self.ids):
            one = self.table.isel({SAMPLE: sample})
            decision, answer = shown(readable(str(one["decision"].item()))), number(float(one["answer"]))
            named = {decision, f"class {decision!r}", "the predicted class", "each sample's own class"}
            explained = "" if self.target in named else f"{shown(self.target)} "
            says = decision if decision == answer else f"{decision}, {explained}{answer}"
            lines.append(f"{shown(name)}: {says}")
            if self.methods and bool(one["key_valid"].any()):
                lines[-1] += f"; {self._top_in_words(one)}"
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _top_in_words(self, one: xr.Dataset) -> str:
        drawn = one["relevance"].isel(by=0).assign_attrs(one.attrs)
        relevance, labels = drawn.values.ravel(), names_along(drawn, [str(dim) for dim in drawn.dims])
        order = np.argsort(np.where(one["key_valid"].values.ravel(), -np.abs(relevance), np.inf), kind="stable")
        order = order[: min(MOST_IN_WORDS, int(one["key_valid"].sum()))]
        mark = "'" if self.kind == "tokens" and "key_label" in drawn.coords else ""  # a token may be a comma
        return ", ".join(
            f"{mark}{shown(labels[place])}{mark} {signed_number(float(relevance[place]))}" for place in order
        )

    def _repr_html_(self) -> str:
        return explanation_element(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; NaN becomes None."""
        return {
            "model": self.model,
            "target": self.target,
            "kind": self.kind,
            "method": self.method,
            "verdict": self.verdict,
            "methods": [
                {"name": each.name, "verdict": each.verdict, "reasons": list(each.reasons)} for each in self.methods
            ],
            "use": use_in_words(self),
            "removal": self.removal,
            "notes": list(self.notes),
            "right": None if self.right is None else {"answers": self.right[0], "of": self.right[1]},
            "samples": [self._sample_as_dict(sample) for sample in range(len(self))],
            "card": None if self.card is None else self.card.to_dict(),
        }

    def _sample_as_dict(self, sample: int) -> dict[str, Any]:
        one = self.table.isel({SAMPLE: sample})
        of_sample = {"id", "decision", "truth", "answer", *self._explained}
        content: dict[str, Any] = {
            "id": self.ids[sample],
            "decision": str(one["decision"].item()),
            "answer": plain(self._of_model(one["answer"])),
            "positions": [
                {name: plain(value) for name, value in row.items() if name not in of_sample}
                for row in self._rows_of(sample)
            ],
            "findings": [f"{finding.site}: {finding.message}" for finding in self.findings[sample]],
        }
        if "truth" in one.coords:
            content["truth"] = str(one["truth"].item()) or None
        if "by_class" in one:
            content["by_class"] = {
                str(name): plain(self._of_model(value))
                for name, value in zip(one["class"].values, one["by_class"].values, strict=True)
            }
        if "answer_without" in one:
            content["answer_without"] = {
                str(count): plain(self._of_model(value))
                for count, value in zip(one["removed"].values, one["answer_without"].values, strict=True)
            }
        if "agreement" in one:
            content["agreement"] = plain(one["agreement"].item())
        return content

    def to_json(self) -> str:
        """The values of `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_csv(self) -> str:
        """The rows of `to_pandas` as CSV text.

        A cell that a spreadsheet would take for a formula begins with an apostrophe.
        """
        rows = self.rows()
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
        return text.getvalue()

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes it as what the suffix says: ``.html`` (a page that needs no network and no script), ``.json``,
        ``.csv``, or pictures of all samples, as `plot` draws them: ``.pdf`` (a page for each), ``.png`` or ``.svg``
        (one below the other).

        Args:
            path: Where to write.
            overwrite: Whether an existing file may be replaced.

        Returns:
            The path.

        Raises:
            InputError: The suffix is none of these.
            WouldOverwriteError: `path` exists, and `overwrite` is False.
            MethodError: Pictures are asked for, but no method is drawn.
            NotInstalledError: Pictures are asked for, and Matplotlib is not installed.
        """
        replacing = f"explanation.save({str(path)!r}, overwrite=True)"
        path = free_path(path, replacing, overwrite=overwrite, suffixes=EXPLANATIONS)
        suffix = path.suffix.lower()
        if suffix in PICTURES:
            pictures = [partial(self._drawn, sample) for sample in range(len(self))]
            write(pictures, path, self.target)
        else:
            path.write_text(_WRITERS[suffix](self), encoding="utf-8", errors="backslashreplace")
        return path


_WRITERS: dict[str, Callable[[Explanation], str]] = {
    ".html": explanation_page,
    ".json": Explanation.to_json,
    ".csv": Explanation.to_csv,
}
