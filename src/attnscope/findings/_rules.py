"""The rules of the lint.

They read only the labelled arrays, a few samples at a time, so a run opened from disk is never loaded as a whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from attnscope.findings._finding import Figure, Finding, Findings, HeadsOf, KeyPosition, NamesOf, Part
from attnscope.schema import (
    ENTROPY,
    HEAD,
    QUERY,
    RAN,
    RECEIVED,
    SAMPLE,
    SCORES,
    WORST_ERROR,
    key_dims,
    query_dims,
    what_is_missing,
)

PADDING_SHARE = 0.01
"""Attention on padding is reported from this share upwards."""
SINK_SHARE = 0.95
"""A head is a sink if its strongest key is the same for this share of the queries..."""
SINK_MASS = 0.5
"""...and that key also gets this much of the attention."""
UNIFORM = 0.05
"""A row over n open keys is uniform if each of their scores is within this share of 1/n..."""
UNIFORM_SHARE = 0.95
"""...and so is a head, if this share of its rows is: a few that are not are no reason to read it."""
UNFORESEEN = (
    "it ran for some of the samples, but not when the model was traced on the first batch, for a Python if or loop in "
    "the model depends on what the model is given"
)
"""Why a softmax was left out that only some batches met."""
CHUNK_BYTES = 64 * 2**20


def findings(
    datasets: dict[str, xr.Dataset],
    lost: Mapping[str, str] | None = None,
    unreached: Mapping[str, str] | None = None,
) -> Findings:
    """All findings on these sites.

    Args:
        datasets: The variables of each site (any of `scores`, `received` and `entropy`), with the validity
            coordinates that `docs/schema.md` defines.
        lost: Softmaxes that were left out because their trail was lost, with the operation at which it was.
        unreached: Softmaxes that were left out because their scores cannot be taken, with the reason.
    """
    unknown = [
        Finding.of("lost", name, _LOST, _FIX_LOST, 0.0, {"operation": NamesOf((operation,))})
        for name, operation in (lost or {}).items()
    ]
    unknown += [
        Finding("unreached", name, (), _UNREACHED.format(reason), _FIX_UNREACHED, 0.0)
        for name, reason in (unreached or {}).items()
    ]
    return Findings([*(item for name, dataset in datasets.items() for item in _of_site(name, dataset)), *unknown])


def _of_site(name: str, dataset: xr.Dataset) -> Iterator[Finding]:
    if dataset.attrs.get("certainty") == "by size":
        dims = ", ".join(map(str, dataset.dims))
        yield Finding("by_size", name, (), _BY_SIZE.format(dims), _FIX_BY_SIZE, 0.0)
    if RAN in dataset.coords:
        ran = dataset[RAN].load()
        yield _of_those_not_run(name, ran)
        dataset = dataset.isel({SAMPLE: np.flatnonzero(ran.any([dim for dim in ran.dims if dim != SAMPLE]))})
        if not dataset.sizes[SAMPLE]:
            return
    missing = what_is_missing(dataset.sizes)
    if missing:
        yield Finding("empty", name, (), _EMPTY.format(missing), _FIX_EMPTY, 0.0)
        return
    keys = key_dims(dataset.dims)
    if keys and all(dataset.sizes[key] == 1 for key in keys):
        yield Finding(
            "single_key",
            name,
            (),
            "there is only 1 key, so every score is 1 by construction, and the query and key weights can never learn",
            "give the layer a sequence: Reshape((1, n)) in front of it leaves one position, whereas Reshape((n, 1)) "
            "makes each feature a position",
            1.0,
        )
        return
    measures = _Measures(dataset)
    for start, stop in sample_chunks(dataset):
        measures.add(dataset.isel({SAMPLE: slice(start, stop)}).load())
    yield from measures.findings(name)


def _of_those_not_run(name: str, ran: xr.DataArray) -> Finding:
    """The finding on a site that did not run for all samples, or not in all steps."""
    what = "samples" if ran.dims == (SAMPLE,) else f"steps of {ran.sizes[SAMPLE]} samples"
    parts = {"ran": Figure(int(ran.sum())), "there": Figure(ran.size)}
    return Finding.of("not_run", name, _NOT_RUN.replace("{what}", what), _FIX_NOT_RUN, float(ran.mean()), parts)


def sample_chunks(dataset: xr.Dataset, size: int = CHUNK_BYTES) -> Iterator[tuple[int, int]]:
    """Splits a site into parts of about `size` bytes and at least one sample: the first sample of each and its end."""
    samples = dataset.sizes[SAMPLE]
    step = max(1, int(samples * size // max(1, dataset.nbytes)))
    for start in range(0, samples, step):
        yield start, min(samples, start + step)


_ERRORS_OF_A_ROW = 10
"""How many of the largest error of a stored score the scores of a row are off together at most: it is of both signs."""


class _Measures:
    """What the rules need to know of each head, gathered a few samples at a time."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self.attrs = dataset.attrs
        self.heads = dataset.sizes.get(HEAD, 1)
        self.has_heads = HEAD in dataset.dims
        self.samples = dataset.sizes[SAMPLE]
        self.rows = np.zeros(self.heads)
        self.on_padding = np.zeros(self.heads)
        self.padded = False
        self.nans = 0
        self.worst_sum = 0.0
        self.uniform = np.zeros(self.heads)
        self.judged = np.zeros(self.heads)
        self.asked = np.zeros(self.heads)
        self.strongest: list[np.ndarray] = []
        self.mass_of_strongest = np.zeros(self.heads)
        self.first: np.ndarray | None = None
        self.spread = 0.0
        self.pools = not query_dims(dataset.dims)
        self.only_padding = _only_padding(dataset)
        self.coded = float(dataset[SCORES].attrs.get(WORST_ERROR, 0)) if SCORES in dataset else 0.0
        self.tolerance = 1e-3 if self.attrs.get("dtype") in ("float32", "float64") else 2e-2
        self.tolerance += _ERRORS_OF_A_ROW * self.coded

    def add(self, part: xr.Dataset) -> None:
        """Takes in some samples."""
        if SCORES in part:
            self._add_scores(part)
        else:
            self._add_summaries(part)

    def _add_summaries(self, part: xr.Dataset) -> None:
        for variable in (RECEIVED, ENTROPY):
            if variable in part:
                inside = part[variable]
                for coordinate in ("query_valid", "key_valid", RAN):
                    if coordinate in inside.coords:
                        inside = inside.where(part[coordinate], 0.0)
                self.nans += int(np.isnan(inside.values).sum()) if self._has_valid(part) else 0
        if RECEIVED in part and "key_valid" in part.coords:
            real = part["key_valid"]
            self.padded = self.padded or not bool(real.all())
            keys = [str(dim) for dim in key_dims(real.dims)]
            mass = part[RECEIVED].where(~real, 0.0).fillna(0.0).sum(keys)
            queries = part["query_valid"].sum(QUERY) if "query_valid" in part.coords else 1
            rows = (real.any(keys) * queries).astype(float)  # as many as stand behind a mean
            self.on_padding += np.broadcast_to(_per_head(mass * rows), self.heads)
            self.rows += float((rows + 0 * mass.isel({HEAD: 0}, missing_dims="ignore", drop=True)).sum())

    @staticmethod
    def _has_valid(part: xr.Dataset) -> bool:
        return "query_valid" not in part.coords or bool(part["query_valid"].any())

    def _add_scores(self, part: xr.Dataset) -> None:
        rows, valid, real = _as_rows(part)
        if not np.isfinite(rows).all():
            self.nans += int((~np.isfinite(rows[valid])).sum())
            rows = np.nan_to_num(rows, posinf=0.0, neginf=0.0)
        sums = rows.sum(-1)
        counts = valid & (sums > 0)
        if counts.any():
            self.worst_sum = max(self.worst_sum, float(np.abs(sums[counts] - 1).max()))
        self._add_padding(rows, counts, real)
        self._add_shape(rows, counts)
        self._add_strongest(rows, counts, real)
        if self.first is None:
            self.first, rows = rows[0], rows[1:]
        self.spread = max(self.spread, float(np.abs(rows - self.first[None]).max(initial=0)))

    def _add_padding(self, rows: np.ndarray, counts: np.ndarray, real: np.ndarray | None) -> None:
        """Rows that have nothing but padding to attend to say nothing about where attention goes."""
        if real is not None and not real.all():
            self.padded = True
            counts = counts & real.any(-1)
            self.on_padding += (np.where(real, 0.0, rows).sum(-1) * counts).sum((0, 2))
        self.rows += counts.sum((0, 2))

    def _add_shape(self, rows: np.ndarray, counts: np.ndarray) -> None:
        is_open = rows > 0
        open_keys = np.maximum(np.count_nonzero(is_open, axis=-1), 1)
        ends = rows.max(-1), rows.min(-1, where=is_open, initial=np.inf)
        off = np.where(ends[0] > 0, np.maximum(*(np.abs(end * open_keys - 1) for end in ends)), 0.0)
        several = counts & (open_keys > 1)
        self.uniform += (several & (off <= UNIFORM)).sum((0, 2))
        self.judged += several.sum((0, 2))

    def _add_strongest(self, rows: np.ndarray, counts: np.ndarray, real: np.ndarray | None) -> None:
        """A cell is open if any head of any sample puts weight there, so one saturated head does not close it."""
        cells = np.asarray((rows > 0).any((0, 1), keepdims=True))[:, 0]
        choice = (cells[:, None] if real is None else cells[:, None] & real).sum(-1) > 1
        asked = counts & choice
        self.asked += asked.sum((0, 2))
        self.strongest.append(np.moveaxis(strongest_keys(rows, asked), 1, 0).reshape(self.heads, -1))
        self.mass_of_strongest += np.where(asked, rows.max(-1), 0.0).sum((0, 2))

    def findings(self, name: str) -> Iterator[Finding]:
        """What all samples show together."""
        if self.only_padding:
            message = _ONLY_PADDING.format(self.only_padding, self.samples)
            yield Finding("only_padding", name, (), message, _FIX_ONLY_PADDING, 1.0)
            return
        if self.nans:
            yield Finding.of("nan", name, _NAN, _FIX_NAN, float(self.nans), {"count": Figure(self.nans)})
        if self.worst_sum > self.tolerance:
            fix = _FIX_DECLARED if self.attrs.get("kind") == "declared" else _FIX_SUM
            yield Finding.of("row_sum", name, _ROW_SUM, fix, self.worst_sum, {"off": Figure(self.worst_sum, ".3g")})
        yield from self._padding(name)
        yield from self._flatness(name)
        yield from self._sinks(name)

    def _padding(self, name: str) -> Iterator[Finding]:
        if not self.padded or not self.rows.any():
            return
        share = float(self.on_padding.sum() / self.rows.sum())
        if share < PADDING_SHARE:
            return
        removed = tuple(map(str, self.attrs.get("masks_removed_by", ())))
        cause = _REMOVED if removed else _TAKES_NO_MASK if self._takes_no_mask else _NO_MASK
        parts: dict[str, Part] = {"share": Figure(share, ".1%"), "layers": NamesOf(removed)}
        yield Finding.of("padding", name, _PADDING + cause, self._fix_of_padding, share, parts)

    @property
    def _takes_no_mask(self) -> bool:
        """Whether the softmax is a plain one: an activation, or an operation of a functional model."""
        return self.attrs.get("kind") == "softmax" and self.attrs.get("layer_class") in _PLAIN_SOFTMAXES

    @property
    def _fix_of_padding(self) -> str:
        """What to do where attention falls on padding, in the layer's own terms."""
        if self._takes_no_mask:
            return _FIX_PLAIN_SOFTMAX
        call = _WITH_MASK.get(str(self.attrs.get("layer_class", "")))
        return _FIX_PADDING_OF_OTHERS if call is None else _FIX_PADDING.format(call)

    def _flatness(self, name: str) -> Iterator[Finding]:
        are_flat = (self.judged > 0) & (self.uniform >= UNIFORM_SHARE * self.judged)
        heads = tuple(int(head) for head in np.flatnonzero(are_flat))
        if heads:
            share = float(self.uniform[are_flat].sum() / self.judged[are_flat].sum())
            said: dict[str, Part] = {"heads_of": self._asking(name, heads), "share": Figure(share, ".1%")}
            yield Finding.of("uniform", name, _UNIFORM, _FIX_UNIFORM, share, said, self._named(heads))
        if self.first is not None and self.samples > 1 and self.spread < 1e-6 and len(heads) < self.heads:
            most = self.spread + 2 * self.coded  # stored scores may be the same where the captured ones are not
            parts = {"samples": Figure(self.samples), "spread": Figure(most, ".1g")}
            message = _CONSTANT_AS_STORED if self.coded else _CONSTANT
            yield Finding.of("constant", name, message, _FIX_CONSTANT, most, parts)

    def _sinks(self, name: str) -> Iterator[Finding]:
        if self.pools or not self.strongest:
            return
        for head, keys in enumerate(np.concatenate(self.strongest, axis=1)):
            if self.asked[head] < 2:
                continue
            counts = np.bincount(keys[keys >= 0], minlength=1)
            share, mass = counts.max() / self.asked[head], self.mass_of_strongest[head] / self.asked[head]
            if share >= SINK_SHARE and mass >= SINK_MASS:
                parts: dict[str, Part] = {
                    "key": KeyPosition(int(counts.argmax())),
                    "share": Figure(float(share), ".1%"),
                    "mass": Figure(float(mass), ".0%"),
                    "heads_of": replace(self._asking(name, (head,)), queries=True),
                }
                yield Finding.of("sink", name, _SINK, _FIX_SINK, float(share), parts, self._named((head,)))

    def _named(self, heads: tuple[int, ...]) -> tuple[int, ...]:
        return heads if self.has_heads else ()

    def _asking(self, name: str, heads: tuple[int, ...]) -> HeadsOf:
        return HeadsOf(name, self._named(heads), self.heads if self.has_heads else 0)


