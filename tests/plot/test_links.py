"""`links`: lines for the strongest weights, and what was left out."""

import numpy as np
import pytest

import attnscope as ats
from attnscope.errors import SchemaError
from drawings import array, axes, marked, remarks, scores, ticks, unreadable


def lines(ax):
    return next(found for found in ax.collections if found.get_gid() == "links")


def test_the_strongest_weights_are_lines_whose_width_and_opacity_say_how_strong(rng):
    values = scores(rng, 4, 6)
    ax = ats.plot.links(values, most=5, maximum=1.0, ax=axes())
    strongest = np.sort(values, axis=None)[-5:]
    np.testing.assert_allclose(lines(ax).get_linewidths(), 4 * strongest)
    np.testing.assert_allclose(lines(ax).get_colors()[:, 3], 0.15 + 0.85 * strongest)
    for value, line in zip(strongest, lines(ax).get_segments(), strict=True):
        row, column = np.argwhere(values == value)[0]
        np.testing.assert_allclose(line, [[0, row], [1, (column + 0.5) / 6 * 4 - 0.5]])


def test_what_was_left_out_is_said(rng):
    values = scores(rng, 32, 32)
    ax = ats.plot.links(values, ax=axes())
    share = np.sort(values, axis=None)[-40:].sum() / values.sum()
    assert remarks(ax) == f"the strongest 40 of 1,024 weights; they carry {share:.0%} of the attention"
    assert len(lines(ax).get_segments()) == 40
    few = ats.plot.links(np.array([[0.5, 0.5, 0.0]]), ax=axes())
    assert remarks(few) == "all 2 weights above 0"
    one = ats.plot.links(np.array([[0.75, 0.25]]), most=1, ax=axes())
    assert remarks(one) == "the strongest 1 of 2 weights; it carries 75% of the attention"


def test_weights_of_zero_masked_cells_and_nan_have_no_line():
    values = np.array([[0.5, 0.5, 0.0], [0.25, np.nan, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    given = array(values, query_valid=("query", [True, True, False]))
    ax = ats.plot.links(given, trim=False, ax=axes())
    starts = sorted(line[0, 1] for line in lines(ax).get_segments())
    assert starts == [0, 0, 1, 1]
    assert remarks(ax) == "all 4 weights above 0 · 1 weight is NaN and has no line · hatched: padding"
    nothing = ats.plot.links(np.zeros((2, 2)), ax=axes())
    assert (remarks(nothing), len(lines(nothing).get_segments())) == ("no weight above 0", 0)


def test_the_scale_is_written_beside_the_lines():
    ax = ats.plot.links(np.array([[0.75, 0.25]]), ax=axes())
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["0.800", "0.400", "0.0800"]
    np.testing.assert_allclose([line.get_linewidth() for line in legend.get_lines()], [4, 2, 0.4])
    assert legend.get_title().get_text() == "attention"


def test_queries_are_named_on_the_left_and_keys_on_the_right(rng):
    given = array(scores(rng, 2, 3), query_label=("query", ["a", "b"]), key_label=("key", ["x", "y", "z"]))
    ax = ats.plot.links(given, ax=axes())
    keys = next(other for other in ax.figure.axes if other is not ax)
    assert ticks(ax.yaxis) == [(0, "a"), (1, "b")]
    assert ticks(keys.yaxis) == [(0, "x"), (1, "y"), (2, "z")]
    assert (ax.get_ylabel(), keys.get_ylabel()) == ("query", "key")


def test_padding_is_hatched_at_its_side(rng):
    values = scores(rng, 4, 4)
    values[:, 3] = 0
    given = array(values / values.sum(-1, keepdims=True), key_valid=("key", [True, True, True, False]))
    ax = ats.plot.links(given, trim=False, ax=axes())
    trimmed = ats.plot.links(given, ax=axes())
    assert trimmed.get_ylim() == (3.5, -0.5)
    assert remarks(trimmed) == "all 12 weights above 0 · padding left out: 1 key"
    keys = next(other for other in ax.figure.axes if other is not ax)
    assert not marked(ax, "masked", (4, 2)).any()
    strip = next(patch for patch in keys.patches if patch.get_gid() == "masked").get_path()
    assert strip.contains_points([(1.017, place) for place in range(4)]).tolist() == [False, False, False, True]


def test_what_has_no_queries_or_no_line_is_refused(rng):
    with pytest.raises(SchemaError) as caught:
        ats.plot.links(array(scores(rng, 3, 5), dims=("head", "key")), ax=axes())
    assert str(caught.value) == (
        "The weights have no queries, only 5 keys, but lines run from queries to keys. Colour the keys by their "
        "weight: ats.plot.tokens(weights)."
    )
    with pytest.raises(SchemaError) as caught:
        ats.plot.links(scores(rng, 3, 5), most=0, ax=axes())
    assert str(caught.value) == "most=0 was given, but at least one line is needed. Write most=40."


LONG = "a_backbone/transformer_encoder_layer_11/self_attention_layer_with_a_long_name"


@pytest.mark.parametrize(("samples", "site"), [(1, "mha"), (2, LONG), (7, LONG)])
def test_titles_words_and_numbers_stay_inside_of_the_figure(rng, samples, site):
    words = [f"word number {place} of a text" for place in range(9)]
    given = array(scores(rng, samples, 2, 9, 9), site=site).assign_coords(query_label=("query", words))
    for chosen in ({}, {"sample": "mean", "head": 1}):
        assert not unreadable(ats.plot.links(given, **chosen).figure)
