"""What the layers of attnscope cost: time of one step, as a ratio to `keras.layers.MultiHeadAttention`.

Layers of the same size, each in a model of that layer and a mean over the positions, so that nothing else hides it:
`predict_on_batch` and `train_on_batch`, with dropout 0 and 0.1, with stored scores and without. The layers take turns,
call by call, and the figure is the median of the ratios of the rounds, so that whatever else the machine does meets all
of them alike. "keras again", a second layer of the same kind, shows how far a ratio is from 1 by chance alone.

Run: ``python benchmarks/layer_cost.py [--backend jax] [--rounds 60] [--length 128]``; prints a table.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from statistics import median

BATCH, HEADS, SIZE = 8, 8, 32
BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
COLUMNS = ("keras again", "store_scores=False", "stored", "shared value, stored")


def models(length: int, dropout: float):
    """One compiled model for Keras' layer and for each column, by name; their weights may differ."""
    import keras

    from attnscope.layers import InterpretableMultiHeadAttention, SharedValueMultiHeadAttention

    def theirs():
        return keras.layers.MultiHeadAttention(HEADS, SIZE, dropout=dropout)

    layers = {
        "keras": theirs(),
        "keras again": theirs(),
        "store_scores=False": InterpretableMultiHeadAttention(SIZE, HEADS, dropout, store_scores=False),
        "stored": InterpretableMultiHeadAttention(SIZE, HEADS, dropout),
        "shared value, stored": SharedValueMultiHeadAttention(HEADS, SIZE, dropout=dropout),
    }
    made = {}
    for name, layer in layers.items():
        inputs = keras.Input((length, HEADS * SIZE))
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(layer(inputs, inputs)))
        model.compile("sgd", "mse")
        made[name] = model
    return made


def ratios(step: str, length: int, dropout: float, rounds: int) -> dict[str, float]:
    """Milliseconds of Keras' layer under "keras", and the ratio to it of every column."""
    import numpy as np

    x = np.random.default_rng(0).normal(size=(BATCH, length, HEADS * SIZE)).astype("float32")
    y = np.zeros((BATCH, HEADS * SIZE), dtype="float32")
    made = models(length, dropout)
    runs = {
        name: (lambda model=model: model.predict_on_batch(x))
        if step == "predict"
        else (lambda model=model: model.train_on_batch(x, y))
        for name, model in made.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 5):
        names = list(runs)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            runs[name]()
            if number >= 5:  # the first rounds compile
                seconds[name].append(time.perf_counter() - start)
    found = {
        name: median(ours / theirs for ours, theirs in zip(seconds[name], seconds["keras"], strict=True))
        for name in COLUMNS
    }
    return {"keras": 1000 * median(seconds["keras"]), **found}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", action="append", choices=tuple(BACKENDS))
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--here", action="store_true", help="run on the backend of this process")
    options = parser.parse_args()
    if not options.here:
        print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
        print(f"| backend | step | dropout | Keras, ms | {' | '.join(COLUMNS)} |")
        print(f"|---|---|---|---|{'---|' * len(COLUMNS)}", flush=True)
        for backend in options.backend or BACKENDS:
            environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
            own = ["--here", "--rounds", str(options.rounds), "--length", str(options.length)]
            subprocess.run([sys.executable, __file__, *own], env=environment, check=True)
        return
    import keras

    for step in ("predict", "train"):
        for dropout in (0.0, 0.1):
            found = ratios(step, options.length, dropout, options.rounds)
            cells = " | ".join(f"{found[name]:.2f}" for name in COLUMNS)
            backend = BACKENDS[keras.backend.backend()]
            print(f"| {backend} | {step} | {dropout} | {found['keras']:.1f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
