"""All pictures alike reject what is not attention, and say how to fix it; what is attention passes."""

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope.errors import SchemaError
from attnscope.plot._checks import check
from drawings import array, axes, cells, remarks, scores

EVEN = np.full((1, 2, 3, 5), 0.2)
CAPTURE = "ats.capture(model, inputs)[site]"
NO_WEIGHTS = (
    f"Logits and layer outputs are not weights; capture those: {CAPTURE}. If the numbers are relevance, say so: "
    "xr.DataArray(values, dims=('query', 'key'), name='relevance')."
)


def two_sites():
    return ats.AttentionMaps.from_arrays({"a": EVEN, "b": EVEN})


REFUSED = {
    "an output": (
        np.zeros((2, 7, 16)),
        "The weights have shape (2, 7, 16), but this picture needs a plain array with the axes ('query', 'key') or "
        "('sample', 'head', 'query', 'key'). Name the axes: xr.DataArray(weights, dims=('head', 'query', 'key')); then "
        "select or average the ones that are too many. An attention layer's output is not its weights; capture those: "
        f"{CAPTURE}.",
    ),
    "one sample's output": (
        np.array([[0.3, -1.25], [0.5, 0.5]]),
        f"The weights run from -1.25 to 0.500, but attention after the softmax lies between 0 and 1. {NO_WEIGHTS}",
    ),
    "logits": (
        np.array([[3.0, 7.25]]),
        f"The weights run from 3.00 to 7.25, but attention after the softmax lies between 0 and 1. {NO_WEIGHTS}",
    ),
    "masked logits": (
        np.array([[3.0, -np.inf]]),
        "1 of the 2 weights are infinite, but attention after the softmax lies between 0 and 1. Logits are not "
        f"weights; capture those: {CAPTURE}.",
    ),
    "rows that sum to less": (
        np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.25]]),
        "1 of 2 rows sum to less than 1, down to 0.750, but attention after the softmax sums to 1 over the keys. Leave "
        "padding out of a mean over samples: weights.where(weights.query_valid).mean('sample'). If these are only some "
        "of the keys, say so: partial=True.",
    ),
    "rows that sum to more": (
        np.array([[0.5, 0.75], [0.5, 0.5]]),
        "1 of 2 rows sum to more than 1, up to 1.25, but attention after the softmax sums to 1 over the keys. Use the "
        f"scores as they leave the softmax, before dropout and without rescaling: {CAPTURE}.",
    ),
    "swapped axes": (
        np.array([[0.5, 0.25], [0.5, 0.75]]),
        "1 of 2 rows sum to more than 1, up to 1.25, but attention after the softmax sums to 1 over the keys. The "
        "columns do, so the axes are swapped; transpose a plain array: weights.T. Use the scores as they leave the "
        f"softmax, before dropout and without rescaling: {CAPTURE}.",
    ),
    "no numbers": (
        np.array([["a", "b"]]),
        f"The weights are ndarray of <U1, but numbers are needed: an array, or {CAPTURE}.",
    ),
    "several sites": (
        two_sites(),
        "Maps of 2 sites were given ('a', 'b'), but this picture shows one. Choose it, maps['a'], or draw them all: "
        "ats.plot.heads(maps).",
    ),
    "an entropy": (
        xr.DataArray(np.ones((1, 2, 3)), dims=("sample", "head", "query"), name="entropy"),
        "The weights have the dims ('sample', 'head', 'query'), but a dim 'key' is needed for this picture. Draw "
        "statistics with ats.plot.metrics(maps.select('entropy')).",
    ),
    "the strongest alone": (
        xr.DataArray(np.ones((1, 3, 2)), dims=("sample", "query", "rank"), name="top_scores"),
        "The weights have the dims ('sample', 'query', 'rank'), but a dim 'key' is needed for this picture. Capture "
        "whole maps: ats.capture(model, inputs, summaries=[ats.Full()]).",
    ),
    "an axis by another name": (
        xr.DataArray(EVEN[0, 0], dims=("query", "source")),
        "The weights have the dims ('query', 'source'), but a dim 'key' is needed for this picture. If an axis goes by "
        "another name, rename it: weights.rename({'source': 'key'}).",
    ),
    "nothing": (
        array(np.zeros((0, 2, 3, 5))),
        "The weights have shape (0, 2, 3, 5), so there is nothing to draw. Give at least one sample and one position.",
    ),
    "steps": (
        xr.DataArray(np.full((2, 3, 5), 0.2), dims=("step", "query", "key")),
        "The weights have the dims ('step', 'query', 'key') with shape (2, 3, 5), but a picture has only samples, "
        "heads, queries and keys. Select one of 'step': weights.isel(step=0); or average: weights.mean('step').",
    ),
}


