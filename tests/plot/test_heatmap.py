"""`heatmap`: cells in the colours of their weights, on a scale that is stated, and never a picture that lies."""

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.figure import Figure

import attnscope as ats
from attnscope import colours
from drawings import array, axes, bar, cells, drawn, marked, overlaps, remarks, scores, ticks, title


def causal(rng, size, *before):
    logits = np.where(np.tri(size, dtype=bool), rng.normal(size=(*before, size, size)), -np.inf)
    raised = np.exp(logits)
    return raised / raised.sum(-1, keepdims=True)


def test_by_default_it_shows_the_first_sample_and_the_mean_of_the_heads_and_says_so(rng):
    values = scores(rng, 3, 4, 5, 7)
    ax = ats.plot.heatmap(array(values), ax=axes())
    np.testing.assert_allclose(cells(ax), values[0].mean(0))
    assert title(ax) == "encoder/mha"
    assert remarks(ax) == "sample 0 of 3, mean of 4 heads"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key position", "query position")


@pytest.mark.parametrize(
    ("options", "expected", "said"),
    [
        ({"sample": 2, "head": 1}, lambda v: v[2, 1], "sample 2 of 3, head 1"),
        ({"sample": -1, "head": "max"}, lambda v: v[2].max(0), "sample 2 of 3, largest of 4 heads"),
        ({"sample": "mean", "head": 3}, lambda v: v[:, 3].mean(0), "mean of 3 samples, head 3"),
    ],
)
def test_samples_and_heads_can_be_chosen(rng, options, expected, said):
    values = scores(rng, 3, 4, 5, 7)
    ax = ats.plot.heatmap(array(values), ax=axes(), **options)
    np.testing.assert_allclose(cells(ax), expected(values))
    assert remarks(ax) == said


def test_what_was_selected_with_xarray_is_said(rng):
    values = scores(rng, 1, 4, 5, 7)
    given = array(values, head=("head", [0, 1, 2, 3]), query_label=("query", list("abcde")))
    assert remarks(ats.plot.heatmap(given.sel(head=3), ax=axes())) == "head 3"
    assert remarks(ats.plot.heatmap(given.isel(query=2), ax=axes())) == "query: c"
    assert remarks(ats.plot.heatmap(given, ax=axes())) == "mean of 4 heads"


def test_heads_that_were_selected_keep_their_numbers(rng):
    values = scores(rng, 1, 4, 5, 7)
    given = array(values, head=("head", [0, 1, 2, 3])).isel(head=[1, 3])
    ax = ats.plot.heatmap(given, head=3, ax=axes())
    np.testing.assert_allclose(cells(ax), values[0, 3])


def test_the_mean_over_samples_leaves_padded_queries_out_and_hatches_what_is_padding_in_all(rng):
    values = scores(rng, 3, 2, 5, 5)
    valid = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], bool)
    values = np.where(valid[:, None, None, :], values, 0)
    values /= values.sum(-1, keepdims=True)
    given = array(values, query_valid=(("sample", "query"), valid), key_valid=(("sample", "key"), valid))
    ax = ats.plot.heatmap(given, sample="mean", head=1, trim=False, ax=axes())
    expected = np.array(
        [
            [np.mean([values[s, 1, row, column] for s in range(3) if valid[s, row]]) for column in range(4)]
            for row in range(4)
        ]
    )
    np.testing.assert_allclose(cells(ax)[:4, :4], expected)
    padding = np.arange(5) == 4
    np.testing.assert_array_equal(marked(ax, "masked", (5, 5)), padding[:, None] | padding)


