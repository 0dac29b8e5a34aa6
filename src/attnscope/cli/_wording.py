"""What the library says, in the words of the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Container

_OPTIONS = {
    "batch_size": "batch_size",
    "budget": "budget",
    "classes": "classes",
    "grid": "grid",
    "labels": "labels",
    "method": "method",
    "methods": "methods",
    "padding": "padding",
    "positions": "positions",
    "resume": "resume",
    "sites": "sites",
    "target": "target",
}
"""Arguments of functions, and the options that stand for them."""
_EXAMPLES = {"sites": "'encoder*'"}
_BY_SPACES = ("grid", "methods", "sites", "target")
_VALUE = r"\[[^\[\]]*\]|\([^()]*\)|\{[^{}]*\}|'[^']*'|\w+(?:\.\w+)*(?:\([^()]*\))?"
_ASSIGNMENT = re.compile(rf"(?<![\w-])({'|'.join(_OPTIONS)})=({_VALUE})")
_CALLS = (
    (
        r"(?:ats|attnscope)\.capture\(model, inputs, store=('[^']*'), resume=True\)",
        r"attnscope capture MODEL INPUTS -o \1 --resume",
    ),
    (r"maps\.save\(('[^']*')\)", r"attnscope capture MODEL INPUTS -o \1"),
    (r"ats\.sites\(model, inputs\)", "attnscope inspect MODEL INPUTS"),
    (r"(?<![\w-])truth=\[\.\.\.\]", "--truth NAME"),
    (r"summaries=\[ats\.Received\(\), ats\.Entropy\(\)\]", "--summaries received entropy"),
    (
        r"Turn arrays from elsewhere into maps with ats\.AttentionMaps\.from_arrays\(\{\.\.\.\}\)\.",
        "Write a run: attnscope capture MODEL INPUTS -o run.zarr",
    ),
)


def in_options(message: str, known: Container[str]) -> str:
    """A message of the library that speaks of the options of a command instead of arguments of a function.

    Args:
        message: What the library says.
        known: The options of the command, as `argparse` calls them.
    """
    for pattern, replacement in _CALLS:
        message = re.sub(pattern, replacement, message)
    return _ASSIGNMENT.sub(lambda match: _option(match, known), message)


def _option(match: re.Match[str], known: Container[str]) -> str:
    option = _OPTIONS[match[1]]
    if option not in known and f"{option}s" in known:
        option = f"{option}s"
    words = _value(option, match[2])
    if option not in known or words is None:
        return f"in Python, {match[0]}"
    return f"--{option.replace('_', '-')} {words}".rstrip()


def _value(option: str, code: str) -> str | None:
    """A value as it is written on the command line; None if it can only be given in Python."""
    try:
        value = ast.literal_eval(code)
    except (ValueError, SyntaxError):
        return None
    if isinstance(value, bool):
        return "" if value else None
    if isinstance(value, (list, tuple)):
        if not value or value == [...]:
            return _EXAMPLES.get(option, "a,b,c")
        items = [_quoted(str(item)) for item in value if item is not ...]
        return " ".join(items) if option in _BY_SPACES else ",".join(items)
    return None if isinstance(value, dict) else _quoted(str(value))


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[\w.,:/-]+", text) else repr(text)


def of_undeclared_inputs(error: BaseException) -> str | None:
    """What attnscope notes on the error of a model that declares no inputs, and what went wrong; None for others."""
    note = next((note for note in getattr(error, "__notes__", ()) if "could not check what it was given" in note), None)
    if note is None:
        return None
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # Keras writes in bold
    lines = [line.strip() for line in plain.splitlines()]
    own = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    return f"{note} It failed with: {own[0] if own else type(error).__name__}"
