"""What exact summaries of long sequences cost: CPU time against the plain forward pass of the same run, and memory.

Four rows for each backend, each in a process of its own, on one thread where the backend lets itself be told:

* ``bert``: BERT-size, 4 layers, T = 2,048, `Entropy` and `Received`;
* ``long``: one layer, T = 8,192, 8 heads of 64, the same two;
* ``more``: the same and `TopK(8)`, `Thumbnail(64)`, against the time of ``long``;
* ``longest``: one layer, T = 32,768, 12 heads of 64, these four and `Distance`. No plain pass: on JAX and TensorFlow
  it would build 51 GB.

Run: ``python benchmarks/scale.py [--backend jax] [--row bert] [--peers] [--memory]``. ``--peers`` adds Keras' own
``return_attention_scores`` and says where it dies; ``--memory`` measures the extra memory of ``long`` for several T and
fits a power of T to it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

ROWS = {"bert": (2048, 4, 8, 512), "long": (8192, 1, 8, 512), "more": (8192, 1, 8, 512), "longest": (32768, 1, 12, 768)}
"""Tokens, layers, heads, width."""
LENGTHS = (2048, 4096, 8192, 16384)
BACKENDS = ("jax", "tensorflow", "torch")


def build(tokens: int, depth: int, heads: int, width: int, *, with_scores: bool = False):
    """Post-norm blocks whose attention takes the fused path; the feed-forward part only where there are several."""
    import keras
    from keras import layers

    inputs = keras.Input((tokens, width))
    x, scores = inputs, []
    for _ in range(depth):
        attention = layers.MultiHeadAttention(heads, width // heads)
        if with_scores:
            attended, given = attention(x, x, return_attention_scores=True)
            scores.append(given)
        else:
            attended = attention(x, x)
        x = layers.LayerNormalization()(x + attended)
        if depth > 1:
            hidden = layers.Dense(4 * width, activation="gelu")(x)
            x = layers.LayerNormalization()(x + layers.Dense(width)(hidden))
    return keras.Model(inputs, [x, *scores] if with_scores else x)


def used_memory() -> int:
    """Bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measured(run, times: int) -> tuple[float, float]:
    """Least CPU time of one of some runs, in seconds, and the peak of memory above the start, in MB."""
    start, peak, done = used_memory(), [0], Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], used_memory())

    watcher = Thread(target=watch)
    watcher.start()
    seconds = []
    for _ in range(times):
        before = time.process_time()
        run()
        seconds.append(time.process_time() - before)
    done.set()
    watcher.join()
    return min(seconds), max(0, peak[0] - start) / 1e6


def one_thread() -> None:
    """Keeps the backend to one thread, where it has a setting."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def summaries(row: str) -> list:
    """What a row computes."""
    import attnscope as ats

    chosen = [ats.Entropy(), ats.Received()]
    if row in ("more", "longest"):
        chosen += [ats.TopK(8), ats.Thumbnail(64)]
    return [*chosen, ats.Distance()] if row == "longest" else chosen


def measure(row: str, part: str, tokens: int | None) -> dict[str, float]:
    """CPU seconds and extra MB of one part of a row: ``plain``, ``capture`` or ``peer``."""
    one_thread()
    import numpy as np

    import attnscope as ats

    given, depth, heads, width = ROWS[row]
    tokens = tokens or given
    model = build(tokens, depth, heads, width, with_scores=part == "peer")
    x = np.random.default_rng(0).normal(size=(1, tokens, width)).astype("float32")
    times = 1 if row == "longest" else 3
    if part == "capture":
        seconds, memory = measured(lambda: ats.capture(model, x, summaries=summaries(row), progress=False), times)
    else:
        seconds, memory = measured(lambda: model.predict(x, verbose=0), times)
    return {"seconds": seconds, "memory": memory}


def in_a_process(backend: str, row: str, part: str, tokens: int | None = None) -> dict[str, float] | None:
    """`measure` in a process of its own; None where it dies."""
    command = [sys.executable, __file__, "--measure", row, part, str(tokens or 0)]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    return None if run.returncode else json.loads(run.stdout.splitlines()[-1])


def told(found: dict[str, float] | None) -> str:
    """A measurement in words."""
    return "dies" if found is None else f"{found['seconds']:.2f} s, {found['memory']:,.0f} MB"


def table(backend: str, rows: list[str], *, peers: bool) -> None:
    """Prints the rows of one backend."""
    for row in rows:
        base = (
            None
            if row == "longest"
            else in_a_process(backend, *(("long", "capture") if row == "more" else (row, "plain")))
        )
        found = in_a_process(backend, row, "capture")
        ratio = "" if base is None or found is None else f"{found['seconds'] / base['seconds']:.2f}"
        cells = [backend, row, "none" if row == "longest" else told(base), told(found), ratio]
        if peers:
            cells.append(told(in_a_process(backend, row, "peer")) if row != "more" else "")
        print("| " + " | ".join(cells) + " |", flush=True)


def memory(backend: str) -> None:
    """Prints extra memory against T, and the power of T that fits it."""
    found = [(tokens, in_a_process(backend, "long", "capture", tokens)) for tokens in LENGTHS]
    points = [(tokens, one["memory"]) for tokens, one in found if one is not None and one["memory"] > 0]
    for tokens, megabytes in points:
        print(f"| {backend} | T = {tokens:,} | {megabytes:,.0f} MB |", flush=True)
    logs = [(math.log(tokens), math.log(megabytes)) for tokens, megabytes in points]
    middle = [sum(values) / len(logs) for values in zip(*logs, strict=True)]
    slope = sum((x - middle[0]) * (y - middle[1]) for x, y in logs) / sum((x - middle[0]) ** 2 for x, _ in logs)
    print(f"| {backend} | fit | T to the power of {slope:.2f} |", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", action="append", choices=BACKENDS)
    parser.add_argument("--row", action="append", choices=ROWS)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        row, part, tokens = options.measure
        print(json.dumps(measure(row, part, int(tokens) or None)))
        return
    print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}; CPU time")
    print("| backend | row | base | capture | ratio |" + (" return_attention_scores |" if options.peers else ""))
    for backend in options.backend or BACKENDS:
        table(backend, options.row or list(ROWS), peers=options.peers)
        if options.memory:
            memory(backend)


if __name__ == "__main__":
    main()
