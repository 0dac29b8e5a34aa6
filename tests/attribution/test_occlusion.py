"""Occlusion, Shapley values and baselines against closed forms and the definition over all subsets."""

import itertools
from math import factorial

import numpy as np
import pytest

from attnscope.attribution._baselines import position, random
from attnscope.attribution._occlusion import occlusion
from attnscope.attribution._removal import delete, marginal, mask_token, mean, zero
from attnscope.attribution._removal_scores import RemovalScores
from attnscope.attribution._shapley import shapley_estimate
from attnscope.attribution._subject import subjects_of
from attnscope.errors import InputError
from removal_models import VALUES, WEIGHTS, curved, linear, token_inputs, tokens_model, worth

W = np.array([2.0, -1.0, 0.5, 3.0])


def features_subject(x, **options):
    [subject] = subjects_of(linear(W, 0.7), x, batch_size=8, **options)
    return subject


def tokens_subject():
    [subject] = subjects_of(tokens_model(), token_inputs(), batch_size=8)
    return subject


def shapley(subject, **options):
    return shapley_estimate(subject, **options).values


def of_all_subsets(value, players):
    """Shapley values by their definition: the weighted mean of what a player adds, over all sets of the others."""
    result = np.zeros(players)
    for player in range(players):
        others = [other for other in range(players) if other != player]
        for size in range(players):
            share = factorial(size) * factorial(players - size - 1) / factorial(players)
            for chosen in itertools.combinations(others, size):
                result[player] += share * (value({*chosen, player}) - value(set(chosen)))
    return result


def test_occlusion_of_a_linear_model_is_weight_times_distance_from_what_takes_the_place(rng):
    x, other = rng.normal(size=(5, 4)).astype("float32"), rng.normal(size=(7, 4)).astype("float32")
    subject = features_subject(x)
    for removal, centre in ((zero(), 0.0), (mean(), x.mean(0)), (mean(other), other.mean(0))):
        np.testing.assert_allclose(occlusion(subject, removal=removal), W * (x - centre), atol=1e-5)
    np.testing.assert_allclose(occlusion(subject), W * (x - x.mean(0)), atol=1e-5)
    drawn = occlusion(subject, removal=marginal(draws=4))  # all other samples
    np.testing.assert_allclose(drawn, W * (x - (x.sum(0) - x) / 4), atol=1e-5)


def test_occlusion_by_deleting_knows_that_the_rest_moves_up():
    given = token_inputs()
    found = occlusion(tokens_subject(), removal=delete())
    for sample in range(3):
        rows = [given[name][sample] for name in ("token_ids", "segment_ids", "padding_mask")]
        for place in range(7):
            if not given["padding_mask"][sample, place]:
                assert found[sample, place] == 0
                continue
            without = [np.append(np.delete(row, place), 0) for row in rows]
            assert abs(found[sample, place] - (worth(*rows) - worth(*without))) < 1e-5


def test_occlusion_by_a_mask_token_exchanges_the_value():
    given = token_inputs()
    found = occlusion(tokens_subject(), removal=mask_token(10), kept=[4])
    expected = WEIGHTS * (VALUES[given["token_ids"]] - VALUES[10])
    np.testing.assert_allclose(
        found, np.where((given["token_ids"] != 0) & (given["token_ids"] != 4), expected, 0), atol=1e-5
    )


def test_occlusion_costs_a_pass_per_sample_and_per_removable_position(rng):
    for removal, kept, expected in (
        (mask_token(10), None, 3 + 13),
        (mask_token(10), [3], 3 + 13 - 2),
        (marginal(draws=2), None, 3 + 13 * 2),
    ):
        subject = tokens_subject()
        before = subject.network.passes.forward
        occlusion(subject, removal=removal, kept=kept)
        assert subject.network.passes.forward - before == expected


def test_the_only_token_cannot_be_deleted_and_gets_0():
    inputs = {name: array[2:, :] for name, array in token_inputs().items()}
    inputs["token_ids"], inputs["padding_mask"] = inputs["token_ids"].copy(), inputs["padding_mask"].copy()
    inputs["token_ids"][0, 1] = inputs["padding_mask"][0, 1] = 0
    [subject] = subjects_of(tokens_model(), inputs)
    assert not occlusion(subject, removal=delete()).any()
    expected = np.zeros((1, 7))
    expected[0, 0] = WEIGHTS[0] * (VALUES[3] - VALUES[10])
    np.testing.assert_allclose(occlusion(subject, removal=mask_token(10)), expected, atol=1e-6)


