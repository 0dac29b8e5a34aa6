"""A view in a notebook, without the notebook: what Python sends, and what it shows where no widget can be."""

import base64
import gc
import html
import io
import json
import re
import subprocess
import sys
import weakref
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import attnscope as ats
from attnscope import colours
from attnscope.errors import InputError
from attnscope.viewer import _widget as widgets
from attnscope.viewer._still import still
from attnscope.viewer._view import STATE, VIEWS, WIDGET_VIEW

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
STATE_SOURCE = ROOT / "src" / "attnscope" / "viewer" / "js" / "src" / "state.js"
PLAIN = "View of 2 sites on 5 samples; view.save('view.html') writes it as one offline page"


def softmax(logits):
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return (raised / raised.sum(-1, keepdims=True)).astype("float32")


def maps_of(rng, samples=5, length=7):
    arrays = {f"encoder_{layer}/mha": softmax(rng.normal(size=(samples, 3, length, length)) * 2) for layer in range(2)}
    labels = [f"word{n}" for n in range(length)]
    return ats.AttentionMaps.from_arrays(arrays, labels=labels, roles={"*": ("text", "text")})


@pytest.fixture
def view(rng):
    return ats.view(maps_of(rng), title="Small <b>")


@pytest.fixture
def needs_anywidget():
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install anywidget")


@pytest.fixture
def kernel(needs_anywidget, monkeypatch):
    """The IPython of a kernel, as far as a view knows it: cells run one after another, and what is shown is kept."""

    class Shell:
        def __init__(self):
            self.published, self.placed, self.callbacks, self.parent_header = [], [], [], {}
            self.events, self.display_formatter, self.display_pub = self, self, self
            self.active_types = ["text/plain", "text/html"]

        def register(self, event, callback):
            assert event == "pre_run_cell"
            self.callbacks.append(callback)

        def unregister(self, event, callback):
            assert event == "pre_run_cell"
            self.callbacks.remove(callback)

        def publish(self, bundle, transient=None, update=False):
            self.published.append(bundle)
            if transient is not None:
                self.placed.append((transient["display_id"], update, bundle["text/html"]))

        def run(self, cell, *shown):
            for callback in list(self.callbacks):
                callback(type("Info", (), {"cell_id": cell}))
            self.parent_header = {"metadata": {"cellId": cell}} if cell else {}
            for each in shown:
                each._ipython_display_()

    shell = Shell()
    monkeypatch.setattr(widgets, "shell", lambda: shell)
    monkeypatch.setattr("attnscope.viewer._view.shell", lambda: shell)
    return shell


def open_widgets():
    """Numbers of the widgets that ipywidgets keeps alive; each view has one for itself and one for its layout."""
    from ipywidgets.widgets import widget

    return set(widget._instances)


def asked(made, content, monkeypatch):
    """What Python answers to a message of the page."""
    answers = []
    monkeypatch.setattr(made, "send", lambda content, buffers=None: answers.append((content, buffers)))
    made._handle_custom_msg(content, [])
    return answers


