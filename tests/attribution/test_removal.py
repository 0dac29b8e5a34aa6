"""Positions taken out of inputs, against loops, and models that know what they should say then."""

import copy
import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers, tree

from attnscope.attribution._removal import (
    REMOVALS,
    default_removals,
    delete,
    kept_of,
    marginal,
    mask_token,
    mean,
    removable_of,
    removal_of,
    zero,
)
from attnscope.attribution._removal_scores import RemovalScores
from attnscope.attribution._subject import subjects_of
from attnscope.errors import InputError
from removal_models import linear, token_inputs, tokens_model, worth


def tokens_subject(**options):
    [subject] = subjects_of(tokens_model(), token_inputs(), batch_size=4, **options)
    return subject


def features_subject(x, **options):
    [subject] = subjects_of(linear(np.arange(1.0, x.shape[1] + 1)), x, batch_size=4, **options)
    return subject


def with_tokenizer(subject, **ids):
    network = copy.copy(subject.network)
    network.tokenizer = SimpleNamespace(**ids)
    return dataclasses.replace(subject, network=network)


def masks(rng, rows, width):
    return rng.random((len(rows), width)) < 0.5


def test_the_mask_token_stands_where_tokens_stood_and_never_on_padding(rng):
    subject = tokens_subject()
    rows = np.array([2, 0, 0, 1, 1, 2])
    removed = masks(rng, rows, 7)
    removed[0] = True
    changed = mask_token(10).on(subject).apply(rows, removed)
    given = token_inputs()
    for version, row in enumerate(rows):
        for place in range(7):
            real = given["padding_mask"][row, place]
            expected = 10 if removed[version, place] and real else given["token_ids"][row, place]
            assert changed["token_ids"][version, place] == expected
    for name in ("segment_ids", "padding_mask"):
        np.testing.assert_array_equal(changed[name], given[name][rows])
    assert changed["token_ids"].dtype == np.int32


def test_deleting_closes_the_gaps_and_masks_and_segments_follow(rng):
    subject = tokens_subject()
    rows = np.array([0, 0, 0, 1, 1, 2, 2])
    removed = masks(rng, rows, 7)
    removed[3] = False
    changed = delete().on(subject).apply(rows, removed)
    given = token_inputs()
    for version, row in enumerate(rows):
        left = [place for place in range(7) if given["padding_mask"][row, place] and not removed[version, place]]
        missing = [0] * (7 - len(left))
        for name in ("token_ids", "segment_ids"):
            assert changed[name][version].tolist() == [given[name][row, place] for place in left] + missing, name
        assert changed["padding_mask"][version].tolist() == [1] * len(left) + missing


def test_deleting_keeps_padding_in_front_in_front():
    tokens = np.array([[0, 0, 4, 5, 6], [3, 4, 5, 6, 0]])
    model = keras.Sequential([keras.Input((5,), dtype="int32"), layers.Embedding(7, 1), layers.Flatten()])
    [subject] = subjects_of(model, tokens, target=0, padding=0)
    removed = np.array([[True, True, False, True, False], [False, True, False, False, True]])
    assert delete().on(subject).apply(np.arange(2), removed).tolist() == [[0, 0, 0, 4, 6], [3, 5, 6, 0, 0]]


def test_deleting_fills_up_with_the_padding_of_the_tokenizer_or_of_the_inputs():
    inputs = token_inputs()
    inputs["token_ids"] = np.where(inputs["padding_mask"] == 0, 9, inputs["token_ids"])
    [subject] = subjects_of(tokens_model(), inputs, batch_size=4)
    one = np.eye(7, dtype=bool)[:1]
    for given, removal, last in (
        (subject, delete(), 9),
        (with_tokenizer(subject, pad_token_id=5), delete(), 5),
        (with_tokenizer(subject, pad_token_id=5), delete(padding=3), 3),
        (subject.rows(np.array([0])), delete(), 0),
    ):
        assert removal.on(given).apply(np.array([0]), one)["token_ids"][0, -1] == last


