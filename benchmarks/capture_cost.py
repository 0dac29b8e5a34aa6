"""What capturing costs: time and peak memory against the plain forward pass and against Keras' own scores.

Four routes over the same model and data, side by side, for T = 128, 512 and 2,048 tokens:

* plain: `model.predict`;
* keras: a second model whose outputs include every layer's scores (`return_attention_scores=True`), through
  `predict`: what people do today, if they build the model themselves;
* full: `attnscope.capture`, all scores of every layer;
* summary: `attnscope.capture` with `Received` and `Entropy`, which never builds a matrix.

Each route runs in a process of its own, so that its peak memory is its own; figures are the best of three runs after
one that compiles. Run: ``python benchmarks/capture_cost.py [--backend jax]``; prints a table of ratios to plain.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from encoder import build

LENGTHS = {128: 16, 512: 4, 2048: 1}
"""Tokens, and samples per batch."""
ROUTES = ("plain", "keras", "full", "summary")
BATCHES, LAYERS, HEADS, WIDTH = 2, 4, 8, 256


def used_memory() -> int:
    """Bytes that this process has in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def measure(route: str, length: int) -> dict[str, float]:
    """Seconds of the first call and of the best later one, and the peak of memory above the start, in bytes."""
    import threading

    import keras
    import numpy as np

    import attnscope as ats

    keras.utils.set_random_seed(0)
    batch = LENGTHS[length]
    x = np.random.default_rng(0).normal(size=(BATCHES * batch, length, WIDTH)).astype("float32")
    model = build(length, WIDTH, HEADS, LAYERS, with_scores=route == "keras")
    options = {"summaries": [ats.Received(), ats.Entropy()]} if route == "summary" else {}
    runs = {
        "plain": lambda: model.predict(x, batch_size=batch, verbose=0),
        "keras": lambda: model.predict(x, batch_size=batch, verbose=0),
        "full": lambda: ats.capture(model, x, batch_size=batch, progress=False, **options),
        "summary": lambda: ats.capture(model, x, batch_size=batch, progress=False, **options),
    }
    before, peak, done = used_memory(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], used_memory())
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        result = runs[route]()
        seconds.append(time.perf_counter() - start)
        del result
    done.set()
    thread.join()
    return {"first": seconds[0], "best": min(seconds[1:]), "memory": peak[0] - before}


def table(backend: str) -> list[str]:
    """The rows of one backend, each route in a process of its own."""
    rows = []
    for length in LENGTHS:
        found = {}
        for route in ROUTES:
            command = [sys.executable, __file__, "--route", route, "--length", str(length)]
            environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
            run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
            found[route] = json.loads(run.stdout.splitlines()[-1])
        plain = found["plain"]
        cells = [f"| {backend} | {length} | {plain['best']:.2f} s, {plain['memory'] / 1e6:,.0f} MB |"]
        for route in ROUTES[1:]:
            one = found[route]
            cells.append(
                f" {one['best'] / plain['best']:.1f}x, {one['memory'] / 1e6:,.0f} MB (first {one['first']:.1f} s) |"
            )
        rows.append("".join(cells))
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", action="append", choices=("jax", "tensorflow", "torch"))
    parser.add_argument("--route", choices=ROUTES)
    parser.add_argument("--length", type=int)
    options = parser.parse_args()
    if options.route:
        print(json.dumps(measure(options.route, options.length)))
        return
    print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
    print("| backend | T | plain | keras | full | summary |\n|---|---|---|---|---|---|")
    for backend in options.backend or ("jax", "tensorflow", "torch"):
        table(backend)


if __name__ == "__main__":
    main()