def test_neither_the_import_nor_the_making_of_a_view_loads_a_notebook():
    code = (
        "import sys, numpy as np, attnscope as ats\n"
        "maps = ats.AttentionMaps.from_arrays({'a': np.full((1, 1, 2, 2), 0.5)})\n"
        "view = ats.view(maps)\n"
        "view.state = {'view': 'matrix'}\n"
        "repr(view), view.state\n"
        "print([name for name in ('anywidget', 'ipywidgets', 'IPython', 'traitlets') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def picture_in(note):
    """The picture that a note holds: its kind and its bytes."""
    kind, content = re.search(r'<img src="data:image/([a-z+]+);base64,([^"]+)" alt="The view as it was', note).groups()
    return kind, base64.b64decode(content)


def test_a_notebook_gets_a_widget_and_beside_it_a_picture_and_what_to_do(view, kernel):
    kernel.run("one", view)
    shown, beside = kernel.published
    assert shown["text/plain"] == PLAIN
    assert shown[WIDGET_VIEW]["model_id"] == view.widget.model_id
    assert set(beside) == {"text/html"}
    assert f'class="attnscope-note-{view.widget.model_id}"' in beside["text/html"]
    assert "<code>view.save(&quot;view.html&quot;)</code>" in beside["text/html"]
    assert view.widget.note == view.widget.model_id
    kind, drawn = picture_in(beside["text/html"])
    assert kind == "svg+xml"
    svg = ElementTree.fromstring(drawn)
    assert "all heads" in [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}image"))) == 2 * 3 + 2 + 1  # heads, rollout, scale


def texts_of(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_follows_the_state_and_is_the_pages_own_once_there_is_one(view, kernel):
    view.state = {"view": "matrix", "site": 1, "panel": 2, "sample": 3}
    kernel.run("one", view)
    name = view.widget.model_id
    assert [(place, update) for place, update, _ in kernel.placed] == [(name, False)]
    texts = texts_of(picture_in(kernel.placed[0][2])[1])
    assert texts[:3] == ["Small <b>", "sample 4 of 5", "layer 1, head 2"]
    assert texts[3:-1] == [f"word{n}" for n in range(7)] * 2
    sent = b"\x89PNG\r\n\x1a\n and what the page shows"
    view.widget._handle_custom_msg({"kind": "picture"}, [memoryview(sent)])
    assert kernel.placed[1][:2] == (name, True)
    assert picture_in(kernel.placed[1][2]) == ("png", sent)
    view.state = {"panel": "mean", "heads": [0, 2]}
    assert kernel.placed[2][:2] == (name, True)
    assert "layer 1, mean of 2 heads" in texts_of(picture_in(kernel.placed[2][2])[1])


@pytest.mark.parametrize("buffers", [[], [b"<svg onload=alert(1)>"], [b"\x89PNG\r\n\x1a\n" + bytes(4_000_000)]])
def test_what_is_no_picture_or_too_large_is_not_stored(view, kernel, buffers):
    kernel.run("one", view)
    view.widget._handle_custom_msg({"kind": "picture"}, buffers)
    assert len(kernel.placed) == 1


def test_the_picture_is_of_the_weights_that_are_there(rng):
    scores = np.zeros((2, 1, 3, 3), "float32")
    scores[:, 0] = [[[1, 0, 0], [0.25, 0.75, 0], [0.25, 0.25, 0.5]], [[1, 0, 0], [0.25, 0, 0.75], [np.nan, 0, 0.5]]]
    payload = ats.view(ats.AttentionMaps.from_arrays({"<site>": scores}, labels=["<a>", "b\ufffe", "c"])).payload
    state = {"view": "matrix", "scale": "linear", "panel": 7, "ramp": "none"}
    pixels, ramp = [], colours.ramp()
    for sample in range(2):
        svg = still(payload, {**state, "sample": sample})
        image = next(ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}image"))
        pixels.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(image.get("href").split(",")[1])))))
        assert pixels[-1].shape == (3, 3, 3)
        assert texts_of(svg)[:4] == ["Attention maps", f"sample {sample + 1} of 2", "<site>, head 0", "<a>"]
        assert pixels[-1][0, 0].tolist() == ramp[255].tolist()
        assert pixels[-1][1, 0].tolist() == ramp[round(0.25 * 255)].tolist()
    assert pixels[0][0, 2].tolist() == list(colours.rgb("masked-flat", dark=False))
    assert pixels[1][2, 0].tolist() == list(colours.NOT_A_NUMBER)


def test_the_picture_of_two_runs_says_the_run_and_its_label(rng):
    maps = ats.AttentionMaps.from_arrays({"mha": softmax(rng.normal(size=(1, 2, 2, 3)))})
    payload = ats.view({"before": maps, "after": maps}, labels={"before": ["good"], "after": ["bad"]}).payload
    assert texts_of(still(payload, {"view": "matrix", "site": 1}))[1:3] == ["bad", "after: mha, head 0"]
    assert {"good", "before: mha", "after: mha"} <= set(texts_of(still(payload, {})))


def test_a_picture_of_many_heads_says_what_is_left_out(rng):
    arrays = {f"layer_{n}": softmax(rng.normal(size=(1, 18, 2, 3))) for n in range(20)}
    payload = ats.view(ats.AttentionMaps.from_arrays(arrays)).payload
    svg = ElementTree.fromstring(still(payload, {}))
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}image"))) == 16 * 16 + 1
    assert "Not in this picture: 4 more sites and heads from 16 on." in [text.text for text in svg.iter()]


