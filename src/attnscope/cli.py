"""The commands: `inspect`, `capture`, `view`, `report`, `demo`.

Each command is a thin layer over a function that does the same, and every option is an option of that function.
Nothing slow is loaded before a command runs, and Keras is not loaded before its backend is chosen.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attnscope._version import __version__
from attnscope.backends import BACKENDS, choose_backend
from attnscope.errors import AttnscopeError, InputError, WouldOverwriteError
from attnscope.files import Inputs, read_inputs, read_model, read_names

if TYPE_CHECKING:
    import keras

    from attnscope.maps import AttentionMaps
    from attnscope.schema import Site, SiteTable

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

SUMMARIES = ("full", "received", "entropy", "topk")
_INPUT_HELP = (
    "samples: .npy (one array), .npz (named arrays; a single array is used as it is), .csv (numbers, one "
    "sample per line; names in the first line become labels if their number fits) or .txt (one text per "
    "line, for models that take strings)"
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
    except (AttnscopeError, FileNotFoundError) as error:
        print(f"attnscope: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resume = " Run the same command again to resume where it stopped." if getattr(options, "resume", False) else ""
        print(f"attnscope: stopped.{resume}", file=sys.stderr)
        return 130
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
    _add_backend(command)


def _add_capture(commands: Commands) -> None:
    command = _command(
        commands,
        "capture",
        _do_capture,
        "write a model's attention on some samples to a Zarr store",
        "attnscope capture model.keras samples.csv -o run.zarr --sites 'block_0*' --summaries received entropy",
    )
    command.add_argument("model", metavar="MODEL", help="a .keras or .h5 file")
    command.add_argument("inputs", metavar="INPUTS", help=_INPUT_HELP)
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
    table = inspect(options.model, options.inputs, backend=options.backend)
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
        options.inputs,
        sites=options.sites,
        summaries=options.summaries,
        labels=options.labels,
        batch_size=options.batch_size,
        backend=options.backend,
        overwrite=options.force,
        resume=options.resume,
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
        samples=None if options.samples is None else _as_slice(options.samples),
        title=options.title,
        open_browser=not options.no_browser,
    )


def _as_slice(text: str) -> slice:
    """The slice that ``A:B`` means; without A it starts at the first sample, without B it ends at the last."""
    ends = text.split(":")
    if len(ends) != 2 or not all(end == "" or (end.isascii() and end.isdecimal()) for end in ends):
        raise InputError(f"The samples are given as {text!r}, but a start and an end are needed: --samples 0:100")
    return slice(*(int(end) if end else None for end in ends))


def _do_report(options: argparse.Namespace) -> None:
    from attnscope.maps import open_maps
    from attnscope.pages import report, save_report

    _check_free(Path(options.output), options.force)
    page = report(open_maps(options.run_path), title=options.title)
    save_report(page, options.output, overwrite=options.force)
    print(f"Written to {options.output}. Open it in a browser.")


def _do_demo(options: argparse.Namespace) -> None:
    choose_backend(options.backend)
    from attnscope.demo import demonstrate_features, demonstrate_names

    demonstrate = demonstrate_names if options.text else demonstrate_features
    demonstration = demonstrate(options.output, overwrite=options.force, say=lambda line: print(line, flush=True))
    print(f"\n{demonstration.text}")


def inspect(model: str | Path, inputs: str | Path | None = None, *, backend: str | None = None) -> SiteTable:
    """The sites of a model in a file: reads the files, then calls `attnscope.sites`.

    Args:
        model: A ``.keras`` or ``.h5`` file.
        inputs: A file of samples, as `read_inputs` takes it; None for the shapes that the model declares.
        backend: The Keras backend to run on; None for the one that is configured, or else the first that is installed.
    """
    samples = None if inputs is None else read_inputs(inputs)
    network = read_model(model, backend=backend)
    from attnscope.discovery import sites

    return sites(network, None if samples is None else samples.arrays)


def capture_to(
    output: str | Path,
    model: str | Path,
    inputs: str | Path,
    *,
    sites: Sequence[str] | None = None,
    summaries: Sequence[str] = ("full",),
    labels: str | None = None,
    batch_size: int = 32,
    backend: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> AttentionMaps:
    """Captures from files into a store: reads the files, then calls `attnscope.capture`.

    An earlier store is replaced only when the new one is complete.

    Args:
        output: Where the Zarr store goes.
        model: A ``.keras`` or ``.h5`` file.
        inputs: A file of samples, as `read_inputs` takes it.
        sites: Glob patterns of site names; None for all attention sites.
        summaries: Any of ``full``, ``received``, ``entropy`` and ``topk``.
        labels: ``a,b,c`` or the path of a text file with one name per line.
        batch_size: Samples per batch.
        backend: The Keras backend to run on; None for the one that is configured, or else the first that is installed.
        overwrite: Whether an existing attnscope store at `output` may be replaced.
        resume: Whether to write directly to `output`, and to resume an interrupted run there, as `attnscope.capture`
            does.

    Returns:
        The maps, opened from `output`.
    """
    output = Path(output)
    _check_free(output, overwrite or resume, is_run=True)
    samples = read_inputs(inputs)
    names = None if labels is None else read_names(labels)
    network = read_model(model, backend=backend)
    from attnscope.capturing import Entropy, Full, Received, TopK, capture
    from attnscope.maps import open_maps

    kinds = {"full": Full(), "received": Received(), "entropy": Entropy(), "topk": TopK()}
    capture_samples = partial(
        capture,
        network,
        samples.arrays,
        sites=sites,
        summaries=[kinds[name] for name in summaries],
        labels=names or _fitting_names(samples, network, sites),
        batch_size=batch_size,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    if resume:
        capture_samples(store=output, resume=True)
        return open_maps(output)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".attnscope-") as folder:
        capture_samples(store=Path(folder) / "run")
        if output.exists():
            shutil.rmtree(output)
        (Path(folder) / "run").rename(output)
    return open_maps(output)


def _fitting_names(samples: Inputs, network: keras.Model, patterns: Sequence[str] | None) -> list[str] | None:
    """The names in the header of a table, if some axis has as many positions."""
    if samples.names is None:
        return None
    from attnscope.discovery import selected, sites

    chosen = selected(sites(network, samples.arrays), patterns)
    sizes = {
        size - (site.sinks if dim.startswith("key") else 0)
        for site in chosen
        for dim, size in zip(site.dims, site.shape, strict=True)
        if dim.startswith(("query", "key"))
    }
    return samples.names if len(samples.names) in sizes else None


def _check_free(path: Path, overwrite: bool, *, is_run: bool = False) -> None:
    """Raises an error if something would be lost, before any work is done."""
    if not path.exists():
        return
    if not overwrite:
        raise WouldOverwriteError(
            f"{str(path)!r} already exists and is not overwritten. Give another path with -o, or replace it: --force"
        )
    if is_run and not _is_run(path):
        raise WouldOverwriteError(
            f"{str(path)!r} already exists and is not an attnscope run, so even --force does not replace it. Give "
            "another path with -o."
        )


def _is_run(path: Path) -> bool:
    from attnscope.maps import attributes_of_store

    return "attnscope_format" in attributes_of_store(path)