def test_names_that_differ_between_samples_give_way_to_numbers_in_their_mean(rng):
    labels = np.array([list("abc"), list("abd")])
    given = array(scores(rng, 2, 1, 3, 3), key_label=(("sample", "key"), labels), query_label=("query", list("xyz")))
    ax = ats.plot.heatmap(given, sample="mean", ax=axes())
    assert [text for _, text in ticks(ax.xaxis)] == ["0", "1", "2"]
    assert [text for _, text in ticks(ax.yaxis)] == ["x", "y", "z"]
    one = ats.plot.heatmap(given, sample=1, ax=axes())
    assert [text for _, text in ticks(one.xaxis)] == ["a", "b", "d"]


def test_the_scale_begins_at_0_and_its_end_is_stated(rng):
    values = np.array([[0.11, 0.89], [0.34, 0.66]])
    ax = ats.plot.heatmap(values, ax=axes())
    assert ax.images[0].get_clim() == (0, 1)
    assert bar(ax) == ("attention", ["0", "0.5", "1"])
    fixed = ats.plot.heatmap(values / values.sum(-1, keepdims=True), maximum=0.5, ax=axes())
    assert fixed.images[0].get_clim() == (0, 0.5)
    assert next(other for other in fixed.figure.axes if other is not fixed)._colorbar.extend == "max"


def test_a_map_that_is_constant_is_flat_and_zero_is_the_colour_of_zero():
    even = ats.plot.heatmap(np.full((4, 8), 0.125), ax=axes())
    assert np.unique(cells(even)).tolist() == [0.125]
    assert even.images[0].get_clim() == (0, 0.15)
    assert bar(even) == ("attention", ["0", "0.075", "0.15"])
    nothing = ats.plot.heatmap(np.zeros((3, 3)), ax=axes())
    assert nothing.images[0].get_clim() == (0, 1)
    assert not marked(nothing, "masked", (3, 3)).any()
    face = nothing.images[0].to_rgba(cells(nothing))[0, 0, :3]
    np.testing.assert_array_equal(np.round(face * 255), colours.ramp()[0])


@pytest.mark.parametrize(
    ("normalize", "expected", "said", "ends"),
    [
        ("max", [[0.25, 0.75, 0.25], [1.0, 0.25, 0.0]], "attention / largest of the map", ["0", "0.5", "1"]),
        ("row", [[1 / 3, 1.0, 1 / 3], [1.0, 0.25, 0.0]], "attention / largest of the row", ["0", "0.5", "1"]),
        (
            "rank",
            [[4 / 6, 5 / 6, 4 / 6], [1.0, 4 / 6, 0.0]],
            "rank of the attention: share of cells with no more",
            ["0", "0.5", "1"],
        ),
        (
            "log",
            [[0.2, 0.6, 0.2], [0.8, 0.2, 0.0]],
            "attention, logarithmic",
            ["≤ 8e-05", "0.0008", "0.008", "0.08", "0.8"],
        ),
    ],
)
def test_rescaling_is_asked_for_and_written_on_the_bar(normalize, expected, said, ends):
    values = np.array([[0.2, 0.6, 0.2], [0.8, 0.2, 0.0]])
    ax = ats.plot.heatmap(values, normalize=normalize, ax=axes())
    np.testing.assert_allclose(cells(ax), expected)
    assert bar(ax) == (said, ends)


def test_on_a_logarithmic_scale_all_up_to_its_lower_end_have_the_colour_of_zero():
    values = np.array([[0.0, 1e-9, 0.4, 0.6 - 1e-9]])
    ax = ats.plot.heatmap(values, normalize="log", ax=axes())
    image = ax.images[0]
    faces = image.to_rgba(image.get_array())[0]
    np.testing.assert_array_equal(faces[0], faces[1])
    np.testing.assert_array_equal(np.round(faces[0, :3] * 255), colours.ramp()[0])
    assert not np.array_equal(faces[2], faces[3])


