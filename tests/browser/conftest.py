"""A browser, a site to look at, and a page that reports every mistake of its script."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from browser_world import screens

NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
"""What a page asks of others is noted, and never sent."""


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=screens.chromium(), args=["--no-sandbox", NOWHERE])
        yield browser
        browser.close()


@pytest.fixture
def site(tmp_path):
    """(address, store) of a server on the small project of docs/screens.py, with a toy model."""
    with ExitStack() as stack:
        screens.world(tmp_path)
        model = stack.enter_context(screens.toy_model())
        yield stack.enter_context(screens.serving(tmp_path, "--model", model, "--drafts", "0")), tmp_path / "store.sqlite"


@pytest.fixture
def page(browser):
    """A page that fails the test on any error of its script and any request to elsewhere."""
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.clock.install()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: request.url.startswith("http://127.0.0.1:") or problems.append(request.url))
    page.on("console", lambda message: problems.append(message.text) if "Content Security Policy" in message.text else None)
    yield page
    context.close()
    assert problems == []
