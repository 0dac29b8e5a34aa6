"""Names that users were shown go on working, and completion shows what is meant to be used and nothing else."""

import contextlib
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

import attnscope as ats
from attnscope.cli import main

SHOWN = {
    "attnscope": (
        *(
            "AttentionMaps",
            "Distance",
            "Entropy",
            "Full",
            "HeadMean",
            "PerQuery",
            "Received",
            "Rows",
            "Site",
            "Summary",
            "Thumbnail",
        ),
        *("TopK", "ablate", "analysis", "attribute"),
        *("attribution", "capture", "capture_generation", "declare", "errors", "evidence", "intervene", "labels"),
        *("layers", "load_model", "loading", "open", "permute", "plot", "replace", "schema", "sites", "trust"),
        *("undeclare", "uniform", "view"),
    ),
    "attnscope.analysis": (
        *("SEPARATORS", "composition", "confidence", "duplicate_token_score", "entropy", "flow", "head_clusters"),
        *("head_distance", "heads", "induction_score", "mass", "mean_distance", "previous_token_score", "rolled_out"),
        *("rollout", "sinks"),
    ),
    "attnscope.attribution": (
        *("METHODS", "AtStep", "Method", "PerSample", "Subject", "Wire", "ablation_curve", "alti", "attribute"),
        *("delete", "head_ablation", "head_importance", "marginal", "mask_token", "mean", "norms", "prune"),
        *("relevance_of", "subjects_of", "values", "zero"),
    ),
    "attnscope.capturing": (
        *("Distance", "Entropy", "Full", "HeadMean", "PerQuery", "Received", "Rows", "Summary", "Thumbnail"),
        *("TopK", "capture", "capture_generation"),
    ),
    "attnscope.demo": ("biopsies", "demonstrate_features", "demonstrate_names"),
    "attnscope.errors": (
        *("AttnscopeError", "DeclarationError", "IncompleteRunError", "InputError", "InterventionError"),
        *("KnownHolesWarning", "LabelError", "MethodError", "ModelFileError", "NoAttentionError", "NotInstalledError"),
        *("PatternError", "SchemaError", "TargetError", "TooLargeError", "UnbuiltModelError", "UnsafeFileError"),
        *("UnsupportedError", "WeightsMismatchError", "WouldOverwriteError"),
    ),
    "attnscope.interception": (
        *("Block", "Call", "ablate", "declare", "intercept", "intervene", "permute", "replace", "sites", "undeclare"),
        "uniform",
    ),
    "attnscope.labels": ("characters", "patches", "words"),
    "attnscope.layers": ("AttentionPooling", "InterpretableMultiHeadAttention", "SharedValueMultiHeadAttention"),
    "attnscope.loading": ("TensorOperation", "load_model", "replacements"),
    "attnscope.loading.replacements": ("sum_over",),
    "attnscope.plot": (
        *("ColouredTokens", "difference", "heads", "heatmap", "image", "links", "metrics", "series", "tokens"),
    ),
    "attnscope.reporting": ("Bars", "Section", "received", "received_per_group", "report", "save_report"),
    "attnscope.schema": ("UNITS", "Site", "SiteTable"),
    "attnscope.trust": (
        *("HIGHER_IS_BETTER", "RULE", "THRESHOLDS", "EvidenceCard", "Interval", "Judged", "Moved", "Verdict"),
        *("adversarial_test", "comprehensiveness", "deletion", "evidence", "faithfulness", "infidelity", "insertion"),
        *(
            "max_sensitivity",
            "paired_bootstrap",
            "paired_interval",
            "permutation_test",
            "randomisation",
            "rank_correlation",
        ),
        *("sufficiency", "uniform_test"),
    ),
    "attnscope.viewer": ("View", "serve", "view"),
}
"""What the README, the docs and every ``__all__`` showed in November 2026, before files inside rooms became private."""
OPTIONS = {
    "inspect": ("--backend",),
    "capture": (
        *("-o", "--output", "--sites", "--summaries", "--labels", "--batch-size", "--backend", "--force", "--resume"),
    ),
    "view": ("--port", "--samples", "--title", "--no-browser"),
    "report": ("-o", "--output", "--title", "--force"),
    "attribute": (
        *("-o", "--output", "--target", "--method", "--samples", "--classes", "--labels", "--positions", "--grid"),
        *("--padding", "--sites", "--batch-size", "--id-column", "--truth", "--columns", "--drop-missing", "--backend"),
        "--force",
    ),
    "explain": (
        *("-o", "--output", "--samples", "--target", "--method", "--budget", "--untested", "--seed", "--classes"),
        *("--labels", "--positions", "--grid", "--padding", "--sites", "--batch-size", "--id-column", "--truth"),
        *("--columns", "--drop-missing", "--backend", "--force"),
    ),
    "evidence": (
        *("-o", "--output", "--target", "--methods", "--samples", "--budget", "--seed", "--classes", "--labels"),
        *("--positions", "--grid", "--padding", "--sites", "--batch-size", "--id-column", "--truth", "--columns"),
        *("--drop-missing", "--backend", "--force"),
    ),
    "demo": ("--text", "-o", "--output", "--backend", "--force"),
}
PUBLIC_ROOMS = (
    *("analysis", "attribution", "capturing", "errors", "explaining", "interception", "labels", "layers", "loading"),
    *("pages", "plot", "reporting", "schema", "trust", "viewer"),
)