def test_shapley_of_a_linear_model_is_its_occlusion(rng):
    x = rng.normal(size=(3, 4)).astype("float32")
    found = shapley_estimate(features_subject(x), permutations=4, removal=mean())
    np.testing.assert_allclose(found.values, W * (x - x.mean(0)), atol=1e-5)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-6)


def test_sampled_shapley_comes_to_the_definition_within_its_standard_error(rng):
    model, formula = curved(rng, 9)
    x = rng.normal(size=(3, 9)).astype("float32")
    [subject] = subjects_of(model, x, target=1, batch_size=64)
    found = shapley_estimate(subject, permutations=60, removal=zero(), seed=3)  # all 512 sets would cost more
    errors = []
    for sample in range(3):
        exact = of_all_subsets(
            lambda there, row=x[sample]: formula(np.where([i in there for i in range(9)], row, 0.0))[1], 9
        )
        assert exact.std() > 0.05
        errors.append((found.values[sample] - exact) / found.standard_error[sample])
    assert 0 < found.standard_error.max() < 0.2
    assert np.abs(errors).max() < 4  # 27 of them, about normal: one beyond 4 in six hundred
    assert np.sqrt(np.mean(np.square(errors))) < 1.6


@pytest.mark.parametrize("players", [1, 3, 5])
def test_of_few_players_the_values_are_the_definition(rng, players):
    model, formula = curved(rng, players)
    x = rng.normal(size=(2, players)).astype("float32")
    [subject] = subjects_of(model, x, target=0)
    before = subject.network.passes.forward
    found = shapley_estimate(subject, removal=zero())
    for row, sample in zip(found.values, x, strict=True):
        exact = of_all_subsets(
            lambda there, sample=sample: formula(np.where([i in there for i in range(players)], sample, 0.0))[0],
            players,
        )
        np.testing.assert_allclose(row, exact, atol=1e-5)
    assert not found.standard_error.any()
    assert subject.network.passes.forward - before == 2 * 2**players


def test_shapley_values_sum_to_what_is_lost_when_all_is_removed(rng):
    model, formula = curved(rng)
    x, other = rng.normal(size=(4, 5)).astype("float32"), rng.normal(size=(3, 5)).astype("float32")
    [subject] = subjects_of(model, x, target=0, batch_size=16)
    for removal, without in (
        (zero(), formula(np.zeros((1, 5)))[0, 0]),
        (marginal(other, draws=3), formula(other)[:, 0].mean()),
    ):
        found = shapley_estimate(subject, permutations=2, removal=removal)
        np.testing.assert_allclose(found.values.sum(1), formula(x)[:, 0] - without, atol=1e-5)
        np.testing.assert_allclose(found.everything, formula(x)[:, 0] - without, atol=1e-5)
        assert np.isnan(found.standard_error).all()


def test_shapley_gives_nothing_to_padding_and_to_what_is_kept():
    subject = tokens_subject()
    tokens = token_inputs()["token_ids"]
    found = shapley(subject, permutations=2, removal=mask_token(10), kept=[3, 1])
    able = (tokens != 0) & (tokens != 3) & (tokens != 1)
    np.testing.assert_allclose(found, np.where(able, WEIGHTS * (VALUES[tokens] - VALUES[10]), 0), atol=1e-5)
    assert not able[2].any()


def test_shapley_asks_for_each_version_once():
    subject = tokens_subject()
    before = subject.network.passes.forward
    asked = RemovalScores(subject, mask_token(10))
    shapley(subject, permutations=2, removal_scores=asked)
    lengths = (7, 4, 2)  # an order and its reverse have only nothing and everything in common
    bound = sum(2 + 2 * (length - 1) for length in lengths)
    assert subject.network.passes.forward - before == asked.passes == bound


