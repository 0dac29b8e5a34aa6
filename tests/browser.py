"""A real browser for the tests of pages: Debian's Chromium, driven by Playwright.

Nothing is downloaded. Where Playwright or a browser is missing, the tests that need one are skipped and say what to
install.
"""

import shutil
from pathlib import Path

import pytest

NAMES = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def browser_path():
    """Where the browser is; None where there is none."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


@pytest.fixture(scope="module")
def chromium():
    """The running browser."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright", exc_type=ImportError
    )
    path = browser_path()
    if path is None:
        pytest.skip("there is no Chromium on this machine: apt install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def free_windows(chromium):
    """Windows of tests that are over, for the tests that follow: a new one takes a second of computing."""
    return []


@pytest.fixture
def problems():
    """What went wrong in the pages of a test, which fails for it. One that means to go wrong clears the list."""
    return []


@pytest.fixture
def open_page(chromium, free_windows, problems):
    """Opens a file or an address in a window of its own: ``open_page(path, width=390, dark=True)``.

    The test fails on anything that a page writes to its console as an error or a warning, on an exception in it, and
    on every request but those for the page itself and for what stands under `allowed` (an address to begin with).
    """
    watched_windows, contexts = [], []

    def opened(where, *, width=1280, height=800, dark=False, allowed=None, **options):
        address = where if isinstance(where, str) else Path(where).resolve().as_uri()
        if options or not free_windows:
            context = chromium.new_context(**options)
            page = context.new_page()
        else:
            page = free_windows.pop()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light")
        unwatched = watched(page, problems, allowed=(address.split("#")[0], *filter(None, [allowed])))
        if options:
            contexts.append(context)
        else:
            watched_windows.append((page, unwatched))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    for page, unwatched in watched_windows:
        page.goto("about:blank")
        page.mouse.move(-1, -1)
        unwatched()
        free_windows.append(page)
    if problems:
        pytest.fail("the page is not clean:\n" + "\n".join(problems))


def watched(page, problems, *, allowed):
    """Notes what goes wrong in a page, until the function that this gives is called.

    A request is allowed for the first of `allowed` itself, and for what begins with one of the others.
    """
    itself, *roots = allowed

    def asked(request):
        address = request.url.split("#")[0]
        inside = address.startswith(("data:", "blob:")) or address == itself
        if not inside and not address.startswith(tuple(roots)):
            problems.append(f"request: {request.method} {request.url}")

    def said(message):
        read_back = "willReadFrequently" in message.text  # a test's own look at the pixels
        if message.type in ("error", "warning") and not read_back:
            problems.append(f"console {message.type}: {message.text}")

    listeners = {
        "request": asked,
        "console": said,
        "pageerror": lambda error: problems.append(f"exception: {error}"),
        "crash": lambda _: problems.append("the page crashed"),
    }
    for event, heard in listeners.items():
        page.on(event, heard)
    return lambda: [page.remove_listener(event, heard) for event, heard in listeners.items()]
