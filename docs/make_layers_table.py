"""Writes the table of `layers.md`: what `tests/layers/test_table.py` saw of each layer, on each backend.

Run it where Keras and all three frameworks are installed: ``python docs/make_layers_table.py``. It runs the tests once
per backend; each reports the worst error of the scores that it read, and what does not pass is written as "fails".
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
PAGE = HERE / "layers.md"
TESTS = HERE.parent / "tests" / "layers" / "test_table.py"
BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

Cells = dict[tuple[str, str], str]
"""What was seen, by layer and column."""


def seen_on(backend: str) -> Cells:
    """Runs the tests on one backend, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={report}"]
        command = [sys.executable, "-m", "pytest", *options, str(TESTS)]
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "ATTNSCOPE_EVERY_CASE": "1",
        }
        subprocess.run(command, env=environment, cwd=HERE.parent, check=False)  # what failed is in the report
        cells: Cells = {}
        for case in ElementTree.parse(report).iter("testcase"):
            cells |= of_test(case)
    if not cells:
        raise SystemExit(f"On {backend} no test ran: see what pytest wrote above. The page stays as it is.")
    return cells


def of_test(case: ElementTree.Element) -> Cells:
    """The cell that one test filled; its name tells layer and column even if it failed before it saw anything."""
    found = [(one.get("name"), one.get("value") or "") for one in case.iter("property")]
    values = {name: [value for other, value in found if other == name] for name, _ in found}
    failed = case.find("failure") is not None or case.find("error") is not None
    if "layer" not in values:
        matched = re.match(r"test_(.*)\[(.*)\]", case.get("name") or "")
        return {(matched[2], matched[1].replace("_", " ")): "fails"} if failed and matched else {}
    remark = ", ".join(dict.fromkeys(filter(None, values["remark"])))
    worst = f"{max(float(error) for error in values['error']):.0e}".replace("0e+00", "0")
    text = "fails" if failed else f"{worst} ({remark})" if remark else worst
    return {(values["layer"][0], values["column"][0]): text}


def table(seen: dict[str, Cells]) -> str:
    """One row per layer and backend, one column per way of running it."""
    places = list(dict.fromkeys(place for cells in seen.values() for place in cells))
    layers, columns = (list(dict.fromkeys(place[part] for place in places)) for part in (0, 1))
    rows = [f"| layer | backend | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for layer in layers:
        for backend, cells in seen.items():
            texts = [cells.get((layer, column), "-") for column in columns]
            rows.append(f"| {layer} | {BACKENDS[backend]} | {' | '.join(texts)} |")
    return "\n".join(rows)


def main() -> None:
    """Writes the table between the two marks of the page."""
    made = table({backend: seen_on(backend) for backend in BACKENDS})
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}")


if __name__ == "__main__":
    main()
