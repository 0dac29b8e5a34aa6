"""What `attnscope.sites` costs beyond the trace that it reads.

KerasHub's `BertBackbone` as it is published (12 layers, 12 heads, width 768, 128 tokens) with random weights, on each
backend in a process of its own:

* trace: the operations of the model, read once on shapes and not followed;
* sites: `attnscope.sites`, which traces the model in the same way and follows every axis.

Figures are seconds of the processor, so that waiting for others does not count, and the best of `--rounds` runs after
one that warms up. Run: ``python benchmarks/sites_cost.py [--backend jax]``; prints a table. With
``--against FOLDER``, the `src` of another checkout, also the ratio to the `sites` of that one.
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
SAMPLES, TOKENS = 2, 128


def best(run: Callable[[], object], rounds: int) -> float:
    """Seconds of the processor, of the best of some runs after one that warms up."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds[1:])


def measure(rounds: int) -> dict[str, float]:
    """Seconds of both, on the backend of this process."""
    import keras_hub
    import numpy as np

    import attnscope as ats
    from attnscope.backends import current
    from attnscope.interception import call_model

    model = keras_hub.models.BertBackbone(
        vocabulary_size=1000, num_layers=12, num_heads=12, hidden_dim=768, intermediate_dim=3072
    )
    tokens = np.ones((SAMPLES, TOKENS), "int32")
    inputs = {"token_ids": tokens, "segment_ids": 0 * tokens, "padding_mask": tokens}
    found = ats.sites(model, inputs)
    if sum(site.taken for site in found) != 12:
        raise SystemExit(f"12 attention layers were to be found:\n{found}")
    return {
        "trace": best(lambda: current().trace(model, lambda tensors: call_model(model, tensors), inputs), rounds),
        "sites": best(lambda: ats.sites(model, inputs), rounds),
    }


def measured(source: Path, backend: str, rounds: int) -> dict[str, float]:
    """`measure` on a backend, with the attnscope of a folder."""
    run = subprocess.run(
        [sys.executable, __file__, "--here", "--rounds", str(rounds)],
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.rounds)))
        return
    other = " | sites there | sites / sites there" if options.against else ""
    print(f"| backend | trace | sites | sites / trace{other} |")
    print("|" + "---|" * (6 if options.against else 4))
    for backend in options.backend or ("jax", "tensorflow", "torch"):
        mine = measured(HERE.parent / "src", backend, options.rounds)
        cells = [backend, f"{mine['trace']:.2f} s", f"{mine['sites']:.2f} s", f"{mine['sites'] / mine['trace']:.2f}"]
        if options.against:
            there = measured(options.against.resolve(), backend, options.rounds)["sites"]
            cells += [f"{there:.2f} s", f"{mine['sites'] / there:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
