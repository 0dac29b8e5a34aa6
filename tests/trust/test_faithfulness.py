"""Faithfulness measures against closed forms of linear models and loops after the papers."""

import itertools
import math

import keras
import numpy as np
import pytest
import xarray as xr
from keras import layers

from attnscope.attribution._baselines import random
from attnscope.attribution._occlusion import occlusion
from attnscope.attribution._removal import delete, marginal, mask_token, mean, zero
from attnscope.attribution._removal_scores import RemovalScores
from attnscope.attribution._subject import subjects_of
from attnscope.errors import InputError
from attnscope.trust import (
    HIGHER_IS_BETTER,
    comprehensiveness,
    deletion,
    faithfulness,
    infidelity,
    insertion,
    max_sensitivity,
    sufficiency,
)
from attnscope.trust._faithfulness import removal_ranks
from removal_models import curved, linear, token_inputs, tokens_model, worth

W = np.array([2.0, -1.0, 0.5, 3.0, -0.25, 1.5, -2.5])
SHARES = (0.01, 0.2, 0.5, 1.0)


def features(x, removal, **options):
    [subject] = subjects_of(linear(W, 0.7), x, batch_size=16)
    return RemovalScores(subject, removal, **options)


def tokens(removal, **options):
    [subject] = subjects_of(tokens_model(), token_inputs(), batch_size=16)
    return RemovalScores(subject, removal, **options)


def said_without(sample, gone):
    """What `tokens_model` says of a sample once these places are deleted, by hand."""
    given = token_inputs()
    left = [place for place in range(7) if given["padding_mask"][sample, place] and place not in gone]
    return worth(
        *[[given[name][sample, place] for place in left] for name in ("token_ids", "segment_ids")], [1] * len(left)
    )


def ordered(relevance, places):
    return sorted(places, key=lambda place: -relevance[place])


def test_comprehensiveness_and_sufficiency_of_a_linear_model_are_sums_of_what_was_named(rng):
    x, r = rng.normal(size=(5, 7)).astype("float32"), rng.normal(size=(5, 7))
    parts = W * (x - x.mean(0))
    versions = features(x, mean())
    comprehensive = comprehensiveness(versions, r, thresholds=SHARES)
    sufficient = sufficiency(versions, r, thresholds=SHARES)
    assert comprehensive.dims == sufficient.dims == ("sample", "threshold")
    for sample in range(5):
        order = ordered(r[sample], range(7))
        for column, top in enumerate((1, 2, 4, 7)):  # 1%, 20%, 50%, all of 7, rounded up
            assert abs(comprehensive[sample, column] - parts[sample, order[:top]].sum()) < 1e-5
            assert abs(sufficient[sample, column] - parts[sample, order[top:]].sum()) < 1e-5
    assert comprehensive.attrs == {
        "removal": "mean",
        "in_its_place": "the mean over 5 samples",
        "target": "the output",
        "seed": 0,
        "higher_is_better": True,
        "units": "target",
    }
    assert sufficient.attrs["higher_is_better"] is False


def test_no_order_is_more_comprehensive_on_a_linear_model_than_that_of_its_parts(rng):
    x = rng.normal(size=(3, 7)).astype("float32")
    versions = features(x, zero())
    best = comprehensiveness(versions, occlusion(versions.subject, removal_scores=versions), thresholds=(0.4,))
    for _ in range(20):
        other = comprehensiveness(versions, rng.normal(size=(3, 7)), thresholds=(0.4,))
        assert (other <= best + 1e-5).all()
    for sample in range(3):
        largest = max(sum(chosen) for chosen in itertools.combinations(W * x[sample], 3))
        assert abs(best[sample, 0] - largest) < 1e-5


def test_deleting_tokens_is_measured_as_the_loop_does(rng):
    versions = tokens(delete())
    r = rng.normal(size=(3, 7))
    comprehensive = comprehensiveness(versions, r, thresholds=SHARES)
    sufficient = sufficiency(versions, r, thresholds=SHARES)
    for sample, length in enumerate((7, 4, 2)):
        order = ordered(r[sample], range(length))
        whole = said_without(sample, [])
        for column, share in enumerate(SHARES):
            top = math.ceil(share * length)
            gone = order[: min(top, length - 1)]  # one stays
            assert abs(comprehensive[sample, column] - (whole - said_without(sample, gone))) < 1e-5
            assert abs(sufficient[sample, column] - (whole - said_without(sample, order[top:]))) < 1e-5


