"""`metrics`: a value for each head of each layer."""

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope.errors import SchemaError
from drawings import axes, bar, cells, drawn, marked, remarks, scores, ticks, title


def numbers(ax):
    return [text.get_text() for text in ax.texts if not text.get_gid()]


def test_a_row_is_a_layer_a_column_a_head_and_the_number_is_in_the_cell(rng):
    values = 3 * rng.random((5, 3))
    given = xr.DataArray(values, dims=("layer", "head"), name="entropy", attrs={"units": "bit"})
    for array in (given, given.T):
        ax = ats.plot.metrics(array, ax=axes())
        np.testing.assert_allclose(cells(ax), values)
        assert numbers(ax) == [f"{value:#.3g}" for value in values.ravel()]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("head", "layer")
        assert title(ax) == "entropy (bit)"
        assert bar(ax) == ("entropy (bit)", ["0", "1.5", "3"])


def test_layers_with_different_numbers_of_heads_have_no_cell_where_there_is_no_head():
    given = {"a": [1.0, 2.0, np.nan], "b/with/a/long/path/that/goes/on/and/on/and/on": [0.5]}
    ax = ats.plot.metrics(given, ax=axes())
    np.testing.assert_array_equal(cells(ax), [[1, 2, np.nan], [0.5, np.nan, np.nan]])
    np.testing.assert_array_equal(marked(ax, "nan", (2, 3)), [[False, False, True], [False, False, False]])
    assert remarks(ax) == "no cell: no such head · red: NaN"
    assert [text for _, text in ticks(ax.yaxis)] == ["a", "…/a/long/path/that/goes/on/and/on/and/on"]
    counted = xr.DataArray(
        [[1.0, 2.0, np.nan], [0.5, np.nan, np.nan]],
        dims=("site", "head"),
        coords={"site": ["a", "b"], "num_heads": ("site", [3, 1])},
    )
    ax = ats.plot.metrics(counted, ax=axes())
    np.testing.assert_array_equal(marked(ax, "nan", (2, 3)), [[False, False, True], [False, False, False]])
    assert [text for _, text in ticks(ax.yaxis)] == ["a", "b"]


def test_captured_statistics_are_averaged_over_samples_and_valid_queries(rng):
    valid = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], bool)
    sites = {}
    for name, heads in (("first", 3), ("second", 2)):
        values = rng.random((2, heads, 4))
        values[1, 0, 3] = np.nan
        sites[name] = xr.Dataset(
            {"entropy": (("sample", "head", "query"), values, {"units": "bit"})},
            coords={"query_valid": (("sample", "query"), valid)},
        )
    maps = ats.AttentionMaps(sites)
    ax = ats.plot.metrics(maps.select("entropy"), ax=axes())
    for row, (name, heads) in enumerate((("first", 3), ("second", 2))):
        for head in range(heads):
            values = sites[name]["entropy"].values[:, head]
            assert cells(ax)[row, head] == pytest.approx(values[valid].mean())
    assert not marked(ax, "nan", (2, 3)).any()
    assert remarks(ax) == "mean of 2 samples and valid queries · no cell: no such head"


def test_negative_values_have_a_scale_to_both_sides():
    ax = ats.plot.metrics(np.array([[-0.25, 0.1]]), ax=axes())
    assert ax.images[0].get_clim() == (-0.25, 0.25)
    assert bar(ax)[1] == ["\N{MINUS SIGN}0.25", "0", "+0.25"]
    less, more = ax.images[0].to_rgba(np.array([[-0.25, 0.25]]))[0, :, :3]
    assert less[2] > less[0] and more[0] > more[2]


def test_many_cells_have_no_numbers(rng):
    assert numbers(ats.plot.metrics(rng.random((24, 96)), ax=axes())) == []


def test_as_lines_each_dot_is_a_head_and_the_line_their_mean(rng):
    values = rng.random((4, 3))
    values[2, 1] = np.nan
    given = xr.DataArray(values, dims=("site", "head"), coords={"site": list("abcd")}, name="distance")
    ax = ats.plot.metrics(given, lines=True, ax=axes())
    (line,) = [found for found in ax.lines if found.get_gid() == "mean"]
    np.testing.assert_allclose(line.get_ydata(), values.mean(1))
    dots = [found.get_ydata() for found in ax.lines if found.get_gid() == "heads"]
    np.testing.assert_allclose(np.concatenate(dots), values[~np.isnan(values)])
    (cross,) = [found for found in ax.lines if found.get_gid() == "nan"]
    assert cross.get_xdata().tolist() == [2]
    assert ax.get_ylabel() == "distance"
    assert ax.get_ylim()[0] == 0
    assert [text for _, text in ticks(ax.xaxis)] == list("abcd")
    assert remarks(ax) == "dots: heads; line: their mean · red: NaN"


def test_a_title_that_is_wider_than_the_picture_goes_on_in_the_next_line(rng):
    named = {"long_name": "Shannon entropy of a query's attention over its keys", "units": "bit"}
    given = xr.DataArray(rng.random((3, 2)), dims=("site", "head"), coords={"site": list("abc")}, name="entropy")
    ax = drawn(ats.plot.metrics(given.assign_attrs(named), lines=True, ax=axes(3.6, 3.2)))
    assert title(ax).replace("\n", " ") == "Shannon entropy of a query's attention over its keys (bit)"
    assert ax._left_title.get_window_extent().x1 <= ax.figure.bbox.x1


def test_statistics_of_whole_layers():
    ax = ats.plot.metrics(xr.DataArray([1.0, 2.0], dims="layer", name="loss"), ax=axes())
    np.testing.assert_array_equal(cells(ax), [[1.0], [2.0]])
    assert ax.get_xlabel() == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            xr.DataArray(np.ones((2, 3, 4)), dims=("sample", "layer", "head")),
            "The statistic has the dims ('sample', 'layer', 'head'), but ('site', 'head') or ('layer', 'head') is "
            "needed. Average the rest: statistic.mean(['sample']).",
        ),
        (
            np.ones((2, 3, 4)),
            "The statistic has shape (2, 3, 4), but (layer, head) is needed. Average the rest, or name the axes: "
            "xr.DataArray(values, dims=('layer', 'head')).",
        ),
        (
            np.array([[1.0, np.inf]]),
            "1 of the 2 values are infinite, and no scale reaches that far. Leave them out: "
            "statistic.where(np.isfinite(statistic)).",
        ),
        (
            xr.Dataset({"entropy": ("head", [1.0]), "distance": ("head", [1.0])}),
            "A dataset of 2 statistics was given, but a picture shows one. Choose one: statistics['entropy'].",
        ),
        (
            ats.AttentionMaps.from_arrays({"mha": scores(np.random.default_rng(0), 1, 2, 3, 3)}),
            "'mha' holds scores with the dims ('sample', 'head', 'query', 'key'), but a statistic of each head is "
            "needed. Capture one and select it: maps.select('entropy'); or draw the maps: ats.plot.heads(maps).",
        ),
        ({}, "The statistics have no layers, so there is nothing to draw. Give one value per head."),
    ],
)
def test_what_is_no_statistic_of_heads_is_refused(given, message):
    with pytest.raises(SchemaError) as caught:
        ats.plot.metrics(given, ax=axes())
    assert str(caught.value) == message