def test_the_same_seed_gives_the_same_values_and_another_seed_others(rng):
    model, _ = curved(rng)
    [subject] = subjects_of(model, rng.normal(size=(2, 5)).astype("float32"), target=0)
    first, second, third = (shapley(subject, permutations=2, removal=zero(), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - third).max() > 1e-3


def test_shapley_says_what_it_cannot_do():
    subject = tokens_subject()
    for given in (3, 0, True, 2.0):
        with pytest.raises(InputError) as raised:
            shapley(subject, permutations=given, removal=mask_token(10))
        assert str(raised.value) == (
            f"permutations is {given!r}, but orders come in pairs, so an even number of at least 2 is needed: "
            "permutations=16."
        )
    with pytest.raises(InputError) as raised:
        shapley(subject, removal=delete())
    assert str(raised.value) == (
        "All 7 positions of sample 0 are to be removed, but then delete() leaves nothing to give to the model. Keep "
        "some positions, kept=[101, 102], or use another removal: removal=mask_token(103)."
    )


def test_chance_is_seeded_costs_nothing_and_prefers_no_position(rng):
    [subject] = subjects_of(linear(W), rng.normal(size=(4000, 4)).astype("float32"), batch_size=4000)
    before = subject.network.passes.forward
    drawn = random(subject, seed=3)
    assert subject.network.passes.forward == before
    np.testing.assert_array_equal(drawn, random(subject, seed=3))
    assert (drawn != random(subject, seed=4)).all()
    first = np.bincount(drawn.argmax(1), minlength=4)
    assert np.abs(first - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)  # five standard deviations
    assert not random(tokens_subject())[2, 2:].any()


def test_the_position_baseline_is_the_mean_drop_of_the_other_samples(rng):
    x = rng.normal(size=(5, 4)).astype("float32")
    drops = W * (x - x.mean(0))
    expected = np.stack([np.mean([drops[k] for k in range(5) if k != i], axis=0) for i in range(5)])
    np.testing.assert_allclose(position(features_subject(x), removal=mean()), expected, atol=1e-5)


def test_the_position_baseline_may_be_measured_on_some_of_the_samples(rng):
    x = rng.normal(size=(5, 4)).astype("float32")
    subject, some = features_subject(x), [0, 3, 4]
    versions = RemovalScores(subject, zero())
    found = position(subject, samples=np.array(some), removal_scores=versions)
    assert versions.passes == 3 * 4 + 5  # and the samples as they are
    expected = np.stack([np.mean([(W * x)[k] for k in some if k != i], axis=0) for i in range(5)])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_position_baseline_of_a_sample_does_not_depend_on_what_it_holds(rng):
    x = rng.normal(size=(5, 4)).astype("float32")
    other = x.copy()
    other[2] = 9.0
    before, after = (position(features_subject(given), removal=zero()) for given in (x, other))
    np.testing.assert_allclose(before[2], after[2], atol=1e-5)
    assert np.abs(before[[0, 1, 3, 4]] - after[[0, 1, 3, 4]]).min() > 1e-2


def test_where_no_other_sample_reaches_the_nearest_position_stands_in():
    subject = tokens_subject()
    drops = occlusion(subject, removal=mask_token(10))
    found = position(subject, removal=mask_token(10))
    expected = np.zeros(7)
    expected[:2] = (drops[1, :2] + drops[2, :2]) / 2
    expected[2:4] = drops[1, 2:4]
    expected[4:] = drops[1, 3]
    np.testing.assert_allclose(found[0], expected, atol=1e-9)
    np.testing.assert_allclose(found[2, :2], (drops[0, :2] + drops[1, :2]) / 2, atol=1e-9)
    assert not found[2, 2:].any()


def test_with_common_versions_the_baseline_costs_no_pass_more_than_occlusion():
    subject = tokens_subject()
    asked = RemovalScores(subject, delete())
    occlusion(subject, removal_scores=asked)
    spent = subject.network.passes.forward
    position(subject, removal_scores=asked)
    assert subject.network.passes.forward == spent


def test_a_profile_may_be_given():
    subject = tokens_subject()
    real = token_inputs()["token_ids"] != 0
    for given, expected in (("earlier", -np.arange(7)), ("later", np.arange(7)), (WEIGHTS, WEIGHTS)):
        np.testing.assert_array_equal(position(subject, profile=given), np.where(real, expected, 0))
    for given in ("first", [1.0, 2.0]):
        with pytest.raises(InputError) as raised:
            position(subject, profile=given)
        assert str(raised.value) == (
            f"The profile is {given!r}, but 'earlier', 'later' or 7 numbers are needed: profile='earlier'."
        )
    with pytest.raises(InputError) as raised:
        position(subject.rows(slice(0, 1)))
    assert str(raised.value) == (
        "The position baseline is the mean over other samples, but there is only one sample. Give more, or one "
        "number per position: profile='earlier'."
    )