def test_padding_is_hatched_but_weight_on_it_is_shown(rng):
    values = scores(rng, 1, 2, 4, 5)
    values[:, :, :, 4] = 0
    values[0, :, 1, 4] = 0.5
    values /= values.sum(-1, keepdims=True)
    keys, queries = np.array([[1, 1, 1, 0, 0]], bool), np.array([[1, 1, 1, 0]], bool)
    given = array(values, key_valid=(("sample", "key"), keys), query_valid=(("sample", "query"), queries))
    ax = ats.plot.heatmap(given, head=0, trim=False, ax=axes())
    expected = np.zeros((4, 5), bool)
    expected[3] = True  # a query that is padding
    expected[[0, 2], 4] = True  # a key that is padding and has no weight
    np.testing.assert_array_equal(marked(ax, "masked", (4, 5)), expected)
    np.testing.assert_array_equal(np.isnan(cells(ax)), expected)
    assert cells(ax)[1, 4] == pytest.approx(values[0, 0, 1, 4])
    assert remarks(ax) == "head 0 · hatched: masked"
    trimmed = ats.plot.heatmap(given, head=0, ax=axes())
    np.testing.assert_array_equal(cells(trimmed), cells(ax)[:3])
    assert remarks(trimmed) == "head 0 · padding left out: 1 query · hatched: masked"


def test_in_a_causal_map_what_comes_later_is_hatched_and_elsewhere_zero_is_zero(rng):
    ax = ats.plot.heatmap(causal(rng, 6), ax=axes())
    np.testing.assert_array_equal(marked(ax, "masked", (6, 6)), ~np.tri(6, dtype=bool))
    banded = np.eye(6) * 0.75 + np.eye(6, k=-1) * 0.25
    banded[0, 0] = 1
    ax = ats.plot.heatmap(banded, ax=axes())
    assert not marked(ax, "masked", (6, 6)).any()
    np.testing.assert_allclose(cells(ax), banded)


def test_nan_is_red_and_crossed_and_no_colour_of_the_scale(rng):
    values = scores(rng, 3, 4)
    values[1, 2] = np.nan
    ax = ats.plot.heatmap(values, ax=axes())
    expected = np.zeros((3, 4), bool)
    expected[1, 2] = True
    np.testing.assert_array_equal(marked(ax, "nan", (3, 4)), expected)
    patch = next(patch for patch in ax.patches if patch.get_gid() == "nan")
    assert tuple(np.round(np.array(patch.get_facecolor()[:3]) * 255)) == colours.NOT_A_NUMBER
    crosses = next(lines for lines in ax.collections if lines.get_gid() == "nan crosses")
    assert [line.mean(0).tolist() for line in crosses.get_segments()] == [[2.0, 1.0]] * 2
    assert remarks(ax) == "red: NaN"
    every = ats.plot.heatmap(np.full((3, 4), np.nan), ax=axes())
    assert marked(every, "nan", (3, 4)).all()
    assert every.images[0].get_clim() == (0, 1)


def test_a_large_map_is_drawn_in_blocks_of_the_largest_weight_and_says_so(rng):
    values = scores(rng, 2000, 1030)
    ax = ats.plot.heatmap(values, ax=axes())
    expected = [[values[r : r + 4, c : c + 3].max() for c in range(0, 1030, 3)] for r in range(0, 2000, 4)]
    np.testing.assert_allclose(cells(ax), expected)
    assert remarks(ax) == "2,000 x 1,030: each cell is the largest of 4 x 3"
    assert ax.images[0].get_extent() == [-0.5, 344 * 3 - 0.5, 1999.5, -0.5]
    assert ax.get_xlim() == (-0.5, 1029.5)


def test_a_block_is_hatched_when_all_of_it_is_masked_and_red_when_any_of_it_is_nan(rng):
    values = causal(rng, 1024)
    values[900, 5] = np.nan
    ax = ats.plot.heatmap(values, ax=axes())
    later = ~np.tri(512, dtype=bool)
    hidden = np.isnan(cells(ax))
    expected = later.copy()
    expected[450, 2] = True
    np.testing.assert_array_equal(hidden, expected)
    centres = [(2 * column + 0.5, 2 * row + 0.5) for row, column in [(0, 1), (0, 511), (1, 1), (511, 0), (450, 2)]]
    paths = {patch.get_gid(): patch.get_path() for patch in ax.patches}
    assert paths["masked"].contains_points(centres).tolist() == [True, True, False, False, False]
    assert paths["nan"].contains_points(centres).tolist() == [False] * 4 + [True]


