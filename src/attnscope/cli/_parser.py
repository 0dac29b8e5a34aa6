"""The options of the commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attnscope._version import __version__
from attnscope.backends import BACKENDS
from attnscope.cli._commands import CODES
from attnscope.engines import ENGINES, LOCAL

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_INPUT_HELP = (
    "samples: a table (.csv, .tsv or .parquet; a line of names, then one sample per line), arrays (.npy, or .npz with "
    "an array by the name of each input) or texts (.txt, one per line)"
)


def parser(functions: Mapping[str, Callable[[argparse.Namespace], None]]) -> argparse.ArgumentParser:
    """What reads the command line.

    Args:
        functions: What each command does, by its name.

    Returns:
        A parser whose result has the function as ``command``.
    """
    whole = argparse.ArgumentParser(
        prog="attnscope",
        description="See what your Keras model attends to, and whether you may believe it.",
        epilog="example: attnscope demo",
    )
    whole.add_argument("--version", action="version", version=f"attnscope {__version__}")
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command, function in functions.items():
        _ADDED[command](commands).set_defaults(command=function)
    return whole


def _command(commands: Commands, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=f"example: {example}"
    )


def _add_backend(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--backend",
        choices=BACKENDS,
        help="Keras backend to run on; default: KERAS_BACKEND, else ~/.keras/keras.json, else the first of "
        f"{', '.join(BACKENDS)} that is installed",
    )


def _add_model_and_inputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a .keras or .h5 file")
    command.add_argument("inputs", metavar="INPUTS", help=_INPUT_HELP)


def _add_table(command: argparse.ArgumentParser) -> None:
    table = command.add_argument_group("tables and arrays by name")
    table.add_argument(
        "--id-column",
        metavar="NAME",
        help="the column, or the array of an .npz file, that says what each sample is called",
    )
    table.add_argument(
        "--truth", metavar="NAME", help="the column or array that says what is right; the model does not read it"
    )
    table.add_argument(
        "--columns",
        metavar="NAMES",
        help="the columns that the model reads, in its order: a,b,c or a text file with one name per line; default: "
        "matched by name if the model has an input for each, else all that are neither ids nor truth, in their order",
    )
    table.add_argument("--drop-missing", action="store_true", help="leave out samples with missing cells")


def _add_classes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--classes", metavar="NAMES", help="what the classes are called: a,b,c or a text file")


def _add_subject(command: argparse.ArgumentParser) -> None:
    """What is explained, and of which positions."""
    _add_classes(command)
    command.add_argument("--labels", metavar="NAMES", help="names of the positions: a,b,c or a text file")
    command.add_argument("--positions", metavar="INPUT", help="the input that is explained, where there are several")
    command.add_argument("--grid", nargs=2, type=int, metavar=("ROWS", "COLUMNS"), help="patches, for pictures")
    command.add_argument("--padding", type=float, metavar="NUMBER", help="the number that is padding")
    command.add_argument("--sites", nargs="+", metavar="PATTERN", help="which attention is read; default: all of it")
    command.add_argument("--batch-size", type=int, default=64, metavar="N", help="samples per batch; default: 64")


def _add_inspect(commands: Commands) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "inspect",
        "list the sites in a model where attention is computed, without running it",
        "attnscope inspect model.keras",
    )
    command.add_argument("model", metavar="MODEL", help="a .keras or .h5 file")
    command.add_argument(
        "inputs",
        metavar="INPUTS",
        nargs="?",
        help=f"{_INPUT_HELP}; only their shapes are used. Default: the shapes that the model declares, with 16 for "
        "unknown sizes",
    )
    _add_table(command)
    _add_backend(command)
    return command


def _add_capture(commands: Commands) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "capture",
        "write a model's attention on some samples to a Zarr store",
        "attnscope capture model.keras samples.csv -o run.zarr --sites 'block_0*' --summaries received entropy",
    )
    _add_model_and_inputs(command)
    command.add_argument("-o", "--output", required=True, metavar="RUN", help="where to write, such as run.zarr")
    command.add_argument(
        "--sites",
        nargs="+",
        metavar="PATTERN",
        help="glob patterns of site names; default: all attention sites",
    )
    command.add_argument(
        "--summaries",
        nargs="+",
        metavar="SUMMARY",
        default=["full"],
        help="what to keep, such as entropy,received,topk:8,thumbnail:64: the whole map (full), the attention that "
        "each key receives, the entropy of each query, its strongest keys, a small picture of each map, chosen rows "
        "(rows:0), the distance that each query looks, the mean over the heads (headmean); default: full",
    )
    command.add_argument("--labels", help="names of the positions: a,b,c or a text file with one name per line")
    command.add_argument(
        "--codes",
        choices=CODES,
        default=CODES[0],
        help="how scores are stored: float16 (off by 0.00025 at most), uint8 (off by 0.004 at most, in about a third "
        "of the bytes) or exact; default: float16",
    )
    command.add_argument(
        "--commit-every",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="after which what was captured is written to the disk for good; a run that is killed loses no more; "
        "default: 10",
    )
    command.add_argument("--batch-size", type=int, default=32, metavar="N", help="samples per batch; default: 32")
    command.add_argument(
        "--engine",
        choices=ENGINES,
        default=LOCAL,
        help="who computes: this process (local), other processes on this machine, or actors on a Ray cluster; "
        "default: local",
    )
    command.add_argument(
        "--workers", type=int, metavar="N", help="how many processes or actors; default: as many as there are cores"
    )
    _add_table(command)
    _add_backend(command)
    if_it_exists = command.add_mutually_exclusive_group()
    if_it_exists.add_argument("--force", action="store_true", help="replace an existing run at RUN")
    if_it_exists.add_argument(
        "--resume",
        action="store_true",
        help="resume an interrupted run at RUN where it stopped; if nothing is there, start one",
    )
    return command


def _add_view(commands: Commands) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "view",
        "show a captured run in the browser, served to this machine only; maps are read when you look at them",
        "attnscope view run.zarr --samples 100:200",
    )
    command.add_argument("run_path", metavar="RUN", help="what `attnscope capture` wrote")
    command.add_argument(
        "--port",
        type=int,
        metavar="N",
        help="port of 127.0.0.1, 0 for any free port; default: 8765, or another port if that is taken",
    )
    command.add_argument(
        "--samples", metavar="A:B", help="samples from A up to, but not including, B; default: the first 256"
    )
    command.add_argument("--title", help="heading of the page; default: the name of the model")
    command.add_argument("--no-browser", action="store_true", help="print the address, but do not open a browser")
    return command


def _add_verify(commands: Commands) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "verify",
        "read all of a captured run, and say what is damaged and what is readable",
        "attnscope verify run.zarr",
    )
    command.add_argument("run_path", metavar="RUN", help="what `attnscope capture` wrote")
    return command


def _add_report(commands: Commands) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "report",
        "write one offline page that shows a captured run",
        "attnscope report run.zarr -o report.html",
    )
    command.add_argument("run_path", metavar="RUN", help="what `attnscope capture` wrote")
    command.add_argument(
        "-o", "--output", default="report.html", metavar="PAGE", help="where to write; default: report.html"
    )
    command.add_argument("--title", help="heading of the page; default: the name of the model")
    _add_classes(command)
    command.add_argument("--force", action="store_true", help="replace an existing file at PAGE")
    return command


def _add_attribute(commands: Commands) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "attribute",
        "write how much each part of the inputs counts for what the model says",
        "attnscope attribute model.keras patients.csv --id-column patient --method occlusion -o relevance.csv",
    )
    _add_model_and_inputs(command)
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="where to write: .csv (for spreadsheets), .json or .zarr"
    )
    command.add_argument(
        "--target",
        nargs="+",
        metavar="CLASS",
        help="the class that is explained, by number or name, or several; default: the one that the model predicts for "
        "each sample",
    )
    command.add_argument(
        "--method", default="chefer", help="such as chefer, integrated_gradients, occlusion, shapley; default: chefer"
    )
    command.add_argument(
        "--samples", metavar="IDS", help="which samples: ids or numbers, P-017,P-020, or 0:20; default: all"
    )
    _add_subject(command)
    _add_table(command)
    _add_backend(command)
    command.add_argument("--force", action="store_true", help="replace an existing file at FILE")
    return command


def _add_evidence(commands: Commands) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "evidence",
        "test which methods explain this model on these samples, and write an evidence card",
        "attnscope evidence model.keras patients.csv --id-column patient --truth diagnosis -o card.html",
    )
    _add_model_and_inputs(command)
    command.add_argument("-o", "--output", required=True, metavar="CARD", help="where to write: .html or .json")
    command.add_argument(
        "--target",
        metavar="CLASS",
        help="the class that is explained, by number or name; default: the one that the model predicts for each sample",
    )
    command.add_argument(
        "--methods", nargs="+", metavar="METHOD", help="methods that are tested; default: all that the model allows"
    )
    command.add_argument("--samples", type=int, metavar="N", help="how many samples are tested, drawn at random")
    command.add_argument("--budget", help="about how long it may take, such as '5 min'")
    command.add_argument("--seed", type=int, default=0, help="of everything that is drawn; default: 0")
    _add_subject(command)
    _add_table(command)
    _add_backend(command)
    command.add_argument("--force", action="store_true", help="replace an existing file at CARD")
    return command


def _add_explain(commands: Commands) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "explain",
        "write what the model's answers for some samples depend on, by a method that is tested on this model first",
        "attnscope explain model.keras patients.csv --id-column patient --classes benign,malignant --samples "
        "P-017,P-020 -o page.html",
    )
    _add_model_and_inputs(command)
    command.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="PAGE",
        help="where to write: .html, .json, .csv; or pictures, .pdf, .png or .svg",
    )
    command.add_argument(
        "--samples",
        metavar="IDS",
        help="which samples: ids or numbers, P-017,P-020, or 0:5; or 'random', 'most certain' or 'most wrong' (with "
        "--truth) for five; default: the first five. All samples serve to test the methods",
    )
    command.add_argument(
        "--target",
        metavar="CLASS",
        help="the class that is explained, by number or name; default: the one that the model predicts for each sample",
    )
    command.add_argument(
        "--method",
        default="auto",
        help="the method that is drawn, whatever its verdict; default: the one that explains by the widest margin",
    )
    command.add_argument("--budget", help="about how long the methods are tested, such as '5 min'; default: 2 min")
    command.add_argument(
        "--untested",
        action="store_true",
        help="test no method, which the page says; --method has to say which is drawn",
    )
    command.add_argument("--seed", type=int, default=0, help="of everything that is drawn at random; default: 0")
    _add_subject(command)
    _add_table(command)
    _add_backend(command)
    command.add_argument("--force", action="store_true", help="replace an existing file at PAGE")
    return command


def _add_demo(commands: Commands) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "demo",
        "train a small model, capture its attention and write a report; needs no network",
        "attnscope demo --text -o names-demo",
    )
    command.add_argument(
        "--text",
        action="store_true",
        help="use a GRU with attention over the letters of first names instead of a transformer over the features of "
        "biopsies",
    )
    command.add_argument(
        "-o",
        "--output",
        default="attnscope-demo",
        metavar="FOLDER",
        help="where to write; default: attnscope-demo",
    )
    _add_backend(command)
    command.add_argument("--force", action="store_true", help="replace the files of an earlier demo")
    return command


_ADDED: dict[str, Callable[[Commands], argparse.ArgumentParser]] = {
    "inspect": _add_inspect,
    "capture": _add_capture,
    "view": _add_view,
    "report": _add_report,
    "verify": _add_verify,
    "attribute": _add_attribute,
    "evidence": _add_evidence,
    "explain": _add_explain,
    "demo": _add_demo,
}
"""What adds each command."""
