"""The evidence card on models of which it is known whether attention matters."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope import evidence
from attnscope.errors import InputError, MethodError, TargetError
from attnscope.trust._time_limit import TimeLimit
from planted import TRUTH, WIDTH, planted, steps_of


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.every_backend), *range(1, 4)])
@pytest.mark.parametrize("kind", TRUTH)
def test_the_verdict_on_the_weights_is_right_where_the_answer_is_known(kind, seed):
    card = evidence(planted(kind, seed), steps_of(seed), methods=["raw"], permutations=0, seed=seed, progress=False)
    assert card.verdicts["raw"] in {TRUTH[kind], *(["cannot tell"] if kind == "position" else [])}


@pytest.mark.parametrize("kind", TRUTH)
def test_few_samples_cannot_tell_and_the_first_line_says_so(kind):
    card = evidence(planted(kind, 0), steps_of(0, 5), methods=["raw"], permutations=0, progress=False)
    assert card.verdicts == {"raw": "cannot tell"}
    first = "5 samples are too few to tell whether any method explains this model's answers: at least 30 are needed."
    assert repr(card).splitlines()[0] == first
    assert next(iter(card.to_dict().items())) == ("summary", list(card.summary))
    assert card.summary[0] == first
    assert card.judged["raw"].verdict.needed >= 30


def table_model(out, *, features=5):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((features,))
    return keras.Model(inputs, out(layers.Dense(1)(layers.Dense(8, activation="tanh")(inputs))))


def table_card(model, table, **options):
    return evidence(model, table, methods=["occlusion", "gradient_x_input"], permutations=0, progress=False, **options)


def test_nothing_is_told_where_no_order_could_make_a_difference(rng):
    """Each of these was once misleading, or explained, by construction."""
    table = rng.normal(size=(40, 5)).astype("float32")
    one_order = "no two samples have two positions that may be removed, so that all orders of removal are one"
    ranks_nothing = "it ranks nothing: its relevance is the same for all positions of a sample"
    constant = table_model(lambda answer: answer * 0 + 5)
    for model, inputs, options, reason in (
        (table_model(lambda answer: answer, features=1), table[:, :1], {}, one_order),
        (table_model(lambda answer: answer), table, {"kept": np.arange(5) > 0}, one_order),
        (constant, table, {}, ranks_nothing),
    ):
        card = table_card(model, inputs, **options)
        verdicts = [card.judged[name].verdict for name in ("occlusion", "gradient_x_input")]
        assert {(verdict.word, verdict.reasons, verdict.testable) for verdict in verdicts} == {
            ("cannot tell", (reason,), False)
        }
        assert card.summary[1] == "No number of samples like these can tell about occlusion or gradient_x_input."


def test_samples_that_have_only_one_order_are_not_counted(rng):
    """Of 60 texts, 50 have one token; the gains of those are 0 whatever a method ranks first."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="token_ids")
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(30, 8, mask_zero=True)(tokens))
    texts = rng.integers(1, 30, (60, 6)).astype("int32")
    texts[:50, 1:] = 0
    card = evidence(
        keras.Model(tokens, layers.Dense(1)(pooled)), texts, methods=["occlusion"], permutations=0, progress=False
    )
    verdict = card.judged["occlusion"].verdict
    assert {gain.samples for gains in card.judged["occlusion"].gains.values() for gain in gains.values()} == {10}
    assert verdict.word == "cannot tell"
    assert verdict.needed >= 6 * 30
    assert "rank correlation" in verdict.reasons[-1]  # over texts that have a ranking, which the first six do not
    assert card.notes[0] == (
        "Methods are compared on 10 of 60 samples: of the others fewer than two positions may be removed, so that all "
        "orders are one."
    )


def test_one_sample_many_times_is_one_sample(rng):
    sample = rng.normal(size=(1, 5)).astype("float32")
    others = rng.normal(size=(20, 5)).astype("float32")
    removals = [ats.attribution.zero(), ats.attribution.marginal(background=others)]
    card = table_card(table_model(lambda answer: answer), np.repeat(sample, 40, 0), removals=removals)
    for name in ("occlusion", "gradient_x_input"):
        verdict = card.judged[name].verdict
        assert (verdict.word, verdict.needed) == ("cannot tell", 1200)
        assert verdict.reasons[-1] == "different samples: 1 of 40, and at least 30 are needed"
    assert card.notes[0] == "39 samples repeat others. Intervals take all of them for independent."


