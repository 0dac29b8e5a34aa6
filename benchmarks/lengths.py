"""What single texts of ten lengths cost: `attnscope.capture` of each, against an eager call of the model on each.

Two encoders with random weights, one as large as BERT (12 layers, width 768) and one like MiniLM (6 layers, width 384),
each on each backend in a process of its own. In turn, text by text:

* eager: ``model(inputs)`` in inference mode, outputs read as arrays;
* capture: `attnscope.capture` of one text.

Neither has seen a length before: the ten lengths of one are those of the other and one token more. "After" is ten more
captures of other lengths, once the first ten have been. Figures are seconds of the processor. Run:
``python benchmarks/lengths.py [--backend jax] [--model minilm]``; prints a table. With ``--against FOLDER``, the `src`
of another checkout, also its figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
MODELS = {
    "bert": (12, 12, 768),
    "minilm": (6, 12, 384),
}
"""Layers, heads and width."""
LENGTHS = (37, 12, 74, 20, 101, 29, 51, 16, 88, 62)
"""Tokens of the texts."""


def seconds(run: Callable[[], object]) -> float:
    """Seconds of the processor that a call takes."""
    start = time.process_time()
    run()
    return time.process_time() - start


def build(number: int, heads: int, width: int):
    """A post-norm encoder over tokens, 0 being padding, whose positions have embeddings that are learned."""
    import keras
    from keras import layers, ops

    class Positions(layers.Layer):
        supports_masking = True

        def build(self, shape: tuple[int | None, ...]) -> None:
            self.table = self.add_weight(shape=(128, shape[-1]), name="table")

        def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
            return x + self.table[: ops.shape(x)[1]]

        def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
            return shape

    tokens = keras.Input((None,), dtype="int32")
    x = layers.LayerNormalization()(Positions()(layers.Embedding(1000, width, mask_zero=True)(tokens)))
    for block in range(number):
        attended = layers.MultiHeadAttention(heads, width // heads, name=f"attention_{block}")(x, x)
        x = layers.LayerNormalization()(x + attended)
        x = layers.LayerNormalization()(x + layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(x)))
    return keras.Model(tokens, x)


def measure(name: str) -> dict[str, list[float]]:
    """Seconds of each call, on the backend of this process."""
    import keras
    import numpy as np

    import attnscope as ats

    def text(length: int) -> np.ndarray:
        return np.random.default_rng(length).integers(1, 1000, (1, length)).astype("int32")

    def eager(model: keras.Model, length: int) -> None:
        keras.ops.convert_to_numpy(model(text(length), training=False))

    def capture(model: keras.Model, length: int) -> None:
        maps = ats.capture(model, text(length), progress=False)
        if maps["attention_0"].sizes["key"] != length:
            raise SystemExit(f"Something else was captured:\n{maps}")

    small = build(1, 2, 8)
    eager(small, 3)  # what the first call in a process costs is not measured
    capture(small, 3)
    model = build(*MODELS[name])
    found: dict[str, list[float]] = {"eager": [], "capture": [], "after": []}
    for length in LENGTHS:
        found["eager"].append(seconds(lambda length=length: eager(model, length)))
        found["capture"].append(seconds(lambda length=length: capture(model, length + 1)))
    found["after"] = [seconds(lambda length=length: capture(model, length + 2)) for length in LENGTHS]
    return found


def measured(source: Path, backend: str, name: str) -> dict[str, list[float]]:
    """`measure` on a backend, with the attnscope of a folder."""
    run = subprocess.run(
        [sys.executable, __file__, "--here", "--model", name],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(source)},
        check=False,
    )
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", action="append", choices=("jax", "tensorflow", "torch"))
    parser.add_argument("--model", action="append", choices=tuple(MODELS))
    parser.add_argument("--against", type=Path, help="the src of another checkout")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.model[0])))
        return
    sources = {"": HERE.parent / "src", **({"before": options.against} if options.against else {})}
    print("| backend | model | | ten eager calls | ten captures | first | ratio | ratio after |\n|" + "---|" * 8)
    for backend in options.backend or ("jax", "tensorflow", "torch"):
        for name in options.model or MODELS:
            for which, source in sources.items():
                found = measured(source, backend, name)
                eager, capture, after = (sum(found[part]) for part in ("eager", "capture", "after"))
                print(
                    f"| {backend} | {name} | {which} | {eager:.2f} s | {capture:.2f} s | {found['capture'][0]:.2f} s "
                    f"| {capture / eager:.1f}x | {after / eager:.1f}x |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
