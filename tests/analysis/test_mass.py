"""Weight on keys of one kind, detected sinks, and the scores of known kinds of heads, against plain loops."""

import math

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from analysis_maps import per_row, scores, softmax
from attnscope.errors import InputError, LabelError, SchemaError

LENGTHS = (7, 5, 2)


def at(weights, place, first, stop):
    return weights[place] if first <= place < stop else math.nan


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("kind", "step"), [("self", 0), ("previous", -1), ("next", 1)])
def test_mass_beside_the_query_stops_at_the_ends_of_each_text(rng, left, kind, step):
    array = scores(rng, LENGTHS, left=left)

    def loop(sample, query, weights):
        first = 7 - LENGTHS[sample] if left else 0
        return at(weights, query + step, first, first + LENGTHS[sample])

    np.testing.assert_allclose(ats.analysis.mass(array, kind), per_row(array, loop), rtol=1e-12)


@pytest.mark.parametrize("left", [False, True])
def test_the_first_key_is_the_first_that_is_no_padding(rng, left):
    array = scores(rng, LENGTHS, left=left)
    expected = per_row(array, lambda s, q, w: w[7 - LENGTHS[s] if left else 0])
    np.testing.assert_allclose(ats.analysis.mass(array, "first"), expected, rtol=1e-12)


def test_mass_on_separators_is_told_by_their_names(rng):
    names = [["a", "b", "[SEP]", "c", "</s>", "d", "e"], ["[SEP]", *"xxxxxx"], list("abcdefg")]
    array = scores(rng, LENGTHS, labels=names)
    found = ats.analysis.mass(array, "separators")

    def loop(sample, query, weights):
        return sum(w for k, w in enumerate(weights) if names[sample][k] in ("[SEP]", "</s>"))

    np.testing.assert_allclose(found, per_row(array, loop), rtol=1e-12)
    np.testing.assert_array_equal(found[2, :, :2], 0)
    named = ats.analysis.mass(array, "separators", separators=["c"])
    np.testing.assert_allclose(named, per_row(array, lambda s, q, w: w[3] if s == 0 else 0.0), rtol=1e-12)


def test_mass_on_padding(rng):
    array = scores(rng, LENGTHS)
    np.testing.assert_array_equal(ats.analysis.mass(array, "padding"), per_row(array, lambda s, q, w: 0.0))
    leaking = array.copy(data=softmax(rng.normal(size=array.shape)))
    expected = per_row(leaking, lambda s, q, w: sum(w[LENGTHS[s] :]))
    np.testing.assert_allclose(ats.analysis.mass(leaking, "padding"), expected, rtol=1e-12)
    with pytest.raises(SchemaError) as caught:
        ats.analysis.mass(leaking.drop_vars("key_valid"), "padding")
    assert str(caught.value) == (
        "Scores have the coordinates ['query_valid'], but 'key_valid' is needed to tell what is padding. Capture the "
        "scores, or add it: scores.assign_coords(key_valid=(('sample', 'key'), token_ids != 0))."
    )


def test_all_kinds_of_keys_that_part_the_row_add_up_to_1(rng):
    array = scores(rng, (7, 7), heads=2, size=7)
    apart = [ats.analysis.mass(array, kind).fillna(0) for kind in ("self", "previous", "next")]
    far = per_row(array, lambda s, q, w: sum(x for k, x in enumerate(w) if abs(q - k) > 1))
    np.testing.assert_allclose(sum(apart) + far, 1, rtol=1e-12)


def test_an_unknown_kind_is_refused(rng):
    with pytest.raises(InputError) as caught:
        ats.analysis.mass(scores(rng), "cls")
    assert str(caught.value) == (
        "on='cls' was given, but one of 'self', 'previous', 'next', 'first', 'separators', 'padding', 'sinks', "
        "'duplicates', 'after_duplicates' is needed."
    )


def with_sink(rng, key, weight, samples=2, size=11):
    values = softmax(rng.normal(size=(samples, 2, size, size)))
    values[:, 1] *= ((1 - weight) / (1 - values[:, 1, :, key]))[..., None]
    values[:, 1, :, key] = weight
    return xr.DataArray(values, dims=("sample", "head", "query", "key"))


def test_a_sink_is_found_wherever_it_stands_and_not_by_its_name(rng):
    array = xr.concat([with_sink(rng, 3, 0.7, 1), with_sink(rng, 8, 0.7, 1)], dim="sample")
    expected = np.zeros((2, 2, 11), bool)
    expected[0, 1, 3] = expected[1, 1, 8] = True
    np.testing.assert_array_equal(ats.analysis.sinks(array), expected)
    mass = ats.analysis.mass(array, "sinks")
    np.testing.assert_allclose(mass[:, 1], 0.7)
    np.testing.assert_array_equal(mass[:, 0], 0)


