"""`view`: maps as something to look at, in a notebook or as one offline page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attnscope.errors import PAGES, InputError, SchemaError, counted, free_path, kind_of
from attnscope.maps import AttentionMaps
from attnscope.viewer._arrange import SiteMaps, findings_in_words
from attnscope.viewer._page import page
from attnscope.viewer._payload import Payload
from attnscope.viewer._relevance import RelevanceLike, RelevanceRow, relevance_rows
from attnscope.viewer._widget import Presence, framed, has_anywidget, shell

MOST_SAMPLES = 256
"""Samples of a view by default: each takes a thumbnail of every head."""
SAVED_SAMPLES = 16
"""Samples of a saved page by default."""
MAX_BYTES = 60_000_000
STATE = (
    *("view", "sample", "site", "panel", "heads", "query", "key", "direction", "scale", "range", "ramp", "theme"),
    *("zoom", "segments", "search", "role", "means", "a", "b", "overlay", "strength"),
)
"""The names in the state of a page; js/src/state.js has the same."""
VIEWS = ("overview", "matrix", "lines", "text", "image", "compare")
"""The tabs of a page; `overview` is the one called Heads. js/src/state.js has the same."""
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class View:
    """Maps to look at. A notebook displays it; `save` writes one offline page.

    Attributes:
        payload: What is shown.
    """

    def __init__(self, payload: Payload) -> None:
        self.payload = payload
        self._state: dict[str, Any] = {}
        self._presence: Presence | None = None

    @property
    def state(self) -> dict[str, Any]:
        """What you are looking at in the notebook; setting it moves the view, on the screen or before it is shown.

        You may set only a part, such as ``view.state = {"view": "matrix", "site": 2, "panel": 5}``; the rest stays,
        unless it no longer makes sense (a pinned token of another text). A token or a head that does not exist is
        treated as the default. Until the view is shown, the state holds what you have set; after that, it holds all of

        - ``view``: ``overview`` (Heads), ``matrix``, ``lines``, ``text``, ``image`` or ``compare``;
        - ``sample``, ``site``, ``panel`` (a head): their positions in the page's lists, from 0; ``panel`` may be
          ``"mean"`` or ``"max"``, over the ``heads`` that are listed, or over all;
        - ``query`` and ``key``: the pinned tokens, -1 for none; ``direction``: ``from`` or ``to``, to read in;
        - ``zoom``: None, or ``x0, x1`` (keys) and ``y0, y1`` (queries); ``segments``: ``all``, or a pair (``0-1``);
        - ``scale``, ``range``, ``ramp``, ``theme``, ``overlay``, ``strength``: how it is drawn; ``role``, ``means``,
          ``search``; and what is compared, ``a`` and ``b``.

        Raises:
            InputError: The name, the view, the site or the sample is unknown.
        """
        return dict(self._state if self._presence is None else self._presence.widget.state)

    @state.setter
    def state(self, changes: Mapping[str, Any]) -> None:
        unknown = [name for name in changes if name not in STATE]
        if unknown:
            raise InputError(
                f"The state has no {unknown[0]!r}; it has {', '.join(STATE)}. For example: "
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
            self._presence.set_state(self._state)

    @property
    def widget(self) -> Any:
        """The widget itself, for layouts with others: ``ipywidgets.HBox([one.widget, other.widget])``.

        Whoever takes it is responsible for closing it: ``view.widget.close()``.

        Raises:
            ImportError: anywidget is not installed.
        """
        return self._present().released()

    def _present(self) -> Presence:
        """The widget in its cells; made when it is first needed, and again once its cell has been run again."""
        if self._presence is None or not self._presence.is_open:
            self._presence = Presence(self, self.payload, self.state)
        return self._presence

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """A widget; without a kernel or anywidget, a page with a few samples; in a terminal, text."""
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
        """Shows it, and beside it a picture for those who see it without Python; hidden while there is a Python."""
        publish = shell().display_pub.publish
        bundle = self._repr_mimebundle_()
        publish(bundle)
        if self._presence is not None and WIDGET_VIEW in bundle:
            self._presence.show()

    def save(self, path: str | Path, *, max_bytes: int = MAX_BYTES, overwrite: bool = False) -> Path:
        """Writes one HTML file that shows the maps without a network and without Python.

        The first 16 samples, unless `view` was given others. It opens in any browser from 2023 or later.

        Args:
            path: Where to write the file; its name ends in ``.html``.
            max_bytes: Largest size of the file. If not everything fits, maps are drawn in blocks with the eight
                strongest weights of every row, or else as thumbnails only; the page says so.
            overwrite: Whether a file at `path` may be replaced.

        Raises:
            WouldOverwriteError: Something exists at `path`, and `overwrite` is False.
            InputError: The file's name ends in something else.
            TooLargeError: Not even the thumbnails fit.
        """
        fix = f"view.save({str(path)!r}, overwrite=True)"
        path = free_path(path, fix, overwrite=overwrite, suffixes=PAGES)
        parts = page(self._saved(), max_bytes)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        return path

    def _saved(self) -> Payload:
        payload = self.payload
        return payload if payload.chosen else replace(payload, samples=payload.samples[:SAVED_SAMPLES], _read={})

    def __repr__(self) -> str:
        sites = sum(isinstance(site, SiteMaps) for site in self.payload.sites)  # the others are rollouts of them
        shown = f"{counted(sites, 'site')} on {counted(len(self.payload.samples), 'sample')}"
        return f"View of {shown}; view.save('view.html') writes it as one offline page"


def view(
    maps: AttentionMaps | xr.DataArray | Mapping[str, AttentionMaps],
    *,
    samples: Sequence[int] | None = None,
    labels: Sequence[object] | Mapping[str, Sequence[object]] | None = None,
    images: Sequence[np.ndarray] | np.ndarray | None = None,
    grid: tuple[int, int] | None = None,
    title: str | None = None,
    max_error: float = 0.001,
    relevance: RelevanceLike = None,
) -> View:
    """Shows maps: all heads at once, one head enlarged, tokens by what they attend to, differences, and more.

    The eight strongest weights of every row are shown exactly (float16), all others with their error. Zero is zero,
    masked cells are hatched, and what is not a weight (NaN, infinite, negative) is marked and never drawn as one. The
    page's own legend explains every mark.

    Args:
        maps: Captured maps; the array of one site; or several runs by name, on the same samples, to compare:
            ``{"before": maps, "after": others}``.
        samples: Numbers of the samples; default: the first 256, of which a saved page takes 16.
        labels: What each sample is (its class, its name), for all samples of the maps; of several runs also by name of
            the run: ``{"before": names, "after": others}``.
        images: The samples as pictures, ``(sample, height, width[, channel])``, for all samples of the maps; the
            attention on patches is laid over them.
        grid: Rows and columns of the patches, if their labels do not say; tokens before them are taken to be CLS and
            register tokens.
        title: Heading; default: the model's name.
        max_error: Largest absolute error of a number that is not exact, in rows that sum to 1 (down to 0.00045; each
            number is shown with its own error); 0.002 makes smaller pages.
        relevance: What `ats.attribute` returned for the samples of the maps, or several of these by name: in Text and
            Image, a row of signed numbers with its method, unit and scale, for sites whose keys are the positions that
            it is of. Positions are the same if their labels are, or if both come from the same axis of the same input.

    Raises:
        InputError: Samples, labels, pictures or relevance that do not fit the maps, or a `max_error` out of range.
        SchemaError: There is nothing to draw, or the relevance is something else.

    Example:
        >>> even = AttentionMaps.from_arrays({"mha": np.full((1, 2, 3, 3), 1 / 3)}, labels=list("abc"))
        >>> view(even)
        View of 1 site on 1 sample; view.save('view.html') writes it as one offline page
    """
    runs = _runs(maps)
    there = max(run.num_samples for run in runs.values())
    chosen = range(min(there, MOST_SAMPLES)) if samples is None else checked_samples(samples, there)
    labels_by_run = _labels_by_run(labels, runs)
    if images is not None:
        _check_one_per_sample("images", images, there)
    if not 0 < max_error < 1:
        raise InputError(f"max_error is {max_error!r}, but a number between 0 and 1 is needed, such as 0.001.")
    first = next(iter(runs.values()))
    payload = Payload(
        runs,
        list(chosen),
        title_of(first, title),
        labels=labels_by_run,
        images=None if images is None else list(images),
        grid=grid,
        max_error=max_error,
        notes=findings_in_words(runs),
        relevance=relevance_rows(relevance, there),
        chosen=samples is not None,
    )
    if grid is not None:
        _check_that_some_keys_are_patches(payload, grid)
    for row in payload.relevance:
        _check_that_keys_are_the_same(payload, row)
    return View(payload)


def _check_that_some_keys_are_patches(payload: Payload, grid: tuple[int, int]) -> None:
    most = max(len(site.tokens("key", [0])[0].labels) for site in payload.sites)
    if grid[0] * grid[1] > most:
        raise InputError(
            f"grid={grid!r} has {grid[0] * grid[1]} patches, but no site has more than {most} keys. Give the rows and "
            "columns of patches that the model reads."
        )


def _check_that_keys_are_the_same(payload: Payload, row: RelevanceRow) -> None:
    """Checks that relevance can be shown over the keys of a site.

    Raises:
        InputError: No site has its positions as keys.
    """
    if any(start is not None for sites in payload.starts(row) for start in sites):
        return
    sample, site = payload.samples[0], payload.sites[0]
    [keys] = site.tokens("key", [sample])
    labels = row.labels(sample)
    grid = "" if row.grid is None else f" Patches need a grid too: ats.view(maps, relevance=..., grid={row.grid})."
    raise InputError(
        f"The relevance ({row.words(sample)}) is of {counted(row.count, 'position')}"
        f"{_listed(labels) if labels else ' without labels'}, but no site has these as its keys: {site.name!r} has "
        f"{len(keys.labels)}{_listed(keys.labels)}. Keys and positions are the same if their labels are, or if both "
        "come from the same axis of the same input. Give both the same inputs and labels: ats.capture(model, inputs, "
        f"labels=names) and ats.attribute(model, inputs, labels=names).{grid}"
    )


def _listed(labels: Sequence[str]) -> str:
    return f" ({', '.join(map(repr, labels[:3]))}{', ...' if len(labels) > 3 else ''})"


def _labels_by_run(
    labels: Sequence[object] | Mapping[str, Sequence[object]] | None, runs: Mapping[str, AttentionMaps]
) -> dict[str, list[str]]:
    """The labels of each run that has some.

    Raises:
        InputError: They are not one per sample, or are for a run that does not exist.
    """
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        _check_one_per_sample("labels", labels, max(run.num_samples for run in runs.values()))
        return {name: [str(label) for label in labels] for name in runs}
    for name, items in labels.items():
        if name not in runs:
            there = f"the runs are {', '.join(map(repr, runs))}" if list(runs) != [""] else "the maps are of one run"
            fix = f"labels={{{next(iter(runs))!r}: [...]}}" if list(runs) != [""] else "labels=[...]"
            raise InputError(
                f"Labels were given for the run {name!r}, but {there}. Give one label per sample: "
                f"ats.view(maps, {fix})."
            )
        _check_one_per_sample("labels", items, runs[name].num_samples)
    return {name: [str(label) for label in items] for name, items in labels.items()}


def _check_one_per_sample(name: str, items: Sequence[object] | np.ndarray, samples: int) -> None:
    if len(items) != samples:
        raise InputError(
            f"{len(items)} {name} were given, but the maps hold {samples} samples. Give one per sample of the maps: "
            f"ats.view(maps, {name}=[...])."
        )


def _runs(maps: AttentionMaps | xr.DataArray | Mapping[str, AttentionMaps]) -> dict[str, AttentionMaps]:
    if isinstance(maps, xr.DataArray):
        dataset = maps.rename(maps.name or "scores").to_dataset()
        return {"": AttentionMaps({str(maps.attrs.get("site", "scores")): dataset.assign_attrs(maps.attrs)})}
    several = isinstance(maps, Mapping) and not isinstance(maps, (AttentionMaps, xr.Dataset))
    runs: dict[str, Any] = dict(maps) if several else {"": maps}
    wrong = [kind_of(run) for run in runs.values() if not isinstance(run, AttentionMaps)]
    if wrong:
        raise SchemaError(
            f"The maps are {wrong[0]}, but captured maps are needed: ats.view(ats.capture(model, inputs)). For "
            "arrays from elsewhere: ats.view(ats.AttentionMaps.from_arrays({'layer_0': array}))."
        )
    check_that_something_is_there(*runs.values())
    return {str(name): run for name, run in runs.items()}


def check_that_something_is_there(*runs: AttentionMaps) -> None:
    """Checks that maps have sites and samples.

    Raises:
        SchemaError: There is nothing to draw.
    """
    if not any(len(run) and run.num_samples for run in runs):
        raise SchemaError(
            "The maps have no sites, or no samples, but at least one of each is needed to show anything: "
            "ats.view(ats.capture(model, inputs))."
        )


def title_of(maps: AttentionMaps, title: str | None) -> str:
    """The heading: the given title, or else the model's name."""
    return title or str(maps.attrs.get("model", "Attention maps"))


def checked_samples(samples: Sequence[int], there: int) -> list[int]:
    """The numbers of samples, checked to exist.

    Raises:
        InputError: One does not exist, or none were given.
    """
    numbers = [int(sample) for sample in samples]
    wrong = [sample for sample in numbers if not 0 <= sample < there]
    if wrong or not numbers:
        raise InputError(
            f"The samples {numbers[:8]} were requested, but there are {there}, numbered from 0. Choose among them: "
            f"samples=range({min(there, 4)})."
        )
    return numbers