def test_deleting_tokens_that_have_no_padding_is_an_error():
    model = keras.Sequential([keras.Input((None,), dtype="int32"), layers.Embedding(7, 1), layers.GlobalMaxPooling1D()])
    [subject] = subjects_of(model, np.array([[1, 2, 0]]), target=0)
    with pytest.raises(InputError) as raised:
        delete().on(subject)
    assert str(raised.value) == (
        "delete() fills up with padding, but no token of these inputs is known to be padding. If the model has one, "
        "give its number: delete(padding=0). If not, use mask_token(...)."
    )
    assert delete(0).on(subject).apply(np.array([0]), np.array([[True, False, False]])).tolist() == [[2, 0, 0]]


def test_the_mean_and_zero_take_the_place_of_features(rng):
    x = rng.normal(size=(5, 3)).astype("float32")
    other = rng.normal(size=(7, 3)).astype("float32")
    subject = features_subject(x)
    rows = np.array([4, 0, 4, 2])
    removed = masks(rng, rows, 3)
    for removal, expected in (
        (mean(), x.astype(np.float64).mean(0)),
        (mean(other), other.astype(np.float64).mean(0)),
        (zero(), np.zeros(3)),
    ):
        changed = removal.on(subject).apply(rows, removed)
        for version, row in enumerate(rows):
            for place in range(3):
                value = expected[place] if removed[version, place] else x[row, place]
                assert abs(changed[version, place] - value) < 1e-6
        assert changed.dtype == np.float32


def steps_subject(rng):
    inputs = {"steps": keras.Input((5, 2), name="steps"), "padding_mask": keras.Input((5,), name="padding_mask")}
    flat = layers.Flatten()(inputs["steps"])
    model = keras.Model(inputs, layers.Dense(1)(flat) + 0.0 * layers.Dense(1)(inputs["padding_mask"]))
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], "float32")
    x = rng.normal(size=(3, 5, 2)).astype("float32")
    [subject] = subjects_of(model, {"steps": x, "padding_mask": mask}, positions="steps")
    return subject, x, mask


def test_the_mean_of_steps_leaves_padding_out_and_padding_alone(rng):
    subject, x, mask = steps_subject(rng)
    removed = np.ones((3, 5), bool)
    changed = mean().on(subject).apply(np.arange(3), removed)["steps"]
    for sample in range(3):
        for step in range(5):
            if mask[sample, step]:
                expected = np.mean([x[other, step] for other in range(3) if mask[other, step]], axis=0)
            else:
                expected = x[sample, step]
            np.testing.assert_allclose(changed[sample, step], expected, atol=1e-6)


def test_marginal_takes_the_steps_of_one_other_sample_again_from_the_start_where_it_is_shorter(rng):
    subject, x, mask = steps_subject(rng)
    remover = marginal(draws=2).on(subject, seed=3)
    assert remover.draws == 2
    lengths = mask.sum(1).astype(int)
    for sample in range(3):
        seen = set()
        for draw in range(2):
            changed = remover.apply(np.array([sample]), np.ones((1, 5), bool), draw)["steps"][0]
            [donor] = [
                other
                for other in range(3)
                if all((changed[step] == x[other, step % lengths[other]]).all() for step in range(lengths[sample]))
            ]
            seen.add(donor)
            np.testing.assert_array_equal(changed[lengths[sample] :], x[sample, lengths[sample] :])
        assert seen == {0, 1, 2} - {sample}


def test_marginal_draws_other_samples_without_repeating_and_takes_all_of_few(rng):
    x = rng.normal(size=(7, 2)).astype("float32")
    subject = features_subject(x)
    for draws, expected in ((4, 4), (20, 6)):
        remover = marginal(draws=draws).on(subject, seed=1)
        assert remover.draws == expected
        for sample in range(7):
            taken = [
                remover.apply(np.array([sample]), np.ones((1, 2), bool), draw)[0].tolist() for draw in range(expected)
            ]
            donors = [x.tolist().index(row) for row in taken]
            assert len(set(donors)) == expected
            assert sample not in donors
    assert marginal(x, draws=20).on(subject).draws == 7


def test_all_draws_of_a_small_background_are_the_mean_of_a_linear_model(rng):
    x, other = rng.normal(size=(3, 4)).astype("float32"), rng.normal(size=(5, 4)).astype("float32")
    subject = features_subject(x)
    rows = np.array([0, 1, 2, 2])
    removed = masks(rng, rows, 4)
    by_draws = RemovalScores(subject, marginal(other, draws=5))(rows, removed)
    by_mean = RemovalScores(subject, mean(other))(rows, removed)
    np.testing.assert_allclose(by_draws, by_mean, atol=1e-5)
    expected = np.where(removed, other.mean(0), x[rows]) @ np.arange(1.0, 5.0)
    np.testing.assert_allclose(by_mean, expected, atol=1e-5)