def test_the_rule_of_sinks_is_that_of_the_findings(rng):
    for weight, found in ((0.48, False), (0.52, True)):
        array = with_sink(rng, 3, weight, samples=3)
        lint = ats.AttentionMaps.from_arrays({"a": array.values}).findings
        assert bool(ats.analysis.sinks(array).any()) == found == any(item.kind == "sink" for item in lint)
    array = with_sink(rng, 3, 0.7, size=20)
    array[0, 1, 0] = np.eye(20)[5]  # 19 of 20 queries: exactly 95%
    assert bool(ats.analysis.sinks(array)[0, 1, 3])
    array[0, 1, 1] = np.eye(20)[5]
    assert not ats.analysis.sinks(array)[0].any()
    assert bool(ats.analysis.sinks(array, share=0.9)[0, 1, 3])


def test_with_the_mean_alone_two_keys_can_be_sinks():
    rows = xr.DataArray(np.tile([0.45, 0.05, 0.05, 0.45], (4, 1)), dims=("query", "key"))
    assert ats.analysis.sinks(rows).values.tolist() == [False] * 4
    assert ats.analysis.sinks(rows, share=0, mass=0.3).values.tolist() == [True, False, False, True]


def test_no_choice_is_no_sink():
    causal = np.tril(np.ones((5, 5)))
    uniform = xr.DataArray(causal / causal.sum(1, keepdims=True), dims=("query", "key"))
    assert not ats.analysis.sinks(uniform).any()
    two = xr.DataArray(np.full((4, 2), 0.5), dims=("query", "key"))
    assert not ats.analysis.sinks(two).any()
    lint = ats.AttentionMaps.from_arrays({"a": np.full((3, 1, 4, 2), 0.5)}).findings
    assert [item.kind for item in lint if item.kind == "sink"] == []
    first = xr.DataArray([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.8, 0.1, 0.1]], dims=("query", "key"))
    assert ats.analysis.sinks(first).values.tolist() == [True, False, False]
    assert not ats.analysis.sinks(first[:2, :2]).any()  # one query with a choice


def test_a_head_that_puts_everything_on_one_key_is_a_sink_too(rng):
    values = softmax(rng.normal(size=(2, 2, 5, 5)))
    values[:, 1] = np.eye(5)[2]
    array = xr.DataArray(values, dims=("sample", "head", "query", "key"))
    assert np.argwhere(ats.analysis.sinks(array).values).tolist() == [[0, 1, 2], [1, 1, 2]]
    (finding,) = ats.AttentionMaps.from_arrays({"a": values}).findings
    assert finding.message == (
        "key 2 is the strongest key of 100.0% of the queries of head 1, and the strongest key gets 100% of their "
        "attention: a sink"
    )


def test_padded_queries_say_nothing_about_sinks_and_learned_sinks_always_are():
    values = np.tile([0.1, 0.8, 0.1], (6, 1))
    values[3:] = [1.0, 0.0, 0.0]
    rows = xr.DataArray(values, dims=("query", "key"))
    assert not ats.analysis.sinks(rows).any()
    padded = rows.assign_coords(query_valid=("query", [True] * 3 + [False] * 3))
    assert ats.analysis.sinks(padded).values.tolist() == [False, True, False]
    learned = rows.assign_attrs(sinks=1)
    assert ats.analysis.sinks(learned).values.tolist() == [False, False, True]


def test_thresholds_of_sinks_outside_are_refused(rng):
    with pytest.raises(InputError) as caught:
        ats.analysis.sinks(scores(rng), share=2)
    assert str(caught.value) == (
        "share=2 and mass=0.5 were given, but the share of the queries must be within 0 to 1, and the mass above 0 and "
        "at most 1: sinks(scores, share=0.95, mass=0.5)."
    )


def repeated(rng, length=5, times=3):
    return np.tile(rng.permutation(97)[:length], times)


def one_hot(keys, size):
    """A head whose query q looks at keys[q]; at itself where that is none."""
    rows = np.zeros((size, size))
    for query, key in enumerate(keys):
        rows[query, query if key is None else key] = 1
    return rows


