"""A real browser, where there is one."""

import os
import shutil

import pytest

CHROMIUM = os.environ.get("THRESHER_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WIDTHS = {360: 740, 1280: 900}


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium: of the system, or the one that THRESHER_CHROMIUM names."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs the playwright package (pip install playwright)")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: install it, or name it in THRESHER_CHROMIUM")
    with sync.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


PARAMETERS = [pytest.param(360, marks=pytest.mark.slow, id="360px"), pytest.param(1280, id="1280px")]


@pytest.fixture(params=PARAMETERS)
def width(request):
    return request.param


@pytest.fixture
def open_page(browser, width):
    """Opens an address at this width; in the end nothing has gone wrong in it, and nothing of the data has run."""
    context = browser.new_context(viewport={"width": width, "height": WIDTHS[width]}, accept_downloads=True)
    context.set_default_timeout(20_000)
    faults, opened = [], []

    def visit(url: str):
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: faults.append(request.url) if _is_elsewhere(request.url, url) else None)
        page.goto(url)
        opened.append(page)
        return page

    yield visit
    for page in opened:
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            "the page is wider than its window"
        )
    context.close()
    assert faults == []


def _is_elsewhere(url: str, page: str) -> bool:
    return not url.startswith(("data:image/", "blob:", page))