def test_the_widget_carries_the_manifest_and_the_first_thumbnails(view, kernel):
    made = view.widget
    assert json.loads(made.manifest) == json.loads(json.dumps(view.payload.manifest))
    assert made.thumbnails == view.payload.block("thumbnails/0")
    assert "import " not in re.sub(r"(?m)^\s*//.*$", "", made._esm)
    assert re.search(r"var (\w+)=\{render:\w+\};export\{\1 as default\};$", made._esm.rstrip())
    assert len(re.findall(r"[;}]export\b", made._esm)) == 1
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", made._esm + made._css)
    assert "https://" not in made._esm + made._css


def test_the_rules_of_the_widget_touch_nothing_else_in_the_notebook(view, kernel):
    css = re.sub(r"/\*.*?\*/", "", view.widget._css, flags=re.DOTALL)
    css = re.sub(r"@keyframes[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}", "", css)
    while "(" in css:
        css = re.sub(r"\([^()]*\)", "", css)
    selectors = [part.strip() for found in re.findall(r"([^{}]+)\{", css) for part in found.split(",")]
    foreign = [each for each in selectors if not each.startswith((".attnscope-", "@media", "@container", "@supports"))]
    assert foreign == []
    assert len(selectors) > 50


def test_blocks_are_those_of_the_saved_page(view, kernel, monkeypatch):
    for name in ("map/4/1/2", "map/0/2/1", "thumbnails/3"):
        ((content, buffers),) = asked(view.widget, {"kind": "block", "name": name, "call": "a-1"}, monkeypatch)
        assert content == {"kind": "block", "call": "a-1"}
        assert buffers == [view.payload.block(name)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "block", "name": "map/5/0/0", "call": 1}, "There is no block 'map/5/0/0'."),
        ({"kind": "block", "name": "../secret", "call": 1}, "There is no block '../secret'."),
        ({"kind": "block", "call": 1}, "There is no block 'None'."),
        ({"call": 1}, "There is no block 'None'."),
    ],
)
def test_a_block_that_is_not_there_is_told_to_the_page(view, kernel, monkeypatch, content, message):
    assert asked(view.widget, content, monkeypatch) == [({"kind": "failure", "call": 1, "message": message}, None)]


def test_a_block_that_cannot_be_made_is_told_to_the_page_and_to_the_log(view, kernel, monkeypatch, caplog):
    def broken(*_):
        raise OSError("the disk is gone")

    made = view.widget
    monkeypatch.setattr(type(view.payload), "block", broken)
    assert asked(made, {"kind": "block", "name": "map/0/0/0", "call": 1}, monkeypatch) == [
        ({"kind": "failure", "call": 1, "message": "OSError: the disk is gone"}, None)
    ]
    assert [record.getMessage() for record in caplog.records] == ["The block 'map/0/0/0' could not be made."]


def test_where_nobody_answers_the_picture_is_seen_beside_the_view(view, kernel, open_page, tmp_path):
    """A page that was made of a notebook may hold the widget, and has no Python."""
    kernel.run("one", view)
    made = view.widget
    given = json.dumps({"manifest": made.manifest, "state": {}, "note": made.note}).replace("<", "\\u003c")
    thumbnails = base64.b64encode(made.thumbnails).decode()
    code = re.sub(
        r"export\{(\w+) as default\};\s*$",
        f"""
        const given = {{...{given}, thumbnails: Uint8Array.from(atob("{thumbnails}"), (c) => c.charCodeAt(0)).buffer}};
        const silent = () => {{}};
        const model = {{get: (name) => given[name], set: silent, save_changes: silent, send: silent, on: silent}};
        \\1.render({{model, el: document.querySelector("#place")}});""",
        made._esm,
    )
    (tmp_path / "page.html").write_text(
        "<!doctype html><meta charset='utf-8'><title>page</title><div id=place></div>"
        f"{kernel.published[1]['text/html']}<script type=module>{code}</script>",
        "utf-8",
    )
    page = open_page(tmp_path / "page.html")
    page.clock.install()
    picture = page.get_by_role("img", name="The view as it was last seen")
    assert picture.is_hidden()
    page.get_by_role("tab", name="Matrix").click()
    page.clock.fast_forward(4100)
    picture.wait_for()
    assert page.locator(".attnscope-message").inner_text().startswith("Python has not answered yet")


