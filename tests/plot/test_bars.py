"""`bars`, `beeswarm`, `importance`: what positions add in one sample and in many, and what it sums to."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib import pyplot

import attnscope as ats
from attnscope import colours
from attnscope.errors import InputError, LabelError, SchemaError
from attnscope.plot._importance import student
from attnscope.plot._ticks import NumberFormatter
from drawings import HOSTILE, axes, bar, drawn, relevance, remarks, ticks, title, unreadable

MINUS = "\N{MINUS SIGN}"


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


def adding_up(samples, keys, gap=0.0, **attrs):
    given = relevance(samples, keys, units="logit", **attrs)
    base = np.linspace(-1.0, 1.0, samples)
    return given.assign_coords(
        base=("sample", base),
        answer=("sample", base + given.values.sum(1) + gap),
        sample_id=("sample", [f"P-{number:03}" for number in range(samples)]),
    )


def drawn_bars(ax):
    """Row, start, length and kind of each bar."""
    return [
        (round(patch.get_y() + patch.get_height() / 2), patch.get_x(), patch.get_width(), patch.get_gid())
        for patch in ax.patches
        if patch.get_gid() in ("value", "others", "residual")
    ]


def row_names(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_bars_lead_from_the_base_to_the_answer_and_the_residual_is_said(samples):
    given = adding_up(samples, 9)
    number = samples - 1
    ax = ats.plot.bars(given, np.arange(9.0), sample=f"P-{number:03}")
    values = given.values[number]
    order = np.argsort(-np.abs(values))
    reached = float(given.base[number])
    for (row, start, length, kind), place in zip(drawn_bars(ax), order, strict=True):
        assert (row, kind) == (list(order).index(place) + 1, "value")
        np.testing.assert_allclose([start, length], [reached, values[place]])
        reached += values[place]
    np.testing.assert_allclose(reached, given.answer[number])
    ends = [line.get_xdata()[0] for line in ax.lines if line.get_gid() == "end"]
    np.testing.assert_allclose(ends, [given.base[number], given.answer[number]])
    assert row_names(ax) == ["base", *(f"feature {place} = {place}" for place in order), "answer"]
    assert title(ax) == f"P-{number:03}"
    total = f"{values.sum():+.4g}".replace("-", MINUS)
    assert remarks(ax).startswith(f"sum of the bars {total}, answer minus base {total}, residual ")
    assert ax.get_xlabel() == "integrated gradients, logit of 'malignant'"
    assert not unreadable(ax.figure)


def test_a_material_residual_has_a_bar_of_its_own_and_the_smaller_ones_are_put_together():
    given = adding_up(2, 9, gap=0.5)
    ax = ats.plot.bars(given, most=3, sample=1)
    values = given.values[1]
    order = np.argsort(-np.abs(values))
    found = drawn_bars(ax)
    assert [kind for *_, kind in found] == ["value"] * 3 + ["others", "residual"]
    np.testing.assert_allclose(found[3][2], values[order[3:]].sum())
    np.testing.assert_allclose(found[4][1:3], [given.base[1] + values.sum(), 0.5])
    assert row_names(ax)[4:] == ["the other 6 together", "residual", "answer"]
    assert remarks(ax).endswith("residual +0.5")


def test_smaller_ones_are_summed_only_where_sums_mean_something():
    values = np.array([4, -3, 0.5, -0.75, 0.25])
    ax = ats.plot.bars(xr.DataArray(values, dims="key", name="relevance"), most=2, ax=axes())
    assert [text.get_text() for text in ax.texts if text.get_gid() == "number"][-1] == "within ±0.750"
    assert (row_names(ax)[-1], len(drawn_bars(ax))) == ("the other 3", 2)
    attention = ats.plot.bars(np.array([0.4, 0.3, 0.15, 0.1, 0.05]), most=2, ax=axes())
    assert row_names(attention)[-1] == "the other 3 together"
    np.testing.assert_allclose(drawn_bars(attention)[-1][2], 0.3)


def test_bars_have_the_colour_of_their_side_and_their_number_beside_them():
    given = xr.DataArray([0.5, -0.25, 0.0], dims="key", name="relevance")
    ax = ats.plot.bars(given, labels=["a", "b", "c"], ax=axes())
    low, high = colours.diverging()[[0, -1]] / 255
    np.testing.assert_allclose([patch.get_facecolor()[:3] for patch in ax.patches], [high, low, high])
    assert [(start, length) for _, start, length, _ in drawn_bars(ax)] == [(0, 0.5), (0, -0.25), (0, 0)]
    assert [text.get_text() for text in ax.texts if text.get_gid() == "number"] == ["+0.5", f"{MINUS}0.25", "0"]
    assert remarks(ax) == "the bars need not add up to the answer"
    attention = ats.plot.bars(np.array([0.25, 0.75]), labels=["a", "b"], ax=axes())
    assert (row_names(attention), attention.get_xlabel(), remarks(attention)) == (["b", "a"], "attention", "")


def test_padding_has_no_bar_and_nan_is_counted():
    given = relevance(2, 5, padded=2)
    given[1, 0] = np.nan
    ax = ats.plot.bars(given, sample=1, ax=axes())
    assert sorted(row_names(ax)) == ["feature 1", "feature 2"]
    assert remarks(ax) == "the bars need not add up to the answer · 1 value is NaN and has no bar"


def test_over_many_samples_nan_is_counted_and_padding_is_not():
    given = relevance(5, 3, padded=1)
    given[1, 2] = np.nan
    assert remarks(ats.plot.beeswarm(given, ax=axes())) == "5 samples"
    given[0, 0] = given[4, 1] = np.nan
    assert remarks(ats.plot.beeswarm(given, ax=axes())) == "5 samples · 2 values are NaN and have no dot"
    assert remarks(ats.plot.importance(given, ax=axes())).startswith("5 samples · 2 values are NaN and do not count · ")


def test_estimates_have_their_standard_error_at_the_end_of_their_bars():
    given = adding_up(2, 5)
    errors = np.linspace(0.05, 0.5, 10).reshape(2, 5)
    estimated = given.assign_coords(standard_error=(("sample", "key"), errors))
    ax = ats.plot.bars(estimated, sample=1, most=3)
    found = {round(line.get_ydata()[0]): line.get_xdata() for line in ax.lines if line.get_gid() == "error"}
    order = np.argsort(-np.abs(given.values[1]))[:3]
    assert sorted(found) == [1, 2, 3]
    for (row, start, length, _), place in zip(drawn_bars(ax), order, strict=False):
        end = start + length
        np.testing.assert_allclose(sorted(found[row]), [end - errors[1, place], end + errors[1, place]])
        number = next(text for text in ax.texts if text.get_gid() == "number" and text.xy[1] == row)
        assert number.xy[0] == pytest.approx(end + np.sign(length) * errors[1, place])
    assert remarks(ax).endswith(" · thin line: one standard error to both sides, 0.500 at most")
    assert not unreadable(ax.figure)
    unknown = ats.plot.bars(estimated.assign_coords(standard_error=estimated.standard_error * np.nan), ax=axes())
    assert remarks(unknown).endswith(" · standard error not known")
    assert not [line for line in unknown.lines if line.get_gid() == "error"]
    exact = ats.plot.bars(estimated.assign_coords(standard_error=estimated.standard_error * 0), ax=axes())
    assert remarks(exact).endswith(" · standard error 0")


@pytest.mark.parametrize("samples", [1, 2, 7, 150])
def test_a_swarm_has_a_dot_for_each_sample_in_the_colour_of_its_value(samples):
    given = relevance(samples, 5)
    inputs = np.random.default_rng(5).normal(size=(samples, 5))
    ax = ats.plot.beeswarm(given, inputs, most=4)
    order = np.argsort(-np.abs(given.values).mean(0))[:4]
    assert row_names(ax) == [f"feature {place}" for place in order]
    dots = [found for found in ax.collections if found.get_gid() == "dots"]
    for row, (place, found) in enumerate(zip(order, dots, strict=True)):
        points = found.get_offsets()
        np.testing.assert_allclose(points[:, 0], given.values[:, place])
        assert np.abs(points[:, 1] - row).max() <= 0.38 + 1e-9
        assert len(np.unique(np.round(points, 6), axis=0)) == samples
        if samples > 2:
            light = np.array([colours.luminance(255 * colour[:3]) for colour in found.get_facecolors()])
            assert (np.diff(light[np.argsort(inputs[:, place])]) <= 0.01).all()
    assert bar(ax) == ("value of the input", ["lowest", "highest"])
    assert remarks(ax) == f"{samples} sample{'s' if samples > 1 else ''} · 4 of 5 positions"
    assert not unreadable(ax.figure)


NAMES = ["age", "mass", "height"]


def patients(samples=7):
    """Relevance, and a frame whose values say which sample and which column they are of."""
    given = adding_up(samples, NAMES)
    values = 10 * np.arange(samples)[:, None] + np.arange(3)
    return given, pd.DataFrame(values, index=given.sample_id.values, columns=NAMES)


def values_beside_names(ax):
    return dict(text.split(" = ") for text in row_names(ax) if " = " in text)


@pytest.mark.parametrize(
    "arranged",
    [
        lambda frame: frame[["mass", "age", "height"]],
        lambda frame: frame[::-1],
        lambda frame: frame.iloc[[6, 5]].assign(ward=3),
        lambda frame: frame.loc["P-005", ["height", "age", "mass"]],
        lambda frame: frame.reset_index(drop=True)[["height", "mass", "age"]],
        lambda frame: frame.to_numpy(),
        lambda frame: frame.set_axis(range(3), axis=1),
    ],
    ids=["columns", "rows", "some", "one", "numbered rows", "no names", "numbered columns"],
)
def test_values_of_a_frame_are_found_by_their_names_in_any_order(arranged):
    given, frame = patients()
    expected = {"age": "50", "mass": "51", "height": "52"}
    ax = ats.plot.bars(given, arranged(frame), sample="P-005", ax=axes())
    assert values_beside_names(ax) == expected


def test_selected_samples_find_their_values_and_those_without_ids_take_them_in_order():
    given, frame = patients()
    some = given.isel(sample=[5, 6])
    assert values_beside_names(ats.plot.bars(some, frame.iloc[[6, 5]], ax=axes()))["age"] == "50"
    assert values_beside_names(ats.plot.bars(some.isel(sample=1), frame, ax=axes()))["age"] == "60"
    without = some.drop_vars("sample_id")
    assert values_beside_names(ats.plot.bars(without, frame.iloc[[6, 5]], ax=axes()))["age"] == "60"
    own_labels = ats.plot.bars(given.drop_vars("key_label"), frame[NAMES[::-1]], labels=NAMES, ax=axes())
    assert values_beside_names(own_labels) == {"age": "0", "mass": "1", "height": "2"}
    shuffled = given.assign_coords(sample_id=("sample", [3, 0, 6, 1, 5, 2, 4]))
    numbered = frame.reset_index(drop=True)
    assert values_beside_names(ats.plot.bars(shuffled, numbered, ax=axes()))["age"] == "30"


def test_a_swarm_colours_each_dot_by_the_value_of_its_own_sample():
    given, frame = patients()
    colours_of = [
        [found.get_facecolors() for found in ats.plot.beeswarm(given, inputs, ax=axes()).collections]
        for inputs in (frame.to_numpy(), frame.iloc[::-1, [1, 2, 0]])
    ]
    np.testing.assert_array_equal(*colours_of)


@pytest.mark.parametrize(
    ("arranged", "message"),
    [
        (
            lambda frame: frame.rename(columns={"mass": "masses"}),
            "The DataFrame has no column for the position 'mass'; its columns are 'age', 'masses', 'height'. Is "
            "'masses' meant? Give one with a column for each position: rename its columns as the positions are called, "
            "or, if its values are in the order of the samples and positions, give them without names: "
            "frame.to_numpy().",
        ),
        (
            lambda frame: frame.iloc[1:],
            "The DataFrame has no row for the sample 'P-000'; its rows are 'P-001', 'P-002', 'P-003', 'P-004', "
            "'P-005', 'P-006'. Is 'P-006' meant? Give one with a row for each sample: index it by the ids of the "
            "samples, or, if its values are in the order of the samples and positions, give them without names: "
            "frame.to_numpy().",
        ),
        (
            lambda frame: frame.loc["P-003"],
            "The Series has no row for the sample 'P-000'; its rows are 'P-003'. Is 'P-003' meant? Give one with a row "
            "for each sample: index it by the ids of the samples, or, if its values are in the order of the samples "
            "and positions, give them without names: frame.to_numpy().",
        ),
        (
            lambda frame: frame[["age", "mass", "mass", "height"]],
            "The DataFrame has 2 columns 'mass', but one for each position is needed. Leave the others out, or, if its "
            "values are in the order of the samples and positions, give them without names: frame.to_numpy().",
        ),
    ],
)
def test_a_frame_without_a_name_that_is_needed_is_refused(arranged, message):
    given, frame = patients()
    with pytest.raises(InputError) as caught:
        ats.plot.bars(given, arranged(frame), ax=axes())
    assert str(caught.value) == message


def test_without_inputs_dots_have_the_colour_of_their_side():
    ax = ats.plot.beeswarm(xr.DataArray([[1.0], [-0.5]], dims=("sample", "key"), name="relevance"), ax=axes())
    (dots,) = (found for found in ax.collections if found.get_gid() == "dots")
    low, high = colours.diverging()[[0, -1]] / 255
    np.testing.assert_allclose(dots.get_facecolors()[:, :3], [high, low])


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_importance_is_the_mean_distance_from_0_with_an_interval(samples):
    given = relevance(samples, 5, units="logit")
    ax = ats.plot.importance(given)
    sizes = np.abs(given.values)
    order = np.argsort(-sizes.mean(0))
    np.testing.assert_allclose([patch.get_width() for patch in ax.patches], sizes.mean(0)[order])
    assert row_names(ax) == [f"feature {place}" for place in order]
    intervals = [line.get_xdata() for line in ax.lines if line.get_gid() == "interval"]
    if samples == 1:
        assert not intervals
        assert remarks(ax) == "1 sample · no interval: it needs two samples"
    else:
        times = {2: 12.7062, 7: 2.44691}[samples]  # of a table of Student's t
        for place, (low, high) in zip(order, intervals, strict=True):
            half = times * sizes[:, place].std(ddof=1) / samples**0.5
            mean = sizes[:, place].mean()
            np.testing.assert_allclose([low, high], [max(0, mean - half), mean + half], rtol=1e-4)
        assert remarks(ax) == f"{samples} samples · line: 95% interval of the mean, approximate"
    assert ax.get_xlabel().replace("\n", " ") == "mean distance from 0: integrated gradients, logit of 'malignant'"
    assert not unreadable(ax.figure)


def test_padding_does_not_count_in_importance():
    given = relevance(4, 3, padded=1)
    ax = ats.plot.importance(given, ax=axes())
    expected = dict(zip(["feature 0", "feature 1"], np.abs(given.values[:, :2]).mean(0), strict=True))
    expected["feature 2"] = np.abs(given.values[::2, 2]).mean()
    found = dict(zip(row_names(ax), [patch.get_width() for patch in ax.patches], strict=True))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("level", "freedom", "times"), [(0.95, 1, 12.7062), (0.95, 4, 2.77645), (0.99, 10, 3.16927), (0.95, 150, 1.97591)]
)
def test_quantiles_of_student(level, freedom, times):
    assert student(level, freedom) == pytest.approx(times, rel=1e-4)


def test_the_interval_covers_the_mean_of_skewed_sizes_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), []
    for _ in range(2000):
        sizes = np.abs(rng.normal(size=10))
        half = student(0.95, 9) * sizes.std(ddof=1) / 10**0.5
        covered.append(abs(sizes.mean() - np.sqrt(2 / np.pi)) <= half)
    assert 0.92 < np.mean(covered) < 0.97


def test_hostile_and_long_names_values_and_ids_stay_inside():
    given = adding_up(2, HOSTILE, target=f"class {'long ' * 30!r}")
    given = given.assign_coords(sample_id=("sample", ["an id that is long " * 12, "</script>"]))
    values = np.array([[f"{name} value" for name in HOSTILE]] * 2, dtype=object)
    figures = [
        ats.plot.bars(given, values, most=30).figure,
        ats.plot.beeswarm(given, values, most=30).figure,
        ats.plot.importance(given, most=30).figure,
    ]
    for figure in figures:
        assert not [word for word in unreadable(figure) if word[0].strip()]


@pytest.mark.parametrize(
    ("draw", "kind", "message"),
    [
        (
            lambda: ats.plot.bars(relevance(2, 5), np.zeros((2, 5, 3)), ax=axes()),
            InputError,
            "The inputs have shape (2, 5, 3), but one value for each of 2 samples and 5 positions is needed: (2, 5). "
            "Of positions with several numbers, such as steps with features, leave them out.",
        ),
        (
            lambda: ats.plot.bars(relevance(2, 5), sample=2, ax=axes()),
            SchemaError,
            "Sample 2 was asked for, but there are 2 samples: 0 to 1. Give one of these: sample=0.",
        ),
        (
            lambda: ats.plot.bars(relevance(2, 5), labels=["a"], ax=axes()),
            LabelError,
            "1 label given for 5 positions. Give one per position: labels=[...].",
        ),
        (
            lambda: ats.plot.importance(relevance(2, 5).expand_dims(target=3), ax=axes()),
            SchemaError,
            "The array has the dims ('target', 'sample', 'key'), but this picture has only samples and keys. Select "
            "one of 'target': relevance.isel(target=0).",
        ),
        (
            lambda: ats.plot.beeswarm(
                relevance(2, 2).assign_coords(key_label=(("sample", "key"), [["a", "b"], ["a", "c"]])), ax=axes()
            ),
            LabelError,
            "The names of the positions differ between the samples, but this picture puts the same position of all "
            "samples into one row. Draw one sample, ats.plot.bars(relevance, sample=0); or number the positions: "
            "relevance.drop_vars('key_label').",
        ),
        (
            lambda: ats.plot.importance(relevance(2, 2), level=1, ax=axes()),
            SchemaError,
            "most=20 and level=1 were given, but at least one bar and a level between 0 and 1 are needed. Write "
            "most=20, level=0.95.",
        ),
        (
            lambda: ats.plot.importance(relevance(2, 2) * np.nan, ax=axes()),
            SchemaError,
            "All values are NaN or padding, so there is nothing to draw. Give one number at least.",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, kind, message):
    with pytest.raises(kind) as caught:
        draw()
    assert str(caught.value) == message


@pytest.mark.parametrize("width", [2.5, 6.4])
@pytest.mark.parametrize("scale", [1e-11, 1e-5, 4e6])
@pytest.mark.parametrize("picture", [ats.plot.bars, ats.plot.beeswarm, ats.plot.importance])
def test_the_numbers_of_the_axis_do_not_overlap(picture, scale, width):
    ax = drawn(picture(scale * relevance(9, 4), ax=axes(width, 3)))
    low, high = ax.get_xlim()
    boxes = [
        label.get_window_extent()
        for place, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
        if low <= place <= high
    ]
    assert len(boxes) >= 1
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes))
    assert ax.xaxis.get_offset_text().get_text() == ""
    for place, text in ticks(ax.xaxis, laid_out=True):
        assert float(text.replace(MINUS, "-")) == pytest.approx(place, rel=1e-6, abs=1e-9 * scale)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0, 0.25, 0.5], ["0.00", "0.25", "0.50"]),
        ([-5e-5, 0, 5e-5], ["-5e-05", "0", "5e-05"]),
        ([1e-11, 1.5e-11], ["1.0e-11", "1.5e-11"]),
        ([2019, 2020, 2021], ["2019", "2020", "2021"]),
        ([1_700_000_000, 1_700_000_001], ["1700000000", "1700000001"]),
        ([0.9999, 0.99992], ["0.99990", "0.99992"]),
        ([4e6, 6e6], ["4e+06", "6e+06"]),
        ([0], ["0"]),
        ([], []),
    ],
)
def test_each_number_of_an_axis_is_written_in_full(values, texts):
    assert NumberFormatter().format_ticks(values) == [text.replace("-", MINUS) for text in texts]
