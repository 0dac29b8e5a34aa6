"""What the library says, in the words of the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Container

_OPTIONS = {
    "batch_size": "batch_size",
    "budget": "budget",
    "card": "untested",
    "classes": "classes",
    "codes": "codes",
    "engine": "engine",
    "commit_every": "commit_every",
    "grid": "grid",
    "ids": "id_column",
    "labels": "labels",
    "method": "method",
    "methods": "methods",
    "overwrite": "force",
    "padding": "padding",
    "positions": "positions",
    "resume": "resume",
    "samples": "samples",
    "seed": "seed",
    "sites": "sites",
    "store": "output",
    "summaries": "summaries",
    "target": "target",
    "truth": "truth",
    "workers": "workers",
}
"""Arguments of functions, and the options that stand for them."""
_IN_PYTHON_ALONE = (
    *(
        "baseline",
        "custom_objects",
        "images",
        "kept",
        "prefix",
        "profile",
        "query",
        "removal",
        "replacements",
        "roles",
        "rule",
    ),
    *("steps", "trust", "wiring"),
)
"""Arguments that no option stands for."""
_COMMANDS = {
    "attribute": ("attribute MODEL INPUTS", "relevance.csv"),
    "capture": ("capture MODEL INPUTS", "run.zarr"),
    "evidence": ("evidence MODEL INPUTS", "card.html"),
    "explain": ("explain MODEL INPUTS", "page.html"),
    "sites": ("inspect MODEL INPUTS", ""),
}
"""Functions, and the commands that stand for them, with what they write."""
_EXAMPLES = {"id_column": "NAME", "sites": "'encoder*'", "summaries": "full", "target": "CLASS", "truth": "NAME"}
_BY_SPACES = ("grid", "methods", "sites", "summaries", "target")
_SWITCHES = {"force": True, "resume": True, "untested": False}
"""Options without a value, and the value of the argument that they stand for."""
_PHRASES = (
    (
        r"Give exactly its own: \{[^{}]*\}\.",
        "Give exactly its own, by name. An array of ids is named by --id-column, and one of what is right by --truth.",
    ),
    (r"\bmaps\.save\(('[^']*')\)", r"attnscope capture MODEL INPUTS -o \1"),
    (r"\b(?:rollout|flow)\(maps, (sites=\[\.\.\.\])\)", r"\1"),
    (
        r"Turn arrays from elsewhere into maps with ats\.AttentionMaps\.from_arrays\(\{\.\.\.\}\)\.",
        "Write a run: attnscope capture MODEL INPUTS -o run.zarr",
    ),
)
"""What is said in other words."""
_LEFT_OUT = re.compile(rf"(?<=[Ll]eave )(?:{'|'.join(_OPTIONS)})(?= out\b)")
"""Arguments that an error advises to leave out."""
_TEXT = r"""(?<!\w)'(?:[^'\\]|\\.)*'(?!\w)|(?<!\w)"(?:[^"\\]|\\.)*"(?!\w)"""
_BRACKET = re.compile(rf"{_TEXT}|[()\[\]{{}}]")
_CODE = re.compile(rf"{_TEXT}|(?<![\w.-])(?P<name>[A-Za-z_][\w.]*)(?:(?P<call>\()|=(?=[\w'\"\[({{-]))")
_WORD = re.compile(rf"{_TEXT}|-?[\w.]*\w")


def in_options(message: str, known: Container[str]) -> str:
    """A message of the library that speaks of commands and their options instead of functions and their arguments.

    What somebody else wrote, such as the names of columns and layers, is within quotation marks, and is left as it is.

    Args:
        message: What the library says.
        known: The options of the command, as `argparse` calls them.
    """
    for pattern, replacement in _PHRASES:
        message = re.sub(pattern, replacement, message)
    message = _LEFT_OUT.sub(lambda found: _option_itself(found[0], known), message)
    done, said = 0, ""
    while found := _CODE.search(message, done):
        said += message[done : found.start()]
        start = found.end() - 1 if found["call"] else found.end()
        end = None if found["name"] is None else _end_of_value(message, start)
        done = end or found.end()
        code = message[found.start() : done]
        said += code if end is None else _translated(code, found["name"], code[start - found.start() :], known, said)
    return said + message[done:]


