"""`heads`: all heads of a site, or all sites of a model, on one colour scale."""

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.figure import Figure

import attnscope as ats
from attnscope.errors import SchemaError
from drawings import array, axes, bar, cells, drawn, marked, overlaps, remarks, scores, ticks, title


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    yield
    pyplot.close("all")


def test_each_head_is_a_map_on_the_scale_that_all_share(rng):
    values = scores(rng, 2, 5, 3, 7)
    values[0, 4] = 1 / 7
    grid = ats.plot.heads(array(values), maximum=0.8)
    assert grid.shape == (2, 3)
    for head, ax in enumerate(grid.flat[:5]):
        np.testing.assert_allclose(cells(ax), values[0, head])
        assert ax.images[0].get_clim() == (0, 0.8)
        assert ax.get_title() == f"head {head}"
    assert not grid[1, 2].axison
    assert bar(grid[0, 0]) == ("attention", ["0", "0.4", "0.8"])
    assert grid[0, 0].figure.get_suptitle() == "encoder/mha\nsample 0 of 2"


def test_the_shared_scale_ends_at_the_largest_weight_of_any_head(rng):
    values = np.stack([np.full((3, 5), 0.2), np.eye(3, 5) * 0.5 + 0.1])
    grid = ats.plot.heads(values)
    assert {ax.images[0].get_clim() for ax in grid.flat} == {(0, 0.6)}
    grid = ats.plot.heads(values, normalize="max")
    np.testing.assert_allclose(cells(grid.flat[0]), 1)
    assert bar(grid.flat[0])[0] == "attention / largest of the map"


def test_only_the_outer_axes_have_ticks_and_these_do_not_overlap(rng):
    names = [f"a long name {n}" for n in range(30)]
    values = array(scores(rng, 1, 12, 30, 30), key_label=("key", names), query_label=("query", names))
    grid = ats.plot.heads(values)
    drawn(grid[0, 0])
    for (row, column), ax in np.ndenumerate(grid):
        for axis, outer in ((ax.xaxis, row == grid.shape[0] - 1), (ax.yaxis, column == 0)):
            assert bool([text for _, text in ticks(axis, laid_out=True) if text]) == outer
            assert not overlaps(axis, laid_out=True)
    assert (grid[0, 0].figure.get_supxlabel(), grid[0, 0].figure.get_supylabel()) == ("key", "query")


def test_it_draws_on_axes_that_are_given_and_leaves_the_figure_its_title(rng):
    figure = Figure((8, 3), layout="constrained")
    figure.suptitle("mine")
    given = figure.subplots(1, 3)
    values = scores(rng, 2, 3, 5)
    grid = ats.plot.heads(array(values, dims=("head", "query", "key")), ax=given)
    assert grid is not None and list(grid) == list(given)
    np.testing.assert_allclose(cells(given[1]), values[1])
    assert not given[2].axison
    assert figure.get_suptitle() == "mine"
    assert remarks(given[0]) == "encoder/mha"
    assert pyplot.get_fignums() == []


def test_too_few_axes_are_refused(rng):
    with pytest.raises(SchemaError) as caught:
        ats.plot.heads(scores(rng, 5, 3, 3), ax=Figure().subplots(2, 2))
    assert str(caught.value) == "4 axes were given for 5 heads. Pass one for each: plt.subplots(1, 5)[1]."


@pytest.mark.parametrize("heads", [1, 12, 96])
def test_any_number_of_heads(rng, heads):
    values = scores(rng, heads, 6, 6)
    grid = ats.plot.heads(values)
    used = [ax for ax in grid.flat if ax.axison]
    assert len(used) == heads
    np.testing.assert_allclose([cells(ax) for ax in used], values)
    assert grid.shape[0] <= grid.shape[1] <= 12


def test_heads_that_pool_are_rows_of_their_own(rng):
    values = scores(rng, 3, 5)
    grid = ats.plot.heads(array(values, dims=("head", "key")))
    np.testing.assert_allclose([cells(ax)[0] for ax in grid.flat[:3]], values)


