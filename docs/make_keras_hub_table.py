"""Writes `keras_hub.md`: what attnscope sees in every family of KerasHub, on each backend.

Run it without arguments, where Keras and all three frameworks are installed: ``python docs/make_keras_hub_table.py``.
It runs itself once per backend (``--backend jax``), each time in a process of its own, which writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}

INTRODUCTION = """\
# Families of KerasHub

Every backbone that KerasHub {keras_hub} exports was built with random weights and about two layers, and traced by
attnscope on three backends (Keras {keras}). The tables are written by `docs/make_keras_hub_table.py`. The tests run
the same models, and check that every attention call of the architecture is captured, that its rows sum to 1, and that
the model returns what it returns without attnscope. A class with two names is listed once.

*Fused* calls have no scores in the model: attnscope computes them from query, key and mask. Whether a layer uses a
fused call or a softmax depends on the backend, and on its options (such as dropout or a soft cap on the logits).

"""

AXES = """
## Where the axes come from

What `ats.sites` says of the sites that are taken: `lineage`, the mask that belongs to each axis, and `certainty` (see
[How attnscope knows](how_attnscope_knows.md)). The samples are those of the inputs everywhere. Of the path of a weight
the last parts are shown, and sites that differ in nothing else share a row.

"""


def seen_here() -> dict[str, Any]:
    """What there is on the backend of this process: for each family the kinds and dims of what is taken."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    import keras
    import keras_hub

    from attnscope.discovery import sites
    from hub_families import WITHOUT_ATTENTION, cases
    from hub_table import rows_of

    seen = {}
    for case in cases():
        if case.family in WITHOUT_ATTENTION:
            continue
        if keras.backend.backend() in case.cannot:
            seen[case.name] = {"cannot": case.cannot[keras.backend.backend()]}
            continue
        keras.backend.clear_session()
        model = case.build()
        found = sites(model, case.inputs(model))
        seen[case.name] = {
            "kinds": Counter(site.kind for site in found if site.taken),
            "dims": Counter(", ".join(site.dims) for site in found if site.taken),
            "left_out": [f"{site.layer_class}: {site.reason}" for site in found if not site.taken],
            "axes": rows_of(case.name, found),
        }
    return {"keras": keras.__version__, "keras_hub": keras_hub.__version__, "families": seen}


def seen_on(backend: str) -> dict[str, Any]:
    """`seen_here` on another backend, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seen.json"
        subprocess.run(
            [sys.executable, __file__, "--backend", backend, "--to", str(file)],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=True,
        )
        return json.loads(file.read_text())


def page(seen: dict[str, dict[str, Any]]) -> str:
    """The whole page, from what was seen on each backend."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from hub_families import WITHOUT_ATTENTION
    from hub_table import HEADINGS

    versions = next(iter(seen.values()))
    headings = ["Family", *(BACKENDS[backend] for backend in seen), "Dims", "Left out", "Remarks"]
    rows = [
        [
            name,
            *(kinds(seen[backend]["families"][name]) for backend in seen),
            *shared(seen, name),
            remarks(seen, name),
        ]
        for name in versions["families"]
    ]
    without = [[name, reason] for name, reason in WITHOUT_ATTENTION.items()]
    return (
        INTRODUCTION.format(**{key: versions[key] for key in ("keras", "keras_hub")})
        + "## With attention\n\n"
        + table(headings, rows)
        + AXES
        + table(list(HEADINGS), [row for name in versions["families"] for row in axes(seen, name)])
        + "\n## Without attention\n\nThese have neither a softmax nor fused attention, and attnscope finds none.\n\n"
        + table(["Family", "Why"], without)
    )


def kinds(family: dict[str, Any]) -> str:
    """How many calls of which kind; a dash where KerasHub itself cannot run the family."""
    return "-" if "cannot" in family else ", ".join(f"{count} {kind}" for kind, count in family["kinds"].items())


def remarks(seen: dict[str, dict[str, Any]], name: str) -> str:
    """What a user should know of a family, and why it is not there on a backend."""
    from hub_families import EXPECTED

    reasons = [backend["families"][name].get("cannot", "") for backend in seen.values()]
    return "; ".join(filter(None, [EXPECTED[name].remark, *reasons]))


def shared(seen: dict[str, dict[str, Any]], name: str) -> list[str]:
    """Dims and what is left out, which must not depend on the backend."""
    families = [backend["families"][name] for backend in seen.values() if "cannot" not in backend["families"][name]]
    first = families[0]
    for other in families[1:]:
        if other["dims"] != first["dims"] or len(other["left_out"]) != len(first["left_out"]):
            raise SystemExit(f"{name} differs between backends:\n{first}\n{other}")
    dims = first["dims"]
    counted = [each if len(dims) == 1 else f"{count} x {each}" for each, count in dims.items()]
    return ["<br>".join(counted), str(len(first["left_out"]) or "")]


def axes(seen: dict[str, dict[str, Any]], name: str) -> list[list[str]]:
    """Where the axes come from, which must not depend on the backend."""
    families = [backend["families"][name] for backend in seen.values() if "cannot" not in backend["families"][name]]
    first = families[0]["axes"]
    for other in families[1:]:
        if other["axes"] != first:
            raise SystemExit(f"{name} differs between backends:\n{first}\n{other['axes']}")
    return first


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def main() -> None:
    """Writes the page, or one backend's JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS)
    parser.add_argument("--to", type=Path)
    arguments = parser.parse_args()
    if arguments.backend:
        arguments.to.write_text(json.dumps(seen_here()))
    else:
        (HERE / "keras_hub.md").write_text(page({backend: seen_on(backend) for backend in BACKENDS}))


if __name__ == "__main__":
    main()