def test_marginal_tokens_pass_over_padding_and_the_ends_of_the_tokenizer():
    subject = with_tokenizer(tokens_subject(), start_token_id=6, end_token_id=9)
    background = np.array([[6, 7, 8, 9, 0, 0, 0]])
    changed = marginal(background, draws=3).on(subject).apply(np.array([0]), np.ones((1, 7), bool))
    usable = [7, 8]
    assert changed["token_ids"].tolist() == [[usable[0], 7, 8, *(usable[place % 2] for place in (3, 4, 5, 6))]]


def test_patches_are_removed_as_squares(rng):
    inputs = keras.Input((4, 6, 3))
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(inputs)))
    x = rng.normal(size=(3, 4, 6, 3)).astype("float32")
    [subject] = subjects_of(model, x, grid=(2, 3))
    removed = np.zeros((1, 6), bool)
    removed[0, 4] = True
    means = x[:, 2:4, 2:4].mean(0)
    for removal, expected in ((zero(), np.zeros((2, 2, 3))), (mean(), means), (mean(x[::-1]), means)):
        changed = removal.on(subject).apply(np.array([1]), removed)[0]
        np.testing.assert_allclose(changed[2:4, 2:4], expected, atol=1e-6)
        kept = np.ones((4, 6), bool)
        kept[2:4, 2:4] = False
        np.testing.assert_array_equal(changed[kept], x[1][kept])


def test_a_mean_of_whole_numbers_is_rounded():
    inputs = keras.Input((2, 2, 1), dtype="uint8")
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(layers.Rescaling(1.0)(inputs))))
    pictures = np.array([[[[1], [2]], [[3], [4]]], [[[2], [4]], [[6], [9]]], [[[2], [9]], [[3], [4]]]], "uint8")
    [subject] = subjects_of(model, pictures, grid=(1, 1))
    changed = mean().on(subject).apply(np.array([0]), np.ones((1, 1), bool))
    assert changed.dtype == np.uint8
    assert changed[0, ..., 0].tolist() == [[2, 5], [4, 6]]


def test_nothing_given_is_written_into(rng):
    subject = tokens_subject()
    before = {name: array.copy() for name, array in subject.inputs.items()}
    removed = np.ones((3, 7), bool)
    for removal in (mask_token(10), delete(), marginal(draws=1)):
        removal.on(subject).apply(np.arange(3), removed)
        assert removed.all()
        for name, array in before.items():
            np.testing.assert_array_equal(subject.inputs[name], array)
            changed = removal.on(subject).apply(np.arange(3), np.zeros((3, 7), bool))
            assert not np.shares_memory(changed[name], subject.inputs[name])
            np.testing.assert_array_equal(changed[name], array)


def test_start_and_end_tokens_of_a_tokenizer_are_kept_and_others_where_they_are_named():
    subject = with_tokenizer(tokens_subject(), start_token_id=1, end_token_id=9, mask_token_id=4)
    tokens = token_inputs()["token_ids"]
    np.testing.assert_array_equal(kept_of(subject), (tokens == 1) | (tokens == 9))
    np.testing.assert_array_equal(kept_of(subject, []), np.zeros((3, 7), bool))
    np.testing.assert_array_equal(kept_of(subject, [3, 2]), (tokens == 3) | (tokens == 2))
    first = np.arange(7) == 0
    np.testing.assert_array_equal(kept_of(subject, first), np.tile(first, (3, 1)))
    np.testing.assert_array_equal(removable_of(subject, first), (tokens != 0) & ~first)
    with pytest.raises(InputError) as raised:
        kept_of(subject, [True, False])
    assert str(raised.value) == (
        "kept has shape (2,) and dtype bool, but True or False for each of (3, 7) positions is needed, or for tokens "
        "a list of their numbers: kept=[101, 102]."
    )


