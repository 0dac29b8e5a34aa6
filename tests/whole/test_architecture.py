"""Imports run one way, from the outer rooms to the ground; siblings on a floor do not import each other."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import keras

import attnscope

ROOT = Path(attnscope.__file__).parent

GROUND = {
    *(
        "errors",
        "schema",
        "labels",
        "findings",
        "maps",
        "colours",
        "marks",
        "masking",
        "plain_values",
        "position_kinds",
    ),
    *("quantities", "roles", "site_names", "stored_scores", "stores", "tensors", "words"),
}
MODEL = {"interception", "running", "discovery", "handlers", "model_names"}
ALLOWED = {
    "errors": set(),
    "colours": set(),
    "patching": set(),
    "tensors": set(),
    "marks": {"colours"},
    "schema": {"errors"},
    "position_kinds": {"labels", "schema"},
    "roles": {"errors", "schema"},
    "site_names": {"schema"},
    "masking": set(),
    "model_names": set(),
    "plain_values": set(),
    "quantities": {"marks", "schema"},
    "words": {"errors", "schema"},
    "labels": {"errors", "schema", "words"},
    "findings": {"marks", "schema"},
    "engines": {"errors"},
    "stores": {"errors", "plain_values", "schema"},
    "stored_scores": {"schema"},
    "maps": {"errors", "findings", "labels", "roles", "schema", "site_names", "stores"},
    "backends": {"errors", "patching", "tensors"},
    "interception": {"backends", "errors", "labels", "model_names", "patching", "schema", "tensors"},
    "tables": {"errors"},
    "frames": {"errors", "tables"},
    "named_arrays": {"errors", "tables"},
    "running": {
        "backends",
        "interception",
        "errors",
        "frames",
        "labels",
        "named_arrays",
        "schema",
        "tables",
        "tensors",
    },
    "discovery": {"backends", "interception", "running", "errors", "schema", "tensors"},
    "handlers": {"backends", "interception", "running", "discovery", "errors", "schema", "tensors"},
    "capturing": {*MODEL, *GROUND, "engines", "loading"},
    "layers": {"errors", "tensors"},
    "loading": {"errors", "layers", "model_names", "patching", "tensors"},
    "analysis": GROUND,
    "attribution": {*MODEL, "capturing", "analysis", *GROUND},
    "trust": {*MODEL, "pages", "attribution", "capturing", "analysis", *GROUND},
    "explaining": {*MODEL, "trust", "pages", "plot", "attribution", "capturing", "frames", "tables", *GROUND},
    "plot": {"frames", "tables", *GROUND},
    "pages": GROUND,
    "reporting": {"pages"},
    "viewer": {"analysis", *GROUND},
    "files": {"backends", "errors", "frames", "loading", "named_arrays", "schema", "tables"},
    "demo": {
        *("attribution", "backends", "capturing", "explaining", "trust", "pages", "viewer", "files", "named_arrays"),
        *GROUND,
    },
    "cli": {
        *("backends", "files", "demo", "discovery", "running", "capturing", "attribution", "trust", "pages", "viewer"),
        *("engines", "explaining", "named_arrays", "tables", *GROUND),
    },
    "__main__": {"cli"},
}


EVERYWHERE = {"_offering", "_version"}
"""What every room may use."""
FRAMEWORKS = {"jax", "tensorflow", "torch"}
BY_NAME = {"__init__.py", "plot/__init__.py", "interception/__init__.py", "backends/_current.py", "analysis/_scipy.py"}
"""Files that import by a name they put together, so that what is slow or optional is loaded when it is asked for."""


@cache
def parsed():
    """Every file: its path below the package, its room, its tree."""
    paths = [path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.py")) if "node_modules" not in path.parts]
    return [
        (path.as_posix(), path.parts[0].removesuffix(".py"), ast.parse((ROOT / path).read_text())) for path in paths
    ]


def imports():
    """Every import, at the top or inside of a function: file, importing room, full name of what is imported."""
    for file, room, tree in parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module, f"{file}:{node.lineno}: a relative import"
                yield from ((file, room, f"{node.module}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((file, room, alias.name) for alias in node.names)


def imports_between_rooms():
    """Of those, what one room takes from another: file, importing room, path below the package."""
    for file, room, name in imports():
        package, *inside = name.split(".")
        if package == "attnscope" and inside[:1] != [room]:
            yield file, room, inside


def test_rooms_import_only_what_lies_below_them():
    found = [(file, room, ".".join(inside)) for file, room, inside in imports_between_rooms() if file != "__init__.py"]
    wrong = [row for row in found if row[2].split(".")[0] not in {*ALLOWED[row[1]], *EVERYWHERE}]
    assert wrong == []
    assert len(found) > 200


def test_no_room_lies_above_itself():
    below = {room: set(rooms) for room, rooms in ALLOWED.items()}
    while below:
        ground = {room for room, rooms in below.items() if not rooms}
        assert ground, f"a circle among {sorted(below)}"
        below = {room: rooms - ground for room, rooms in below.items() if room not in ground}


def test_a_room_is_entered_by_its_door_and_not_by_its_files():
    wrong = [
        (file, ".".join(inside))
        for file, _, inside in imports_between_rooms()
        if any(part.startswith("_") for part in inside) and inside[0] not in EVERYWHERE
    ]
    assert wrong == []


def test_files_in_rooms_are_private_or_named_here():
    public = {
        file for file, _, _ in parsed() if "/" in file and not any(part.startswith("_") for part in file.split("/")[1:])
    }
    assert public == {"loading/replacements.py"}


def test_imports_by_name_are_where_they_are_known():
    using = {
        file
        for file, _, tree in parsed()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id in ("import_module", "__import__"))
        or (isinstance(node, ast.Attribute) and node.attr == "import_module")
    }
    assert using - {file for file in using if file.startswith("loading/")} == BY_NAME


@cache
def own_names(room=None):
    """Private names that attnscope itself defines: functions, classes, attributes and fields."""
    names = set()
    for file, its_room, tree in parsed():
        if room not in (None, its_room):
            continue
        names.add(Path(file).stem)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
    return names


def private_names_of_keras():
    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(2)(x))
    objects = (model, model.layers[-1], model.weights[0], x, keras.layers.MultiHeadAttention(1, 1))
    return {name for thing in objects for name in dir(thing) if name.startswith("_") and not name.startswith("__")}


def accessed(tree):
    """Attributes of anything but `self`, by a dot or by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant):
                yield node.lineno, name.value