def test_padding_and_nan_are_marked_in_every_head_and_said_once(rng):
    values = scores(rng, 2, 3, 4)
    values[:, :, 3] = 0
    values /= values.sum(-1, keepdims=True)
    values[1, 0, 0] = np.nan
    given = array(values, dims=("head", "query", "key"), key_valid=("key", [True, True, True, False]))
    grid = ats.plot.heads(given, trim=False)
    for ax in grid.flat:
        np.testing.assert_array_equal(marked(ax, "masked", (3, 4)), np.broadcast_to(np.arange(4) == 3, (3, 4)))
    assert [bool(marked(ax, "nan", (3, 4)).any()) for ax in grid.flat] == [False, True]
    assert grid.flat[0].figure.get_suptitle() == "encoder/mha\nhatched: masked · red: NaN"
    trimmed = ats.plot.heads(given)
    np.testing.assert_array_equal(cells(trimmed.flat[1]), values[1, :, :3])
    assert trimmed.flat[0].figure.get_suptitle() == "encoder/mha\npadding left out: 1 key · red: NaN"


@pytest.fixture
def ragged(rng):
    return ats.AttentionMaps.from_arrays(
        {
            "encoder/first": scores(rng, 2, 4, 5, 5),
            "encoder/second": scores(rng, 2, 2, 3, 7),
            "a_decoder/with_a_name_of_its_own_that_is_long_as_well_cross": scores(rng, 2, 1, 70, 40),
        }
    )


def test_a_model_is_a_row_of_thumbnails_for_each_site(ragged):
    ax = ats.plot.heads(ragged, sample=1, ax=axes())
    assert len(ax.images) == 4 + 2 + 1
    for number, (site, head) in enumerate([(s, h) for s in ragged for h in range(ragged[s].sizes["head"])]):
        values = ragged[site].values[1, head]
        if values.shape == (70, 40):
            values = [[values[r : r + 3, c : c + 2].max() for c in range(0, 40, 2)] for r in range(0, 70, 3)]
        np.testing.assert_allclose(cells(ax, number), values)
        assert ax.images[number].get_clim() == ax.images[0].get_clim()
        left, right, bottom, top = ax.images[number].get_extent()
        row = list(ragged).index(site)
        assert (left + right) / 2 == pytest.approx(head) and (bottom + top) / 2 == pytest.approx(row)
    largest = max(float(ragged[site][1].max()) for site in ragged)
    assert largest <= ax.images[0].get_clim()[1] <= 1.5 * largest
    assert [text for _, text in ticks(ax.xaxis)] == ["0", "1", "2", "3"]
    assert [text for _, text in ticks(ax.yaxis)] == [
        "first",
        "second",
        "…e_of_its_own_that_is_long_as_well_cross",
    ]
    assert title(ax) == "3 sites and their heads"
    assert remarks(ax) == (
        "sample 1 of 2 · queries down, keys across · large maps in blocks, each the largest of its cells"
    )


def test_masked_cells_of_thumbnails_are_hatched(rng):
    causal = np.tril(scores(rng, 1, 1, 4, 4) + 0.01)
    causal /= causal.sum(-1, keepdims=True)
    ax = ats.plot.heads(ats.AttentionMaps.from_arrays({"a": causal, "b": causal}), ax=axes())
    left, right, _, top = ax.images[1].get_extent()
    step = (right - left) / 4
    places = [(left + (c + 0.5) * step, top + (r + 0.5) * step) for r, c in np.ndindex(4, 4)]
    inside = [p.get_path().contains_points(places) for p in ax.patches if p.get_gid() == "masked"]
    np.testing.assert_array_equal(np.any(inside, axis=0).reshape(4, 4), ~np.tri(4, dtype=bool))


def test_a_model_without_sites_is_refused():
    with pytest.raises(SchemaError) as caught:
        ats.plot.heads(ats.AttentionMaps({}))
    assert str(caught.value) == (
        "The maps have no sites, so there is nothing to draw. Capture some: ats.capture(model, inputs)."
    )


def test_steps_and_other_dims_are_refused_by_name(rng):
    given = xr.DataArray(scores(rng, 2, 3, 3), dims=("layer", "query", "key"))
    with pytest.raises(SchemaError, match=r"weights\.isel\(layer=0\)"):
        ats.plot.heads(given)
