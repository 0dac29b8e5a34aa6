"""What the library says of functions and their arguments, the command line says of commands and their options."""

import ast
import re
from pathlib import Path

import pytest

import attnscope
from attnscope.cli import _wording
from attnscope.cli._wording import in_options

ROOMS = (
    *("attribution", "backends", "capturing", "discovery", "explaining", "interception", "loading", "pages"),
    *("running", "trust"),
)
"""What the commands call, and whose errors they show."""
OF_OTHER_FUNCTIONS = {
    *("batch_dims", "bounds", "conjugate", "dims", "draws", "floor", "inputs", "kind", "level", "loss"),
    *("part", "permutations", "perturbations", "radius", "removals", "resamples", "thresholds"),
}
"""Arguments of functions that no command calls, or that a command does not give; and settings in a model file."""


@pytest.mark.parametrize(
    ("said", "on_the_command_line"),
    [
        ("Give one: target=0.", "Give one: --target 0."),
        ("target=['a b', 'c']", "--target 'a b' c"),
        ("for each: target=PerSample([...]).", "for each: in Python, target=PerSample([...])."),
        ("Name one: target={'risk': 0}.", "Name one: in Python, target={'risk': 0}."),
        ("the names of all classes: classes=[...].", "the names of all classes: --classes a,b,c."),
        ("grid=(2, 3) makes patches", "--grid 2 3 makes patches"),
        ("takes 'a', 'b': positions='a'.", "takes 'a', 'b': --positions a."),
        ("Leave the site out: sites=[...].", "Leave the site out: --sites 'encoder*'."),
        ("labels={'text': names}", "in Python, labels={'text': names}"),
        ("Use the weights themselves: method='raw'. Or", "Use the weights themselves: --methods raw. Or"),
        ("batch_size is 0: batch_size=32.", "batch_size is 0: in Python, batch_size=32."),
        ("All names: ats.sites(model, inputs).", "All names: attnscope inspect MODEL INPUTS."),
        ("There is no column 'target=1'.", "There is no column 'target=1'."),
        ("Keras' own: padding=-1. Or grid=(2, 3)", "Keras' own: in Python, padding=-1. Or --grid 2 3"),
        ("pad_sequences(x, padding='post', target=1) makes it", "pad_sequences(x, padding='post', target=1) makes it"),
        (
            "Leave sites out to capture all of it, and leave grid out.",
            "Leave --sites out to capture all of it, and leave --grid out.",
        ),
        ("leave card=False out.", "leave --untested out."),
        ("leave card=True out.", "leave in Python, card=True out."),
        ("Take it from elsewhere: truth=[...], ids=[...].", "Take it from elsewhere: --truth NAME, --id-column NAME."),
        ("samples=['P-031']", "--samples P-031"),
        (
            "If you trust it: load_model(path, trust=True); or put load_model(path, replacements={'a b': layer}).",
            "If you trust it: in Python, load_model(path, trust=True); or put load_model(path, replacements={'a b': "
            "layer}).",
        ),
        (
            "ats.capture(..., summaries=[ats.Full(), ats.Entropy()]).",
            "attnscope capture MODEL INPUTS --summaries full entropy -o run.zarr.",
        ),
        (
            "Resume: attnscope.capture(model, inputs, store='a b.zarr', resume=True).",
            "Resume: attnscope capture MODEL INPUTS -o 'a b.zarr' --resume.",
        ),
        ("Test it: ats.evidence(model, inputs).", "Test it: attnscope evidence MODEL INPUTS -o card.html."),
        ("ats.evidence(model, inputs, target=...)", "attnscope evidence MODEL INPUTS --target CLASS -o card.html"),
        ("ats.capture(model, inputs, labels=names)", "in Python, ats.capture(model, inputs, labels=names)"),
        ("roles={'cross': ('a', 'b')}", "in Python, roles={'cross': ('a', 'b')}"),
        ("rollout(maps, sites=[...])", "--sites 'encoder*'"),
        ("Start again: KERAS_BACKEND=jax python ...", "Start again: KERAS_BACKEND=jax python ..."),
        ("it has no end: target=[0, (1", "it has no end: target=[0, (1"),
    ],
)
def test_what_the_library_says_is_said_in_options(said, on_the_command_line):
    known = {"target", "classes", "grid", "positions", "sites", "labels", "methods", "samples", "truth", "id_column"}
    known |= {"untested"}
    assert in_options(said, known) == on_the_command_line


def test_the_command_line_knows_every_argument_that_an_error_names():
    named = {name for room in ROOMS for message in errors_of(room) for name in arguments_in(message)}
    assert named - OF_OTHER_FUNCTIONS - set(_wording._OPTIONS) - set(_wording._IN_PYTHON_ALONE) == set()
    assert {"sites", "target", "truth", "roles"} <= named


def errors_of(room):
    """The texts of all errors of a room, with 0 for what is put into them."""
    for path in sorted((Path(attnscope.__file__).parent / room).rglob("*.py")):
        for raised in ast.walk(ast.parse(path.read_text())):
            if isinstance(raised, ast.Raise):
                put_together = [node for node in ast.walk(raised) if isinstance(node, ast.JoinedStr)]
                parts = [part for node in put_together for part in node.values]
                yield from map(text_of, put_together)
                yield from (
                    node.value
                    for node in ast.walk(raised)
                    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts
                )


def text_of(node):
    return "".join(part.value if isinstance(part, ast.Constant) else "0" for part in node.values)


def arguments_in(message):
    """Names before a ``=`` that stand neither in quotation marks nor in brackets."""
    message, before = re.sub(r"(?<!\w)'[^']*'(?!\w)", "0", message), None
    while message != before:
        message, before = re.sub(r"[(\[{][^()\[\]{}]*[)\]}]", "0", message), message
    return re.findall(r"(?<![\w.(])([a-z_]+)=", message)
