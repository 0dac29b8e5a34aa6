"""A view in a real JupyterLab, driven as a person does.

A notebook's page has nothing to do with Keras' backend, and starting JupyterLab takes long: so this runs once.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from urllib.request import Request, urlopen

import nbconvert
import nbformat
import numpy as np
import pytest

from browser import watched

SETUP = """\
import numpy as np, attnscope as ats
logits = np.random.default_rng(3).normal(size=(3, 4, 9, 9)) * 2
raised = np.exp(logits)
scores = (raised / raised.sum(-1, keepdims=True)).astype("float32")
arrays = {f"encoder_{n}/mha": scores for n in range(3)}
maps = ats.AttentionMaps.from_arrays(arrays, labels="[CLS] the cat sat on a warm mat [SEP]".split())
view = ats.view(maps, title="A small one")"""
STARTUP = 90
"""Seconds that JupyterLab and a kernel may take to start on a busy machine."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab with settings of its own, and the folder that it shows."""
    for name in ("jupyterlab", "ipykernel", "anywidget"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install {name}")
    root = tmp_path_factory.mktemp("jupyter")
    (root / "work").mkdir()
    (root / "config" / "labconfig").mkdir(parents=True)
    news = {"@jupyterlab/apputils-extension:announcements": True}  # they would be fetched, and asked about
    (root / "config" / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": news}))
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    options = [
        "ip=127.0.0.1",
        "port=0",
        "allow_root=True",
        f"root_dir={root / 'work'}",
        "open_browser=False",
        "disable_check_xsrf=True",
    ]
    with (root / "log").open("w") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--IdentityProvider.token=", *(f"--ServerApp.{o}" for o in options)],
            env={**os.environ, "JUPYTER_PREFER_ENV_PATH": "1", **{k: str(root / v) for k, v in folders.items()}},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield address_of(root, running), root
        finally:
            os.killpg(running.pid, signal.SIGTERM)
            running.wait(60)


def address_of(root, running):
    """Where it listens, once it does."""
    begun = time.monotonic()
    while time.monotonic() - begun < STARTUP:
        for path in (root / "runtime").glob("jpserver-*.json"):
            return json.loads(path.read_text())["url"]
        if running.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail("JupyterLab did not start:\n" + (root / "log").read_text()[-3000:])


class Notebook:
    """A notebook in the browser."""

    def __init__(self, page):
        self.page = page
        self.view = page.locator(".attnscope-view")

    def run(self, number):
        """Runs a cell, and waits until it is done."""
        from playwright.sync_api import TimeoutError as NotYet

        cell = self.page.locator(".jp-CodeCell").nth(number)
        prompt = cell.locator(".jp-InputPrompt")
        said = (
            f"document.querySelectorAll('.jp-CodeCell')[{number}].querySelector('.jp-InputPrompt').textContent.trim()"
        )
        for _ in range(5):  # a page that is still busy with opening may lose a key
            prompt.click()
            prompt.evaluate("prompt => { prompt.textContent = ''; }")  # what an earlier run said is not to count
            self.page.keyboard.press("Control+Enter")
            with suppress(NotYet):
                self.page.wait_for_function(f"{said} !== ''", timeout=8000)
                break
        self.page.wait_for_function(rf"/^\[\d+\]:$/.test({said})", timeout=STARTUP * 1000)
        return cell

    def prints(self, code):
        """What the last cell prints when it has this code."""
        last = self.page.locator(".jp-CodeCell").count() - 1
        editor = self.page.locator(".jp-CodeCell").nth(last).locator(".cm-content")
        editor.click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)
        output = self.run(last).locator(".jp-OutputArea-output")
        output.first.wait_for()
        return output.first.inner_text().strip()

    def shown(self, number=1):
        """Runs the cell that shows the view, and waits until it is drawn."""
        self.run(number)
        self.view.first.wait_for(timeout=STARTUP * 1000)
        self.page.wait_for_function(f"({COLOURS})() > 20")

    def canvas(self):
        """Where the canvas is that is on top, once it is in the middle of the window."""
        canvas = self.view.first.locator(".stage canvas").last
        canvas.evaluate("canvas => canvas.scrollIntoView({ block: 'center' })")
        return canvas.bounding_box()

    def restart_kernel(self):
        self.page.get_by_role("menuitem", name="Kernel").click()
        self.page.get_by_text("Restart Kernel…", exact=True).click()
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.locator(".jp-Dialog").wait_for(state="detached")


COLOURS = """() => {
    const colours = new Set();
    for (const canvas of document.querySelectorAll(".attnscope-view canvas")) {
        if (!canvas.width || !canvas.height) continue;
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        for (const word of new Uint32Array(pixels.buffer)) colours.add(word);
    }
    return colours.size;
}"""


@pytest.fixture
def notebook(lab, chromium, problems, request):
    """Opens a notebook of these cells; the test fails on what goes wrong in its page or is asked of the network."""
    address, root = lab
    contexts = []

    def opened(*cells, dark=False, width=1400):
        theme = root / "settings" / "@jupyterlab" / "apputils-extension" / "themes.jupyterlab-settings"
        theme.parent.mkdir(parents=True, exist_ok=True)
        theme.write_text(json.dumps({"theme": "JupyterLab Dark" if dark else "JupyterLab Light"}))
        name = re.sub(r"\W+", "-", request.node.name) + ".ipynb"
        (root / "work" / name).write_text(json.dumps(notebook_of(SETUP, *cells, "")))
        context = chromium.new_context(viewport={"width": width, "height": 1000})
        contexts.append(context)
        page = context.new_page()
        watched(page, problems, allowed=(address, address))
        page.goto(f"{address}lab/tree/{name}?reset")
        page.locator(".jp-CodeCell").nth(len(cells) + 1).wait_for(timeout=STARTUP * 1000)
        begun = time.monotonic()
        while not is_ready(address, name) and time.monotonic() - begun < STARTUP:
            page.wait_for_timeout(200)
        made = Notebook(page)
        made.run(0)
        return made

    yield opened
    for context in contexts:
        context.close()
    for session in sessions(address):
        urlopen(Request(f"{address}api/sessions/{session['id']}", method="DELETE"))
    own = [problem for problem in problems if not JUPYTERS_OWN.search(problem)]
    assert sorted(set(own)) == []


JUPYTERS_OWN = re.compile(
    r"Comm not found for comm id|Connection lost, reconnecting|widget model not found"
    r"|Plugin @jupyterlab/\S+ .* took |WebSocket "
)
"""What JupyterLab itself says when a kernel goes, or when it is slow, whatever was shown."""


def sessions(address):
    """The notebooks that have a kernel."""
    return json.load(urlopen(f"{address}api/sessions"))


def is_ready(address, name):
    """Whether a notebook's kernel is up and the page is connected to it: a cell that is run before may be lost."""
    kernels = [session["kernel"] for session in sessions(address) if session["path"] == name]
    return any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels)