def test_deletion_and_insertion_of_tokens_are_the_areas_that_a_loop_finds(rng):
    r = rng.normal(size=(3, 7))
    for steps in (1, 3, 50):
        versions = tokens(delete())
        deleted, inserted = deletion(versions, r, steps=steps), insertion(versions, r, steps=steps)
        for sample, length in enumerate((7, 4, 2)):
            order = ordered(r[sample], range(length))
            places = sorted({math.floor(length * step / steps + 0.5) for step in range(steps + 1)})
            for found, curve in (
                (deleted, {min(k, length - 1): said_without(sample, order[: min(k, length - 1)]) for k in places}),
                (inserted, {max(k, 1): said_without(sample, order[max(k, 1) :]) for k in places}),
            ):
                area = np.trapezoid(list(curve.values()), list(curve)) / (max(curve) - min(curve))
                assert abs(found[sample] - area) < 1e-5


def test_the_areas_of_a_linear_model_have_a_closed_form(rng):
    """Each part goes at its place in the order: a trapezoid keeps 1 - (place + 1/2) / n of it."""
    x, r = rng.normal(size=(4, 7)).astype("float32"), rng.normal(size=(4, 7))
    versions = features(x, zero())
    place = np.argsort(np.argsort(-r, axis=1), axis=1)
    share = 1 - (place + 0.5) / 7
    np.testing.assert_allclose(deletion(versions, r, steps=7), 0.7 + (W * x * (1 - share)).sum(1), atol=1e-5)
    np.testing.assert_allclose(insertion(versions, r, steps=7), 0.7 + (W * x * share).sum(1), atol=1e-5)


def test_the_infidelity_of_a_linear_model_is_the_mean_square_of_the_summed_errors(rng):
    """Over a set of size k drawn evenly, (sum of e)^2 is k/n sum e^2 + k(k-1)/(n(n-1)) (sum over pairs) on average."""
    x = rng.normal(size=(3, 7)).astype("float32")
    parts, error = W * x, rng.normal(size=(3, 7))
    found = infidelity(features(x, zero()), parts + error, perturbations=20_000, scaled=False, seed=5)
    squares, pairs = (error**2).sum(1), error.sum(1) ** 2 - (error**2).sum(1)
    sizes = np.arange(1, 8)
    expected = np.mean([k / 7 * squares + k * (k - 1) / 42 * pairs for k in sizes], axis=0)
    assert np.abs(found / expected - 1).max() < 0.05
    exact = infidelity(features(x, zero()), parts, perturbations=16, scaled=False)
    np.testing.assert_allclose(exact, 0, atol=1e-9)
    assert found.attrs["units"] == "target squared"


def test_infidelity_leaves_the_unit_open_but_not_the_sign(rng):
    x = rng.normal(size=(4, 7)).astype("float32")
    parts, versions = W * x, features(x, zero())
    np.testing.assert_allclose(infidelity(versions, 1000 * parts), 0, atol=1e-9)
    nothing = infidelity(versions, np.zeros((4, 7)), scaled=False)
    assert nothing.min() > 0.1
    np.testing.assert_allclose(infidelity(versions, -parts), nothing, rtol=1e-9)
    noisy = parts + rng.normal(size=(4, 7))
    best = infidelity(versions, noisy)
    for factor in np.linspace(0, 2, 41):
        assert (best <= infidelity(versions, factor * noisy, scaled=False) + 1e-9).all()


