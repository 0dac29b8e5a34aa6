"""A view in a notebook: an anywidget that requests each block from Python when it is looked at.

Beside it stands a picture of what is looked at, for whoever sees the notebook without Python. Python draws the first;
the page sends what it shows, and the output is changed in its place, so that the last picture is the one that is saved.

ipywidgets keeps every widget alive until it is closed. So that views do not pile up, a widget is closed when its view
is gone from Python, and when the only cell that shows it is run again.
"""

from __future__ import annotations

import base64
import html
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from attnscope.errors import AttnscopeError
from attnscope.viewer._arrange import escaped_json
from attnscope.viewer._page import WIDGET, WIDGET_SHEET, page, script, style
from attnscope.viewer._payload import Payload
from attnscope.viewer._still import still

FRAME_SAMPLES = 8
FRAME_BYTES = 8_000_000
"""The most that a page in a notebook may hold if anywidget is not installed: all of it is stored in the notebook."""
INSTALL = "pip install anywidget"
MOST_PICTURE_BYTES = 4_000_000
"""The largest picture that is taken from a page: it is stored in the notebook."""
PNG = b"\x89PNG\r\n\x1a\n"


class Presence:
    """A view's widget, in the cells that show it; closed when the view is gone.

    Attributes:
        widget: The widget; its `state` is what the user looks at.
    """

    def __init__(self, view: object, payload: Payload, state: Mapping[str, object]) -> None:
        self._payload, self._plain = payload, repr(view)
        self._picture: bytes | None = None
        self.widget = _widget_class()(
            manifest=escaped_json(payload.manifest), thumbnails=payload.block("thumbnails/0"), state=dict(state)
        )
        self.widget.note = self.widget.model_id
        self.widget.on_msg(self._hear)
        self._shell = shell()
        self._cells: set[str | None] = set()
        if self._shell is not None:
            self._shell.events.register("pre_run_cell", self._begin)
        self._leaving = weakref.finalize(view, self.close)
        self._leaving.atexit = False

    def show(self) -> None:
        """Records that the running cell shows it, and puts a picture of it beside it."""
        self._publish()
        message = getattr(self._shell, "parent_header", None) or {}
        self._cells.add((message.get("metadata") or {}).get("cellId"))

    def set_state(self, state: Mapping[str, object]) -> None:
        """Moves the view, and draws the picture anew, for there may be no page that would send one."""
        self.widget.state = dict(state)
        if self._cells:
            self._picture = None
            self._publish(update=True)

    def _hear(self, widget: Any, content: Mapping[str, object], buffers: Sequence[Any]) -> None:
        """Answers a message of the page, or keeps the picture that it sends."""
        if content.get("kind") != "picture":
            _answer(widget, self._payload, content)
            return
        picture = bytes(buffers[0]) if buffers else b""
        if self._cells and picture.startswith(PNG) and len(picture) <= MOST_PICTURE_BYTES:
            self._picture = picture
            self._publish(update=True)

    def _publish(self, *, update: bool = False) -> None:
        """Shows the picture in the cell that runs, or in place of the one in the cells that showed it."""
        if self._shell is not None:
            content = {"text/html": note(self.widget.note, self._drawn(), self._plain)}
            self._shell.display_pub.publish(content, transient={"display_id": self.widget.note}, update=update)

    def _drawn(self) -> str:
        """The picture as an address."""
        if self._picture is not None:
            return f"data:image/png;base64,{base64.b64encode(self._picture).decode()}"
        drawn = still(self._payload, self.widget.state)
        return f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"

    def _begin(self, cell: Any) -> None:
        """A cell that runs again no longer shows its earlier output; without cell ids, none is known to be gone."""
        if cell.cell_id is not None and cell.cell_id in self._cells:
            self._cells.remove(cell.cell_id)
            if not self._cells:
                self.close()

    def released(self) -> Any:
        """The widget, which this no longer closes."""
        self._cells.add(None)
        self._leaving.detach()
        return self.widget

    @property
    def is_open(self) -> bool:
        """Whether it can still be shown."""
        return self.widget.comm is not None

    def close(self) -> None:
        """Removes it from the screen and from memory."""
        if self.is_open:
            self.widget.layout.close()  # a widget of its own, which ipywidgets would leave
            self.widget.close()
            if self._shell is not None:
                self._shell.events.unregister("pre_run_cell", self._begin)


@cache
def _widget_class() -> Any:
    """Made when it is first needed: anywidget is an optional package, and slow to load."""
    import anywidget
    import traitlets

    class AttentionView(anywidget.AnyWidget):
        """The widget that `view` shows; ``view.state`` and ``view.save`` are what it is used by."""

        _esm = script(WIDGET)
        _css = style(WIDGET_SHEET)
        manifest = traitlets.Unicode().tag(sync=True)
        thumbnails = traitlets.Bytes().tag(sync=True)
        state = traitlets.Dict().tag(sync=True)
        note = traitlets.Unicode().tag(sync=True)

    return AttentionView


def has_anywidget() -> bool:
    """Whether a widget can be made."""
    try:
        import anywidget  # noqa: F401
    except ImportError:
        return False
    return True


def shell() -> Any:
    """The running IPython, or None."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def _answer(widget: Any, payload: Payload, content: Mapping[str, object]) -> None:
    """Sends the block that a page requests, or why there is none; or only that Python is there."""
    call, name = content.get("call"), str(content.get("name"))
    if content.get("kind") == "check":
        widget.send({"kind": "here", "call": call})
        return
    try:
        block = payload.block(name)
    except Exception as error:  # the page shows the message, and the kernel's log the traceback
        widget.log.exception("The block %r could not be made.", name)
        widget.send({"kind": "failure", "call": call, "message": _message(error)})
        return
    widget.send({"kind": "block", "call": call}, [block])


def _message(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"


def note(name: str, picture: str, plain: str) -> str:
    """What replaces a view if its kernel is gone, or if no widget can be shown: in HTML, hidden beside it.

    Args:
        name: By which the page of the view hides it.
        picture: The address of the view's picture.
        plain: The view in words.
    """
    return (
        f'<div class="attnscope-note-{name}"><img src="{picture}" alt="The view as it was last seen" '
        f'style="max-width: 100%; height: auto"><p>{html.escape(plain)}.</p><p>This is how it was last seen. It is '
        "drawn by Python, which does not run here. Run the cell again, or open a page that needs no Python: "
        "<code>view.save(&quot;view.html&quot;)</code></p></div>"
    )


def framed(payload: Payload) -> str:
    """The offline page in a frame of its own, for notebooks without anywidget."""
    few = replace(payload, samples=payload.samples[:FRAME_SAMPLES], _read={})
    missing = (
        f"anywidget is not installed here, so this is a page of at most {FRAME_SAMPLES} samples and {FRAME_BYTES:,} "
        f"bytes, which is stored in the notebook. For all that there is: {INSTALL}"
    )
    try:
        content = html.escape("".join(page(few, FRAME_BYTES)))
    except AttnscopeError as error:
        return f"<p>{html.escape(missing)}</p><p>It could not be made: {html.escape(str(error))}</p>"
    return (
        f'<iframe sandbox="allow-scripts allow-downloads" title="{html.escape(payload.title)}" '
        f'style="width: 100%; height: 760px; border: 1px solid #8888; border-radius: 4px" srcdoc="{content}"></iframe>'
        f"<p>{html.escape(missing)}</p>"
    )
