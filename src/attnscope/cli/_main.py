"""The command line: what each command does, and what is said on it."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.backends import choose_backend
from attnscope.cli._commands import (
    as_slice,
    attribute_to,
    capture_to,
    check_free,
    evidence_to,
    explain_to,
    inspect,
    interrupted_samples,
)
from attnscope.cli._parser import parser
from attnscope.cli._wording import in_options, of_undeclared_inputs
from attnscope.errors import PAGES, AttnscopeError, DamagedStoreError, counted
from attnscope.files import check_order, read_inputs, read_names

if TYPE_CHECKING:
    from attnscope.schema import Site, SiteTable


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: What follows ``attnscope`` on the command line; None to read it from there.

    Returns:
        Exit code: 0; 2 if attnscope cannot do it, and says why on stderr; 130 if the user stopped it. Unforeseen errors
        are raised.
    """
    options = parser(_FUNCTIONS).parse_args(arguments)
    try:
        options.command(options)
    except (AttnscopeError, OSError) as error:
        resume = None if isinstance(error, AttnscopeError) else _how_to_resume(options, arguments)
        print(". ".join(filter(None, (f"attnscope: {in_options(str(error), vars(options))}", resume))), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(" ".join(filter(None, ("attnscope: stopped.", _how_to_resume(options, arguments)))), file=sys.stderr)
        return 130
    except Exception as error:
        words = of_undeclared_inputs(error)
        if words is None:
            raise
        print(f"attnscope: {words}", file=sys.stderr)
        return 2
    return 0


def _how_to_resume(options: argparse.Namespace, arguments: Sequence[str] | None) -> str | None:
    """What an interrupted capture has written, and the command that resumes it; None for anything else."""
    samples = interrupted_samples(options.output) if options.command is _do_capture else None
    if samples is None:
        return None
    given = sys.argv[1:] if arguments is None else arguments
    kept = [word for word in given if not any(len(word) > 2 and o.startswith(word) for o in ("--force", "--resume"))]
    command = shlex.join(["attnscope", *kept, "--resume"])
    return f"{options.output!r} holds {counted(samples, 'sample')}. Resume: {command}"


def _subject(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments that the options of `attribute` and `evidence` stand for, as far as both have them."""
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
    check_order(options.model, options.inputs)
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
        codes=options.codes,
        commit_every=options.commit_every,
        engine=options.engine,
        workers=options.workers,
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

    check_free(Path(options.output), options.force, suffixes=PAGES)
    classes = None if options.classes is None else read_names(options.classes, option="--classes")
    page = report(open_maps(options.run_path), title=options.title, classes=classes)
    save_report(page, options.output, overwrite=options.force)
    print(f"Written to {options.output}. Open it in a browser.")


def _do_verify(options: argparse.Namespace) -> None:
    from attnscope.stores import verify

    found = verify(options.run_path)
    print(found)
    if not found.is_whole:
        raise DamagedStoreError(
            f"{options.run_path!r} is damaged. Take a copy of it, or capture again what is not readable."
        )


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


def _seconds(text: str | None) -> str | float | None:
    """A time limit: a number is seconds."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


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


def _do_demo(options: argparse.Namespace) -> None:
    choose_backend(options.backend)
    from attnscope.demo import demonstrate_features, demonstrate_names

    demonstrate = demonstrate_names if options.text else demonstrate_features
    demonstration = demonstrate(options.output, overwrite=options.force, say=lambda line: print(line, flush=True))
    print(f"\n{demonstration.text}")


_FUNCTIONS = {
    "inspect": _do_inspect,
    "capture": _do_capture,
    "view": _do_view,
    "report": _do_report,
    "verify": _do_verify,
    "attribute": _do_attribute,
    "evidence": _do_evidence,
    "explain": _do_explain,
    "demo": _do_demo,
}
"""What each command does."""
