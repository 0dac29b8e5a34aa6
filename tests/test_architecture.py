"""Imports run one way, from the outer rooms to the ground; siblings on a floor do not import each other."""

import ast
from pathlib import Path

import attnscope

ROOT = Path(attnscope.__file__).parent

GROUND = {"errors", "schema", "labels", "findings", "maps", "colours", "marks"}
ALLOWED = {
    "errors": set(),
    "colours": set(),
    "marks": {"colours"},
    "schema": {"errors"},
    "labels": {"errors", "schema"},
    "findings": {"schema"},
    "maps": {"errors", "findings", "labels", "schema"},
    "interception": {"errors", "labels", "schema"},
    "layers": {"errors"},
    "loading": {"errors", "layers"},
    "plot": GROUND,
    "viewer": GROUND,
    "capturing": {"interception", *GROUND},
    "backends": {"errors"},
    "files": {"backends", "errors", "loading", "schema"},
    "demo": {"backends", "capturing", "viewer", "files", *GROUND},
    "cli": {"backends", "files", "demo", "interception", "capturing", "viewer", *GROUND},
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
            assert path.parent.name == "interception", path


def test_the_ground_floor_needs_no_backend_and_no_plots():
    for name in (*GROUND, "plot", "viewer"):
        for path in (ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / f"{name}.py"]:
            modules = {
                alias.name.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
            }
            assert not modules & {"keras", "tensorflow", "jax", "torch", "matplotlib", "keras_hub"}, path


def test_no_file_has_a_name_that_says_nothing():
    names = {path.stem for path in ROOT.rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}