def _option_itself(argument: str, known: Container[str]) -> str:
    option = _OPTIONS[argument]
    return f"--{option.replace('_', '-')}" if option in known and option not in _SWITCHES else argument


def _translated(code: str, name: str, value: str, known: Container[str], said: str) -> str:
    """A call or an argument in the words of the command line; after what was said before."""
    if value.startswith("(") and code == name + value:
        if not (name.startswith(("ats.", "attnscope.")) or name == "load_model"):
            return code
        words = _command(code)
    elif name in _OPTIONS:
        words = _option(name, value, known)
    elif name in _IN_PYTHON_ALONE:
        words = None
    else:
        return code
    if words is not None:
        return words
    return code if "n Python" in said.rpartition(". ")[2] else f"in Python, {code}"


def _end_of_value(message: str, start: int) -> int | None:
    """Where a value or the arguments of a call end; None if they do not."""
    if message[start] not in "([{":
        word = _WORD.match(message, start)
        if word is None:
            return None
        return _end_of_value(message, word.end()) if message[word.end() : word.end() + 1] == "(" else word.end()
    depth = 0
    for mark in _BRACKET.finditer(message, start):
        depth += (mark[0] in "([{") - (mark[0] in ")]}")
        if not depth:
            return mark.end()
    return None


def _command(call: str) -> str | None:
    """The command that does what a function does; None if there is none."""
    name = call[: call.index("(")].rpartition(".")[2]
    if name not in _COMMANDS:
        return None
    command, output = _COMMANDS[name]
    try:
        keywords = ast.parse(call, mode="eval").body.keywords  # type: ignore[attr-defined]
    except SyntaxError:
        return None
    given = [(word.arg, _option(word.arg, ast.unparse(word.value), _OPTIONS.values())) for word in keywords]
    if any(option is None for _, option in given):
        return None
    written = [f"-o {output}"] if output and all(argument != "store" for argument, _ in given) else []
    return " ".join(["attnscope", command, *(option for _, option in given if option), *written])


def _option(argument: str | None, value: str, known: Container[str]) -> str | None:
    """The option for an argument of a function; None if it can only be given in Python."""
    option = _OPTIONS.get(argument or "", "")
    if option not in known and f"{option}s" in known:
        option = f"{option}s"
    words = _value(option, value)
    if option not in known or words is None:
        return None
    return f"{'-o' if option == 'output' else '--' + option.replace('_', '-')} {words}".rstrip()


def _value(option: str, code: str) -> str | None:
    """A value as it is written on the command line; None if it can only be given in Python."""
    if option == "summaries":
        code = re.sub(r"\b(?:ats|attnscope)\.(\w+)\((\d*)\)", _summary_word, code)
    try:
        value = ast.literal_eval(code)
    except (ValueError, SyntaxError):
        return None
    if option in _SWITCHES:
        return "" if value is _SWITCHES[option] else None
    if isinstance(value, bool) or value is None:
        return None
    if value is ... or (isinstance(value, (list, tuple)) and (not value or value[0] is ...)):
        return _EXAMPLES.get(option, "a,b,c")
    if isinstance(value, (list, tuple)):
        items = [_quoted(str(item)) for item in value if item is not ...]
        return " ".join(items) if option in _BY_SPACES else ",".join(items)
    if option == "output":
        return repr(value)
    return None if isinstance(value, dict) else _quoted(str(value))


def _summary_word(match: re.Match[str]) -> str:
    """A summary in Python as it is named on the command line, in quotes."""
    return repr(match[1].lower() + (f":{match[2]}" if match[2] else ""))


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