def notebook_of(*cells):
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{n}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": c,
            }
            for n, c in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def test_a_cell_shows_the_heads_and_a_click_opens_one(notebook):
    book = notebook("view")
    book.shown()
    assert json.loads(book.prints("import json; print(json.dumps(view.state))"))["view"] == "overview"
    box = book.canvas()
    book.page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.4)
    book.page.wait_for_function(
        "document.querySelector('.attnscope-view [role=tab][aria-selected=true]').innerText == 'Matrix'"
    )
    state = json.loads(book.prints("print(json.dumps(view.state))"))
    assert state["view"] == "matrix"
    assert state["site"] in (1, 2)
    assert state["panel"] > 0
    assert book.prints("from attnscope.viewer._view import STATE; print(sorted(view.state) == sorted(STATE))") == "True"


def test_the_numbers_are_those_in_python(notebook):
    book = notebook("view.state = {'view': 'matrix', 'sample': 2, 'site': 1, 'panel': 3}; view")
    book.shown()
    weights = json.loads(book.prints("import json; print(json.dumps(maps['encoder_1/mha'].values[2, 3].tolist()))"))
    box, found = book.canvas(), {}
    for across, down in zip(np.linspace(0.3, 0.95, 9), np.linspace(0.9, 0.2, 9), strict=True):
        book.page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
        text = book.view.first.inner_text()
        for query, key, number in re.findall(r"query (\d+) .*key (\d+) .*: ([\d.]+) (?:exact|±)", text):
            found[int(query), int(key)] = float(number)
    assert len(found) >= 5
    for (query, key), number in found.items():
        assert abs(number - weights[query][key]) < 0.001, (query, key)