def test_equal_relevance_is_removed_in_a_random_order_and_not_from_the_left(rng):
    [subject] = subjects_of(linear(W), rng.normal(size=(3500, 7)).astype("float32"), batch_size=3500)
    versions = RemovalScores(subject, zero())
    flat = np.full((3500, 7), 1 / 7) * (1 + 1e-9 * rng.random((3500, 7)))  # but for rounding
    ranks = removal_ranks(versions, flat, seed=1)
    first = np.bincount(ranks.argmin(1), minlength=7)
    assert np.abs(first - 500).max() < 5 * math.sqrt(3500 / 7 * 6 / 7)  # five standard deviations
    np.testing.assert_array_equal(ranks, removal_ranks(versions, flat, seed=1))
    assert (ranks != removal_ranks(versions, flat, seed=2)).any(1).mean() > 0.99
    np.testing.assert_array_equal(np.sort(ranks, axis=1), np.tile(np.arange(7), (3500, 1)))


def test_the_sign_of_relevance_counts():
    versions = tokens(mask_token(10))
    r = np.tile([0.1, -5.0, 3.0, 0.0, 2.0, -0.1, 1.0], (3, 1))
    ranks = removal_ranks(versions, r)
    assert ranks[0].tolist() == [3, 6, 0, 4, 1, 5, 2]
    assert ranks[1].tolist() == [1, 3, 0, 2, 7, 7, 7]


def test_padding_and_kept_positions_are_neither_removed_nor_counted(rng):
    r = rng.normal(size=(3, 7))
    loud = r.copy()
    loud[token_inputs()["token_ids"] == 0] = np.nan
    loud[1, 2] = loud[0, 1] = 100.0  # the token 4, which is kept
    quiet, noise = (
        faithfulness(tokens(mask_token(10), kept=[4]), {"one": given}, perturbations=4) for given in (r, loud)
    )
    xr.testing.assert_identical(quiet, noise)
    versions = tokens(mask_token(10), kept=[4])
    found = comprehensiveness(versions, r, thresholds=(1.0,))[:, 0]
    given = token_inputs()
    for sample in range(3):
        masked = [token if token in (0, 4) else 10 for token in given["token_ids"][sample]]
        rest = [given[name][sample] for name in ("segment_ids", "padding_mask")]
        expected = worth(given["token_ids"][sample], *rest) - worth(masked, *rest)
        assert abs(found[sample] - expected) < 1e-5


def test_a_sample_that_nothing_can_be_removed_from_is_0_and_keeps_its_target():
    versions = tokens(mask_token(10), kept=[3, 1])
    found = faithfulness(versions, {"one": np.zeros((3, 7))}, perturbations=4).sel(relevance="one").isel(sample=2)
    whole = said_without(2, [])
    for name in ("comprehensiveness", "sufficiency", "infidelity"):
        assert found[name] == 0
    for name in ("deletion", "insertion"):
        assert abs(found[name] - whole) < 1e-6


def test_all_measures_at_once_are_the_single_ones(rng):
    first, second = rng.normal(size=(3, 7)), rng.random((3, 7))
    versions = tokens(delete())
    found = faithfulness(versions, {"a": first, "b": second}, thresholds=SHARES, steps=3, perturbations=5, seed=4)
    assert list(found.relevance.values) == ["a", "b"]
    assert found.threshold.values.tolist() == list(SHARES)
    for name, relevance in (("a", first), ("b", second)):
        one = found.sel(relevance=name)
        for measure, function in (("comprehensiveness", comprehensiveness), ("sufficiency", sufficiency)):
            single = function(tokens(delete()), relevance, thresholds=SHARES, seed=4)
            np.testing.assert_allclose(one[f"{measure}_at"], single, atol=1e-6)
            np.testing.assert_allclose(one[measure], single.mean("threshold"), atol=1e-6)
        for measure, function, options in (
            ("deletion", deletion, {"steps": 3}),
            ("insertion", insertion, {"steps": 3}),
            ("infidelity", infidelity, {"perturbations": 5}),
        ):
            single = function(tokens(delete()), relevance, seed=4, **options)
            np.testing.assert_allclose(one[measure], single, atol=1e-5)
    for measure, better in HIGHER_IS_BETTER.items():
        if measure != "max_sensitivity":
            assert found[measure].attrs["higher_is_better"] is better