@pytest.mark.parametrize("where", ["one sample", "every sample"])
def test_a_large_answer_does_not_hide_what_removal_moves(rng, where):
    """Rounding is a share of the answer. That of one sample says nothing about the others."""
    table = rng.normal(size=(40, 6)).astype("float32")
    table[:, 5] = 0
    table[7, 5] = 1
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    answer = layers.Dense(1)(layers.Dense(8, activation="tanh")(inputs[:, :5]))
    large = inputs[:, 5:] * 1e7 if where == "one sample" else 1e5
    card = table_card(keras.Model(inputs, answer + large), table, kept=np.arange(6) == 5)
    assert card.verdicts["occlusion"] == "explains"


def test_positions_may_be_kept_by_sample(rng):
    table = rng.normal(size=(31, 5)).astype("float32")
    model, everywhere = table_model(lambda answer: answer), np.arange(5) == 2
    by_position = table_card(model, table, kept=everywhere)
    by_sample = table_card(model, table, kept=np.tile(everywhere, (31, 1)))
    assert by_sample.judged == by_position.judged
    others = table_card(model, table, kept=np.arange(5) == np.arange(31)[:, None] % 5)
    assert others.judged["occlusion"].means != by_position.judged["occlusion"].means


def test_attention_that_matters_moves_the_answer_and_attention_that_does_not_does_not():
    for kind in ("everything", "nothing"):
        card = evidence(planted(kind, 0), steps_of(0, 12), methods=["raw"], permutations=5, progress=False)
        assert (card.moved.permuted > 0.05) == (kind == "everything")
        assert (card.moved.uniform > 0.05) == (kind == "everything")


def test_intervals_allow_for_gains_of_1_of_a_probability_and_of_what_was_seen_of_what_a_function_makes_of_it(rng):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {name: layers.Dense(1, activation="sigmoid", name=name)(inputs) for name in "ab"})
    model.get_layer("a").kernel.assign([[3.0], [-2.0], [1.0], [0.0]])
    x = rng.normal(size=(9, 4)).astype("float32")

    def widest(target):
        card = evidence(model, x, target=target, methods=["occlusion"], permutations=0, progress=False)
        every = [gain.bounds for gains in card.judged["occlusion"].gains.values() for gain in gains.values()]
        assert len({(float(low), float(high)) for low, high in every}) == 1
        assert every[0][0] == -every[0][1]
        return float(every[0][1])

    assert widest({"a": 0}) == 1
    assert 5 < widest({"a": lambda column: 50 * column[:, 0]}) <= 50


def test_a_fixed_seed_gives_the_same_card():
    model = planted("everything", 1)
    cards = [
        evidence(model, steps_of(1, 10), methods=["raw", "chefer"], permutations=3, seed=seed, progress=False).to_dict()
        for seed in (4, 4, 5)
    ]
    for card in cards:
        del card["seconds"]
    assert cards[0] == cards[1]
    assert cards[0] != cards[2]


class Counted(layers.Layer):
    """Counts the samples that really go through it; what traces a model's shapes gives it none."""

    samples = 0

    def call(self, x):
        if x.device.type != "meta":
            Counted.samples += len(x)
        return x


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="where models are traced, a layer is not called for each batch"
)
def test_the_passes_that_a_card_states_are_those_that_ran(monkeypatch):
    monkeypatch.setattr("attnscope.trust._experiment.PATH_STEPS", 4)
    model = planted("everything", 2)
    counted = keras.Model(model.input, model(Counted()(model.input)))
    Counted.samples = 0
    card = evidence(
        counted,
        steps_of(2, 2),
        methods=["raw", "integrated_gradients"],
        removals=["zero", "marginal"],
        models=[counted],
        permutations=2,
        batch_size=1,  # batches of 1 are never filled up
        progress=False,
    )
    assert card.gradient_passes > 2 * 4 * 5  # of integrated gradients alone, with parameters shuffled five times
    assert card.passes + card.gradient_passes == Counted.samples
    stated = f"{card.passes:,} forward and {card.gradient_passes:,} gradient passes"
    assert stated in repr(card)
    assert f"{card.passes:,} forward, {card.gradient_passes:,} gradient passes" in card._repr_html_()


def test_a_budget_draws_fewer_samples_and_says_so():
    card = evidence(
        planted("everything", 3), steps_of(3, 400), methods=["raw"], permutations=0, budget=2, progress=False
    )
    assert card.samples < card.given == 400
    assert f"{card.samples} of 400 samples were drawn to stay within 2 s." in card.notes