def test_python_moves_the_view_and_reads_what_the_user_did(notebook):
    book = notebook("view")
    book.shown()
    book.prints("view.state = {'view': 'lines', 'sample': 1, 'site': 2}; print(1)")
    lines = book.view.first.get_by_role("tab", name="Lines")
    book.page.wait_for_function("document.querySelector('.attnscope-view [aria-selected=true]').innerText == 'Lines'")
    assert book.view.first.get_by_label("Sample number").input_value() == "2"
    assert book.view.first.get_by_label("Site", exact=True).input_value() == "2"
    book.view.first.get_by_role("button", name="Next sample").click()
    book.page.wait_for_timeout(300)
    assert book.prints("print(view.state['sample'], view.state['view'])") == "2 lines"
    book.prints("view.state = {'site': 0, 'view': 'overview', 'panel': 99}; print(1)")  # what is not there is as usual
    book.page.wait_for_function("document.querySelector('.attnscope-view [aria-selected=true]').innerText == 'Heads'")
    assert book.prints("print(view.state['site'], view.state['view'], view.state['panel'])") == "0 overview 0"
    assert lines.get_attribute("aria-selected") == "false"


def test_keys_are_the_views_own_and_not_the_notebooks(notebook):
    book = notebook("view")
    book.shown()
    book.view.first.get_by_role("grid").focus()
    cells = book.page.locator(".jp-Cell").count()
    for key in ("d", "d", "a", "b", "x", "y", "ArrowRight", "Enter"):
        book.page.keyboard.press(key)
    book.page.wait_for_timeout(300)
    assert book.page.locator(".jp-Cell").count() == cells
    assert book.prints("print(view.state['view'], view.state['panel'])") == "matrix 1"


def test_two_views_and_one_shown_twice_keep_to_themselves(notebook):
    other = "other = ats.view(maps, title='Another'); other"
    book = notebook("view", other, "view")
    for number in (1, 2, 3):
        book.shown(number)
    assert book.view.count() == 3
    book.prints("other.state = {'view': 'matrix', 'site': 1}; print(1)")
    book.page.wait_for_timeout(500)
    chosen = book.page.locator(".attnscope-view [role=tab][aria-selected=true]").all_inner_texts()
    assert chosen == ["Heads", "Matrix", "Heads"]
    book.view.nth(2).get_by_role("button", name="Next sample").click()
    book.page.wait_for_timeout(500)
    numbers = [book.view.nth(n).get_by_label("Sample number").input_value() for n in range(3)]
    assert numbers == ["2", "1", "2"]  # the first and the third are one view
    assert book.prints("print(view.state['sample'], other.state['sample'])") == "1 0"


def test_a_cell_that_runs_again_leaves_nothing_behind(notebook):
    book = notebook("ats.view(maps)")
    count = "import ipywidgets.widgets.widget as made; print(len(made._instances))"
    book.shown()
    assert book.prints(count) == "2"  # the widget and its layout
    for _ in range(3):
        book.shown()
    assert book.prints(count) == "2"
    assert book.view.count() == 1


