"""Summaries of long sequences where an accelerator is: seconds, host and device memory, and whether they are right.

For JAX and PyTorch, each in a process of its own: one layer, 8 heads of 64, T = 2,048, 8,192 and 32,768, in float32 and
bfloat16; `Entropy`, `Received`, `TopK(8)`, `Thumbnail(64)` and `Distance`. At the smallest T the summaries and a store
are compared with the whole map. Ends after at most ``--minutes`` minutes: what was not reached by then is named.

Run: ``python benchmarks/scale_accelerator.py``; ``--small`` for T = 64 and 256 on a CPU, which shows that it works.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LENGTHS, SMALL = (2048, 8192, 32768), (64, 256)
HEADS, WIDTH = 8, 512


def device_memory() -> str:
    """Peak bytes on the device, in words; ``none`` on a CPU."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return f"{torch.cuda.max_memory_allocated() / 1e6:,.0f} MB" if torch.cuda.is_available() else "none"
    import jax

    found = jax.devices()[0].memory_stats() or {}
    return f"{found['peak_bytes_in_use'] / 1e6:,.0f} MB" if "peak_bytes_in_use" in found else "none"


def worst_errors(model, x) -> str:
    """The largest differences of summaries and of a store from the whole map, in words."""
    import numpy as np

    import attnscope as ats

    whole = ats.capture(model, x, progress=False)["a"].values.astype("float64")
    maps = ats.capture(model, x, summaries=summaries(), progress=False)
    with tempfile.TemporaryDirectory() as folder:
        stored = ats.capture(model, x, store=Path(folder) / "run.zarr", codes="exact", progress=False)["a"].values
    bits = -(whole * np.log2(np.where(whole > 0, whole, 1))).sum(-1)
    apart = abs(np.arange(whole.shape[-1])[:, None] - np.arange(whole.shape[-1]))
    expected = {
        "entropy": bits,
        "received": whole.mean(-2),
        "top_scores": -np.sort(-whole, axis=-1)[..., :8],
        "distance": (whole * apart).sum(-1),
    }
    errors = {name: abs(maps.select(name)["a"].values - array).max() for name, array in expected.items()}
    errors["store"] = abs(stored - whole).max()
    return ", ".join(f"{name} {error:.1e}" for name, error in errors.items())


def summaries() -> list:
    """All five."""
    import attnscope as ats

    return [ats.Entropy(), ats.Received(), ats.TopK(8), ats.Thumbnail(64), ats.Distance()]


def measure(tokens: int, dtype: str, *, compared: bool) -> None:
    """Prints one row."""
    import keras
    import numpy as np

    import attnscope as ats

    inputs = keras.Input((tokens, WIDTH))
    attention = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name="a", dtype=dtype)
    model = keras.Model(inputs, attention(inputs, inputs))
    x = np.random.default_rng(0).normal(size=(1, tokens, WIDTH)).astype("float32")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        ats.capture(model, x, summaries=summaries(), progress=False)
        seconds.append(time.perf_counter() - start)
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    cells = [keras.backend.backend(), dtype, f"{tokens:,}", f"{seconds[0]:.2f} s", f"{min(seconds[1:]):.3f} s"]
    cells += [f"{host:,.0f} MB", device_memory(), worst_errors(model, x) if compared else ""]
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        tokens, dtype, compared = options.measure
        measure(int(tokens), dtype, compared=compared == "yes")
        return
    end, lengths = time.monotonic() + 60 * options.minutes, SMALL if options.small else LENGTHS
    print("| backend | dtype | T | first | later | host memory | device memory | worst errors |", flush=True)
    for backend, dtype in (("torch", "float32"), ("jax", "float32"), ("torch", "bfloat16"), ("jax", "bfloat16")):
        for tokens in lengths:
            compared = "yes" if tokens == lengths[0] else "no"
            command = [sys.executable, __file__, "--measure", str(tokens), dtype, compared]
            environment = {**os.environ, "KERAS_BACKEND": backend, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
            left = end - time.monotonic()
            try:
                run = subprocess.run(command, env=environment, timeout=max(1, left), stderr=subprocess.PIPE, text=True)
                if run.returncode:
                    print(
                        f"| {backend} | {dtype} | {tokens:,} | fails: {run.stderr.strip().splitlines()[-1:]} |",
                        flush=True,
                    )
            except subprocess.TimeoutExpired:
                print(f"| {backend} | {dtype} | {tokens:,} | not reached |", flush=True)


if __name__ == "__main__":
    main()