@pytest.mark.parametrize("room", SHOWN)
def test_names_that_were_shown_go_on_working(room):
    module = import_module(room)
    assert [name for name in SHOWN[room] if not hasattr(module, name)] == []


@pytest.mark.parametrize("name", [name for name in ats.__all__ if name.islower()])
def test_rooms_and_functions_are_reached_from_the_face(name):
    assert getattr(ats, name).__name__.rpartition(".")[2] in (name, f"{name}_maps")


def test_what_docs_show_of_maps_works():
    maps = ats.AttentionMaps.from_arrays({"a": np.full((1, 2, 3, 3), 1 / 3)})
    shown = ("attrs", "dataset", "findings", "from_arrays", "inputs", "num_samples", "outputs", "save", "select")
    assert [name for name in (*shown, "sites", "to_tree", "with_inputs") if not hasattr(maps, name)] == []
    (finding,) = maps.findings
    shown = ("kind", "site", "heads", "message", "mend", "value")
    assert [name for name in shown if not hasattr(finding, name)] == []


@pytest.mark.parametrize("command", OPTIONS)
def test_commands_keep_their_options(command, capsys):
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out.replace(",", " ").replace("[", " ").replace("]", " ")
    assert [option for option in OPTIONS[command] if option not in text.split()] == []


@pytest.mark.parametrize("room", PUBLIC_ROOMS)
def test_completion_shows_what_is_meant_to_be_used(room):
    module = import_module(f"attnscope.{room}")
    assert dir(module) == sorted(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_rooms_are_there_right_after_the_import():
    code = "import attnscope as ats; print(ats.viewer.serve.__name__, ats.plot.tokens.__name__, dir(ats.viewer))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "serve tokens ['View', 'serve', 'view']\n"


def test_completion_shows_the_face():
    assert dir(ats) == sorted([*ats.__all__, "__version__"])


@pytest.mark.parametrize(
    "room",
    [
        *("analysis", "attribution", "capturing", "explaining", "handlers", "layers", "loading", "pages", "plot"),
        *("trust", "viewer"),
    ],
)
def test_public_classes_are_pickled_and_saved_under_the_name_of_their_room(room):
    module = import_module(f"attnscope.{room}")
    classes = [value for name in module.__all__ if isinstance(value := getattr(module, name), type)]
    assert [cls for cls in classes if "._" in cls.__module__] == []