def test_the_defaults_are_two_that_serve_the_positions(rng):
    subject = tokens_subject()
    assert [removal.name for removal in default_removals(subject)] == ["delete", "marginal"]
    known = with_tokenizer(subject, mask_token_id=10)
    assert [removal.name for removal in default_removals(known)] == ["mask_token", "delete"]
    assert mask_token().on(known).words == "the token 10"
    x = rng.normal(size=(3, 2)).astype("float32")
    assert [removal.name for removal in default_removals(features_subject(x))] == ["mean", "marginal"]
    assert [removal.name for removal in default_removals(features_subject(x[:1]))] == ["zero"]
    assert removal_of("delete", subject) == delete()
    assert removal_of(None, known) == mask_token()
    for each in (subject, known, features_subject(x)):
        for removal in default_removals(each):
            removal.on(each)


def test_errors_say_what_to_use(rng):
    tokens, features = tokens_subject(), features_subject(rng.normal(size=(1, 3)).astype("float32"))
    cases = [
        (
            lambda: zero().on(tokens),
            "zero() removes features and steps and patches, but the positions here are tokens. Use one of: "
            "mask_token(), delete(), mode(), marginal().",
        ),
        (
            lambda: mask_token(3).on(features),
            "mask_token() removes tokens and codes, but the positions here are features. Use one of: mean(), "
            "marginal(), zero().",
        ),
        (
            lambda: mask_token().on(tokens),
            "mask_token() needs the number of the mask token, but the model has no tokenizer with a mask token. Give "
            "the number, mask_token(103), or use delete().",
        ),
        (
            lambda: mean().on(features),
            "mean() takes what other samples have, but there is only one sample. Give others: mean(background=inputs).",
        ),
        (
            lambda: marginal(np.zeros((4, 2))).on(features),
            "The background of marginal() has shape (4, 2), but samples of shape (3,) are needed: "
            "marginal(background=inputs).",
        ),
        (
            lambda: marginal(np.zeros((4, 3)), draws=0).on(features),
            "draws is 0, but at least one is needed: marginal(draws=8).",
        ),
        (
            lambda: marginal(np.zeros((1, 7), int)).on(tokens),
            "Sample 0 of the background is all padding, so nothing can be drawn from it. Leave it out.",
        ),
        (
            lambda: removal_of("blur", tokens),
            f"The removal is 'blur', but one of {', '.join(REMOVALS)} is needed, or an object: "
            "removal=mask_token(103).",
        ),
    ]
    for call, message in cases:
        with pytest.raises(InputError) as raised:
            call()
        assert str(raised.value) == message


def test_the_model_answers_to_deleted_tokens_as_the_loop_does(rng):
    subject = tokens_subject()
    asked = RemovalScores(subject, delete())
    rows = np.array([0, 0, 1, 1, 2, 0])
    removed = masks(rng, rows, 7)
    removed[4] = [True, False, True, True, True, True, True]
    removed[[0, 1, 5], 6] = removed[[2, 3], 3] = False
    given = token_inputs()
    expected = []
    for row, gone in zip(rows, removed, strict=True):
        left = [place for place in range(7) if given["padding_mask"][row, place] and not gone[place]]
        tokens, segments = ([given[name][row, place] for place in left] for name in ("token_ids", "segment_ids"))
        expected.append(worth(tokens, segments, [1] * len(left)))
    np.testing.assert_allclose(asked(rows, removed), expected, atol=1e-5)


def test_the_same_version_is_asked_for_once_and_passes_are_counted(rng):
    x = rng.normal(size=(6, 3)).astype("float32")
    subject = features_subject(x)
    before = subject.network.passes.forward
    asked = RemovalScores(subject, marginal(draws=5))
    rows = np.array([1, 1, 1, 2, 2])
    removed = np.array([[0, 0, 0], [1, 0, 1], [1, 0, 1], [1, 0, 1], [0, 0, 0]], bool)
    first = asked(rows, removed)
    assert asked.passes == subject.network.passes.forward - before == 2 * 1 + 2 * 5  # unchanged ones are not drawn
    np.testing.assert_array_equal(asked(rows, removed), first)
    assert asked.passes == 12
    assert first[1] == first[2]
    asked(rows[:1], np.array([[0, 1, 0]], bool))
    assert asked.passes == 17


def test_padding_and_kept_positions_are_the_same_version_removed_or_not():
    subject = tokens_subject()
    asked = RemovalScores(subject, mask_token(10), kept=[3])
    before = subject.network.passes.forward
    rows = np.full(2, 2)
    answers = asked(rows, np.array([[True] * 7, [False, True, False, False, False, False, False]]))
    assert answers[0] == answers[1]
    assert subject.network.passes.forward - before == 1