def test_a_budget_that_leaves_too_few_samples_is_what_the_card_says_first():
    card = evidence(
        planted("everything", 3), steps_of(3, 40), methods=["raw"], permutations=0, budget=1e-3, progress=False
    )
    assert (card.samples, card.given) == (4, 40)
    assert repr(card).splitlines()[0] == (
        "In 0.001 s only 4 of 40 samples could be tested, too few to tell whether any method explains this model's "
        "answers: at least 30 are needed."
    )
    assert card.summary[1].startswith(f"Testing 30 takes about {card.limit.enough}; if more samples are like these, ")
    assert card.notes[:2] == (
        "Parameters were shuffled for 2 samples in place of 6 to stay within 0.001 s.",
        "Whether relevance is stable when the input is perturbed a little was not tested to stay within 0.001 s.",
    )
    assert card.notes[3] == f"This took {card.seconds:.0f} s all the same."
    assert card.judged["raw"].sensitivity is None
    assert json.loads(card.to_json())["limit"]["time"] == "0.001 s"


@pytest.mark.parametrize(
    ("seconds", "samples", "rehearsed"),
    [
        (100, 62, [4, 4, 23]),  # the pilot runs take 31 s, and a tenth of the rest is not planned for
        (40, 21, [4, 4, 8]),
        (10, 4, [4, 4]),  # too short for a larger pilot run, and no fewer are tested
        (5, 4, [4]),
        (2000, 143, [4, 4, 32]),
    ],
)
def test_as_many_samples_are_planned_as_the_time_allows(monkeypatch, seconds, samples, rehearsed):
    clock, done = [100.0], []

    def work(count):
        done.append(count)
        clock[0] += count  # each sample takes a second

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    limit = TimeLimit(seconds, 100.0, "")
    plan = limit.plan(143, limit.seconds_each(143, work))
    assert (plan.samples, done) == (samples, rehearsed)
    assert plan.seconds_for(27) == pytest.approx(sum(rehearsed) + 30)


def test_methods_that_cannot_be_used_are_left_out_with_their_reason_unless_asked_for():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(12, 4)(tokens)
    model = keras.Model(tokens, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))
    data = np.random.default_rng(0).integers(1, 12, (8, 6)).astype("int32")
    card = evidence(model, data, removals=[ats.attribution.mask_token(11), "delete"], padding=0, progress=False)
    assert "chefer" not in card.judged
    [left_out] = [note for note in card.notes if "left out" in note]
    assert left_out.startswith("raw, rollout, ")
    assert "chefer" in left_out.split(" are left out: The model ")[0]
    assert card.moved is None
    with pytest.raises(ats.errors.AttnscopeError, match=r"no attention|needs"):
        evidence(
            model,
            data,
            methods=["chefer"],
            removals=[ats.attribution.mask_token(11), "delete"],
            padding=0,
            progress=False,
        )


def test_other_seeds_and_a_model_trained_with_uniform_attention_stand_on_the_card():
    model, x = planted("everything", 5), steps_of(5, 8)
    metrics = {False: 0.9, True: 0.7}
    models = [model, planted("everything", 6)]
    card = evidence(model, x, methods=["raw"], models=models, retrain=metrics.get, permutations=0, progress=False)
    assert card.retrained == {"free": 0.9, "uniform": 0.7}
    assert -1 <= card.stability["raw"] < 1
    same = evidence(model, x, methods=["raw"], models=[model], permutations=0, progress=False)
    assert same.stability["raw"] == pytest.approx(1.0)


def test_bad_input_is_told():
    model, x = planted("everything", 0), steps_of(0, 6)
    with pytest.raises(InputError) as caught:
        evidence(model, x[:1])
    assert str(caught.value) == "There is only one sample, but intervals need several. Give at least 30, or better 100."
    for given in (["mean"], ["mean", "mean"]):
        with pytest.raises(InputError) as caught:
            evidence(model, x, removals=given)
        assert str(caught.value) == (
            f"The removals are {given}, but at least two are needed, all different, because methods rank "
            "differently under each: removals=['mean', 'marginal']."
        )
    with pytest.raises(MethodError) as caught:
        evidence(model, x, methods=["random"])
    assert str(caught.value) == (
        "The methods are ['random'], but at least one that is not a baseline is needed, as the baselines are on every "
        "card: methods=['occlusion']."
    )
    with pytest.raises(InputError) as caught:
        evidence(planted("everything", 0), x, target=[0, 0])
    assert str(caught.value) == "There are 2 targets, but a card is about one. Choose one: target=1."
    with pytest.raises(TargetError):
        evidence(model, x, target=4)
    with pytest.raises(MethodError):
        evidence(model, x, methods=["none such"])
    assert ops.convert_to_numpy(model.weights[0]).shape == (WIDTH, 1)
