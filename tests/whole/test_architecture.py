"""Imports run one way, from the outer rooms to the ground; siblings on a floor do not import each other."""

import ast
import subprocess
import sys
from pathlib import Path

import attnscope

ROOT = Path(attnscope.__file__).parent

GROUND = {"errors", "schema", "labels", "findings", "maps", "colours", "marks", "masking", "words"}
MODEL = {"interception", "running", "discovery", "handlers"}
ALLOWED = {
    "errors": set(),
    "colours": set(),
    "patching": set(),
    "marks": {"colours"},
    "schema": {"errors"},
    "masking": set(),
    "words": {"errors", "schema"},
    "labels": {"errors", "schema", "words"},
    "findings": {"schema"},
    "maps": {"errors", "findings", "labels", "schema"},
    "backends": {"errors"},
    "interception": {"backends", "errors", "labels", "patching", "schema"},
    "running": {"interception", "errors", "labels"},
    "discovery": {"backends", "interception", "running", "errors", "schema"},
    "handlers": {"interception", "running", "discovery", "errors", "schema"},
    "capturing": {*MODEL, *GROUND},
    "layers": {"errors"},
    "loading": {"errors", "layers", "patching"},
    "analysis": GROUND,
    "attribution": {*MODEL, "capturing", "analysis", *GROUND},
    "trust": {*MODEL, "pages", "attribution", "capturing", "analysis", *GROUND},
    "plot": GROUND,
    "pages": GROUND,
    "reporting": {"pages"},
    "viewer": {"analysis", *GROUND},
    "files": {"backends", "errors", "loading", "schema"},
    "demo": {"backends", "capturing", "pages", "viewer", "files", *GROUND},
    "cli": {"backends", "files", "demo", "discovery", "capturing", "pages", "viewer", *GROUND},
    "__main__": {"cli"},
}


def imports():
    """Every import of one room by another: file, importing room, imported room."""
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
                if node.module == "attnscope":
                    names = [f"attnscope.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                parts = name.split(".")
                if parts[0] == "attnscope" and len(parts) > 1 and not parts[1].startswith("__"):
                    yield path.name, room, parts[1]


def test_rooms_import_only_what_lies_below_them():
    wrong = [
        (file, room, imported)
        for file, room, imported in imports()
        if room != "__init__" and room != imported and imported not in ALLOWED[room]
    ]
    assert wrong == []
    assert len(list(imports())) > 50


def test_only_one_room_knows_keras_insides():
    for path in ROOT.rglob("*.py"):
        if "keras.src" in path.read_text():
            assert path.parent.name in ("interception", "discovery", "running"), path


def modules_of(path):
    return {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
    }


def test_the_ground_floor_needs_no_backend_and_no_plots():
    for name in (*GROUND, "pages"):
        for path in (ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / f"{name}.py"]:
            assert not modules_of(path) & {"keras", "tensorflow", "jax", "torch", "matplotlib", "keras_hub"}, path


def test_plots_need_no_backend_and_matplotlib_is_in_no_other_room():
    for path in ROOT.rglob("*.py"):
        if path.parent.name == "plot":
            assert not modules_of(path) & {"keras", "tensorflow", "jax", "torch", "keras_hub"}, path
        else:
            assert "matplotlib" not in modules_of(path), path


def test_matplotlib_is_loaded_when_the_first_picture_is_drawn_and_not_before():
    script = """
import sys
import numpy as np
import attnscope as ats
assert "b 0.700" in repr(ats.plot.tokens(np.array([0.3, 0.7]), ["a", "b"]))
assert ats.plot.tokens(np.array([0.3, 0.7]), ["a", "b"])._repr_html_()
assert "matplotlib" not in sys.modules
from matplotlib.figure import Figure
ats.plot.heatmap(np.full((2, 2), 0.5), ax=Figure().add_subplot())
assert "matplotlib.pyplot" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=False).returncode == 0


def test_without_matplotlib_text_is_coloured_and_the_rest_says_what_to_install():
    script = """
import sys
sys.modules["matplotlib"] = None
import numpy as np
import attnscope as ats
text = ats.plot.tokens(np.array([0.3, 0.7]), ["a", "b"])
assert text._repr_html_()
said = []
for call in (lambda: ats.plot.heatmap, text.draw):
    try:
        call()
    except ats.errors.NotInstalledError as error:
        said.append(str(error))
rest = (
    " draws with Matplotlib, which is not installed; only the HTML of ats.plot.tokens needs none. Install it: "
    'pip install "attnscope[plot]".'
)
assert said == [f"ats.plot.heatmap{rest}", f"ats.plot.tokens(...).draw{rest}"], said
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=False).returncode == 0


def test_no_file_has_a_name_that_says_nothing():
    names = {path.stem for path in ROOT.rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}