@pytest.mark.parametrize("picture", [ats.plot.heatmap, ats.plot.links], ids=["heatmap", "links"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_map_is_refused_with_a_fix(picture, case):
    given, message = REFUSED[case]
    with pytest.raises(SchemaError) as caught:
        picture(given, ax=axes())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "draw",
    [
        lambda weights: ats.plot.heads(weights, ax=axes()),
        lambda weights: ats.plot.difference(weights, weights, ax=axes()),
        lambda weights: ats.plot.series(weights, ax=axes()),
        lambda weights: ats.plot.image(np.zeros((4, 4)), weights, grid=(1, 2), ax=axes()),
        lambda weights: ats.plot.tokens(weights[0], ax=axes()),
    ],
    ids=["heads", "difference", "series", "image", "tokens"],
)
def test_all_pictures_share_the_checks(draw):
    with pytest.raises(SchemaError) as caught:
        draw(np.array([[3.0, 7.25]]))
    assert str(caught.value).replace("dims=('key',)", "dims=('query', 'key')") == REFUSED["logits"][1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sample": 3},
            "Sample 3 was asked for, but there are 2 samples: 0 to 1. Give one of these: sample=0.",
        ),
        (
            {"head": 7},
            "Head 7 was asked for, but there is head 0 to head 3. Give the number of one, head=0, or write "
            "head='mean'.",
        ),
        (
            {"normalize": "minmax"},
            "normalize='minmax' was given, but None (the weights as they are), 'max', 'row', 'rank' or 'log' is "
            "needed. Leave it out, or write normalize='max'.",
        ),
        (
            {"maximum": 0},
            "maximum=0 was given, but a colour scale from 0 has to end above it. Write maximum=1.",
        ),
        (
            {"maximum": 0.5, "normalize": "rank"},
            "maximum=0.5 was given with normalize='rank', whose scale always ends at 1. Leave one of them out.",
        ),
    ],
)
def test_options_that_cannot_be_meant(rng, options, message):
    with pytest.raises(SchemaError) as caught:
        ats.plot.heatmap(array(scores(rng, 2, 4, 3, 5)), ax=axes(), **options)
    assert str(caught.value) == message


def test_a_sample_or_head_of_a_map_that_has_none():
    with pytest.raises(SchemaError) as caught:
        ats.plot.heatmap(EVEN[0, 0], sample=1, ax=axes())
    assert str(caught.value) == (
        "sample=1 was asked for, but the weights have the dims ('query', 'key'), without samples. Leave it out."
    )
    with pytest.raises(SchemaError) as caught:
        ats.plot.heatmap(EVEN[0, 0], head=1, ax=axes())
    assert str(caught.value) == (
        "Head 1 was asked for, but there is a map without heads. Give the number of one, head=0, or write head='mean'."
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rows_of_half_precision_sum_to_1_nearly_enough(rng, dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="the package ml_dtypes is not installed")
    kind = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    values = scores(rng, 64, 512).astype(kind)
    sums = values.astype(np.float64).sum(-1)
    assert np.abs(sums - 1).max() > 1e-4
    drawn = ats.plot.heatmap(values, ax=axes())
    np.testing.assert_array_equal(cells(drawn), values.astype(np.float64))


def test_tensors_of_torch_get_in_too(rng):
    torch = pytest.importorskip("torch", reason="the package torch is not installed")
    values = scores(rng, 3, 5)
    for kind in (torch.float32, torch.bfloat16):
        tensor = torch.tensor(values, requires_grad=True).to(kind)
        np.testing.assert_array_equal(cells(ats.plot.heatmap(tensor, ax=axes())), tensor.detach().float().numpy())


def test_rows_that_attend_to_nothing_and_nan_get_in(rng):
    values = scores(rng, 4, 5)
    values[1] = 0
    values[2, 3] = np.nan
    check(array(values))


def test_means_over_heads_and_queries_get_in(rng):
    given = array(scores(rng, 2, 4, 3, 5))
    check(given.mean("head"))
    check(given.mean(["head", "query"]))
    check(given.isel(query=0, key=slice(2)))


def test_a_mean_over_padded_samples_gets_in_if_it_leaves_the_padding_out(rng):
    values = scores(rng, 3, 2, 4, 4)
    valid = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]], bool)
    values = np.where(valid[:, None, :, None], values, 0)
    given = array(values, query_valid=(("sample", "query"), valid))
    check(given)
    with pytest.raises(SchemaError, match=r"weights\.where\(weights\.query_valid\)\.mean\('sample'\)"):
        check(given.mean("sample"))
    check(given.where(given.query_valid).mean("sample"))


def test_a_selection_of_keys_gets_in_when_it_is_said_and_the_picture_says_so(rng):
    given = array(scores(rng, 3, 8)).isel(key=slice(4))
    ax = ats.plot.heatmap(given, partial=True, ax=axes())
    sums = given.values.sum(-1)
    assert remarks(ax) == f"some of the keys only: rows sum to {sums.min():.3g} to {sums.max():.3g}"


def test_what_is_given_is_left_as_it_was(rng):
    values = scores(rng, 2, 2, 4, 4)
    given = array(values.copy(), key_label=("key", list("abcd")))
    before = given.copy(deep=True)
    for draw in (ats.plot.heatmap, ats.plot.links, ats.plot.series):
        draw(given, ax=axes())
    xr.testing.assert_identical(given, before)