def test_samples_that_are_not_described_are_not_asked_with_the_top_alone(rng):
    relevances = {"one": rng.normal(size=(3, 7)), "chance": rng.random((3, 7))}
    options = {"thresholds": SHARES, "steps": 3, "perturbations": ["chance"]}
    of_all, of_two = tokens(delete()), tokens(delete())
    every = faithfulness(of_all, relevances, **options)
    some = faithfulness(of_two, relevances, described=[0, 2], **options)
    for measure in ("sufficiency", "sufficiency_at", "insertion", "infidelity"):
        np.testing.assert_allclose(some[measure][:, [0, 2]], every[measure][:, [0, 2]], atol=1e-6)
        assert np.isnan(some[measure][:, 1]).all()
    for measure in ("comprehensiveness", "deletion"):
        np.testing.assert_allclose(some[measure], every[measure], atol=1e-6)
    assert of_two.passes < of_all.passes


def test_methods_that_agree_cost_one_and_passes_are_told(rng):
    r = rng.normal(size=(3, 7))
    alone, many = tokens(mask_token(10)), tokens(mask_token(10))
    before = many.subject.network.passes.forward
    one = faithfulness(alone, {"a": r})
    all_alike = faithfulness(many, {"a": r, "b": 7 * r, "c": np.exp(r)})
    assert one.attrs["passes"] == all_alike.attrs["passes"] == alone.passes == many.passes
    assert many.subject.network.passes.forward - before == many.passes
    assert faithfulness(many, {"d": r + 9}).attrs["passes"] == 0


def test_the_number_of_passes_is_that_of_the_distinct_sets(rng):
    x, r = rng.normal(size=(1, 7)).astype("float32"), rng.normal(size=(1, 7))
    other = rng.normal(size=(4, 7)).astype("float32")
    versions = features(x, marginal(other, draws=3))
    comprehensiveness(versions, r, thresholds=(0.1, 0.14, 0.5))  # 1, 1 and 4 positions; and the sample itself
    assert versions.passes == 1 + 2 * 3
    sufficiency(versions, r, thresholds=(0.1, 0.5, 1.0))  # all but 1, all but 4, all but 7 that is the sample
    assert versions.passes == 7 + 2 * 3
    deletion(versions, r, steps=7)  # 1 to 7 gone, of which 1 and 4 are known
    assert versions.passes == 13 + 5 * 3
    insertion(versions, r, steps=7)  # 0 to 7 there, of which 0, 1, 4 and 7 are known
    assert versions.passes == 28 + 4 * 3
    bound = 2 * (5 + 10) + 32 + 1
    fresh = features(x, zero())
    assert faithfulness(fresh, {"one": r}).attrs["passes"] == fresh.passes <= bound


def test_occlusion_beats_chance_on_a_model_that_is_not_linear(rng):
    model, _ = curved(rng)
    [subject] = subjects_of(model, rng.normal(size=(60, 5)).astype("float32"), target=0, batch_size=64)
    versions = RemovalScores(subject, mean())
    found = faithfulness(
        versions, {"occlusion": occlusion(subject, removal_scores=versions), "random": random(subject)}
    )
    gain = {
        name: found[name].sel(relevance="occlusion") - found[name].sel(relevance="random")
        for name in HIGHER_IS_BETTER
        if name in found
    }
    for name, differences in gain.items():
        sign = 1 if HIGHER_IS_BETTER[name] else -1
        mean_, error = float(differences.mean()), float(differences.std()) / math.sqrt(60)
        assert sign * mean_ > 3 * error, name


def test_max_sensitivity_of_a_linear_model_stays_within_its_bound_and_comes_near(rng):
    x = rng.normal(size=(4, 7)).astype("float32")
    [subject] = subjects_of(linear(W), x)
    spread, centre = x.astype(np.float64).std(0), x.mean(0)

    def explain(given):
        return W * (given.positions.of(given.inputs) - centre)

    found = max_sensitivity(subject, explain, radius=0.1, draws=200, relative=False)
    bound = 0.1 * np.linalg.norm(W * spread)
    assert (found <= bound + 1e-6).all()
    assert (found > 0.7 * bound).all()
    relative = max_sensitivity(subject, explain, radius=0.1, draws=200)
    np.testing.assert_allclose(relative, found / np.linalg.norm(W * (x - centre), axis=1), rtol=1e-6)
    more = max_sensitivity(subject, explain, radius=0.1, draws=201, relative=False)
    assert (more >= found).all()