def test_python_says_that_it_is_there(view, kernel, monkeypatch):
    assert asked(view.widget, {"kind": "check", "call": 7}, monkeypatch) == [({"kind": "here", "call": 7}, None)]


def test_the_state_is_what_the_page_says_and_moves_it(view, kernel):
    assert view.state == {}
    view.state = {"view": "matrix", "site": 1}
    assert view.state == {"view": "matrix", "site": 1}
    assert view.widget.state == {"view": "matrix", "site": 1}
    view.widget.set_state({"state": {"view": "lines", "site": 1, "query": 3}})  # as the page does
    assert view.state == {"view": "lines", "site": 1, "query": 3}
    view.state = {"query": -1}
    assert view.widget.state == view.state == {"view": "lines", "site": 1, "query": -1}
    view.state["query"] = 5  # a copy
    assert view.state["query"] == -1


def test_the_names_of_the_state_are_those_of_the_page():
    body = re.search(
        r"function defaultState\(manifest\) \{\n  return \{\n(.*?)\n  \};", STATE_SOURCE.read_text(), re.DOTALL
    )[1]
    assert sorted(re.findall(r"(?m)^    (\w+):", body)) == sorted(STATE)


def test_a_state_of_another_name_is_refused(view):
    with pytest.raises(InputError) as caught:
        view.state = {"view": "matrix", "layer": 2}
    assert str(caught.value) == (
        f"The state has no 'layer'; it has {', '.join(STATE)}. For example: "
        "view.state = {'view': 'matrix', 'site': 2, 'panel': 5}."
    )
    assert view.state == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"view": "heads"},
            "The state's view is 'heads', but one of overview, matrix, lines, text, image, compare is needed (overview "
            "is the tab Heads). For example: view.state = {'view': 'matrix'}.",
        ),
        (
            {"site": 99},
            "The state's site is 99, but there are 3, numbered from 0 in the order of the page's list. For example: "
            "view.state = {'site': 2}.",
        ),
        (
            {"view": "matrix", "sample": -1},
            "The state's sample is -1, but there are 5, numbered from 0 in the order of the page's list. For example: "
            "view.state = {'sample': 4}.",
        ),
        (
            {"site": "encoder_0/mha"},
            "The state's site is 'encoder_0/mha', but there are 3, numbered from 0 in the order of the page's list. "
            "For example: view.state = {'site': 2}.",
        ),
    ],
)
def test_a_view_a_site_or_a_sample_that_is_not_there_is_refused(view, changes, message):
    with pytest.raises(InputError) as caught:
        view.state = changes
    assert str(caught.value) == message
    assert view.state == {}


def test_the_views_are_those_of_the_page():
    body = re.search(r"const VIEWS = \[\n(.*?)\n\];", STATE_SOURCE.read_text(), re.DOTALL)[1]
    assert tuple(re.findall(r'\["(\w+)", ', body)) == VIEWS


def test_it_is_said_once_how_many_samples_are_left_out(rng):
    view = ats.view(maps_of(rng, samples=300, length=2))
    said = (
        "The first {} of 300 samples. For others: ats.view(maps, samples=[...]), on the command line attnscope view "
        "RUN --samples A:B."
    )
    for payload, count in ((view.payload, 256), (view._saved(), 16)):
        notes = [note for note in payload.manifest["notes"] if note.startswith("The first")]
        assert notes == [said.format(count)]


def test_a_view_that_is_shown_again_is_the_same_widget(view, kernel):
    kernel.run("one", view)
    kernel.run("two", view)
    first, _, second, _ = kernel.published
    assert first[WIDGET_VIEW]["model_id"] == second[WIDGET_VIEW]["model_id"]
    assert open_widgets() >= {first[WIDGET_VIEW]["model_id"]}