def test_the_file_of_a_large_map_is_small(rng, tmp_path):
    ax = ats.plot.heatmap(scores(rng, 2000, 2000), ax=axes())
    for kind, most in (("png", 600_000), ("svg", 1_200_000), ("pdf", 900_000)):
        ax.figure.savefig(tmp_path / f"large.{kind}")
        assert (tmp_path / f"large.{kind}").stat().st_size < most


@pytest.mark.parametrize("size", [1, 2, 30, 200, 2000])
def test_ticks_are_names_at_whole_positions_and_never_overlap(rng, size):
    names = [f"feature number {n}" for n in range(size)]
    given = array(scores(rng, size, size), key_label=("key", names), query_label=("query", names))
    ax = ats.plot.heatmap(given, ax=axes(5, 4))
    for axis in (ax.xaxis, ax.yaxis):
        found = ticks(axis)
        assert 1 <= len(found) <= 60
        assert all(place == round(place) and text == names[round(place)] for place, text in found)
        assert not overlaps(axis)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key", "query")


def test_ticks_follow_when_the_picture_is_zoomed(rng):
    names = [f"token{n}" for n in range(300)]
    given = array(scores(rng, 300, 300), key_label=("key", names), query_label=("query", names))
    ax = ats.plot.heatmap(given, ax=axes())
    assert len(ticks(ax.xaxis)) < 100
    ax.set(xlim=(99.5, 110.5), ylim=(5.5, -0.5))
    assert [text for _, text in ticks(ax.xaxis)] == names[100:111]
    assert [text for _, text in ticks(ax.yaxis)] == names[:6]


def test_long_names_are_cut_and_it_is_said(rng):
    names = ["a", "b" * 24, "c" * 25]
    ax = ats.plot.heatmap(array(scores(rng, 2, 3), key_label=("key", names)), ax=axes())
    assert [text for _, text in ticks(ax.xaxis)] == ["a", "b" * 24, "c" * 23 + "…"]
    assert remarks(ax) == "names cut to 24 letters"


def test_a_site_that_pools_has_its_heads_as_rows(rng):
    values = scores(rng, 2, 3, 5)
    given = array(values, dims=("sample", "head", "key"))
    ax = ats.plot.heatmap(given, sample=1, ax=axes())
    np.testing.assert_allclose(cells(ax), values[1])
    assert (ax.get_ylabel(), [text for _, text in ticks(ax.yaxis)]) == ("head", ["0", "1", "2"])
    assert remarks(ax) == "sample 1 of 2"
    one = ats.plot.heatmap(given, sample=1, head=2, ax=axes())
    np.testing.assert_allclose(cells(one), values[1, [2]])
    mean = ats.plot.heatmap(given, sample=1, head="mean", ax=axes())
    np.testing.assert_allclose(cells(mean), values[1].mean(0, keepdims=True))
    assert remarks(mean) == "sample 1 of 2, mean of 3 heads"


def test_attention_received_is_called_that(rng):
    values = scores(rng, 1, 3, 5)
    given = xr.DataArray(values, dims=("sample", "head", "key"), name="received")
    assert bar(ats.plot.heatmap(given, ax=axes()))[0] == "attention received"


