"""`attnscope view`: a stored run, served to this machine alone, over real sockets."""

import base64
import hashlib
import http.client
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

import attnscope as ats
from attnscope.errors import IncompleteRunError, InputError, SchemaError
from attnscope.stores import read_manifest
from attnscope.stores._first_layout import _PlainStore
from attnscope.viewer import _server as serving
from attnscope.viewer._server import Server, payload_of, serve
from viewer_screens import settled

WORDS = ["[CLS]", "the", "cat", "sat", "on", "mat", "[SEP]"]


def softmax(logits):
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return (raised / raised.sum(-1, keepdims=True)).astype("float32")


@pytest.fixture
def run(tmp_path, rng):
    """A stored run of two sites of three heads on five samples."""
    arrays = {f"encoder_{layer}/mha": softmax(rng.normal(size=(5, 3, 7, 7)) * 2) for layer in range(2)}
    return ats.AttentionMaps.from_arrays(arrays, labels=WORDS, roles={"*": ("text", "text")}).save(
        tmp_path / "run.zarr"
    )


@contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(run):
    with running(Server(payload_of(run), 0)) as started:
        yield started


def ask(server, path, method="GET", *, body=None, **headers):
    """Status, headers and content of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=named)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def said(server, path, method="GET", **headers):
    """Status and text of an answer that refuses."""
    status, given, content = ask(server, path, method, **headers)
    assert given["Content-Type"] == "text/plain; charset=utf-8"
    return status, content.decode()


def raw(server, request):
    """All that is answered to these bytes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_page_runs_its_own_script_and_nothing_else(server):
    status, headers, content = ask(server, "/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    page = content.decode()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    script_hash, style_hash = (
        base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (script, style)
    )
    assert headers["Content-Security-Policy"] == (
        f"default-src 'none'; script-src 'sha256-{script_hash}'; style-src 'sha256-{style_hash}'; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert "<script " not in page.replace('<script type="application/json" data-manifest>', "")
    assert "import " not in re.sub(r"//.*|/\*.*?\*/", "", script)


def test_blocks_are_those_of_the_saved_page(run, server):
    expected = ats.view(ats.open(run)).payload
    names = list(expected.names())
    assert len(names) == 5 * (1 + 2 * 3 + 2)  # thumbnails, heads of two sites, rollout after two sites
    for name in names:
        status, headers, content = ask(server, f"/block/{name}")
        assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
        assert content == expected.block(name), name


def test_many_threads_get_the_right_blocks(run, server, rng):
    expected = ats.view(ats.open(run)).payload
    names = [str(name) for name in rng.permutation(list(expected.names()) * 4)]
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda name: ask(server, f"/block/{name}"), names))
    assert [answer[0] for answer in answers] == [200] * len(names)
    assert all(answer[2] == expected.block(name) for name, answer in zip(names, answers, strict=True))


@pytest.mark.parametrize(
    "name",
    [
        "map/0/0/3",
        "map/0/3/0",
        "map/5/0/0",
        "map/-1/0/0",
        "map/0/0",
        "map/0/0/0/0",
        "map/0/0/",
        "map/0/0/1e0",
        "map/0/0/99999999999999999999",
        "map/0/0/%30",
        "map/0/0/%D9%A1",
        "thumbnails/5",
        "thumbnails",
        "image/0",
        "secret/0",
        "",
        "../../../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "run.zarr/zarr.json",
    ],
)
def test_there_is_no_block_but_those_of_the_table(server, name):
    assert said(server, f"/block/{name}") == (404, f"There is no block {name!r}.\n")


@pytest.mark.parametrize("path", ["/index.html", "/block", "/static/app.js", "/../x", "/%2e%2e/x", "/favicon.ico", "*"])
def test_there_is_nothing_beside_the_page(server, path):
    assert said(server, path) == (404, f"There is only the page itself here, {server.address}\n")


def test_what_stands_behind_a_question_mark_changes_nothing(server):
    assert ask(server, "/?a=/etc/passwd")[2] == ask(server, "/")[2]


