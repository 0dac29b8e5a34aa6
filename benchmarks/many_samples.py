"""A run over many samples with summaries: does memory stay as it is, and what would ten million samples take?

A small encoder (2 layers, 4 heads of 16) on 64 tokens; `Entropy`, `Received` and `TopK(4)` of each site go into a
store. Samples come batch by batch from a generator, so that nothing but the run itself can grow.

Run: ``python benchmarks/many_samples.py [--samples 100000] [--engine processes --workers 2]``; prints the memory of
this process (resident set) at 1%, 50% and 100% of the samples, CPU seconds of this process and of its workers, and
bytes on disk; and what that comes to for ten million samples.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from encoder import build

LENGTH, WIDTH, HEADS, LAYERS = 64, 64, 4, 2
BATCH = 128
TOLD = (0.01, 0.5, 1.0)
PLANNED = 10_000_000


def resident() -> float:
    """Mebibytes that this process keeps in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def batches(samples: int):
    """Batches of samples that are made as they are asked for; tells the memory on the way."""
    told = [round(samples * part) for part in TOLD]
    generator = np.random.default_rng(0)
    for start in range(0, samples, BATCH):
        size = min(BATCH, samples - start)
        yield generator.normal(size=(size, LENGTH, WIDTH)).astype("float32")
        while told and start + size >= told[0]:
            print(f"{told.pop(0):>10,} samples: {resident():,.0f} MiB", flush=True)


def model():
    """The encoder, with the same weights in every process."""
    import keras

    keras.utils.set_random_seed(0)
    encoder = build(LENGTH, WIDTH, HEADS, LAYERS)
    pooled = keras.layers.GlobalAveragePooling1D()(encoder.output)
    return keras.Model(encoder.input, keras.layers.Dense(3)(pooled))


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--engine", default="local")
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    import attnscope as ats

    folder = Path(tempfile.mkdtemp())
    network = model()
    started, cpu = time.perf_counter(), cpu_seconds()
    ats.capture(
        network if options.engine == "local" else model,
        batches(options.samples),
        summaries=[ats.Entropy(), ats.Received(), ats.TopK(4)],
        store=folder / "run.zarr",
        engine=options.engine,
        workers=options.workers,
        progress=False,
    )
    taken, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    print(f"{cpu:,.0f} s of CPU, {taken:,.0f} s by the clock, {size / 1e6:,.0f} MB")
    whole = PLANNED / options.samples
    print(f"{PLANNED:,} samples: {cpu * whole / 3600:,.1f} hours of one core, {size * whole / 1e9:,.1f} GB")


if __name__ == "__main__":
    main()