def test_a_dark_notebook_has_a_dark_view(notebook):
    book = notebook("view", dark=True)
    book.shown()
    assert book.view.first.get_attribute("data-theme") == "dark"
    red, green, blue = book.view.first.evaluate(
        "element => getComputedStyle(element).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert max(red, green, blue) < 60


def test_a_narrow_cell_holds_the_view(notebook):
    book = notebook("view", width=640)
    book.shown()
    inside, outside = book.view.first.evaluate("element => [element.scrollWidth, element.clientWidth]")
    assert inside <= outside
    assert outside < 420


def test_a_restarted_kernel_is_told_and_a_new_run_fixes_it(notebook):
    book = notebook("view")
    book.shown()
    message = book.page.locator(".attnscope-message")
    assert message.is_hidden()
    book.restart_kernel()
    book.page.wait_for_timeout(1500)
    book.view.first.get_by_role("tab", name="Matrix").click()
    message.wait_for()
    assert message.inner_text() == (
        "This view's Python kernel is gone, so nothing more can be loaded. Run the cell again, or save a page that "
        'needs no Python: view.save("view.html").'
    )
    alert = book.view.first.locator("[role=alert]:visible")
    alert.wait_for()
    assert "this view's Python kernel is gone." in alert.inner_text()
    book.run(0)
    book.shown()
    assert message.is_hidden()
    book.view.first.get_by_role("tab", name="Matrix").click()
    book.page.wait_for_function(f"({COLOURS})() > 20")
    assert book.view.first.locator("[role=alert]:visible").count() == 0


def test_a_busy_kernel_is_said_to_be_busy_or_gone(notebook):
    reading = "view.payload._reading"  # held: as if a large map took long to read
    book = notebook("view", f"import threading; {reading}.acquire(); threading.Timer(14, {reading}.release).start()")
    book.shown()
    message = book.page.locator(".attnscope-message")
    book.run(2)
    book.view.first.get_by_role("tab", name="Matrix").click()
    message.wait_for(timeout=15000)
    assert message.inner_text().startswith("Python has not answered yet: its kernel is busy or gone.")
    message.wait_for(state="hidden", timeout=40000)
    book.page.wait_for_function(f"({COLOURS})() > 20")


def test_a_saved_notebook_without_its_kernel_shows_the_last_picture_and_what_to_do(notebook, lab, open_page, tmp_path):
    book = notebook("view")
    book.shown()
    note = book.page.locator("[class^=attnscope-note]")
    assert note.count() == 1
    assert note.is_hidden()
    book.view.first.get_by_role("tab", name="Matrix").click()
    book.page.wait_for_function(
        "document.querySelector('[class^=attnscope-note] img').src.startsWith('data:image/png')", timeout=20000
    )
    first = note.locator("img").get_attribute("src")
    book.view.first.get_by_role("button", name="Next sample").click()
    book.page.wait_for_function("seen => document.querySelector('[class^=attnscope-note] img').src !== seen", arg=first)
    last = note.locator("img").get_attribute("src")
    assert note.is_hidden()
    book.page.locator(".jp-CodeCell .jp-InputPrompt").first.click()  # keys in the view are its own
    book.page.keyboard.press("Control+s")
    book.page.wait_for_timeout(1500)
    (stored,) = (lab[1] / "work").glob("test_a_saved_notebook_*.ipynb")
    assert last in stored.read_text(), "the picture is not in the file"
    page, _ = nbconvert.HTMLExporter().from_notebook_node(nbformat.read(stored, as_version=4))
    page = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)  # which would be loaded from the network
    (tmp_path / "page.html").write_text(page, "utf-8")
    shown = open_page(tmp_path / "page.html").locator("[class^=attnscope-note] img")
    assert shown.get_attribute("src") == last
    assert shown.bounding_box()["width"] > 300
    book.restart_kernel()
    book.page.reload()
    note.wait_for(timeout=STARTUP * 1000)
    assert re.sub(r"\s+", " ", note.inner_text()) == (
        "View of 3 sites on 3 samples; view.save('view.html') writes it as one offline page. This is how it was last "
        "seen. It is drawn by Python, which does not run here. Run the cell again, or open a page that needs no "
        'Python: view.save("view.html")'
    )
    assert book.view.count() == 0


def test_without_anywidget_a_page_is_framed(notebook):
    book = notebook("import sys; sys.modules['anywidget'] = None; view")
    book.run(1)
    inside = book.page.frame_locator("iframe[title='A small one']")
    inside.get_by_role("tab", name="Matrix").click()
    inside.locator(".attnscope-view .stage canvas").first.wait_for()
    assert "anywidget is not installed here" in book.page.locator(".jp-CodeCell").nth(1).inner_text()
    assert inside.locator("[role=alert]:visible").count() == 0
