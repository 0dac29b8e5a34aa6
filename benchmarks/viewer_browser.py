"""What a browser takes to show one page, for `viewer.py`: figures as JSON.

* All heads visible: from the start of the navigation to the end of the first frame in which every head is there. A
  callback in every frame looks for the last head that is drawn (pixels of the canvas; the last element of the SVG),
  and the end is the frame after the one that held it. `head_view` draws the heads of one layer only.
* Hover: time within the handlers of one pointer event over a token, by `performance.now` (which has steps of 0.1 ms),
  and time of the page's main thread per event, with style, layout and painting. In attnscope over the large map, and
  over the lines of tokens; in BertViz over a token.
* Another head: from the click or key to the end of the frame that shows it; in `head_view`, another layer.
* JS heap, DOM nodes (elements and texts), and memory of the page's process (proportional set size), after all that and
  a garbage collection. Arrays of bytes are not in the heap, but they are in the process.
* Network requests: all but those for the file itself, `data:` and `blob:`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Error, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
HOVERS, SWITCHES = 40, 12
BUDGET = 30
"""Seconds after which no further hover or switch is begun; three are made in any case."""
ORDER = ("visible", "switch", "heap")
"""What is measured first, and what is missing when something goes wrong before it."""

READY = {
    "model_view": "() => document.getElementById('attn_background_11_11')",
    "head_view": "() => document.querySelectorAll('#vis > svg > g:last-child > rect').length === 12",
    "attnscope": """() => {
        const canvas = document.querySelector('[data-viewer] [role=grid] canvas, [data-viewer] canvas[role=grid]');
        if (!canvas || !canvas.width || !canvas.height) return false;
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const words = new Uint32Array(pixels.buffer);
        const seen = new Set();
        const from = Math.floor(canvas.height * 0.85) * canvas.width;
        for (let place = from; place < words.length; place += 1) seen.add(words[place]);
        return seen.size > 32;
    }""",
}
WATCH = """(() => {
    const ready = %s;
    const look = () => {
        let there = false;
        try { there = ready(); } catch {}
        if (there) requestAnimationFrame(() => { window.visibleAt = performance.now(); });
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})()"""
FRAMES = "await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));"
HOVER = """async ([kind, budget, count, points]) => {
    const spent = [], start = performance.now();
    for (let n = 0; n < count && (n < 3 || performance.now() - start < budget * 1000); n += 1) {
        const [target, events] = window.hoverEvent(kind, n, points);
        const before = performance.now();
        for (const event of events) target.dispatchEvent(event);
        spent.push(performance.now() - before);
        FRAMES
    }
    return spent;
}""".replace("FRAMES", FRAMES)
EVENTS = """window.hoverEvent = (kind, n, points) => {
    if (kind === 'attnscope') {
        const [x, y] = points[n % points.length];
        const at = { bubbles: true, clientX: x, clientY: y, pointerType: 'mouse', pointerId: 1, isPrimary: true };
        const target = document.elementFromPoint(x, y);
        return [target, [new PointerEvent('pointermove', at), new MouseEvent('mousemove', at)]];
    }
    const tokens = kind === 'head_view' ? document.querySelectorAll('#left text')
        : document.querySelector('g.detail').querySelectorAll('text.token');
    return [tokens[(7 * n) %% tokens.length], [new MouseEvent('mouseover', { bubbles: true })]];
}""".replace("%%", "%")
SWITCH = {
    "model_view": """async (n) => {
        const region = document.querySelectorAll('#vis > svg > g > rect:last-child')[5 + 12 * (n % 12) + n % 5];
        const start = performance.now();
        region.dispatchEvent(new MouseEvent('click', { bubbles: true }));
        FRAMES
        return document.querySelector('text.detail') ? performance.now() - start : null;
    }""",
    "head_view": """async (n) => {
        const layers = document.querySelector('select');
        layers.value = (n + 1) % 12;
        const start = performance.now();
        layers.dispatchEvent(new Event('change', { bubbles: true }));
        FRAMES
        return performance.now() - start;
    }""",
}
SWITCH_OURS = """async (n) => {
    const root = document.querySelector('[data-viewer]');
    const strip = () => {
        const canvas = root.querySelector('[role=grid] canvas');
        const at = [canvas.width, canvas.height].map((size) => Math.floor(size * 0.6));
        const cells = canvas.getContext('2d').getImageData(at[0] - 150, at[1], 200, 8).data;
        return new Uint32Array(cells.buffer).join();
    };
    const before = strip();
    const [name, value] = n % 6 === 5 ? ['Site', (n + 1) / 6] : ['Head', (n * 5 + 1) % 12];
    const select = root.querySelector(`select[aria-label="${name}"]`);
    select.value = value;
    const start = performance.now();
    select.dispatchEvent(new Event('change', { bubbles: true }));
    while (strip() === before) {
        await new Promise((done) => requestAnimationFrame(done));
        if (performance.now() - start > 20000) return null;
    }
    await new Promise((done) => requestAnimationFrame(done));
    return performance.now() - start;
}"""
COUNT = """() => {
    const walker = document.createTreeWalker(document, NodeFilter.SHOW_ALL);
    let nodes = 1;
    while (walker.nextNode()) nodes += 1;
    return nodes;
}"""


class Watched:
    """One page of one tool in a browser of its own."""

    def __init__(self, playwright, tool: str, libraries: Path, limit: float) -> None:
        self.kind, self.limit, self.requests = ("attnscope" if tool == "compact" else tool), limit, 0
        path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        self.browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        context = self.browser.new_context(viewport={"width": 1280, "height": 900})
        if self.kind == "attnscope":
            context.set_offline(True)
        else:
            context.route(re.compile("^https?:"), lambda route: answered(route, libraries))
        self.page = context.new_page()
        self.page.set_default_timeout(2000 * limit)  # an alarm rings before
        self.page.add_init_script(EVENTS + ";" + WATCH % READY[self.kind])
        self.page.on("request", self._count)
        self.devtools = context.new_cdp_session(self.page)

    def _count(self, request) -> None:
        self.requests += not request.url.startswith(("file:", "data:", "blob:"))

    def visible(self, path: Path) -> float:
        """Seconds from the navigation to all heads."""
        self.page.goto(path.resolve().as_uri(), wait_until="commit")
        self.page.wait_for_function("() => window.visibleAt !== undefined", polling=250)
        return self.page.evaluate("() => window.visibleAt") / 1000

    def hover(self, points=()) -> tuple[list[float], float]:
        """Milliseconds of every hover's handlers, and of the main thread per hover."""
        before = self.metric("TaskDuration")
        spent = self.page.evaluate(HOVER, [self.kind, BUDGET, HOVERS, list(points)])
        return spent, 1000 * (self.metric("TaskDuration") - before) / len(spent)

    def metric(self, name: str) -> float:
        """One of Chromium's own figures."""
        return next(m["value"] for m in self.devtools.send("Performance.getMetrics")["metrics"] if m["name"] == name)

    def switches(self, switch) -> list[float]:
        """Milliseconds until another head or layer is drawn, each a new one."""
        spent, start = [], time.monotonic()
        while len(spent) < SWITCHES and (len(spent) < 3 or time.monotonic() - start < BUDGET):
            spent.append(switch(len(spent)))
        return spent

    def left(self) -> dict[str, float]:
        """What stays in memory, after a garbage collection."""
        self.devtools.send("HeapProfiler.collectGarbage")
        return {
            "heap": self.metric("JSHeapUsedSize") / 1e6,
            "process": self._process() / 1e6,
            "nodes": self.page.evaluate(COUNT),
        }

    def _process(self) -> float:
        session = self.browser.new_browser_cdp_session()
        found = session.send("SystemInfo.getProcessInfo")["processInfo"]
        sizes = [proportional(one["id"]) for one in found if one["type"] == "renderer"]
        return max(sizes)


def proportional(process: int) -> float:
    """Proportional set size, in bytes."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def answered(route, libraries: Path) -> None:
    """Gives BertViz the library that it asks for."""
    names = {"d3": "d3.min.js", "jquery": "jquery.min.js", "require": "require.js"}
    file = next((names[name] for name in names if name in route.request.url), None)
    if file is None:
        route.abort()
    else:
        route.fulfill(path=libraries / file, content_type="text/javascript")


def percentile(figures: list[float]) -> list[float]:
    """The median, and what 95 of 100 stay within."""
    return [median(figures), sorted(figures)[int(0.95 * (len(figures) - 1) + 0.5)]]


def looked_at(tool: str, path: Path, libraries: Path, limit: float) -> dict:
    """All figures of one page; a text in place of the first that could not be had."""
    with sync_playwright() as playwright:
        watched = Watched(playwright, tool, libraries, limit)
        watched.devtools.send("Performance.enable")
        found: dict = {}

        def given_up(reason: str) -> None:
            found[next(name for name in ORDER if name not in found)] = reason
            print(json.dumps({**found, "requests": watched.requests}), flush=True)
            os._exit(0)  # a page that hangs would keep the browser from closing; without us it ends

        signal.signal(signal.SIGALRM, lambda *_: given_up(f"not done in {limit:.0f} s"))
        stages = (lambda: {"visible": watched.visible(path)}, lambda: acted(watched), watched.left)
        try:
            for stage in stages:
                signal.alarm(int(limit))
                found |= stage()
        except Error as error:
            crashed = any(sign in str(error).lower() for sign in ("crash", "closed", "gracefully close"))
            given_up("the page crashed" if crashed else str(error).splitlines()[0][:100])
        signal.alarm(0)
        watched.browser.close()
    return {**found, "requests": watched.requests}


def acted(watched: Watched) -> dict:
    """What hovering and choosing another head take."""
    return ours(watched) if watched.kind == "attnscope" else theirs(watched)


def ours(watched: Watched) -> dict:
    """Hover and switch in attnscope: a head is opened by a click, and others are chosen from the list."""
    page = watched.page
    grid = page.get_by_role("grid").bounding_box()
    page.mouse.click(grid["x"] + 0.6 * grid["width"], grid["y"] + 0.5 * grid["height"])
    page.get_by_role("grid", name="Attention map").wait_for()
    page.wait_for_timeout(500)
    spent = watched.switches(lambda n: page.evaluate(SWITCH_OURS, n))
    plane = page.get_by_role("grid").bounding_box()
    shares = [((7 * n) % HOVERS / HOVERS, (11 * n) % HOVERS / HOVERS) for n in range(HOVERS)]
    hovers, thread = watched.hover(
        [
            (plane["x"] + plane["width"] * (0.3 + 0.4 * x), plane["y"] + plane["height"] * (0.3 + 0.6 * y))
            for x, y in shares
        ]
    )
    if "→" not in page.locator(".readout:visible").first.inner_text():
        raise Error("nothing was told about the cell that was pointed at, so this measures nothing")
    page.get_by_role("tab", name="Lines").click()
    lines = page.locator(".lines-stage")
    lines.wait_for()
    page.wait_for_timeout(500)
    box = lines.bounding_box()
    height = min(box["height"], 900 - box["y"]) - 40
    over_lines, _ = watched.hover([(box["x"] + 60, box["y"] + 30 + height * y) for _, y in shares])
    if not page.locator(".told:visible").inner_text().startswith("Query "):
        raise Error("no lines were drawn for the token that was pointed at, so this measures nothing")
    return {
        "switch": [median(spent), max(spent)],
        "hover": percentile(hovers),
        "hover_lines": percentile(over_lines),
        "hover_thread": thread,
    }


def theirs(watched: Watched) -> dict:
    """Hover and switch in BertViz."""
    switch = SWITCH[watched.kind].replace("FRAMES", FRAMES)
    spent = watched.switches(lambda n: watched.page.evaluate(switch, n))
    hovers, thread = watched.hover()
    return {"switch": [median(spent), max(spent)], "hover": percentile(hovers), "hover_thread": thread}


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    parser.add_argument("page", type=Path)
    parser.add_argument("--libraries", type=Path)
    parser.add_argument("--limit", type=float, default=180)
    options = parser.parse_args()
    print(json.dumps(looked_at(options.tool, options.page, options.libraries, options.limit)))


if __name__ == "__main__":
    main()
