"""What it costs to keep all scores on disk, against the plain forward pass and against doing it by hand.

A model of BERT's size (4 layers, 12 heads of 64) on 512 tokens, 16 samples by 4, whose logits have a standard deviation
of about 2, as those of trained models have. All routes take turns in one process, so that they share the weather:

* plain: `model.predict`;
* uint8, float16, exact: ``attnscope.capture(..., store=..., codes=...)``;
* by hand: `predict` of a second model that also returns every layer's scores (`return_attention_scores=True`), and
  `numpy.save` of each; it has no labels, no checksums, and nothing can be resumed.

Run: ``python benchmarks/store_cost.py [--backend jax] [--codes uint8] [--rounds 3]``; prints how many times as fast as
plain each is, by the clock and by CPU time (best of the rounds after one that compiles), and the bytes of the sites on
disk: scores, what is kept beside them, labels and checksums.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from encoder import build

LENGTH, WIDTH, HEADS, LAYERS = 512, 768, 12, 4
SAMPLES, BATCH = 16, 4
LOGITS = 2.0
"""Standard deviation of the logits in a row."""
CODES = ("uint8", "float16", "exact")


def sharpen(plain, x) -> float:
    """Scales the query projections until the logits of each layer are spread as wished; gives the spread."""
    import numpy as np

    import attnscope as ats

    for block in range(LAYERS):
        scores = ats.capture(plain, x[:1], sites=f"attention_{block}", progress=False)[f"attention_{block}"].values
        kernel = plain.get_layer(f"attention_{block}").query_dense.kernel
        kernel.assign(kernel * (LOGITS / np.log(scores).std(-1).mean()))
    return float(np.log(ats.capture(plain, x[:1], progress=False)["attention_0"].values).std(-1).mean())


def bytes_of(folder: Path) -> int:
    """Of the sites alone, if it is a store: what the model returned is not what is asked about."""
    folder = folder / "sites" if (folder / "sites").is_dir() else folder
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(rounds: int, chosen: list[str]) -> dict[str, dict[str, float]]:
    """Seconds by the clock and of CPU of each route, and the bytes that it leaves on disk."""
    import keras
    import numpy as np

    import attnscope as ats

    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(SAMPLES, LENGTH, WIDTH)).astype("float32")
    sizes = LENGTH, WIDTH, HEADS, LAYERS
    plain, with_scores = build(*sizes), build(*sizes, with_scores=True)
    spread = sharpen(plain, x)
    with_scores.set_weights(plain.get_weights())
    folder = Path(tempfile.mkdtemp())

    def by_hand() -> None:
        (folder / "by hand").mkdir()
        for number, array in enumerate(with_scores.predict(x, batch_size=BATCH, verbose=0)[1:]):
            np.save(folder / "by hand" / f"{number}.npy", array)

    def stored(codes: str):
        return lambda: ats.capture(plain, x, batch_size=BATCH, store=folder / codes, codes=codes, progress=False)

    routes = {"plain": lambda: plain.predict(x, batch_size=BATCH, verbose=0)}
    routes |= {codes: stored(codes) for codes in chosen} | {"by hand": by_hand}
    found = {route: {"clock": np.inf, "cpu": np.inf, "bytes": 0} for route in routes}
    for number in range(rounds + 1):
        for route, run in routes.items():
            shutil.rmtree(folder / route, ignore_errors=True)
            started = time.perf_counter(), time.process_time()
            run()
            taken = time.perf_counter() - started[0], time.process_time() - started[1]
            if number:
                found[route]["clock"] = min(found[route]["clock"], taken[0])
                found[route]["cpu"] = min(found[route]["cpu"], taken[1])
            found[route]["bytes"] = bytes_of(folder / route)
    shutil.rmtree(folder)
    return {**found, "spread": spread}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", action="append", choices=("jax", "tensorflow", "torch"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--codes", action="append", choices=CODES)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = options.codes or list(CODES)
    if options.measure:
        print(json.dumps(measure(options.rounds, chosen)))
        return
    float32 = 4 * SAMPLES * LAYERS * HEADS * LENGTH**2
    print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}; {float32 / 1e6:.0f} MB")
    print("| backend | plain | route | throughput | by CPU time | bytes, against float32 |\n|---|---|---|---|---|---|")
    for backend in options.backend or ("jax", "tensorflow", "torch"):
        command = [sys.executable, __file__, "--measure", "--rounds", str(options.rounds)]
        command += [part for codes in chosen for part in ("--codes", codes)]
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
        found = json.loads(run.stdout.splitlines()[-1])
        plain = found["plain"]
        for route in (*chosen, "by hand"):
            one = found[route]
            print(
                f"| {backend} | {plain['clock']:.2f} s | {route} | {plain['clock'] / one['clock']:.2f} | "
                f"{plain['cpu'] / one['cpu']:.2f} | 1/{float32 / one['bytes']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