def test_planted_heads_have_score_1_of_their_own_kind_and_0_of_the_others(rng):
    tokens = repeated(rng)
    previous = one_hot([None, *range(14)], 15)
    duplicate = one_hot([None if q < 5 else q - 5 for q in range(15)], 15)
    induction = one_hot([None if q < 5 else q - 4 for q in range(15)], 15)
    array = xr.DataArray(np.stack([previous, duplicate, induction]), dims=("head", "query", "key"))
    assert ats.analysis.previous_token_score(array).values.tolist() == [1, 0, 0]
    assert ats.analysis.duplicate_token_score(array, tokens).values.tolist() == [0, 1, 0]
    assert ats.analysis.induction_score(array, tokens).values.tolist() == [0, 0, 1]


@pytest.mark.parametrize("how", ["numbers", "names", "labels"])
def test_scores_of_repeated_tokens_agree_with_loops(rng, how):
    tokens = np.array([[5, 3, 5, 5, 3, 8, 5], [1, 2, 1, 2, 1, 2, 1], [4, 4, 9, 9, 9, 9, 9]])
    array = scores(rng, LENGTHS, causal=True)
    if how == "labels":
        names = (("sample", "query"), tokens.astype(str))
        array = array.assign_coords(query_label=names, key_label=(("sample", "key"), tokens.astype(str)))
    given = {"numbers": tokens, "names": tokens.astype(str), "labels": None}[how]
    duplicate, induction = np.full((3, 3), np.nan), np.full((3, 3), np.nan)
    for sample, length in enumerate(LENGTHS):
        row, weights = tokens[sample], array.values[sample]
        again = {q: [k for k in range(q) if row[k] == row[q]] for q in range(length)}
        behind = {q: [k + 1 for k in earlier if k + 1 < q] for q, earlier in again.items()}
        for head in range(3):
            for found, keys in ((duplicate, again), (induction, behind)):
                sums = [sum(weights[head, q, k] for k in chosen) for q, chosen in keys.items() if chosen]
                if sums:
                    found[sample, head] = sum(sums) / len(sums)
    np.testing.assert_allclose(ats.analysis.duplicate_token_score(array, given), duplicate, rtol=1e-12)
    np.testing.assert_allclose(ats.analysis.induction_score(array, given), induction, rtol=1e-12)
    assert np.isnan(induction[2]).all()  # "4 4" repeats, but nothing stands between
    assert not np.isnan(duplicate).any()


def test_negative_numbers_and_empty_names_repeat_nothing():
    rows = xr.DataArray(np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None], dims=("query", "key"))
    assert ats.analysis.duplicate_token_score(rows, [7, 7, -1, -1]).item() == 0.5
    assert ats.analysis.duplicate_token_score(rows, ["a", "a", "", ""]).item() == 0.5
    assert np.isnan(ats.analysis.duplicate_token_score(rows, [1, 2, 3, 4]).item())


def test_previous_token_score_leaves_out_named_queries(rng):
    names = ["[CLS]", "a", "b", "[SEP]", "c", "[SEP]", "d"]
    array = scores(rng, labels=names)
    expected = np.zeros((3, 3))
    for sample, length in enumerate(LENGTHS):
        kept = [q for q in range(1, length) if names[q] != "[SEP]"]
        expected[sample] = array.values[sample][:, kept, [q - 1 for q in kept]].mean(-1)
    np.testing.assert_allclose(ats.analysis.previous_token_score(array, leave_out=["[SEP]"]), expected, rtol=1e-12)


def test_repeats_need_to_be_told(rng):
    array = scores(rng)
    with pytest.raises(LabelError) as caught:
        ats.analysis.induction_score(array)
    assert str(caught.value) == (
        "Repeated tokens are needed, but the positions have no names. Give the tokens: "
        "induction_score(scores, tokens=token_ids), or ats.capture(model, inputs, labels=tokens)."
    )
    with pytest.raises(LabelError) as caught:
        ats.analysis.induction_score(array, np.zeros((2, 7), int))
    assert str(caught.value) == (
        "Tokens of shape (2, 7) and dtype int64 were given, but whole numbers or names with dims ('sample', 'query') "
        "or ('query',) are needed, and the scores have {'sample': 3, 'query': 7}: tokens=token_ids."
    )


def test_nan_in_a_row_that_counts_is_the_score_of_its_head(rng):
    array = scores(rng, heads=2)
    array[0, 1, 4, 2] = np.nan
    found = ats.analysis.previous_token_score(array)
    assert np.isnan(found).values.tolist() == [[False, True], [False, False], [False, False]]
    array = scores(rng, heads=2)
    array[2, 1, 6] = np.nan  # padding
    assert not np.isnan(ats.analysis.previous_token_score(array)).any()