def test_keras_insides_are_known_to_three_rooms_alone():
    insides = {"backends", "interception", "layers"}
    of_python = {"_exit", "_getframe", "_SubParsersAction"}
    everywhere, of_keras = own_names(), private_names_of_keras()
    wrong = [(file, name) for file, room, name in imports() if name.startswith("keras.src") and room not in insides]
    for file, room, tree in parsed():
        own = own_names(room)
        for line, name in accessed(tree):
            if not name.startswith("_") or name.startswith("__") or name in of_python:
                continue
            foreign = name not in everywhere or (name in of_keras and name not in own)
            if foreign and room not in insides and not name.startswith("_attnscope"):
                wrong.append((f"{file}:{line}", name))
    assert wrong == []


def test_what_differs_by_backend_is_asked_of_the_backend():
    wrong = []
    for file, room, tree in parsed():
        if room in ("backends", "layers"):
            continue
        for node in ast.walk(tree):
            values = []
            if isinstance(node, ast.Compare):
                values = [node.left, *node.comparators]
            elif isinstance(node, ast.Dict):
                values = [key for key in node.keys if key is not None]
            elif isinstance(node, ast.Subscript):
                values = [node.slice]
            elif isinstance(node, ast.MatchValue):
                values = [node.value]
            named = {value.value for value in values if isinstance(value, ast.Constant)} & FRAMEWORKS
            if named:
                wrong.append((f"{file}:{node.lineno}", *named))
    for file, room, name in imports():
        if name.split(".")[0] in FRAMEWORKS and room not in ("backends", "layers"):
            wrong.append((file, name))
    assert wrong == []


def test_nothing_is_patched_but_by_the_one_room_for_it():
    wrong = [
        (f"{file}:{node.lineno}", node.func.id)
        for file, _, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr")
        if file != "patching.py"
    ]
    for file, _, tree in parsed():
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else []
            wrong += [
                (f"{file}:{node.lineno}", ast.unparse(target))
                for target in targets
                if isinstance(target, ast.Attribute) and ast.unparse(target).startswith("keras.")
            ]
    assert wrong == []


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
    " draws with Matplotlib, which is not installed; only the HTML of ats.plot.tokens works without it. "
    'Install it: pip install "attnscope[plot]".'
)
assert said == [f"ats.plot.heatmap{rest}", f"ats.plot.tokens(...).draw{rest}"], said
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=False).returncode == 0


def test_no_file_has_a_name_that_says_nothing():
    names = {path.stem for path in ROOT.rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}
