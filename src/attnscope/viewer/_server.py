"""A stored run as a page on this machine: the browser requests what you look at, and only that is read.

What the page shows may be private, so only a browser on this machine gets it: the server listens on 127.0.0.1 only,
answers to no other name (another site's name can be made to point here), and no other origin may read it. Requests name
an entry of a table, never a path.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from attnscope.errors import InputError
from attnscope.maps import AttentionMaps, open_maps
from attnscope.viewer._arrange import findings_in_words
from attnscope.viewer._page import END, SERVED, head, policy, script_element
from attnscope.viewer._payload import Payload
from attnscope.viewer._view import MOST_SAMPLES, check_that_something_is_there, checked_samples, title_of

ADDRESS = "127.0.0.1"
PORT = 8765
LINTED_BYTES = 64_000_000
"""How many bytes of scores the lint reads before the page opens."""
IDLE_SECONDS = 60
BLOCKS = "/block/"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def serve(
    run: str | Path,
    *,
    port: int | None = None,
    samples: Sequence[int] | slice | None = None,
    title: str | None = None,
    open_browser: bool = True,
) -> None:
    """Shows a stored run in the browser until it is stopped (Ctrl-C).

    Args:
        run: What `attnscope capture` or `maps.save` wrote.
        port: Port of 127.0.0.1; 0 for any free port; None for 8765, or any free port if that is taken.
        samples: Numbers of the samples to show; default: the first 256.
        title: Heading; default: the model's name.
        open_browser: Whether to open the page in the browser.

    Raises:
        FileNotFoundError: Nothing exists at `run`.
        SchemaError: It is not a run, or has nothing to draw.
        IncompleteRunError: The run was interrupted.
        InputError: The samples do not exist, or the port is taken.
    """
    payload = payload_of(run, samples=samples, title=title)
    with Server(payload, port) as server:
        print(f"{str(run)!r} is shown at {server.address} (press Ctrl-C to stop)", flush=True)
        if open_browser:  # in a thread, because a browser that runs in the terminal returns only when it is closed
            threading.Thread(target=_open, args=(server.address,), daemon=True, name="browser").start()
        server.serve_forever()


def _open(address: str) -> None:
    if not webbrowser.open(address):
        print("No browser could be opened here. Open this address in a browser on this machine.", flush=True)


def payload_of(run: str | Path, *, samples: Sequence[int] | slice | None = None, title: str | None = None) -> Payload:
    """What `serve` serves of a run, with the same arguments."""
    maps = open_maps(run)
    check_that_something_is_there(maps)
    there = maps.num_samples
    requested = _of_slice(samples, there) if isinstance(samples, slice) else samples
    chosen = range(min(there, MOST_SAMPLES)) if requested is None else checked_samples(requested, there)
    notes = _findings(maps, chosen, run)
    if requested is None and there > MOST_SAMPLES:
        notes.append(
            f"The first {MOST_SAMPLES} of {there:,} samples. For others: attnscope view {run} --samples "
            f"{MOST_SAMPLES}:{min(there, 2 * MOST_SAMPLES)}"
        )
    return Payload({"": maps}, list(chosen), title_of(maps, title), notes=notes)


def _of_slice(samples: slice, there: int) -> range:
    chosen = range(there)[samples]
    if not chosen:
        raise InputError(
            f"The samples {samples.start or 0}:{there if samples.stop is None else samples.stop} were requested, but "
            f"there are {there}, numbered from 0. Choose among them: 0:{there}."
        )
    return chosen


def _findings(maps: AttentionMaps, samples: Sequence[int], run: str | Path) -> list[str]:
    """What the lint finds on the first of these samples: as many as can be read before the page opens."""
    one = sum(maps.dataset(name).nbytes for name in maps) // maps.num_samples
    looked_at = list(samples)[: LINTED_BYTES // max(1, one)]
    part = AttentionMaps({name: maps.dataset(name).isel(sample=looked_at) for name in maps if looked_at})
    notes = findings_in_words({"": part})
    if len(looked_at) < maps.num_samples:
        notes.append(
            f"Findings about these maps come from {len(looked_at)} of {maps.num_samples:,} samples, so that the "
            f"page opens at once. For all of them, in Python: attnscope.open({str(run)!r}).findings"
        )
    return notes


class Server(ThreadingHTTPServer):
    """Serves one payload on 127.0.0.1.

    Args:
        payload: What can be requested.
        port: Port of 127.0.0.1; 0 for any free port; None for 8765, or any free port if that is taken.

    Raises:
        InputError: The port is not a port number, or was given and is taken.
    """

    daemon_threads = False  # reads are finished: a store whose reading is cut short complains
    allow_reuse_address = os.name != "nt"  # on Windows it would let two servers share a port

    def __init__(self, payload: Payload, port: int | None = None) -> None:
        if port is not None and not 0 <= port < 2**16:
            raise InputError(f"The port is {port}, but a number from 0 to 65535 is needed: --port {PORT}.")
        self._connections: set[socket.socket] = set()
        self.payload = payload
        self.page = "".join([head(payload, SERVED), script_element(SERVED), END]).encode()
        self.policy = f"{policy(SERVED)}; frame-ancestors 'none'"
        try:
            super().__init__((ADDRESS, PORT if port is None else port), Handler)
        except OSError as error:
            if port is not None:
                raise InputError(
                    f"Port {port} of {ADDRESS} cannot be used: {error.strerror}. Give another, or take any free port: "
                    "--port 0."
                ) from None
            super().__init__((ADDRESS, 0), Handler)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/"

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The names that a request may call this server by."""
        names = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        return frozenset(names | ({ADDRESS, "localhost"} if self.server_port == 80 else set()))

    def process_request(self, request: Any, client_address: object) -> None:
        """Answers a connection, which stays open for more."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Ends open connections too, and waits for what is being read."""
        for connection in list(self._connections):
            with suppress(OSError):  # gone already
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: object) -> None:
        """A browser that goes away while it is answered is not an error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: Server
    protocol_version = default_request_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        """Sends the page or one of its blocks."""
        path = self.path.partition("?")[0]
        if self._is_foreign():
            return
        if path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        elif path.startswith(BLOCKS):
            self._send_block(path.removeprefix(BLOCKS))
        else:
            self.send_error(HTTPStatus.NOT_FOUND, f"There is only the page itself here, {self.server.address}")

    do_HEAD = do_GET  # noqa: N815

    def _is_foreign(self) -> bool:
        """Rejects a request that uses a name other than this server's, or that comes from a page of another site."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            self.send_error(HTTPStatus.BAD_REQUEST, f"This server answers only at {self.server.address}.")
            return True
        site, mode = (self.headers.get(f"Sec-Fetch-{name}", "") for name in ("Site", "Mode"))
        if site in ("cross-site", "same-site") and mode != "navigate":
            self.send_error(HTTPStatus.FORBIDDEN, "Only the page of this server may request its contents.")
            return True
        return False

    def _send_block(self, name: str) -> None:
        if not self.server.payload.holds(name):
            self.send_error(HTTPStatus.NOT_FOUND, f"There is no block {name!r}.")
            return
        try:
            block = self.server.payload.block(name)
        except Exception as error:  # the page shows the message, and the terminal the traceback
            traceback.print_exc()
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
            return
        self._send(HTTPStatus.OK, "application/octet-stream", block)

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", self.server.policy)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection or self._has_body():
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _has_body(self) -> bool:
        """Whether the request has a body, which is not read and must not be taken for another request."""
        headers = getattr(self, "headers", None) or {}
        return any(name in headers for name in ("Content-Length", "Transfer-Encoding"))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """In plain text; methods other than GET and HEAD are not allowed."""
        status = HTTPStatus(code)
        text = message or status.phrase
        if status == HTTPStatus.NOT_IMPLEMENTED:
            status, text = HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are answered."
        self.close_connection = True
        self._send(status, "text/plain; charset=utf-8", f"{text}\n".encode(errors="backslashreplace"))

    def version_string(self) -> str:
        """The program, without what it runs on."""
        return "attnscope"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, the name in http.server
        """Logs nothing: the answer says what went wrong."""