def test_a_path_of_another_site_is_no_path(server):
    answer = raw(server, f"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "PROPFIND"])
def test_only_get_and_head_are_answered(server, method):
    status, headers, content = ask(server, "/", method)
    assert (status, headers["Allow"], content) == (405, "GET, HEAD", b"Only GET and HEAD are answered.\n")


def test_head_says_what_get_would(server):
    status, headers, content = ask(server, "/block/map/0/0/0", "HEAD")
    expected = ask(server, "/block/map/0/0/0")
    assert (status, content) == (200, b"")
    assert headers["Content-Length"] == str(len(expected[2]))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/", "/block/map/0/0/0"])
def test_another_name_that_points_here_gets_nothing(server, host, path):
    host = host.format(port=server.server_port)
    assert said(server, path, Host=host) == (400, f"This server answers only at {server.address}.\n")


def test_a_request_without_a_name_or_with_two_gets_nothing(server):
    good = f"Host: 127.0.0.1:{server.server_port}\r\n"
    for hosts in ("", good + "Host: evil.example\r\n", good * 2):
        assert raw(server, f"GET / HTTP/1.1\r\n{hosts}\r\n".encode()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_its_own_names_are_answered(server, name):
    assert ask(server, "/", Host=f"{name}:{server.server_port}")[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_the_page_of_another_site_gets_nothing(server, site):
    for mode in ("no-cors", "cors", "same-origin"):
        assert said(server, "/block/map/0/0/0", Sec_Fetch_Site=site, Sec_Fetch_Mode=mode) == (
            403,
            "Only the page of this server may request its contents.\n",
        )
    assert ask(server, "/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")[0] == 200  # a link may lead here


@pytest.mark.parametrize(("path", "method"), [("/", "GET"), ("/block/map/0/0/0", "GET"), ("/x", "GET"), ("/", "POST")])
def test_every_answer_keeps_to_itself(server, path, method):
    _, headers, _ = ask(server, path, method, Origin="https://evil.example")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "attnscope"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("request_line", ["GET", "GET / HTTP/9.9.9", "GET / x / HTTP/1.1", "\x00\x01", "GET / FTP/1.0"])
def test_what_is_no_request_is_refused_in_plain_text(server, request_line):
    answer = raw(server, f"{request_line}\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
    assert b"<html" not in answer.lower()
    assert b"400 Bad Request" in answer


def test_what_follows_a_request_as_its_body_is_no_second_request(server):
    second = f"GET /block/map/0/0/0 HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n"
    first = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\nContent-Length: {len(second)}\r\n\r\n"
    answer = raw(server, (first + second).encode())
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"\r\nConnection: close\r\n" in answer


def test_one_connection_serves_many_requests(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    for _ in range(3):
        connection.request("GET", "/block/map/0/0/0")
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
        opened = connection.sock
    assert opened is connection.sock is not None
    connection.close()


def test_only_this_machine_can_ask(server):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", server.server_port), timeout=5)


def test_a_block_that_cannot_be_made_is_told_and_traced(server, monkeypatch, capfd):
    def broken(_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(type(server.payload), "block", lambda _, name: broken(name))
    assert said(server, "/block/map/0/0/0") == (500, "OSError: the disk is gone\n")
    assert "OSError: the disk is gone" in capfd.readouterr().err
    assert ask(server, "/")[0] == 200


def test_a_browser_that_goes_away_leaves_no_traceback(server, capfd):
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closed by a reset
            connection.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
    assert ask(server, "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_the_usual_port_or_another_where_it_is_taken(run, monkeypatch):
    payload = payload_of(run)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(serving, "PORT", port)
        with running(Server(payload)) as server:
            assert server.server_port != port
            assert ask(server, "/")[0] == 200
    with running(Server(payload)) as server:
        assert server.server_port == port
        assert server.address == f"http://127.0.0.1:{port}/"


def test_a_port_that_was_asked_for_is_that_or_an_error(run):
    payload = payload_of(run)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError) as caught:
            Server(payload, port)
    assert str(caught.value) == (
        f"Port {port} of 127.0.0.1 cannot be used: Address already in use. Give another, or take any free port: --port "
        "0."
    )
    with pytest.raises(InputError) as caught:
        Server(payload, 65536)
    assert str(caught.value) == "The port is 65536, but a number from 0 to 65535 is needed: --port 8765."


def test_serve_says_the_address_opens_it_and_ends_by_an_interrupt(run, monkeypatch, capfd):
    opened = []

    def browser(address):
        opened.append((address, http.client.HTTPConnection(address[7:-1], timeout=30)))
        return False

    def interrupted(server):
        for thread in threading.enumerate():
            if thread.name == "browser":
                thread.join()
        raise KeyboardInterrupt

    monkeypatch.setattr(serving.webbrowser, "open", browser)
    monkeypatch.setattr(Server, "serve_forever", interrupted)
    with pytest.raises(KeyboardInterrupt):
        serve(run, port=0)
    ((address, connection),) = opened
    assert capfd.readouterr().out.splitlines() == [
        f"'{run}' is shown at {address} (press Ctrl-C to stop)",
        "No browser could be opened here. Open this address in a browser on this machine.",
    ]
    with pytest.raises(ConnectionRefusedError):
        connection.request("GET", "/")


def test_what_is_no_run_is_refused(tmp_path, run):
    with pytest.raises(FileNotFoundError):
        payload_of(tmp_path / "nowhere.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SchemaError, match="is not an attnscope run"):
        payload_of(tmp_path / "folder")
    manifest = replace(read_manifest(run), complete=False)
    manifest.write(run, durable=False)
    with pytest.raises(IncompleteRunError, match="holds an interrupted run"):
        payload_of(run)


def test_samples_are_the_first_or_those_asked_for(tmp_path, rng, monkeypatch):
    maps = ats.AttentionMaps.from_arrays({"mha": softmax(rng.normal(size=(7, 2, 3, 3)))})
    path = maps.save(tmp_path / "seven.zarr")
    monkeypatch.setattr(serving, "MOST_SAMPLES", 4)
    first = payload_of(path)
    assert list(first.samples) == [0, 1, 2, 3]
    assert first.notes == [
        "Findings about these maps come from 4 of 7 samples, so that the page opens at once. For all of them, in "
        f"Python: attnscope.open({str(path)!r}).findings",
        f"The first 4 of 7 samples. For others: attnscope view {path} --samples 4:7",
    ]
    chosen = payload_of(path, samples=slice(5, None), title="Mine")
    assert [sample["name"] for sample in chosen.manifest["samples"]] == ["5", "6"]
    assert chosen.manifest["title"] == "Mine"
    assert chosen.block("map/1/0/0") == ats.view(maps, samples=[6]).payload.block("map/0/0/0")
    with pytest.raises(InputError) as caught:
        payload_of(path, samples=slice(7, 9))
    assert (
        str(caught.value) == "The samples 7:9 were requested, but there are 7, numbered from 0. Choose among them: 0:7."
    )


@pytest.fixture
def large(tmp_path, rng):
    """A run whose 48 samples are stored three by three."""
    arrays = {f"encoder_{layer}/mha": softmax(rng.normal(size=(48, 2, 31, 31))) for layer in range(3)}
    labels = [[f"{n}.{k}" for k in range(31)] for n in range(48)]
    maps = ats.AttentionMaps.from_arrays(arrays, labels=labels, roles={"*": ("text", "text")})
    tree = maps.to_tree()
    for node in tree.subtree:
        if "scores" in node.data_vars:
            node["scores"].encoding["chunks"] = (3, 2, 31, 31)
    with ats.maps.quiet_about_strings():
        tree.to_zarr(tmp_path / "large.zarr", zarr_format=3, consolidated=False)
    return tmp_path / "large.zarr"


@pytest.fixture
def reads(monkeypatch):
    """The chunks of scores that are read from a store."""
    keys, get = [], _PlainStore.get_sync

    def counted(self, key, **options):
        if "/scores/c/" in key:
            keys.append(key)
        return get(self, key, **options)

    monkeypatch.setattr(_PlainStore, "get_sync", counted)
    return keys


def chunks(sites, samples):
    """The chunks that hold these samples, three in each."""
    return sorted(f"sites/encoder_{site}.mha/scores/c/{sample // 3}/0/0/0" for site in sites for sample in samples)


def test_only_what_is_looked_at_is_read(large, reads, monkeypatch):
    monkeypatch.setattr(serving, "LINTED_BYTES", 0)
    with running(Server(payload_of(large), 0)) as server:
        page = ask(server, "/")[2].decode()
        assert reads == []
        assert "come from 0 of 48 samples" in page
        assert '"47.30"' in page  # the labels of all samples are there
        ask(server, "/block/map/40/1/1")
        assert reads == chunks([1], [40])
        ask(server, "/block/map/40/1/0")
        assert reads == chunks([1], [40])  # the other head came with it
        reads.clear()
        ask(server, "/block/thumbnails/0")
        assert sorted(set(reads)) == chunks([0, 1, 2], [0])
        assert len(reads) == 2 * 3  # once for the sites, once for their rollout


def test_the_lint_reads_no_more_than_it_may(large, reads, monkeypatch):
    one = sum(ats.open(large).dataset(name).nbytes for name in ats.open(large)) // 48
    monkeypatch.setattr(serving, "LINTED_BYTES", 7 * one)
    payload = payload_of(large)
    assert sorted(set(reads)) == chunks([0, 1, 2], [0, 3, 6])
    assert payload.notes == [
        "Findings about these maps come from 7 of 48 samples, so that the page opens at once. For all of them, in "
        f"Python: attnscope.open({str(large)!r}).findings"
    ]


def test_the_lint_of_a_small_run_is_whole(tmp_path):
    scores = np.full((3, 2, 5, 5), 0.2, "float32")
    path = ats.AttentionMaps.from_arrays({"mha": scores}).save(tmp_path / "even.zarr")
    findings = ats.open(path).findings
    assert len(findings) == 1
    assert payload_of(path).notes == [f"mha: {findings[0].message}"]


def painted(page):
    """How many colours the canvases of a page show."""
    return page.evaluate(
        """() => {
            const colours = new Set();
            for (const canvas of document.querySelectorAll(".attnscope-view canvas")) {
                if (!canvas.width || !canvas.height) continue;
                const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                const words = new Uint32Array(pixels.buffer);
                for (const word of words) colours.add(word);
            }
            return colours.size;
        }"""
    )


def test_a_browser_shows_the_heads_and_one_of_them(server, open_page):
    page = open_page(server.address, allowed=f"{server.address}block/")
    page.wait_for_selector(".attnscope-view canvas", state="attached")
    settled(page)
    assert painted(page) > 40
    page.get_by_role("tab", name="Matrix").click()
    with page.expect_response(f"{server.address}block/map/2/0/0") as answer:
        page.get_by_label("Sample number").fill("3")
        page.keyboard.press("Enter")
    assert answer.value.status == 200
    page.wait_for_timeout(300)
    assert painted(page) > 20
    assert "sample=2" in page.evaluate("location.hash")
    page.reload()
    assert page.get_by_label("Sample number").input_value() == "3"
    assert page.get_by_role("tab", name="Matrix").get_attribute("aria-selected") == "true"


def test_a_page_whose_server_is_gone_says_so(run, open_page, problems):
    with running(Server(payload_of(run), 0)) as server:
        page = open_page(server.address, allowed=f"{server.address}block/")
        page.wait_for_selector(".attnscope-view canvas")
    page.get_by_role("tab", name="Matrix").click()
    alert = page.locator("[role=alert]:visible")
    alert.wait_for()
    assert "the server of this page does not answer. Start it again (attnscope view), and reload the page." in (
        alert.inner_text()
    )
    problems[:] = [problem for problem in problems if "net::ERR_" not in problem]


class Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><p>elsewhere")

    def log_message(self, *_):
        pass


def test_the_page_of_another_origin_can_read_nothing(server, open_page, problems):
    with running(HTTPServer(("127.0.0.1", 0), Elsewhere)) as elsewhere:
        page = open_page(f"http://127.0.0.1:{elsewhere.server_port}/", allowed=server.address)
        found = page.evaluate(
            """async (address) => {
                const tried = async (make) => { try { return await make(); } catch (error) { return error.name; } };
                const shown = (tag, name) => new Promise((resolve) => {
                    const element = document.createElement(tag);
                    element.onload = () => resolve(`${tag} loaded`);
                    element.onerror = () => resolve(`${tag} refused`);
                    element[name] = address + "block/map/0/0/0";
                    document.body.append(element);
                });
                const frame = document.createElement("iframe");
                frame.src = address;
                document.body.append(frame);
                await new Promise((resolve) => { frame.onload = resolve; setTimeout(resolve, 3000); });
                return [
                    await tried(async () => (await fetch(address)).status),
                    await tried(async () => (await fetch(address, { mode: "no-cors" })).type),
                    await shown("img", "src"),
                    await shown("script", "src"),
                    frame.contentDocument === null,
                ];
            }""",
            server.address,
        )
        assert found == ["TypeError", "TypeError", "img refused", "script refused", True]
        assert [frame.url for frame in page.frames][1:] == ["chrome-error://chromewebdata/"]
    problems.clear()
