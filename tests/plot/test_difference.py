"""`difference`: where the first map has more than the second, on a scale that is the same to both sides."""

import numpy as np
import pytest

import attnscope as ats
from drawings import array, axes, bar, cells, marked, remarks, scores, title


def test_the_first_less_the_second_on_a_scale_that_reaches_as_far_to_both_sides(rng):
    one, other = scores(rng, 3, 5), scores(rng, 3, 5)
    one[0], other[0] = np.eye(5)[0], np.full(5, 0.2)
    ax = ats.plot.difference(one, other, ax=axes())
    np.testing.assert_allclose(cells(ax), one - other)
    low, high = ax.images[0].get_clim()
    assert low == -high and high >= np.abs(one - other).max()
    assert bar(ax) == ("attention: first minus second", [f"−{high:g}", "0", f"+{high:g}"])  # noqa: RUF001
    assert title(ax) == "first minus second"


def test_more_is_orange_less_is_blue_and_alike_is_the_page():
    ax = ats.plot.difference(np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]]), ax=axes())
    more, less, alike = ax.images[0].to_rgba(cells(ax))[0, :, :3]
    assert more[0] > more[2] and less[2] > less[0]
    assert alike.min() > 0.93 and np.ptp(alike) < 0.02


def test_no_difference_is_flat(rng):
    one = scores(rng, 3, 5)
    ax = ats.plot.difference(one, one, ax=axes())
    assert np.unique(cells(ax)).tolist() == [0]
    assert ax.images[0].get_clim() == (-1, 1)


def test_the_title_says_what_differs_and_the_remarks_what_is_shared(rng):
    given = array(scores(rng, 2, 4, 3, 5), head=("head", [0, 1, 2, 3]))
    ax = ats.plot.difference(given.sel(head=2), given.sel(head=3), ax=axes())
    assert (title(ax), remarks(ax)) == ("head 2 minus head 3", "encoder/mha · sample 0 of 2")


def test_masked_or_nan_in_either_is_marked(rng):
    one, other = scores(rng, 2, 4), scores(rng, 2, 4)
    one[:, 3] = other[:, 2] = 0
    one, other = one / one.sum(-1, keepdims=True), other / other.sum(-1, keepdims=True)
    other[0, 0] = np.nan
    first = array(one, key_valid=("key", [True, True, True, False]))
    second = array(other, key_valid=("key", [True, True, False, True]))
    ax = ats.plot.difference(first, second, trim=False, ax=axes())
    np.testing.assert_array_equal(marked(ax, "masked", (2, 4)), [[False, False, True, True]] * 2)
    np.testing.assert_array_equal(marked(ax, "nan", (2, 4)), [[True, False, False, False], [False] * 4])
    trimmed = ats.plot.difference(first, second, ax=axes())
    np.testing.assert_array_equal(cells(trimmed), cells(ax)[:, :2])
    assert remarks(trimmed) == "encoder/mha · padding left out: 2 keys · red: NaN"


def test_blocks_keep_what_is_farthest_from_zero(rng):
    one, other = np.full((1, 600), 1 / 600), np.full((1, 600), 1 / 600)
    one[0, :6] += [-0.0012, 0.001, 0.0002, 0, 0.001, -0.001]
    ax = ats.plot.difference(one, other, ax=axes())
    np.testing.assert_allclose(cells(ax)[0], [-0.0012, 0.0002, 0.001, *[0] * 297], atol=1e-12)
    assert remarks(ax) == "1 x 600: each cell is the largest difference of 1 x 2"


def test_other_names_sizes_and_sites_are_refused(rng):
    values = scores(rng, 3, 3)
    first = array(values, key_label=("key", list("abc")))
    cases = [
        (
            first,
            array(values, key_label=("key", list("abd"))),
            "Key 2 is 'c' in the first and 'd' in the second, but only maps of the same positions can be compared. "
            "If they are the same, drop the names of one: second.drop_vars('key_label').",
        ),
        (
            first,
            array(scores(rng, 3, 4)),
            "The first at 'encoder/mha' has 3 x 3 cells, the second 3 x 4 cells, but only maps of one size can be "
            "compared. Select the positions that both have: weights.isel(query=slice(0, 8), key=slice(0, 8)), with "
            "partial=True.",
        ),
        (
            ats.AttentionMaps.from_arrays({"a": values[None, None], "b": values[None, None]}),
            ats.AttentionMaps.from_arrays({"a": values[None, None], "c": values[None, None]}),
            "The two have different sites: 'b', 'c' are only in one of them. Compare sites that both have, one by "
            "one: ats.plot.difference(first[site], second[site]).",
        ),
    ]
    for one, other, message in cases:
        with pytest.raises(ValueError) as caught:
            ats.plot.difference(one, other, ax=axes())
        assert str(caught.value) == message


def test_two_models_are_compared_head_by_head(rng):
    first, second = (
        ats.AttentionMaps.from_arrays({"a": scores(rng, 2, 4, 5, 5), "b": scores(rng, 2, 2, 3, 7)}) for _ in range(2)
    )
    ax = ats.plot.difference(first, second, sample=1, ax=axes())
    assert len(ax.images) == 6
    np.testing.assert_allclose(cells(ax, 1), (first["a"] - second["a"]).values[1, 1])
    np.testing.assert_allclose(cells(ax, 5), (first["b"] - second["b"]).values[1, 1])
    assert {image.get_clim() for image in ax.images} == {ax.images[0].get_clim()}
    assert (title(ax), remarks(ax)) == ("first minus second", "sample 1 of 2 · queries down, keys across")