def strongest_keys(rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The key with the largest weight of each row.

    Args:
        rows: dims ``(..., row, key)``, scores.
        asked: dims ``(..., row)``, False for rows that are left out: padding, and those with one open key.

    Returns:
        dims ``(..., row)``, int. -1 where several keys tie for the strongest, and for rows that are left out.
    """
    alone = (rows == rows.max(-1, keepdims=True)).sum(-1) == 1
    return np.where(asked & alone, rows.argmax(-1), -1)


def _as_rows(part: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Scores as ``(sample, head, row, key)``, which rows are valid, and which of their keys are real."""
    scores = part[SCORES]
    keys, queries = key_dims(scores.dims), query_dims(scores.dims)
    others = [dim for dim in scores.dims if dim not in (SAMPLE, HEAD, *keys, *queries)]
    if HEAD not in scores.dims:
        scores = scores.expand_dims(HEAD)
    ordered = scores.transpose(SAMPLE, HEAD, *others, *queries, *keys)
    samples, heads = ordered.shape[:2]
    width = int(np.prod([ordered.sizes[key] for key in keys]))
    rows = ordered.values.reshape(samples, heads, -1, width).astype(np.float64)
    valid = np.ones((samples, heads, *ordered.shape[2 : ordered.ndim - len(keys)]), bool)
    for query in queries:
        if f"{query}_valid" in part.coords:
            valid &= _laid(part[f"{query}_valid"], ordered.dims[: valid.ndim])
    if RAN in part.coords:
        valid &= _laid(part[RAN], ordered.dims[: valid.ndim])
    known = [_laid(part[f"{key}_valid"], ordered.dims) for key in keys if f"{key}_valid" in part.coords]
    if not known:
        return rows, valid.reshape(samples, heads, -1), None
    real = np.logical_and.reduce(np.broadcast_arrays(*known))
    lead = real.shape[2 : real.ndim - len(keys)]
    along = valid.shape[2:] if max(lead, default=1) > 1 else lead
    real = np.broadcast_to(real, (samples, 1, *along, *ordered.shape[ordered.ndim - len(keys) :]))
    return rows, valid.reshape(samples, heads, -1), real.reshape(samples, 1, -1, width)


def _laid(coordinate: xr.DataArray, dims: Sequence[Hashable]) -> np.ndarray:
    """A coordinate with all of these dims, of size 1 along those that it does not have."""
    whole = coordinate.expand_dims([dim for dim in dims if dim not in coordinate.dims])
    return np.asarray(whole.transpose(*dims).values)


def _only_padding(dataset: xr.Dataset) -> str:
    """What is nothing but padding in all samples: ``key`` or ``query``; empty where something is real."""
    kinds = {"key": key_dims(dataset.dims), "query": query_dims(dataset.dims)}
    return next(
        (
            kind
            for kind, dims in kinds.items()
            for dim in dims
            if f"{dim}_valid" in dataset.coords and not bool(dataset[f"{dim}_valid"].any())
        ),
        "",
    )


def _per_head(array: xr.DataArray) -> np.ndarray:
    """The sum over all dims but the head's."""
    return np.asarray(array.sum([dim for dim in array.dims if dim != HEAD]).values)


_NOT_RUN = (
    "it ran for {ran} of {there} {what}: a condition in the model sent the others another way, so that they have no "
    "scores"
)
_FIX_NOT_RUN = (
    "read it where its coordinate 'ran' is True; everywhere else its scores are NaN. For scores of every sample "
    "compute both branches of the condition, and choose between what they give with keras.ops.where"
)
_LOST = (
    "a softmax was left out: its trail was lost at the operation {operation}, so it is not known whether it is "
    "attention"
)
_FIX_LOST = (
    "ask for it by name if it is attention, sites=[...], on the command line --sites; or say which output the weights "
    "are: ats.declare(...)"
)
_UNREACHED = "a softmax was left out: {}"
_FIX_UNREACHED = (
    "compute it with keras.ops.softmax, outside of conditions and of loops that cannot be unrolled; or let the layer "
    "return the weights, and declare them: ats.declare(LayerClass, output=1, dims=(...))"
)
_BY_SIZE = "its dims {} are guessed from their sizes, because the trail was lost at an operation that is not known"
_FIX_BY_SIZE = "check them, and say what the axes are: ats.declare(LayerClass, output=..., dims=(...))"
_PLAIN_SOFTMAXES = ("", "Activation", "Dense", "Functional", "Sequential")
"""Where a softmax has no layer of its own that a mask could be given to."""
_WITH_MASK = {
    "MultiHeadAttention": "layer(x, x, attention_mask=mask)",
    "GroupedQueryAttention": "layer(x, x, attention_mask=mask)",
    "Attention": "layer([query, value], mask=[query_mask, value_mask])",
    "AdditiveAttention": "layer([query, value], mask=[query_mask, value_mask])",
    "Softmax": "layer(logits, mask=mask)",
}
"""By class of the layer how it is given a mask."""
_FIX_PADDING = (
    "pass the mask explicitly: {}, or put LayerNormalization before the attention (pre-norm), or use "
    "Embedding(mask_zero=True) if there is no mask at all; then train again"
)
_FIX_PADDING_OF_OTHERS = (
    "give the layer the mask if it takes one, as attention_mask= or mask=; if not, set the logits of padding to -1e9 "
    "in front of its softmax: ops.where(mask, logits, -1e9); then train again"
)
_FIX_PLAIN_SOFTMAX = (
    "put keras.layers.Softmax() in its place, which takes a mask: Softmax()(logits, mask=mask); or set the logits of "
    "padding to -1e9 in front of it: ops.where(mask, logits, -1e9); then train again"
)
_ONLY_PADDING = "every {} of all {} samples is padding, so that there is nothing to attend to"
_FIX_ONLY_PADDING = "check the inputs: which number stands for padding, and whether they were preprocessed"
_NAN = "{count} scores are NaN or infinite"
_ROW_SUM = "rows sum to 1 only to within {off}"
_PADDING = "{share} of the attention falls on padding"
_REMOVED = (
    "; the padding mask was removed by {layers}: MultiHeadAttention clears the mask of the tensor it is called on, so "
    "a second layer on that tensor, or an Add after it, sees no mask"
)
_TAKES_NO_MASK = "; this softmax takes no mask"
_NO_MASK = "; no padding mask reached this layer"
_UNIFORM = (
    "{heads_of} spread their attention evenly over the open keys: in {share} of the rows, each score is within "
    f"{UNIFORM:.0%} of 1 divided by the number of open keys"
)
_CONSTANT = (
    "the map is the same in all {samples} samples (largest difference {spread}): it does not depend on the input"
)
_CONSTANT_AS_STORED = (
    "the map is the same in all {samples} samples as far as its stored scores tell (difference at most {spread}): it "
    "hardly depends on the input"
)
_SINK = (
    "{key} is the strongest key of {share} of {heads_of}, and the strongest key gets {mass} of their attention: a sink"
)
_EMPTY = "there is nothing to see: it has {}"
_FIX_EMPTY = "give the model at least one sample with at least one position, or leave this site out"
_FIX_UNIFORM = "do not read this map as importance: nothing was chosen; train longer, or check that the logits vary"
_FIX_CONSTANT = "do not read this map as an explanation of one sample; check that query and key depend on the input"
_FIX_SINK = "leave that key out before comparing keys, or compare with maps of other inputs"
_FIX_SUM = "these are not attention weights as they stand: capture the softmax itself, or use float32"
_FIX_DECLARED = (
    "the declared output does not hold weights after a softmax: declare the output that does, ats.declare(LayerClass, "
    "output=1, dims=(...)), or its axes in their order"
)
_FIX_NAN = "a row whose logits are all -inf becomes NaN: mask with a large finite number, and check the inputs for NaN"
