"""`words`: sub-word tokens merged into words, and their attention with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Literal, TypeVar

import numpy as np
import xarray as xr

from attnscope.errors import LabelError, SchemaError
from attnscope.schema import KEY, QUERY, RECEIVED, SAMPLE, SCORES, known_positions, too_many

Scheme = Literal["wordpiece", "sentencepiece", "bytes"]
_SPECIAL = re.compile(r"\[[^\[\]\s]+\]|<[^<>\s]+>")
"""[CLS], [SEP], <s>, </s>, <|endoftext|>, <sink>."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""How SentencePiece writes a byte that is in none of its pieces; such a token is not special."""


def _byte_signs() -> dict[str, int]:
    """The character that byte-level BPE writes for each byte: the byte's own if it is visible, else one from 256 on."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_signs()
_BLANKS = frozenset(chr_ for chr_, byte in _BYTES.items() if bytes([byte]).isspace())
_SPACE = "Ġ"


Labelled = TypeVar("Labelled")
"""Maps, or one labelled array."""


def words(maps: Labelled, *, scheme: Scheme | None = None) -> Labelled:
    """The same maps with sub-word tokens merged into words.

    The attention that a word receives is the sum over its tokens; the attention that it gives is the mean over its
    tokens, without padding. Rows therefore still sum to 1. Special tokens ([CLS], <s>, <sink>) and padding remain words
    of their own. The tokenizer decides what a word is: WordPiece separates punctuation from words; SentencePiece and
    byte-level BPE split only at spaces and line ends. Samples have different numbers of words, so shorter samples are
    padded with unnamed words that are marked as padding.

    Args:
        maps: Captured maps, or the scores (or the attention received) of one site, with tokens as labels.
        scheme: ``wordpiece`` (``##``), ``sentencepiece`` (``▁``) or ``bytes`` (``Ġ``); None for the one whose marks are
            the most frequent among the labels.

    Returns:
        An object of the same kind. Sites without labels stay as they are.

    Raises:
        LabelError: There are no token labels; or none of them has such a mark, and no `scheme` was given.
        SchemaError: There is a variable that cannot be merged, such as the entropy over tokens.

    Example:
        >>> tokens = ["play", "##ing", "well"]
        >>> row = xr.DataArray([0.25, 0.25, 0.5], dims="key", coords={"key_label": ("key", tokens)})
        >>> merged = words(row)
        >>> merged.key_label.values.tolist(), merged.values.tolist()
        (['playing', 'well'], [0.5, 0.5])
    """
    if isinstance(maps, xr.DataArray):
        chosen = _scheme([maps], scheme)
        return _of_array(maps, chosen)  # type: ignore[return-value]
    captured: Any = maps
    if isinstance(maps, xr.Dataset):
        raise too_many(maps, "words needs captured maps, or one array")
    if not isinstance(maps, Mapping) or not hasattr(captured, "dataset"):
        raise SchemaError(
            f"The maps are of type {type(maps).__name__}, but captured maps or a labelled array are needed: "
            "words(ats.capture(model, inputs, labels=tokens))."
        )
    return _of_maps(captured, scheme)  # type: ignore[no-any-return]


def _of_maps(maps: Any, scheme: Scheme | None) -> Any:
    datasets = {name: maps.dataset(name) for name in maps}
    chosen = _scheme(list(datasets.values()), scheme)
    merged = {name: _of_dataset(name, dataset, chosen) for name, dataset in datasets.items()}
    return type(maps)(merged, outputs=maps.outputs, inputs=maps.inputs, attrs=maps.attrs)


def _of_dataset(name: str, dataset: xr.Dataset, scheme: Scheme) -> xr.Dataset:
    others = [str(variable) for variable in dataset.data_vars if variable not in (SCORES, RECEIVED)]
    if others:
        raise SchemaError(
            f"{name!r} holds {others[0]!r} of tokens, from which that of words cannot be computed. Merge the scores, "
            "and compute it again: words(maps.select('scores'))."
        )
    variables = {str(variable): _of_array(array, scheme) for variable, array in dataset.data_vars.items()}
    return xr.Dataset(variables, attrs={**dataset.attrs, **_positions(dataset.attrs)})


def _positions(attrs: Mapping[Hashable, Any]) -> dict[str, str]:
    """The attribute that says what the positions are, with words in place of tokens; none where it is not known."""
    kinds = known_positions({str(name): value for name, value in attrs.items()})
    in_words = {dim: "words" if kind == "tokens" else kind for dim, kind in kinds.items()}
    return {"positions": json.dumps(in_words)} if in_words else {}


def _scheme(arrays: Iterable[xr.DataArray | xr.Dataset], scheme: Scheme | None) -> Scheme:
    labels = [str(label) for array in arrays for dim in (QUERY, KEY) for label in _labels(array, dim).ravel()]
    if not labels:
        raise LabelError(
            "The maps have no token labels, so there is nothing to merge. Give them: ats.capture(model, inputs, "
            "labels=[tokenizer.convert_ids_to_tokens(row) for row in token_ids])."
        )
    if scheme is not None:
        return scheme
    counts: dict[Scheme, int] = {
        "sentencepiece": sum(label.startswith("▁") for label in labels),
        "bytes": sum(label.startswith((_SPACE, "Ċ")) for label in labels),
        "wordpiece": sum(label.startswith("##") and len(label) > 2 for label in labels),
    }
    best = max(counts, key=lambda name: counts[name])
    if not counts[best]:
        raise LabelError(
            f"None of the {len(labels)} labels has a sub-word mark ('##', '▁' or 'Ġ'); the first is {labels[0]!r}. If "
            "they are tokens, none of which was split, name the scheme: words(maps, scheme='wordpiece')."
        )
    return best


def _labels(array: xr.DataArray | xr.Dataset, dim: str) -> np.ndarray:
    name = f"{dim}_label"
    has = name in array.coords and dim in array.coords[name].dims
    return np.asarray(array.coords[name].values) if has else np.empty(0, dtype=str)


def _of_array(array: xr.DataArray, scheme: Scheme) -> xr.DataArray:
    for dim in (KEY, QUERY):
        if _labels(array, dim).size:
            array = _merged(array.compute(), dim, scheme)
    return array


def _merged(array: xr.DataArray, dim: str, scheme: Scheme) -> xr.DataArray:
    """The array with the tokens along one dim merged."""
    label, valid = array.coords[f"{dim}_label"], array.coords.get(f"{dim}_valid")
    beside = [str(each) for each in label.dims if each not in (SAMPLE, dim)]
    if beside:
        raise LabelError(
            f"The labels of {dim!r} have the dims {label.dims}, but words are merged in one {beside[0]} at a time: "
            f"words(maps['site'].isel({beside[0]}=0))."
        )
    own = SAMPLE in array.dims and any(SAMPLE in one.dims for one in (label, valid) if one is not None)
    if own and not array.sizes[SAMPLE]:
        return array
    samples = [array.isel({SAMPLE: n}) for n in range(array.sizes[SAMPLE])] if own else [array]
    tokens = [[str(token) for token in one.coords[f"{dim}_label"].values] for one in samples]
    starts = [
        np.array(_starts(row, _real(one.coords.get(f"{dim}_valid"), dim, len(row)), scheme), dtype=int)
        for row, one in zip(tokens, samples, strict=True)
    ]
    real = xr.ones_like(array, dtype=bool) if valid is None else (xr.zeros_like(array, dtype=bool) | valid)
    values = _gathered([array] if dim == KEY else [array, real], dim, starts, own, _sum if dim == KEY else _mean)
    coords: dict[str, xr.DataArray | tuple[Hashable | tuple[Hashable, ...], np.ndarray]] = {
        str(name): one for name, one in array.coords.items() if dim not in one.dims
    }
    names = [
        [_spelled(row[start:end], scheme) for start, end in zip(begin, [*begin[1:], len(row)], strict=True)]
        for row, begin in zip(tokens, starts, strict=True)
    ]
    most = max(map(len, names), default=0)
    rows = [[*row, *[""] * (most - len(row))] for row in names]
    coords[f"{dim}_label"] = ((SAMPLE, dim), np.array(rows, dtype=str)) if own else (dim, np.array(rows[0], dtype=str))
    if own or valid is not None:
        known = xr.ones_like(label, dtype=bool) if valid is None else valid
        if own and SAMPLE not in known.dims:
            known = known.expand_dims({SAMPLE: array.sizes[SAMPLE]})
        coords[f"{dim}_valid"] = (known.dims, _gathered([known], dim, starts, own, _any))
    return xr.DataArray(values, dims=array.dims, coords=coords, name=array.name, attrs=array.attrs)


def _real(valid: xr.DataArray | None, dim: str, size: int) -> np.ndarray:
    """Which tokens are valid for at least one sample, window or step."""
    if valid is None:
        return np.ones(size, bool)
    others = [other for other in valid.dims if other != dim]
    return np.asarray((valid.any(others) if others else valid).values, bool)


def _gathered(
    arrays: list[xr.DataArray], dim: str, starts: list[np.ndarray], own: bool, function: Callable[..., np.ndarray]
) -> np.ndarray:
    """Tokens gathered into words, with the dims in the order of the first array.

    Args:
        arrays: Arrays with the same dims.
        dim: The dim that counts tokens.
        starts: Positions of the tokens that begin a word.
        own: Whether each sample has starts of its own.
        function: Turns the tokens on the last axis into words; takes the arrays and the starts.
    """
    order = tuple(str(name) for name in arrays[0].dims)
    front = [SAMPLE] if own else []
    inner = [*front, *(name for name in order if name not in (*front, dim)), dim]
    parts = [array.transpose(*inner).values for array in arrays]
    samples = zip(*parts, strict=True) if front else [tuple(parts)]
    merged = [function(*part, begin) for part, begin in zip(samples, starts, strict=True)]
    most = max(map(len, starts))
    padded = [np.pad(one, [(0, 0)] * (one.ndim - 1) + [(0, most - one.shape[-1])]) for one in merged]
    whole = np.stack(padded) if front else padded[0]
    return np.asarray(whole.transpose([inner.index(name) for name in order]))


def _sum(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.asarray(np.add.reduceat(values, starts, axis=-1))


def _any(real: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.asarray(np.logical_or.reduceat(real, starts, axis=-1))


def _mean(values: np.ndarray, real: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The mean over the tokens of each word that are not padding; over all its tokens if all are padding."""
    lengths = np.diff(np.append(starts, values.shape[-1]))
    padding = ~_any(real, starts)
    counting = real | np.repeat(padding, lengths, axis=-1)
    counts = _sum(counting.astype(np.int64), starts)
    return np.asarray((_sum(np.where(counting, values, 0), starts) / counts).astype(values.dtype))


def _starts(tokens: list[str], real: np.ndarray, scheme: Scheme) -> list[int]:
    """Positions of the tokens that begin a word."""
    starts = []
    for position, token in enumerate(tokens):
        before = position - 1
        alone = position == 0 or _stands_alone(token, real[position]) or _stands_alone(tokens[before], real[before])
        if alone or _begins(token, tokens[before], scheme):
            starts.append(position)
    return starts


def is_special(token: str) -> bool:
    """Whether a token is written the way tokenizers write tokens that represent no text.

    Example:
        >>> [is_special(token) for token in ("[CLS]", "</s>", "<0x0A>", "well")]
        [True, True, False, False]
    """
    return _SPECIAL.fullmatch(token) is not None and _BYTE.fullmatch(token) is None


def _stands_alone(token: str, real: bool) -> bool:
    return is_special(token) or not token or not real


def _begins(token: str, before: str, scheme: Scheme) -> bool:
    if scheme == "wordpiece":
        return not (token.startswith("##") and len(token) > 2)
    if scheme == "sentencepiece":
        return token.startswith("▁")
    return token[0] in _BLANKS or set(before) <= _BLANKS - {_SPACE}


def _spelled(tokens: list[str], scheme: Scheme) -> str:
    """A word as a reader would write it."""
    if len(tokens) == 1 and _stands_alone(tokens[0], True):
        return tokens[0]
    if scheme == "wordpiece":
        return "".join([tokens[0], *(token.removeprefix("##") for token in tokens[1:])])
    if scheme == "sentencepiece":
        return _with_bytes(tokens).removeprefix("▁").replace("▁", " ") or " "
    signs = "".join(tokens)
    if any(sign not in _BYTES for sign in signs):
        return signs.removeprefix(_SPACE)
    text = bytes(_BYTES[sign] for sign in signs).decode("utf-8", errors="replace")
    return text.removeprefix(" ") or text


def _with_bytes(tokens: list[str]) -> str:
    """The joined pieces, with sequences of bytes decoded as UTF-8."""
    joined = b""
    for token in tokens:
        byte = _BYTE.fullmatch(token)
        joined += bytes([int(byte[1], 16)]) if byte else token.encode("utf-8", errors="surrogatepass")
    return joined.decode("utf-8", errors="replace")
