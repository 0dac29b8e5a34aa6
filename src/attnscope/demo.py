"""Two demos that need no network: each trains a small model, captures its attention, writes a report, and explains the
answers for the five samples of which the model is most wrong.

* `demonstrate_features`: a transformer over the 30 named features of scikit-learn's breast cancer data set. Each
  feature is a token, so attention runs between features.
* `demonstrate_names`: a GRU over the characters of first names, whose states a softmax pools.

Both models consist only of Keras' own layers and operations, so the saved models load anywhere, in safe mode.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import xarray as xr
from keras import layers, ops

from attnscope.attribution import Removal, delete, marginal, mean
from attnscope.capturing import capture
from attnscope.errors import UnsupportedError, WouldOverwriteError
from attnscope.explaining import Explanation, explain
from attnscope.labels import characters
from attnscope.maps import AttentionMaps
from attnscope.named_arrays import NamedArrays
from attnscope.pages import Bars, Section, received, received_per_group, report, save_report
from attnscope.trust import EvidenceCard, evidence
from attnscope.viewer import view

MODEL, RUN, REPORT, VIEW = "model.keras", "run.zarr", "report.html", "view.html"
EXPLANATION = "explanation.html"
TESTED = ("raw", "chefer", "occlusion")
"""The methods whose evidence the explanation rests on: `attnscope.evidence` tests more, which takes longer."""
DRAWS = 3
"""Over so many draws from other samples the answer without a part is averaged."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LENGTH = 12
"""Positions of a name; those after its end hold 0, for padding."""
BATCH = 32
DIAGNOSES = ("benign", "malignant")
GENDERS = ("male", "female")
NO_EXPLANATION = (
    "Attention alone does not explain a decision: it shows where the model looks. Whether a decision depends on that "
    "is another question, which attnscope.evidence(model, samples) answers; nothing here is a claim about causes."
)
_ORDINALS = ("last", "second to last", "third to last", "fourth to last", "fifth to last")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Demonstration:
    """What a demo found.

    Attributes:
        folder: The folder with `model.keras`, `run.zarr`, `report.html`, `view.html` and `explanation.html`.
        model: The trained model.
        maps: Its attention on samples that it was not trained on.
        explanation: What its answers for five of them depend on.
        accuracy: Share of the held-out samples that it classifies correctly.
        text: A summary to print in a terminal.
    """

    folder: Path
    model: keras.Model
    maps: AttentionMaps
    explanation: Explanation
    accuracy: float
    text: str


def demonstrate_features(
    folder: str | Path = "attnscope-demo",
    *,
    epochs: int = 16,
    seed: int = 0,
    overwrite: bool = False,
    say: Say = lambda line: None,
) -> Demonstration:
    """Which of 30 measurements of a biopsy a transformer attends to, for malignant and for benign ones.

    Trains on three quarters of the samples and captures the rest. Sets the seeds of Python, NumPy and the backend.

    Args:
        folder: Where to write.
        epochs: Number of passes over the training samples.
        seed: Seed of the split and of the training.
        overwrite: Whether the files of an earlier demo may be replaced.
        say: Called with each line of progress.

    Raises:
        UnsupportedError: scikit-learn is not installed.
        WouldOverwriteError: One of the files already exists.
    """
    folder = _prepared(folder, overwrite)
    _check_installed("sklearn", "scikit-learn")
    names, (train, train_is), (held_out, held_out_is) = biopsies(seed)
    keras.utils.set_random_seed(seed)
    say(f"training a transformer over {len(names)} features of {len(train)} biopsies, {epochs} epochs ...")
    model = feature_transformer(train)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * (len(train) // BATCH))
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.1), "binary_crossentropy")
    _fit(model, train, train_is, epochs=epochs, batch_size=BATCH)
    say(f"capturing the attention on {len(held_out)} biopsies that it has not seen ...")
    ids = [f"P-{number:03d}" for number in range(len(held_out))]
    maps = capture(model, _named(held_out, ids), labels=names, batch_size=64, progress=False)
    accuracy = _accuracy(maps, held_out_is)
    groups = [DIAGNOSES[int(is_malignant)] for is_malignant in held_out_is]
    page = report(
        maps,
        title="Which features of a biopsy does the model look at?",
        sections=[_about_features(maps, groups, accuracy)],
        groups=groups,
        classes=DIAGNOSES,
    )
    say(f"testing whether {', '.join(TESTED)} explain it ...")
    explanation = explain(
        model,
        held_out,
        target=DIAGNOSES[1],
        classes=DIAGNOSES,
        labels=names,
        ids=ids,
        samples="most wrong",
        truth=groups,
        card=_card(model, held_out, DIAGNOSES, [mean(), marginal(draws=DRAWS)]),
    )
    _write(folder, model, maps, page, groups, explanation)
    text = f"{_features_in_words(maps, groups, accuracy)}\n\n{_end_in_words(maps, explanation, folder)}"
    return Demonstration(folder, model, maps, explanation, accuracy, text)


