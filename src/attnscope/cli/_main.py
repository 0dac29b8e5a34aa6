"""The command line: options, and what is said on it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope._version import __version__
from attnscope.backends import BACKENDS, choose_backend
from attnscope.cli._commands import (
    SUMMARIES,
    as_slice,
    attribute_to,
    capture_to,
    check_free,
    evidence_to,
    explain_to,
    inspect,
)
from attnscope.cli._wording import in_options, of_undeclared_inputs
from attnscope.errors import AttnscopeError
from attnscope.files import read_inputs, read_names

if TYPE_CHECKING:
    from attnscope.schema import Site, SiteTable

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_INPUT_HELP = (
    "samples: a table (.csv, .tsv or .parquet; a line of names, then one sample per line), arrays (.npy, or .npz with "
    "an array by the name of each input) or texts (.txt, one per line)"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: What follows ``attnscope`` on the command line; None to read it from there.

    Returns:
        Exit code: 0; 2 if attnscope cannot do it, and says why on stderr; 130 if the user stopped it. Unforeseen errors
        are raised.
    """
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (AttnscopeError, OSError) as error:
        print(f"attnscope: {in_options(str(error), vars(options))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resume = " Run the same command again to resume where it stopped." if getattr(options, "resume", False) else ""
        print(f"attnscope: stopped.{resume}", file=sys.stderr)
        return 130
    except Exception as error:
        words = of_undeclared_inputs(error)
        if words is None:
            raise
        print(f"attnscope: {words}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="attnscope",
        description="See what your Keras model attends to, and whether you may believe it.",
        epilog="example: attnscope demo",
    )
    parser.add_argument("--version", action="version", version=f"attnscope {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_inspect(commands)
    _add_capture(commands)
    _add_view(commands)
    _add_report(commands)
    _add_attribute(commands)
    _add_evidence(commands)
    _add_explain(commands)
    _add_demo(commands)
    return parser


def _command(
    commands: Commands, name: str, function: Callable[[argparse.Namespace], None], summary: str, example: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=f"example: {example}"
    )
    command.set_defaults(command=function)
    return command


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
    table = command.add_argument_group("tables")
    table.add_argument("--id-column", metavar="NAME", help="the column that says what each sample is called")
    table.add_argument("--truth", metavar="NAME", help="the column that says what is right; the model does not read it")
    table.add_argument(
        "--columns",
        metavar="NAMES",
        help="the columns that the model reads, in its order: a,b,c or a text file with one name per line; default: "
        "matched by name if the model has an input for each, else all that are neither ids nor truth, in their order",
    )
    table.add_argument("--drop-missing", action="store_true", help="leave out samples with missing cells")


def _add_subject(command: argparse.ArgumentParser) -> None:
    """What is explained, and of which positions."""
    command.add_argument("--classes", metavar="NAMES", help="what the classes are called: a,b,c or a text file")
    command.add_argument("--labels", metavar="NAMES", help="names of the positions: a,b,c or a text file")
    command.add_argument("--positions", metavar="INPUT", help="the input that is explained, where there are several")
    command.add_argument("--grid", nargs=2, type=int, metavar=("ROWS", "COLUMNS"), help="patches, for pictures")
    command.add_argument("--padding", type=float, metavar="NUMBER", help="the number that is padding")
    command.add_argument("--sites", nargs="+", metavar="PATTERN", help="which attention is read; default: all of it")
    command.add_argument("--batch-size", type=int, default=64, metavar="N", help="samples per batch; default: 64")


def _subject(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments that the options of `_add_subject`, and others that both commands have, stand for."""
    return {
        "classes": options.classes,
        "labels": options.labels,
        "positions": options.positions,
        "grid": None if options.grid is None else tuple(options.grid),
        "padding": options.padding,
        "sites": options.sites,
        "batch_size": options.batch_size,
        "backend": options.backend,
        "overwrite": options.force,
        "say": lambda line: print(f"{line}\n"),
    }


def _samples(options: argparse.Namespace) -> Any:
    """What is in the file of samples."""
    return read_inputs(
        options.inputs,
        id_column=options.id_column,
        truth=options.truth,
        columns=options.columns,
        drop_missing=options.drop_missing,
    )


def _target(words: Sequence[str] | None, classes: str | None) -> Any:
    """Classes by number or name; the name, where a class is called like a number."""
    if words is None:
        return None
    names = [] if classes is None else read_names(classes, option="--classes")
    targets = [int(word) if word.isascii() and word.isdecimal() and word not in names else word for word in words]
    return targets[0] if len(targets) == 1 else targets


def _add_inspect(commands: Commands) -> None:
    command = _command(
        commands,
        "inspect",
        _do_inspect,
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


def _add_capture(commands: Commands) -> None:
    command = _command(
        commands,
        "capture",
        _do_capture,
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
        choices=SUMMARIES,
        default=["full"],
        help="what to keep: the whole map, the attention that each key receives, the entropy of each query, or its 16 "
        "strongest keys; default: full",
    )
    command.add_argument("--labels", help="names of the positions: a,b,c or a text file with one name per line")
    command.add_argument("--batch-size", type=int, default=32, metavar="N", help="samples per batch; default: 32")
    _add_table(command)
    _add_backend(command)
    if_it_exists = command.add_mutually_exclusive_group()
    if_it_exists.add_argument("--force", action="store_true", help="replace an existing run at RUN")
    if_it_exists.add_argument(
        "--resume",
        action="store_true",
        help="write directly to RUN; if an earlier --resume was interrupted there, resume where it stopped",
    )


def _add_view(commands: Commands) -> None:
    command = _command(
        commands,
        "view",
        _do_view,
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


def _add_report(commands: Commands) -> None:
    command = _command(
        commands,
        "report",
        _do_report,
        "write one offline page that shows a captured run",
        "attnscope report run.zarr -o report.html",
    )
    command.add_argument("run_path", metavar="RUN", help="what `attnscope capture` wrote")
    command.add_argument(
        "-o", "--output", default="report.html", metavar="PAGE", help="where to write; default: report.html"
    )
    command.add_argument("--title", help="heading of the page; default: the name of the model")
    command.add_argument("--force", action="store_true", help="replace an existing file at PAGE")


def _add_attribute(commands: Commands) -> None:
    command = _command(
        commands,
        "attribute",
        _do_attribute,
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


def _add_evidence(commands: Commands) -> None:
    command = _command(
        commands,
        "evidence",
        _do_evidence,
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


def _add_explain(commands: Commands) -> None:
    command = _command(
        commands,
        "explain",
        _do_explain,
        "write what the model's answers for some samples depend on, by a method that is tested on this model first",
        "attnscope explain model.keras patients.csv --id-column patient --classes benign,malignant --samples "
        "P-017,P-020 -o page.html",
    )
    _add_model_and_inputs(command)
    command.add_argument("-o", "--output", required=True, metavar="PAGE", help="where to write: .html, .json or .csv")
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
        "--untested", action="store_true", help="test no method; --method says which is drawn, and the page says so"
    )
    command.add_argument("--seed", type=int, default=0, help="of everything that is drawn at random; default: 0")
    _add_subject(command)
    _add_table(command)
    _add_backend(command)
    command.add_argument("--force", action="store_true", help="replace an existing file at PAGE")


def _add_demo(commands: Commands) -> None:
    command = _command(
        commands,
        "demo",
        _do_demo,
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


def _do_inspect(options: argparse.Namespace) -> None:
    table = inspect(options.model, _samples(options) if options.inputs else None, backend=options.backend)
    if sys.stdout.isatty():
        _print_table(table)
    else:
        print(table)


def _print_table(sites: SiteTable) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    rows = [_cells(site) for site in sites]
    for column, heading in enumerate(("", "site", "layer", "scores", "why, and where its dims come from")):
        longest_word = max((len(word) for row in rows for word in row[column].split()), default=1)
        table.add_column(heading, overflow="fold", min_width=min(longest_word, 24))
    for site, row in zip(sites, rows, strict=True):
        table.add_row(*map(Text, row), style=None if site.taken else "dim")
    console = Console()
    console.print(table if sites else "no sites")
    console.print("\n+ captured by default   - captured only if asked for by name", style="dim")


def _cells(site: Site) -> tuple[str, ...]:
    from attnscope.schema import lineage_in_words

    sizes = ", ".join(f"{dim} {size}" for dim, size in zip(site.dims, site.shape, strict=False))
    layer = ", ".join(filter(None, (site.layer_class, site.kind)))
    known = f"\n{site.certainty}: {'; '.join(lineage_in_words(site))}".removesuffix(": ") if site.dims else ""
    return "+" if site.taken else "-", site.name, layer, sizes, site.reason + known


def _do_capture(options: argparse.Namespace) -> None:
    maps = capture_to(
        options.output,
        options.model,
        _samples(options),
        sites=options.sites,
        summaries=options.summaries,
        labels=options.labels,
        batch_size=options.batch_size,
        backend=options.backend,
        overwrite=options.force,
        resume=options.resume,
        say=lambda line: print(f"{line}\n"),
    )
    print(
        f"{maps!r}\n\nLint: {maps.findings!r}\n\nWritten to {options.output}. In Python: "
        f"attnscope.open({options.output!r})"
    )


def _do_view(options: argparse.Namespace) -> None:
    from attnscope.viewer import serve

    serve(
        options.run_path,
        port=options.port,
        samples=None if options.samples is None else as_slice(options.samples),
        title=options.title,
        open_browser=not options.no_browser,
    )


def _do_report(options: argparse.Namespace) -> None:
    from attnscope.maps import open_maps
    from attnscope.pages import report, save_report

    check_free(Path(options.output), options.force)
    page = report(open_maps(options.run_path), title=options.title)
    save_report(page, options.output, overwrite=options.force)
    print(f"Written to {options.output}. Open it in a browser.")


def _do_attribute(options: argparse.Namespace) -> None:
    relevance = attribute_to(
        options.output,
        options.model,
        _samples(options),
        target=_target(options.target, options.classes),
        method=options.method,
        samples=options.samples,
        **_subject(options),
    )
    targets = relevance["target"].values.tolist() if "target" in relevance.dims else [relevance.attrs["target"]]
    samples = relevance.sizes["sample"]
    print(
        f"Relevance by {options.method.replace('_', ' ')} of {samples} {'sample' if samples == 1 else 'samples'} for "
        f"{', '.join(targets)}. Whether this method explains this model: attnscope evidence MODEL INPUTS -o card.html"
        f"\n\nWritten to {options.output}."
    )


def _do_evidence(options: argparse.Namespace) -> None:
    card = evidence_to(
        options.output,
        options.model,
        _samples(options),
        target=_target(None if options.target is None else [options.target], options.classes),
        methods=options.methods,
        samples=options.samples,
        budget=_seconds(options.budget),
        seed=options.seed,
        **_subject(options),
    )
    print(f"{card!r}\n\nWritten to {options.output}.")


def _do_explain(options: argparse.Namespace) -> None:
    explanation = explain_to(
        options.output,
        options.model,
        _samples(options),
        target=_target(None if options.target is None else [options.target], options.classes),
        method=options.method,
        samples=options.samples,
        test=not options.untested,
        budget=_seconds(options.budget),
        seed=options.seed,
        **_subject(options),
    )
    print(f"{explanation!r}\n\nWritten to {options.output}.")


def _seconds(text: str | None) -> str | float | None:
    """A time limit: a number is seconds."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _do_demo(options: argparse.Namespace) -> None:
    choose_backend(options.backend)
    from attnscope.demo import demonstrate_features, demonstrate_names

    demonstrate = demonstrate_names if options.text else demonstrate_features
    demonstration = demonstrate(options.output, overwrite=options.force, say=lambda line: print(line, flush=True))
    print(f"\n{demonstration.text}")
