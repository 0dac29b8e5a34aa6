"""The verdicts on attention weights where the right one is known, from few and from many samples.

For each kind of planted model, number of samples and seed: a card on the model's own attention weights. A verdict is
right, or "cannot tell", or false; "cannot tell" is right where the samples are too few.

Run: ``python benchmarks/planted_verdicts.py [--seeds 20] [--samples 5 20 100]``; prints a table.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))


def verdicts(kind: str, samples: int, seeds: int) -> Counter[str]:
    """How often each verdict was reached."""
    from attnscope import evidence
    from planted import planted, steps_of

    words = []
    for seed in range(seeds):
        card = evidence(
            planted(kind, seed), steps_of(seed, samples), methods=["raw"], permutations=0, seed=seed, progress=False
        )
        words.append(card.verdicts["raw"])
    return Counter(words)


def main() -> None:
    """Prints the table."""
    from planted import TRUTH

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--samples", type=int, nargs="+", default=(5, 20, 100))
    options = parser.parse_args()
    print("| attention decides | samples | right | cannot tell | false |\n|---|---|---|---|---|")
    for kind, truth in TRUTH.items():
        for samples in options.samples:
            counts = verdicts(kind, samples, options.seeds)
            right, unknown = counts[truth], counts["cannot tell"]
            false = options.seeds - right - unknown
            print(f"| {kind} | {samples} | {right} | {unknown} | {false} |", flush=True)
            if false:
                print(dict(counts), file=sys.stderr)


if __name__ == "__main__":
    main()