def biopsies(seed: int) -> tuple[list[str], tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The biopsies, split into three quarters for training and the rest.

    Args:
        seed: Seed of the split.

    Returns:
        Names of the features; then, for training and for the rest, the values, dims ``(sample, feature)``, and whether
        each biopsy is malignant, dims ``(sample,)``, 1 or 0; both float32.

    Source:
        Wolberg, Mangasarian, Street and Street 1993, Breast Cancer Wisconsin (Diagnostic), as included in scikit-learn.
    """
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    values, malignant = data.data.astype("float32"), (data.target == 0).astype("float32")
    train, held_out, train_is, held_out_is = train_test_split(
        values, malignant, test_size=0.25, random_state=seed, stratify=malignant
    )
    return [str(name) for name in data.feature_names], (train, train_is), (held_out, held_out_is)


def feature_transformer(train: np.ndarray, *, width: int = 8, blocks: int = 2) -> keras.Model:
    """A pre-norm transformer whose tokens are features.

    Args:
        train: Samples used to standardise the features inside the model, which therefore takes raw values.
        width: Size of a token.
        blocks: Number of blocks of attention and feed-forward layers.
    """
    standardise = layers.Normalization(name="standardise")
    standardise.adapt(train)
    features = train.shape[1]
    inputs = keras.Input((features,), name="features")
    tokenise = layers.EinsumDense("bf,fd->bfd", output_shape=(features, width), bias_axes="fd", name="tokens")
    x = tokenise(standardise(inputs))
    for block in range(blocks):
        x = _block(x, f"block_{block}", width)
    x = layers.GlobalAveragePooling1D(name="pool")(layers.LayerNormalization(name="norm")(x))
    outputs = layers.Dense(1, activation="sigmoid", name="malignant")(x)
    return keras.Model(inputs, outputs, name="biopsy_transformer")


def _block(x: keras.KerasTensor, name: str, width: int) -> keras.KerasTensor:
    normed = layers.LayerNormalization(name=f"{name}_norm")(x)
    attended = layers.MultiHeadAttention(4, width // 4, dropout=0.1, name=f"{name}_attention")(normed, normed)
    x = layers.Add(name=f"{name}_add")([x, attended])
    inner = layers.LayerNormalization(name=f"{name}_dense_norm")(x)
    inner = layers.Dense(2 * width, activation="gelu", name=f"{name}_dense")(inner)
    return layers.Add(name=f"{name}_dense_add")([x, layers.Dense(width, name=f"{name}_dense_out")(inner)])


def _contrast(maps: AttentionMaps, groups: Sequence[str]) -> xr.DataArray:
    """Attention received in the first block, dims ``(group, key)``, largest difference first."""
    first = maps.dataset(next(iter(maps)))
    means = received_per_group(first, groups)
    assert means is not None
    means = means.assign_coords(key_label=("key", first["key_label"].values)).sel(group=list(reversed(DIAGNOSES)))
    order = np.argsort(-abs(means[0] - means[1]).values, kind="stable")
    return means.isel(key=order)


def chance(maps: AttentionMaps, groups: Sequence[str], *, seed: int = 0) -> float:
    """How large the largest difference between two groups gets by chance alone.

    Args:
        maps: The maps.
        groups: The group of each sample.
        seed: Seed of the shuffles.

    Returns:
        At the first site, the 95% quantile, over 1000 shuffles of the groups, of the largest absolute difference in
        attention received.

    Source:
        Westfall and Young 1993, Resampling-Based Multiple Testing (the max statistic).
    """
    every = received(maps.dataset(next(iter(maps))))
    assert every is not None
    member = np.array([group == groups[0] for group in groups], float)
    generator = np.random.default_rng(seed)
    shuffled = np.stack([generator.permutation(member) for _ in range(1000)])
    ones, others = shuffled / member.sum(), (1 - shuffled) / (1 - member).sum()
    return float(np.quantile(np.abs((ones - others) @ every.values).max(axis=1), 0.95))


def _about_features(maps: AttentionMaps, groups: Sequence[str], accuracy: float) -> Section:
    malignant = groups.count("malignant")
    return Section(
        "About this model",
        [
            "A transformer of two blocks over the 30 measurements of a biopsy in scikit-learn's breast cancer data "
            "set. Each feature is a token, so attention runs between features.",
            f"It gets {accuracy:.1%} of the {len(groups)} held-out biopsies right ({malignant} malignant); always "
            f"saying benign would get {1 - malignant / len(groups):.1%} right.",
            "In the first block, a position still holds a single feature. From the second block onwards, every "
            "position holds a mixture of features, and its name only says where it started.",
            f"The groups below are the true diagnoses. {_chance_in_words(maps, groups)}",
            NO_EXPLANATION,
        ],
    )


def _chance_in_words(maps: AttentionMaps, groups: Sequence[str]) -> str:
    first = next(iter(maps))
    return (
        f"If the diagnoses are shuffled, the largest of the {maps[first].sizes['key']} differences at "
        f"{maps.short_names[first]} stays below {chance(maps, groups):.4f} in 95% of 1000 shuffles, so smaller "
        "differences may be due to chance."
    )


def _features_in_words(maps: AttentionMaps, groups: Sequence[str], accuracy: float) -> str:
    first = next(iter(maps))
    means = _contrast(maps, groups).isel(key=slice(0, 8))
    benign = groups.count("benign") / len(groups)
    rows = [
        f"  {label:<24} {malignant:>9.4f} {usual:>9.4f} {malignant - usual:>+z10.4f}"
        for label, malignant, usual in zip(means["key_label"].values, *means.values, strict=True)
    ]
    return "\n".join(
        [
            _sites_in_words(maps),
            f"Accuracy on {len(groups)} held-out biopsies: {accuracy:.1%} (always saying benign: {benign:.1%})",
            "",
            f"Attention received at {maps.short_names[first]}, mean over samples, heads and queries (if it were spread "
            f"evenly, each feature would receive {1 / maps[first].sizes['key']:.4f}). The eight largest differences:",
            f"  {'feature':<24} {'malignant':>9} {'benign':>9} {'difference':>10}",
            *rows,
            _chance_in_words(maps, groups),
            NO_EXPLANATION,
        ]
    )


def demonstrate_names(
    folder: str | Path = "attnscope-demo",
    *,
    names: int = 6000,
    captured: int = 512,
    epochs: int = 8,
    seed: int = 0,
    overwrite: bool = False,
    say: Say = lambda line: None,
) -> Demonstration:
    """Which letters of a first name a GRU with attention weights when it predicts the usual gender.

    Trains on three quarters of the names. Sets the seeds of Python, NumPy and the backend.

    Args:
        folder: Where to write.
        names: Largest number of names to use, half of them women's and half men's.
        captured: Largest number of held-out names to capture.
        epochs: Number of passes over the training names.
        seed: Seed of the choice of names and of the training.
        overwrite: Whether the files of an earlier demo may be replaced.
        say: Called with each line of progress.

    Raises:
        UnsupportedError: gender-guesser is not installed.
        WouldOverwriteError: One of the files already exists.
    """
    folder = _prepared(folder, overwrite)
    _check_installed("gender_guesser", "gender-guesser")
    chosen = first_names(names, seed)
    codes, is_female = (
        encoded([name for name, _ in chosen]),
        np.array([g == "female" for _, g in chosen], "float32"),
    )
    cut = len(chosen) * 3 // 4
    keras.utils.set_random_seed(seed)
    say(f"training a GRU with attention on {cut} first names, {epochs} epochs ...")
    model = names_gru()
    model.compile(keras.optimizers.Adam(5e-3), "binary_crossentropy")
    _fit(model, codes[:cut], is_female[:cut], epochs=epochs, batch_size=128)
    accuracy = float(((model.predict(codes[cut:], batch_size=256, verbose=0)[:, 0] > 0.5) == is_female[cut:]).mean())
    shown = chosen[cut : cut + captured]
    say(f"capturing the attention on {len(shown)} of the {len(chosen) - cut} names that it has not seen ...")
    letters = [characters(name, LENGTH) for name, _ in shown]
    ids = [name for name, _ in shown]
    maps = capture(model, _named(codes[cut : cut + captured], ids), labels=letters, batch_size=128, progress=False)
    ends = from_the_end(maps, shown)
    page = report(
        maps,
        title="Which letters of a name does the model look at?",
        sections=[_about_names(ends, accuracy, len(chosen) - cut)],
        predictions=_predictions(maps, shown),
    )
    say(f"testing whether {', '.join(TESTED)} explain it ...")
    explanation = explain(
        model,
        codes[cut : cut + captured],
        target=GENDERS[1],
        classes=GENDERS,
        labels=letters,
        ids=ids,
        samples="most wrong",
        truth=[usual for _, usual in shown],
        card=_card(model, codes[cut : cut + captured], GENDERS, [delete(), marginal(draws=DRAWS)]),
    )
    _write(folder, model, maps, page, [usual for _, usual in shown], explanation)
    text = f"{_names_in_words(maps, shown, ends, accuracy)}\n\n{_end_in_words(maps, explanation, folder)}"
    return Demonstration(folder, model, maps, explanation, accuracy, text)


def first_names(most: int, seed: int) -> list[tuple[str, str]]:
    """First names and their usual gender, shuffled, half of them women's and half men's.

    The names have 3 to 12 letters of the plain alphabet, are used in at least two countries, and have the same gender
    wherever they are used. The list is read from the installed package and stays there: it is licensed under the GFDL.

    Args:
        most: Largest number of names.
        seed: Seed of the choice and of the order.

    Source:
        Jörg Michael 2008, nam_dict.txt, in the package gender-guesser.
    """
    text = (resources.files("gender_guesser") / "data" / "nam_dict.txt").read_text("utf-8")
    genders: dict[str, set[str]] = {}
    countries: dict[str, int] = {}
    for line in text.splitlines():
        if line[0] not in "#=":
            gender, name = line.split()[:2]
            genders.setdefault(name.lower(), set()).add(gender)
            countries[name.lower()] = len(line[30:-1].replace(" ", ""))
    by_gender: dict[str, list[str]] = {"M": [], "F": []}
    for name, usual in sorted(genders.items()):
        if len(usual) == 1 and usual <= set("MF") and re.fullmatch("[a-z]{3,12}", name) and countries[name] > 1:
            by_gender[min(usual)].append(name)
    generator = np.random.default_rng(seed)
    each = min(most // 2, *map(len, by_gender.values()))
    chosen = [
        (str(name), gender)
        for letter, gender in zip("MF", GENDERS, strict=True)
        for name in generator.permutation(by_gender[letter])[:each]
    ]
    return [chosen[place] for place in generator.permutation(len(chosen))]


def encoded(names: Sequence[str]) -> np.ndarray:
    """The numbers of the letters, dims ``(name, 12)``, int32: 1 for a, 0 after the end."""
    codes = np.zeros((len(names), LENGTH), "int32")
    for row, name in zip(codes, names, strict=True):
        row[: len(name)] = [LETTERS.index(letter) + 1 for letter in name]
    return codes


def names_gru(*, units: int = 48) -> keras.Model:
    """A GRU whose states are summed with the weights of a softmax; padding gets no weight.

    Source:
        The model of "How to visualize attention weights?" (Stack Overflow), with the padding masked, and with an
        operation in place of the `Lambda` that sums over the steps.
    """
    inputs = keras.Input((LENGTH,), dtype="int32", name="letters")
    is_letter = ops.not_equal(inputs, 0)
    embedded = layers.Embedding(len(LETTERS) + 1, 16, name="embedding")(inputs)
    states = layers.GRU(units, return_sequences=True, name="gru")(embedded)
    logits = layers.TimeDistributed(layers.Dense(1, activation="tanh"), name="attention_logits")(states)
    logits = layers.Flatten(name="attention_flat")(logits)
    weights = layers.Activation("softmax", name="attention_vec")(ops.where(is_letter, logits, -1e9))
    spread = layers.Permute((2, 1), name="attention_by_step")(
        layers.RepeatVector(units, name="attention_repeated")(weights)
    )
    weighted = layers.Multiply(name="weighted_states")([states, spread])
    outputs = layers.Dense(1, activation="sigmoid", name="female")(ops.sum(weighted, axis=1))
    return keras.Model(inputs, outputs, name="names_gru")


def from_the_end(maps: AttentionMaps, shown: Sequence[tuple[str, str]]) -> Bars:
    """Mean weight of the last letter, the second to last... of the names of each gender."""
    weights = maps["attention_vec"].transpose("sample", "key").values
    values = np.full((len(_ORDINALS), len(GENDERS)), np.nan)
    for place in range(len(_ORDINALS)):
        for column, gender in enumerate(GENDERS):
            of_gender = [
                row[len(name) - 1 - place]
                for row, (name, usual) in zip(weights, shown, strict=True)
                if usual == gender and len(name) > place
            ]
            values[place, column] = np.mean(of_gender, dtype=np.float64) if of_gender else np.nan
    labels = [f"{ordinal} letter" for ordinal in _ORDINALS]
    return Bars(GENDERS, labels, values, "Mean weight by position from the end, over the names that are long enough")


def _about_names(ends: Bars, accuracy: float, held_out: int) -> Section:
    return Section(
        "About this model",
        [
            "A GRU reads a first name letter by letter; a softmax over its states says how much each of them counts, "
            "and a sigmoid on their weighted sum says how likely the name is to be a woman's.",
            f"It gets {accuracy:.1%} of {held_out} held-out names right; a coin would get about half of them right. "
            "The list says what is usual across many countries; it says nothing about any one person.",
            "A state holds its letter and all the letters before it, so weight on a letter is weight on the name up to "
            "that letter. The tanh in front of the softmax keeps the weights of a name within a factor of 7.4 (e²) of "
            "each other, so this model cannot look at one letter alone.",
            NO_EXPLANATION,
        ],
        ends,
    )


def _predictions(maps: AttentionMaps, shown: Sequence[tuple[str, str]]) -> list[str]:
    predictions = []
    for value, (_, usual) in zip(_single_output(maps), shown, strict=True):
        guess = GENDERS[int(value > 0.5)]
        share = value if value > 0.5 else 1 - value
        predictions.append(f"{guess} {share:.2f}, {'right' if guess == usual else 'wrong'}")
    return predictions


def _names_in_words(maps: AttentionMaps, shown: Sequence[tuple[str, str]], ends: Bars, accuracy: float) -> str:
    predictions = _predictions(maps, shown)
    weights = maps["attention_vec"].transpose("sample", "key").values
    rows = [
        f"  {name:<12} {predictions[place]:<22} {_letters(name, weights[place])}"
        for place, (name, _) in enumerate(shown[:6])
    ]
    means = [
        f"  {label:<20} {male:>6.3f} {female:>8.3f}"
        for label, (male, female) in zip(ends.labels, ends.values, strict=True)
    ]
    return "\n".join(
        [
            _sites_in_words(maps),
            f"Accuracy on the held-out names: {accuracy:.1%} (a coin: 50%)",
            "",
            f"The first {len(rows)} of them, with the letters that get the most weight:",
            *rows,
            "",
            f"{ends.caption}:",
            f"  {'':<20} {'male':>6} {'female':>8}",
            *means,
            NO_EXPLANATION,
        ]
    )


def _letters(name: str, weights: np.ndarray) -> str:
    order = np.argsort(-weights[: len(name)], kind="stable")[:3]
    return "  ".join(f"{name[:place]}[{name[place]}]{name[place + 1 :]} {weights[place]:.2f}" for place in order)


def _named(samples: np.ndarray, ids: Sequence[str]) -> NamedArrays:
    """The samples with their ids, which report, viewer and explanation call them by."""
    return NamedArrays(samples, "the samples of the demo", np.array(ids))


def _prepared(folder: str | Path, overwrite: bool) -> Path:
    """The folder, once it is clear that nothing in it would be lost."""
    folder = Path(folder)
    existing = [name for name in (MODEL, RUN, REPORT, VIEW, EXPLANATION) if (folder / name).exists()]
    if existing and not overwrite:
        raise WouldOverwriteError(
            f"{str(folder)!r} already contains {', '.join(existing)}, and nothing is overwritten. Give another folder: "
            "attnscope demo -o elsewhere; or replace these files: attnscope demo --force."
        )
    return folder


def _check_installed(module: str, package: str) -> None:
    if find_spec(module) is None:
        raise UnsupportedError(
            f"The demo reads its data from the package {package}, which is not installed. Install it: "
            "pip install attnscope[demo]"
        )


def _write(
    folder: Path, model: keras.Model, maps: AttentionMaps, page: str, labels: Sequence[str], explanation: Explanation
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL)
    maps.save(folder / RUN, overwrite=True)
    save_report(page, folder / REPORT, overwrite=True)
    view(maps, labels=labels).save(folder / VIEW, overwrite=True)
    explanation.save(folder / EXPLANATION, overwrite=True)


def _card(model: keras.Model, samples: np.ndarray, classes: Sequence[str], removals: Sequence[Removal]) -> EvidenceCard:
    """Which of `TESTED` explain the probability of the second class."""
    return evidence(
        model,
        samples,
        target=classes[1],
        classes=classes,
        methods=TESTED,
        removals=removals,
        permutations=0,
        progress=False,
    )


def _fit(model: keras.Model, samples: np.ndarray, answers: np.ndarray, *, epochs: int, batch_size: int) -> None:
    """Trains on as many samples as fill batches: a smaller last one would be compiled for as long as all the rest."""
    count = len(samples) - len(samples) % batch_size
    model.fit(samples[:count], answers[:count], epochs=epochs, batch_size=batch_size, verbose=0)


def _single_output(maps: AttentionMaps) -> np.ndarray:
    assert isinstance(maps.outputs, xr.DataArray)
    return np.asarray(maps.outputs.values)[:, 0]


def _accuracy(maps: AttentionMaps, truth: np.ndarray) -> float:
    return float(((_single_output(maps) > 0.5) == truth).mean())


def _sites_in_words(maps: AttentionMaps) -> str:
    return f"Sites, where attention is computed:\n{maps.sites!r}\n"


def _end_in_words(maps: AttentionMaps, explanation: Explanation, folder: Path) -> str:
    return (
        f"Lint: {maps.findings!r}\n\nFive decisions: {explanation!r}\n\nWritten to {folder}: {MODEL}, {RUN}, {REPORT}, "
        f"{VIEW}, {EXPLANATION}. Open {folder / EXPLANATION} and {folder / REPORT} in a browser."
    )
