"""`view`: maps as something to look at, in a notebook or as one offline page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attnscope.errors import InputError, SchemaError, free_path
from attnscope.maps import AttentionMaps
from attnscope.viewer._arrange import SiteMaps
from attnscope.viewer._page import page
from attnscope.viewer._payload import Payload
from attnscope.viewer._widget import Presence, framed, has_anywidget, note, shell

MOST_SAMPLES = 256
"""Samples of a view unless told otherwise: each takes a thumbnail of every head."""
SAVED_SAMPLES = 16
"""Samples of a saved page unless told otherwise."""
MAX_BYTES = 60_000_000
STATE = (
    *("view", "sample", "site", "panel", "heads", "query", "key", "direction", "scale", "range", "ramp", "theme"),
    *("zoom", "segments", "search", "role", "means", "a", "b", "overlay", "strength"),
)
"""What there is in the state of a page; the same names as in js/src/state.js."""
VIEWS = ("overview", "matrix", "lines", "text", "image", "compare")
"""The tabs of a page, of which `overview` is called Heads; likewise."""
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class View:
    """Maps to look at. A notebook shows it as it is; `save` writes one offline page.

    Attributes:
        payload: What is shown.
    """

    def __init__(self, payload: Payload) -> None:
        self.payload = payload
        self._state: dict[str, Any] = {}
        self._presence: Presence | None = None

    @property
    def state(self) -> dict[str, Any]:
        """What the user of the notebook looks at; to set it moves the view, on the screen or before it is shown.

        What is set may be a part, such as ``view.state = {"view": "matrix", "site": 2, "panel": 5}``; the rest stays,
        unless it means nothing with it (a pinned token of another text). A token or a head that does not exist is as
        usual. Until the view is shown there is in it what was set; then all of

        - ``view``: ``overview`` (Heads), ``matrix``, ``lines``, ``text``, ``image`` or ``compare``;
        - ``sample``, ``site``, ``panel`` (a head): their places in the page's lists, from 0; ``panel`` may be
          ``"mean"`` or ``"max"``, over the ``heads`` that are listed, or over all;
        - ``query`` and ``key``, the pinned tokens, -1 for none, and the ``direction`` (``from`` or ``to``) to read in;
        - ``zoom``: None, or ``x0, x1`` (keys) and ``y0, y1`` (queries); ``segments``: ``all``, or a pair (``0-1``);
        - ``scale``, ``range``, ``ramp``, ``theme``, ``overlay``, ``strength``: how it is drawn; ``role``, ``means``,
          ``search``; and what is compared, ``a`` and ``b``.

        Raises:
            InputError: There is nothing of such a name, no such view, or no such site or sample.
        """
        return dict(self._state if self._presence is None else self._presence.widget.state)

    @state.setter
    def state(self, changes: Mapping[str, Any]) -> None:
        unknown = [name for name in changes if name not in STATE]
        if unknown:
            raise InputError(
                f"The state has no {unknown[0]!r}, but {', '.join(STATE)}. For example: "
                "view.state = {'view': 'matrix', 'site': 2, 'panel': 5}."
            )
        if changes.get("view", VIEWS[0]) not in VIEWS:
            raise InputError(
                f"The state's view is {changes['view']!r}, but one of {', '.join(VIEWS)} is needed (overview is the "
                "tab Heads). For example: view.state = {'view': 'matrix'}."
            )
        for name, there in (("sample", self.payload.samples), ("site", self.payload.sites)):
            place = changes.get(name, 0)
            if not isinstance(place, int | np.integer) or not 0 <= place < len(there):
                raise InputError(
                    f"The state's {name} is {place!r}, but there are {len(there)}, numbered from 0 in the order of the "
                    f"page's list. For example: view.state = {{{name!r}: {len(there) - 1}}}."
                )
        self._state = {**self.state, **changes}
        if self._presence is not None:
            self._presence.widget.state = self._state

    @property
    def widget(self) -> Any:
        """The widget itself, to be laid out with others: ``ipywidgets.HBox([one.widget, other.widget])``.

        Who takes it closes it: ``view.widget.close()``.

        Raises:
            ImportError: anywidget is not installed.
        """
        return self._present().kept()

    def _present(self) -> Presence:
        """The widget in its cells; made when it is first needed, and again after its cell has run again."""
        if self._presence is None or not self._presence.is_open:
            self._presence = Presence(self, self.payload, self.state)
        return self._presence

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """A widget; where there is no kernel or no anywidget, a page of a few samples; in a terminal, text."""
        plain = {"text/plain": repr(self)}
        running = shell()
        if running is not None and list(running.display_formatter.active_types) == ["text/plain"]:
            return plain
        if running is None or not has_anywidget():
            return {**plain, "text/html": framed(self.payload)}
        bundle = self._present().widget._repr_mimebundle_()
        shown = bundle[0] if isinstance(bundle, tuple) else bundle
        return {**shown, **plain}

    def _ipython_display_(self) -> None:
        """Shows it, and beside it, hidden as long as it is drawn, what to do where Python is not there to draw it."""
        publish = shell().display_pub.publish
        bundle = self._repr_mimebundle_()
        publish(bundle)
        if self._presence is not None and WIDGET_VIEW in bundle:
            self._presence.show()
            publish({"text/html": note(self._presence, repr(self))})

    def save(self, path: str | Path, *, max_bytes: int = MAX_BYTES, overwrite: bool = False) -> Path:
        """Writes one HTML file that shows the maps without a network and without Python.

        The first 16 samples, unless `view` was told which. It needs a browser of 2023 or newer.

        Args:
            path: Where.
            max_bytes: Most bytes of the file. What does not fit in full is drawn in blocks with the eight
                strongest weights of every row, and else as thumbnails alone; the page says so.
            overwrite: Whether a file at `path` may be replaced.

        Raises:
            WouldOverwriteError: There is something at `path`, and `overwrite` is False.
            TooLargeError: Not even the thumbnails fit.
        """
        path = free_path(path, f"view.save({str(path)!r}, overwrite=True)", overwrite=overwrite)
        parts = page(self._saved(), max_bytes)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        return path

    def _saved(self) -> Payload:
        payload = self.payload
        return payload if payload.chosen else replace(payload, samples=payload.samples[:SAVED_SAMPLES], _read={})

    def __repr__(self) -> str:
        sites = sum(isinstance(site, SiteMaps) for site in self.payload.sites)  # the others are rollouts of them
        samples = len(self.payload.samples)
        return f"View of {sites} sites on {samples} samples; view.save('view.html') writes it as one offline page"


def view(
    maps: AttentionMaps | xr.DataArray | Mapping[str, AttentionMaps],
    *,
    samples: Sequence[int] | None = None,
    labels: Sequence[object] | None = None,
    images: Sequence[np.ndarray] | np.ndarray | None = None,
    grid: tuple[int, int] | None = None,
    title: str | None = None,
    max_error: float = 0.001,
) -> View:
    """Looks at maps: all heads at once, one head large, tokens by what they attend to, differences, and more.

    The eight strongest weights of every row are shown exactly (float16), every other with its error. Zero is zero,
    masked cells are hatched, and what is no weight (NaN, infinite, negative) is marked and never drawn as one. The
    page's own legend explains every mark.

    Args:
        maps: Captured maps; one site's array; or several runs by name, whose samples are the same, to compare:
            ``{"before": maps, "after": others}``.
        samples: Numbers of the samples; default: the first 256, of which a saved page takes 16.
        labels: What each sample is (its class, its name), for all samples of the maps.
        images: The pictures that the samples are, ``(sample, height, width[, channel])``, for all samples of the maps;
            the attention on patches is laid over them.
        grid: Rows and columns of the patches, where their labels do not say so; what stands before them is taken for
            CLS and register tokens.
        title: Heading; default: the model's name.
        max_error: Largest absolute error of a number that is not exact, in rows that sum to 1 (down to 0.00045; each
            number is told with its own); 0.002 makes smaller pages.

    Raises:
        InputError: A number of samples, labels or pictures that cannot be.
        SchemaError: There is nothing to draw.

    Example:
        >>> even = AttentionMaps.from_arrays({"mha": np.full((1, 2, 3, 3), 1 / 3)}, labels=list("abc"))
        >>> view(even)
        View of 1 sites on 1 samples; view.save('view.html') writes it as one offline page
    """
    runs = _runs(maps)
    there = max(run.num_samples for run in runs.values())
    chosen = range(min(there, MOST_SAMPLES)) if samples is None else checked_samples(samples, there)
    for given, name in ((labels, "labels"), (images, "images")):
        if given is not None and len(given) != there:
            raise InputError(
                f"{len(given)} {name} were given, but the maps hold {there} samples. Give one per sample of the maps: "
                f"ats.view(maps, {name}=[...])."
            )
    if not 0 < max_error < 1:
        raise InputError(f"max_error is {max_error!r}, but a number between 0 and 1 is needed, such as 0.001.")
    first = next(iter(runs.values()))
    notes = [f"{finding.site}: {finding.message}" for run in runs.values() for finding in run.findings]
    payload = Payload(
        runs,
        list(chosen),
        title_of(first, title),
        labels=None if labels is None else [str(label) for label in labels],
        images=None if images is None else list(images),
        grid=grid,
        max_error=max_error,
        notes=notes,
        chosen=samples is not None,
    )
    return View(payload)


def _runs(maps: AttentionMaps | xr.DataArray | Mapping[str, AttentionMaps]) -> dict[str, AttentionMaps]:
    if isinstance(maps, xr.DataArray):
        dataset = maps.rename(maps.name or "scores").to_dataset()
        return {"": AttentionMaps({str(maps.attrs.get("site", "scores")): dataset.assign_attrs(maps.attrs)})}
    runs = {"": maps} if isinstance(maps, AttentionMaps) else dict(maps)
    wrong = [type(run).__name__ for run in runs.values() if not isinstance(run, AttentionMaps)]
    if wrong:
        raise SchemaError(
            f"A {wrong[0]} was given, but maps are needed: ats.view(ats.capture(model, inputs)). Arrays from "
            "elsewhere: ats.view(ats.AttentionMaps.from_arrays({'layer_0': array}))."
        )
    check_that_something_is_there(*runs.values())
    return {str(name): run for name, run in runs.items()}


def check_that_something_is_there(*runs: AttentionMaps) -> None:
    """Refuses maps of no sites, or on no samples.

    Raises:
        SchemaError: There is nothing to draw.
    """
    if not any(len(run) and run.num_samples for run in runs):
        raise SchemaError("There are no sites, or no samples, so there is nothing to show.")


def title_of(maps: AttentionMaps, title: str | None) -> str:
    """The heading: what was given, else the model's name."""
    return title or str(maps.attrs.get("model", "Attention maps"))


def checked_samples(samples: Sequence[int], there: int) -> list[int]:
    """Numbers of samples that are there.

    Raises:
        InputError: One is not, or there are none.
    """
    numbers = [int(sample) for sample in samples]
    wrong = [sample for sample in numbers if not 0 <= sample < there]
    if wrong or not numbers:
        raise InputError(
            f"The samples {numbers[:8]} were asked for, but there are {there}, numbered from 0. Give some of them: "
            f"samples=range({min(there, 4)})."
        )
    return numbers