def test_relevance_that_never_changes_has_no_sensitivity_and_that_of_nothing_none_that_is_known(rng):
    x = rng.normal(size=(3, 7)).astype("float32")
    [subject] = subjects_of(linear(W), x)
    before = x.copy()
    assert not max_sensitivity(subject, lambda given: np.tile(W, (3, 1))).any()
    assert np.isnan(max_sensitivity(subject, lambda given: np.zeros((3, 7)))).all()
    np.testing.assert_array_equal(subject.inputs, before)


def test_padding_does_not_move_when_sensitivity_is_measured(rng):
    inputs = {"steps": keras.Input((5, 2), name="steps"), "padding_mask": keras.Input((5,), name="padding_mask")}
    model = keras.Model(
        inputs, layers.Dense(1)(layers.Flatten()(inputs["steps"])) + 0.0 * inputs["padding_mask"][:, :1]
    )
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], "float32")
    x = rng.normal(size=(2, 5, 2)).astype("float32")
    [subject] = subjects_of(model, {"steps": x, "padding_mask": mask}, positions="steps")
    moved = []

    def explain(given):
        moved.append(np.abs(given.positions.of(given.inputs) - x).max(2) > 0)
        return np.ones((2, 5))

    max_sensitivity(subject, explain, draws=2)
    assert not moved[0].any()
    for found in moved[1:]:
        np.testing.assert_array_equal(found, mask > 0)


def test_errors_say_what_is_needed(rng):
    versions = tokens(mask_token(10))
    r = rng.normal(size=(3, 7))
    broken = r.copy()
    broken[1, 3] = np.nan
    [floats] = subjects_of(linear(W), rng.normal(size=(3, 7)).astype("float32"))
    cases = [
        (
            lambda: comprehensiveness(versions, r[:2]),
            "The relevance has shape (2, 7), but one number per sample and position is needed, shape (3, 7). Give the "
            "relevance of these samples for one target: relevance.sel(target=0).",
        ),
        (
            lambda: deletion(versions, broken),
            "The relevance of position 3 of sample 1 is nan, but a ranking needs finite numbers. Leave such samples "
            "out, or find where the model or the method divides by 0.",
        ),
        (
            lambda: sufficiency(versions, r, thresholds=(0.0, 0.5)),
            "The thresholds are [0.0, 0.5], but shares above 0 and at most 1 are needed: thresholds=(0.1, 0.5).",
        ),
        (lambda: insertion(versions, r, steps=0), "steps is 0, but at least one is needed: steps=10."),
        (
            lambda: infidelity(versions, r, perturbations=0),
            "perturbations is 0, but at least one set is needed: perturbations=32.",
        ),
        *(
            (
                lambda wrong=wrong: faithfulness(versions, {"raw": r}, perturbations=wrong),
                f"perturbations is {wrong!r}, but a number of sets is needed, or a list of names of the relevances "
                "that were given: perturbations=32.",
            )
            for wrong in (["random"], [], "raw")
        ),
        (
            lambda: faithfulness(versions, {"raw": r}, perturbations=2.5),
            "perturbations is 2.5, but at least one set is needed: perturbations=32.",
        ),
        (
            lambda: faithfulness(versions, {}),
            "There is no relevance to evaluate. Give at least one: faithfulness(versions, {'raw': relevance}).",
        ),
        (
            lambda: max_sensitivity(versions.subject, occlusion),
            "max_sensitivity moves the inputs a little, but these tokens are whole numbers. Use infidelity(versions, "
            "relevance) instead, or explain a model that takes embeddings.",
        ),
        (
            lambda: max_sensitivity(floats, occlusion, radius=0),
            "radius=0 and draws=10 were given, but both must be above 0: radius=0.02, draws=10.",
        ),
        (
            lambda: max_sensitivity(floats, lambda given: np.zeros(3)),
            "The function returned relevance of shape (3,), but one number per sample and position is needed, shape "
            "(3, 7): max_sensitivity(subject, occlusion).",
        ),
    ]
    for call, message in cases:
        with pytest.raises(InputError) as raised:
            call()
        assert str(raised.value) == message