def test_the_extras_of_a_target_follow_their_samples(rng):
    inputs = keras.Input((2,))
    layer = layers.Dense(3)
    model = keras.Model(inputs, layer(inputs))
    weights = np.array([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]], "float32")
    layer.set_weights([weights, np.zeros(3, "float32")])
    x = np.array([[1.0, 0.0], [-1.0, 0.5], [1.0, 1.0], [-1.0, 0.0]], "float32")
    [subject] = subjects_of(model, x, batch_size=3)  # the predicted class: 2, tie at 0 -> 0, 2, 0
    columns = (x @ weights).argmax(1)
    rows = np.array([3, 0, 1, 2, 1, 0, 3])
    removed = np.array([[0, 1], [0, 1], [1, 0], [1, 0], [0, 0], [0, 0], [0, 0]], bool)
    expected = (np.where(removed, 0.0, x[rows]) @ weights)[np.arange(7), columns[rows]]
    np.testing.assert_allclose(RemovalScores(subject, zero())(rows, removed), expected, atol=1e-4)


def test_taking_everything_out_of_a_sequence_is_an_error():
    asked = RemovalScores(tokens_subject(), delete())
    np.testing.assert_array_equal(asked.counts, [7, 4, 2])
    np.testing.assert_array_equal(asked.most, [6, 3, 1])
    with pytest.raises(InputError) as raised:
        asked(np.array([1]), np.ones((1, 7), bool))
    assert str(raised.value) == (
        "All 4 positions of sample 1 are to be removed, but then delete() leaves nothing to give to the model. Keep "
        "some positions, kept=[101, 102], or use another removal: removal=mask_token(103)."
    )
    np.testing.assert_array_equal(RemovalScores(tokens_subject(), delete(), kept=[6]).most, [6, 3, 1])
    np.testing.assert_array_equal(RemovalScores(tokens_subject(), delete(), kept=[6]).counts, [7, 3, 2])


def test_a_model_that_says_nan_is_named():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Lambda(lambda x: x[:, :1] / x[:, 1:])(inputs))
    [subject] = subjects_of(model, np.array([[0.0, 1.0], [0.0, 2.0]], "float32"))
    with pytest.raises(InputError) as raised:
        RemovalScores(subject, zero())(np.array([1]), np.array([[False, True]]))
    assert str(raised.value) == (
        "The target is nan for sample 1 with 1 of its 2 positions removed by zero(), but a finite number is needed. "
        "Use another removal, or keep the positions that the model cannot do without: kept=..."
    )


def test_a_sample_is_named_by_its_id_or_by_its_number_among_all_that_were_given():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Lambda(lambda x: x[:, :1] / x[:, 1:])(inputs))
    [subject] = subjects_of(model, np.array([[0.0, 1.0], [1.0, 2.0], [0.0, 0.0]], "float32"))
    one_of_all = subject.rows(slice(1, None)).rows(np.array([1]))
    named = dataclasses.replace(subject, ids=np.array(["P-0", "P-1", "P-2"])).rows(np.array([2]))
    for chosen, name in ((one_of_all, "2"), (named, "'P-2'")):
        with pytest.raises(InputError) as raised:
            RemovalScores(chosen, zero())(np.array([0]), np.zeros((1, 2), bool))
        assert str(raised.value) == (
            f"The target is nan for sample {name} as it is, but a finite number is needed. Leave such samples out, or "
            "find where the inputs hold NaN or the model divides by 0."
        )


def test_the_mean_is_of_what_is_known_and_infinity_has_none():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    values = np.array([[1.0, 5.0], [np.nan, 7.0], [4.0, 0.0]], "float32")
    removed = np.array([[True, False]])
    [subject] = subjects_of(model, values)
    assert tree.flatten(mean().on(subject).apply(np.array([2]), removed))[0].tolist() == [[2.5, 0.0]]
    values[1, 0] = np.inf
    with pytest.raises(InputError) as raised:
        mean().on(subjects_of(model, values)[0])
    assert str(raised.value) == (
        "mean() replaces what is removed by a mean over samples, but sample 1 of them holds infinity. Leave such "
        "samples out, or remove in another way: marginal()."
    )