def test_positions_with_two_axes_are_counted_row_by_row(rng):
    values = scores(rng, 1, 2, 2, 3, 6).reshape(1, 2, 2, 3, 2, 3)
    given = xr.DataArray(values, dims=("sample", "head", "query_0", "query_1", "key_0", "key_1"))
    ax = ats.plot.heatmap(given, head=1, ax=axes())
    np.testing.assert_allclose(cells(ax), values[0, 1].reshape(6, 6))
    assert [text for _, text in ticks(ax.yaxis)] == ["0, 0", "0, 1", "0, 2", "1, 0", "1, 1", "1, 2"]
    assert ax.get_ylabel() == "query position"


def test_sinks_are_named_where_the_positions_are_not(rng):
    given = array(scores(rng, 3, 4))
    given.attrs["sinks"] = 1
    ax = ats.plot.heatmap(given, ax=axes())
    assert [text for _, text in ticks(ax.xaxis)] == ["0", "1", "2", "<sink>"]


def test_axes_of_size_1_beyond_the_known_ones_do_no_harm(rng):
    values = scores(rng, 1, 1, 3, 5)
    given = xr.DataArray(values, dims=("step", "window", "query", "key"))
    np.testing.assert_allclose(cells(ats.plot.heatmap(given, ax=axes())), values[0, 0])


def test_long_maps_fill_the_axes_and_others_have_square_cells(rng):
    assert ats.plot.heatmap(scores(rng, 5, 2000), ax=axes()).get_aspect() == "auto"
    assert ats.plot.heatmap(scores(rng, 5, 7), ax=axes()).get_aspect() == 1


def test_on_a_dark_page_zero_is_dark_and_the_text_is_light(rng):
    with matplotlib.style.context("dark_background"):
        ax = ats.plot.heatmap(np.array([[0.0, 1.0]]), ax=axes())
        faces = ax.images[0].to_rgba(ax.images[0].get_array())[0, :, :3]
        np.testing.assert_array_equal(np.round(faces * 255), colours.ramp()[[-1, 0]])
        assert ax.title.get_color() == "white"


def test_nothing_of_the_callers_is_changed(rng):
    figure, (left, right) = pyplot.subplots(1, 2)
    pyplot.sca(right)
    settings = dict(matplotlib.rcParams)
    assert ats.plot.heatmap(scores(rng, 3, 5), ax=left) is left
    assert pyplot.get_fignums() == [figure.number]
    assert pyplot.gca() is right
    assert dict(matplotlib.rcParams) == settings
    assert not right.has_data()
    pyplot.close(figure)


def test_a_new_figure_is_pyplots_so_that_notebooks_and_savefig_have_it(rng, tmp_path):
    before = pyplot.get_fignums()
    ax = ats.plot.heatmap(array(scores(rng, 1, 2, 3, 5)))
    assert pyplot.gcf() is ax.figure
    assert len(pyplot.get_fignums()) == len(before) + 1
    pyplot.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5000
    pyplot.close(ax.figure)
    assert pyplot.get_fignums() == before


def test_it_draws_on_a_part_of_a_figure_too(rng):
    part = Figure().subfigures(1, 2)[1]
    ax = ats.plot.heatmap(scores(rng, 3, 5), ax=part.subplots())
    drawn(ax)
    assert ax.figure is part


def test_maps_of_a_single_site_are_that_site(rng):
    values = scores(rng, 1, 2, 3, 5)
    maps = ats.AttentionMaps.from_arrays({"only": values})
    ax = ats.plot.heatmap(maps, ax=axes())
    np.testing.assert_allclose(cells(ax), values[0].mean(0))
    assert title(ax) == "only"


def test_remarks_are_inside_of_the_figure_where_there_is_no_title():
    weights = np.full((5, 6), 1 / 6)
    weights[1, 1] = np.nan
    ax = ats.plot.heatmap(weights)
    figure = ax.get_figure()
    figure.canvas.draw()
    (note,) = (text for text in ax.texts if text.get_gid() == "remarks")
    assert note.get_text() == "red: NaN"
    assert note.get_window_extent().y1 <= figure.bbox.y1
    pyplot.close(figure)
