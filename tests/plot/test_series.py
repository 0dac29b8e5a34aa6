"""`series`: attention over time, a line for each query, with what the samples differ by."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.figure import Figure

import attnscope as ats
from attnscope.errors import LabelError, SchemaError
from drawings import array, axes, bar, cells, drawn, marked, relevance, remarks, scores, ticks, title, unreadable


def means(ax):
    return [line for line in ax.lines if line.get_gid() == "mean"]


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_line_is_the_mean_over_heads_and_samples_and_the_band_are_percentiles(rng):
    values = scores(rng, 30, 2, 3, 8)
    ax = ats.plot.series(array(values), ax=axes())
    heads = values.mean(1)
    assert len(means(ax)) == 3
    for query, line in enumerate(means(ax)):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(8))
        np.testing.assert_allclose(line.get_ydata(), heads[:, query].mean(0))
        band = [found for found in ax.collections if found.get_gid() == "percentiles"][query]
        corners = band.get_paths()[0].vertices
        for end, step in ((10, 2), (90, 6)):
            expected = np.percentile(heads[:, query, step], end)
            assert np.isclose(corners[corners[:, 0] == step, 1], expected).any()
    assert names(ax) == ["query 0", "query 1", "query 2", "even"]
    assert title(ax) == "encoder/mha"
    assert remarks(ax) == ("mean of 30 samples · mean of 2 heads · band: 10th to 90th percentile of the samples")
    assert ax.get_ylim()[0] == 0
    assert ax.get_xlabel() == "time step"


def test_of_many_queries_five_are_drawn_or_three_with_their_bands_and_it_is_said(rng):
    ax = ats.plot.series(scores(rng, 24, 50), ax=axes())
    assert names(ax) == [f"query {n}" for n in (0, 6, 12, 17, 23)] + ["even"]
    assert remarks(ax) == "5 of 24 queries"
    banded = ats.plot.series(array(scores(rng, 9, 24, 50), dims=("sample", "query", "key")), ax=axes())
    assert names(banded) == ["query 0", "query 12", "query 23", "even"]
    assert remarks(banded).startswith("mean of 9 samples · 3 of 24 queries")
    chosen = ats.plot.series(scores(rng, 24, 50), lines=[1, 23], ax=axes())
    assert names(chosen) == ["query 1", "query 23", "even"]


def test_even_attention_is_dashed_only_where_the_steps_share_all_of_it(rng):
    ax = ats.plot.series(scores(rng, 10), ax=axes())
    (even,) = [line for line in ax.lines if line.get_label() == "even"]
    np.testing.assert_allclose(even.get_ydata(), 0.1)
    weights = scores(rng, 10)[:5]
    part = ats.plot.series(array(weights, dims=("key",)), ax=axes())
    assert not [line for line in part.lines if line.get_label() == "even"]
    assert remarks(part) == f"the steps have {weights.sum():.0%} of the attention"
    causal = ats.plot.series(np.array([[1.0, 0.0], [0.5, 0.5]]), ax=axes())
    assert not [line for line in causal.lines if line.get_label() == "even"]


def test_times_are_numbers_or_dates(rng):
    past = np.arange(-10, 0)
    ax = ats.plot.series(scores(rng, 10), times=past, ax=axes())
    np.testing.assert_array_equal(means(ax)[0].get_xdata(), past)
    days = np.arange("2024-01-25", "2024-02-04", dtype="datetime64[D]")
    ax = drawn(ats.plot.series(scores(rng, 10), times=days, ax=axes()))
    np.testing.assert_array_equal(means(ax)[0].get_xdata(), days)
    assert len(ax.get_xticks()) <= 8


@pytest.mark.parametrize(
    "times", [[2019, 2020, 2021, 2022, 2023], [2019.0, 2020.0, 2021.0, 2022.0, 2023.0], [3, 4, 5, 6, 7]]
)
def test_ticks_of_whole_times_are_whole(rng, times):
    ax = ats.plot.series(scores(rng, 5), times=times, ax=axes())
    assert [(place, text) for place, text in ticks(ax.xaxis) if times[0] <= place <= times[-1]] == [
        (time, f"{time:.0f}") for time in times
    ]


def test_features_over_time(rng):
    values = scores(rng, 6, 9, 3)
    given = xr.DataArray(
        values, dims=("sample", "query", "key"), coords={"key_label": ("key", ["price", "rain", "stock"])}
    )
    ax = ats.plot.series(given, time="query", ax=axes())
    assert names(ax) == ["price", "rain", "stock"]
    np.testing.assert_allclose(means(ax)[1].get_ydata(), values[:, :, 1].mean(0))
    assert [line.get_linestyle() for line in means(ax)] == ["-", "--", "--"]
    chosen = ats.plot.series(given, time="query", lines=["stock", "price"], ax=axes())
    np.testing.assert_allclose(means(chosen)[0].get_ydata(), values[:, :, 2].mean(0))
    assert names(chosen) == ["stock", "price"]
    steps = given.rename(query="step")
    np.testing.assert_allclose(
        means(ats.plot.series(steps, time="step", ax=axes()))[1].get_ydata(), values[:, :, 1].mean(0)
    )


def test_a_strip_has_a_row_of_cells_for_each_line(rng):
    values = scores(rng, 4, 12, 30)
    past = np.arange(-30, 0)
    ax = ats.plot.series(array(values, dims=("sample", "query", "key")), times=past, strip=True, ax=axes())
    np.testing.assert_allclose(cells(ax), values.mean(0))
    assert bar(ax)[0] == "attention"
    found = ticks(ax.xaxis)
    assert all(text == f"{place - 30:g}".replace("-", "−") for place, text in found)  # noqa: RUF001
    (step,) = {int(step) for step in np.diff([place for place, _ in found])}
    assert step in (2, 5, 10)
    assert all((place - 30) % step == 0 for place, _ in found)
    assert ax.get_ylabel() == "query position"


def test_padded_steps_are_left_out_of_the_mean_and_hatched_where_no_sample_has_them(rng):
    valid = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], bool)
    values = np.where(valid, rng.random((3, 5)), 0)
    values /= values.sum(-1, keepdims=True)
    given = array(values, dims=("sample", "key"), key_valid=(("sample", "key"), valid))
    ax = ats.plot.series(given, trim=False, ax=axes())
    expected = [values[valid[:, step], step].mean() for step in range(4)]
    np.testing.assert_allclose(means(ax)[0].get_ydata(), [*expected, np.nan])
    (span,) = [patch for patch in ax.patches if patch.get_gid() == "masked"]
    assert (span.get_x(), span.get_width(), bool(span.get_hatch())) == (3.5, 1.0, True)
    assert remarks(ax).endswith("hatched: masked")
    years = [2019, 2020, 2021, 2022, 2023]
    trimmed = ats.plot.series(given, times=years, ax=axes())
    np.testing.assert_allclose(means(trimmed)[0].get_ydata(), expected)
    assert means(trimmed)[0].get_xdata().tolist() == years[:4]
    assert "padding left out: 1 step" in remarks(trimmed)


def test_horizons_are_named_and_their_bands_can_be_told_apart(rng):
    given = array(scores(rng, 20, 3, 8), dims=("sample", "query", "key"))
    ax = ats.plot.series(given, names=["in 1 h", "in 6 h", "in 24 h"], ax=axes())
    assert names(ax) == ["in 1 h", "in 6 h", "in 24 h", "even"]
    faces = [tuple(line.get_color()) for line in means(ax)]
    assert len(set(faces)) == len({str(line._dash_pattern) for line in means(ax)}) == 3
    edges = [line for line in ax.lines if line.get_gid() == "edge"]
    for number, line in enumerate(means(ax)):
        low, high = edges[2 * number : 2 * number + 2]
        assert low.get_color() == high.get_color() == line.get_color()
        np.testing.assert_allclose(low.get_ydata(), np.percentile(given.values[:, number], 10, axis=0))
        np.testing.assert_allclose(high.get_ydata(), np.percentile(given.values[:, number], 90, axis=0))
    with pytest.raises(LabelError) as caught:
        ats.plot.series(given, names=["in 1 h"], ax=axes())
    assert str(caught.value) == "1 name given, but the lines are 3. Give one per line: names=[...]."
    with pytest.raises(SchemaError) as caught:
        ats.plot.series(given, names=["a", "b", "c"], lines=["d"], ax=axes())
    assert str(caught.value) == (
        "lines=['d'] was given, but lines are numbered from 0 to 2. Write lines=[0], or by their names: lines=['a']."
    )


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_relevance_over_time_has_a_line_at_0_and_no_even_share(samples):
    given = relevance(samples, 12, units="hours", target="the output").drop_vars("key_label")
    ax = ats.plot.series(given)
    np.testing.assert_allclose(means(ax)[0].get_ydata(), given.values.mean(0))
    assert [line.get_gid() for line in ax.lines].count("zero") == 1
    assert ax.get_ylabel().replace("\n", " ") == "integrated gradients, the output in hours"
    low, high = ax.get_ylim()
    assert low <= given.values.mean(0).min() < 0 < given.values.mean(0).max() <= high
    assert "of the attention" not in remarks(ax)
    assert not unreadable(ax.figure)
    pyplot.close(ax.figure)
    targets = xr.concat([given, -given], dim=xr.DataArray(["class 'a'", "class 'b'"], dims="target", name="target"))
    both = ats.plot.series(targets, ax=axes())
    assert names(both) == ["class 'a'", "class 'b'"]


def test_nan_breaks_the_line_and_is_crossed_on_the_axis(rng):
    values = scores(rng, 3, 6)
    values[1, 2] = np.nan
    ax = ats.plot.series(array(values, dims=("sample", "key")), ax=axes())
    assert np.flatnonzero(np.isnan(means(ax)[0].get_ydata())).tolist() == [2]
    (cross,) = [line for line in ax.lines if line.get_gid() == "nan"]
    assert (cross.get_xdata().tolist(), cross.get_ydata().tolist(), cross.get_marker()) == ([2], [0], "x")
    strip = ats.plot.series(array(values, dims=("sample", "key")), strip=True, ax=axes())
    assert marked(strip, "nan", (1, 6)).tolist() == [[False, False, True, False, False, False]]


def test_one_step(rng):
    ax = ats.plot.series(np.array([1.0]), ax=axes())
    assert means(ax)[0].get_marker() == "o"
    assert means(ax)[0].get_ydata().tolist() == [1.0]


@pytest.mark.parametrize(
    ("weights", "options", "kind", "message"),
    [
        (
            np.full((2, 4), 0.25),
            {"times": [1, 2]},
            LabelError,
            "The times have shape (2,), but there are 4 steps. Give one per step: times=[...].",
        ),
        (
            np.full((2, 12), 1 / 12),
            {"times": [1] * 12},
            LabelError,
            "The times of all 12 steps are 1, but steps lie one after the other. Give the time of each, times=[...], "
            "or leave them out, which numbers the steps.",
        ),
        (
            np.full((2, 4), 0.25),
            {"time": "step"},
            SchemaError,
            "time='step' was asked for, but the weights have the dims ('query', 'key'). Name one of them: time='key'.",
        ),
        (
            xr.DataArray(np.full((3, 2, 4), 0.25), dims=("step", "query", "key")),
            {"time": "step"},
            SchemaError,
            "Besides 'step', the weights have the dims ('query', 'key'), but lines can only show one. Average the "
            "other: weights.mean('query').",
        ),
        (
            np.full((2, 4), 0.25),
            {"lines": [2]},
            SchemaError,
            "lines=[2] was given, but lines are numbered from 0 to 1. Write lines=[0].",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(weights, options, kind, message):
    with pytest.raises(kind) as caught:
        ats.plot.series(weights, ax=axes(), **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("place", [Figure, lambda: axes(6, 2.4), lambda: Figure((6, 2.4)).add_subplot()])
def test_long_names_of_steps_leave_room_for_what_is_drawn(place, strip):
    names = [f"week number {step} of year" for step in range(12)]
    ax = ats.plot.series(relevance(3, 12, units="logit"), times=names, strip=strip, ax=place())
    assert not unreadable(ax.figure)
    assert ax.get_window_extent().height > 0.45 * ax.figure.bbox.height
    named = [text for _, text in ticks(ax.xaxis) if text]
    assert named == names if place is Figure else set(named) < set(names)


@pytest.mark.parametrize("strip", [False, True])
def test_times_in_words_name_the_steps_as_far_as_there_is_room(strip):
    months = [f"{24 - step} months before" for step in range(24)]
    ax = ats.plot.series(np.full(24, 1 / 24), times=months, strip=strip, ax=axes())
    named = [(place, text) for place, text in ticks(ax.xaxis) if text]
    assert named[0] == (0, months[0])
    assert all(months[round(place)] == text for place, text in named)
    boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
    assert all(one.x1 <= other.x0 for one, other in pairwise(boxes))