def test_a_cell_that_runs_again_leaves_no_widget_behind(rng, kernel):
    before, kept = open_widgets(), []
    for _ in range(4):
        kept.append(ats.view(maps_of(rng)))  # as Out[n] keeps it
        kernel.run("one", kept[-1])
    assert len(open_widgets() - before) == 2
    kernel.run("one")
    assert open_widgets() == before
    assert kernel.callbacks == []


def test_a_view_is_closed_only_when_no_cell_shows_it(view, kernel):
    kernel.run("one", view)
    kernel.run("two", view)
    view.state = {"site": 1}
    number = view._presence.widget.model_id
    kernel.run("one")
    assert number in open_widgets()
    kernel.run("two")
    assert number not in open_widgets()
    kernel.run("three", view)  # as it was left, in a widget of its own
    assert view.state == {"site": 1}
    assert view._presence.widget.model_id not in (None, number)
    assert view._presence.widget.model_id in open_widgets()


def test_where_cells_are_not_named_nothing_is_closed(view, kernel):
    kernel.run(None, view)
    number = view._presence.widget.model_id
    kernel.run(None)
    assert number in open_widgets()


def test_a_view_that_python_has_forgotten_is_closed(rng, kernel):
    before = open_widgets()
    view = ats.view(maps_of(rng))
    kernel.run("one", view)
    payload = weakref.ref(view.payload)
    assert len(open_widgets() - before) == 2
    del view
    gc.collect()
    assert open_widgets() == before
    assert kernel.callbacks == []
    assert payload() is None


def test_a_widget_that_was_taken_is_its_takers(rng, kernel):
    made = ats.view(maps_of(rng)).widget
    gc.collect()
    assert made.model_id in open_widgets()
    made.close()


def test_a_terminal_gets_text_and_no_widget(view, kernel):
    kernel.active_types = ["text/plain"]
    before = open_widgets()
    kernel.run("one", view)
    assert kernel.published == [{"text/plain": PLAIN}]
    assert open_widgets() == before


def test_without_a_kernel_it_is_a_page_in_a_frame(view, open_page, tmp_path):
    bundle = view._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"] == PLAIN
    assert '<iframe sandbox="allow-scripts allow-downloads" title="Small &lt;b&gt;"' in bundle["text/html"]
    outer = tmp_path / "notebook.html"
    outer.write_text(f"<!doctype html><meta charset='utf-8'><title>notebook</title>{bundle['text/html']}", "utf-8")
    page = open_page(outer, allowed="about:srcdoc")
    inside = page.frame_locator("iframe")
    inside.get_by_role("tab", name="Matrix").click()
    inside.get_by_label("Sample number").fill("2")
    page.keyboard.press("Enter")
    inside.locator(".attnscope-view canvas").first.wait_for()
    frame = page.frames[1]
    assert frame.evaluate("document.querySelectorAll('.attnscope-view').length") == 1
    assert frame.evaluate("self.origin") == "null"  # nothing of the notebook's can be reached from it
    assert frame.evaluate("document.querySelector('[role=alert]:not([hidden])')") is None


def test_without_anywidget_it_says_what_is_left_out(rng, kernel, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    view = ats.view(maps_of(rng, samples=11))
    kernel.run("one", view)
    (bundle,) = kernel.published
    assert bundle["text/html"].endswith(
        "<p>anywidget is not installed here, so this is a page of at most 8 samples and 8,000,000 bytes, which is "
        "stored in the notebook. For all that there is: pip install anywidget</p>"
    )
    inside = html.unescape(re.search(r'srcdoc="([^"]*)"', bundle["text/html"])[1])
    manifest = json.loads(re.search(r"data-manifest>(.*?)</script>", inside)[1])
    assert len(manifest["samples"]) == 8
    assert inside.count('data-block="thumbnails/') == 8


def test_the_page_in_a_frame_is_bounded(view, monkeypatch):
    monkeypatch.setattr(widgets, "FRAME_BYTES", 30)
    shown = view._repr_mimebundle_()["text/html"]
    assert "iframe" not in shown
    assert "It could not be made: The thumbnails of 5 samples alone take more than 30 bytes." in shown
