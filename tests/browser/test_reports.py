"""The offline pages that verbs write, opened as files: nothing hostile runs, nothing is fetched, all fits and passes axe."""

from __future__ import annotations

import pytest
import report_world

from browser_world import IN_A_BROWSER, screens

pytestmark = IN_A_BROWSER
NAMES = ("card", "preflight", "report", "doctor", "reward-doctor", "demo")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Name -> page, of real runs on hostile data."""
    pytest.importorskip("sklearn", reason="the package scikit-learn is not installed")
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield report_world.pages(folder)


def opened(browser, path, **options):
    """(page with everything unfolded, what went wrong so far)."""
    page = browser.new_context(**options).new_page()
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: request.url == path.as_uri() or wrong.append(request.url))
    page.goto(path.as_uri())
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    if page.evaluate("window.ran") is not None:
        wrong.append("a hostile script ran")
    return page, wrong


def test_all_pages_are_looked_at(written):
    assert set(written) == set(NAMES)
    for name in ("card", "preflight", "report", "demo"):
        assert "window.ran" in written[name].read_text("utf-8") or name == "preflight", "the hostile texts are there to be seen"


@pytest.mark.parametrize(("look", "scheme"), [("phone", "light"), ("desktop", "dark")])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_and_passes_axe_with_hostile_texts(written, browser, name, look, scheme):
    """Without the page's own policy, so that what makes it must be right by itself."""
    pytest.importorskip("axe_playwright_python", reason="the package axe-playwright-python is not installed")
    page, wrong = opened(browser, written[name], **(screens.LOOKS[look] | {"color_scheme": scheme}), bypass_csp=True)
    assert wrong + screens.faults(page) == []
    page.context.close()


@pytest.mark.parametrize("name", ["report", "demo"])
def test_the_pages_own_script_runs_under_its_own_policy(written, browser, name):
    page, wrong = opened(browser, written[name])
    page.locator(".tok").first.focus()
    page.keyboard.press("ArrowRight")
    assert "token 2" in page.locator(".readout").first.inner_text()
    page.context.close()
    assert wrong == []
