"""The pages in a real browser: by keyboard alone, without network, with hostile texts, on a phone, for screen readers.

Needs Debian's chromium (or CHROMIUM=/path) and `pip install plaudit[browser]`; skipped where one of them is missing.
"""

from __future__ import annotations

import importlib.util
import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from plaudit.data.readers import read_rankings
from plaudit.schema import Completion, Message, Prompt
from plaudit.store import Store

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("screens", ROOT / "docs" / "screens.py")
screens = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(screens)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(screens.chromium() is None, reason="there is no chromium: apt-get install chromium"),
]
HOSTILE = (
    "<script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 1'>",
    "<svg onload='window.ran = 1'></svg><math><mtext><style><img src=x onerror='window.ran = 1'>",
    "[x](javascript:window.ran=1) ![p](https://evil.example/p.png) <https://evil.example>",
    "$\\href{javascript:window.ran=1}{x}$ </textarea><script>window.ran = 1</script>",
    '" autofocus onfocus="window.ran = 1" x="',
    "</pre></article></main><iframe srcdoc='<script>parent.ran = 1</script>'></iframe>",
    "# <details open ontoggle='window.ran = 1'>\n```html\n<script>window.ran = 1</script>\n```",
)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=screens.chromium(), args=["--no-sandbox"])
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


def kept(store):
    with Store(store, readonly=True) as opened:
        return opened.feedback(current=False)


def press(page, key):
    """A key, once keys count."""
    page.clock.fast_forward(1000)
    with page.expect_navigation():
        page.keyboard.press(key)


def test_a_day_at_the_pages_by_keyboard_from_judging_to_an_export_that_trains(site, page, tmp_path):
    url, store = site
    before = len(kept(store))
    page.goto(f"{url}/judge/pairwise")
    for key in ("1", "ArrowRight", "Shift+Digit2", "s", "w", "q", "d", "3", "ArrowLeft", "e"):
        press(page, key)
    given = kept(store)[before:]
    said = [(act.judgement["choice"], act.judgement["strength"]) for act in given]
    assert said == [
        ("a", 2),
        ("b", 2),
        ("b", 3),
        ("tie", 0),
        ("both_bad", 0),
        ("a", 1),
        ("b", 2),
        ("tie", 0),
        ("a", 2),
        ("b", 1),
    ]
    assert all(act.seconds is not None for act in given)

    press(page, "z")  # undo the last one, and answer it anew
    press(page, "1")
    assert kept(store)[-1].supersedes == given[-1].id

    page.goto(f"{url}/judge/correction")
    page.fill("#edit", page.input_value("#edit") + " Thank you.")
    assert page.inner_text("#changes ins").strip().startswith("Thank you")
    press(page, "Control+Enter")
    assert kept(store)[-1].judgement["text"].endswith(" Thank you.")

    page.goto(f"{url}/judge/ranking")
    for key in ("2", "1", "=", "3"):
        page.clock.fast_forward(1000)
        page.keyboard.press(key)
    press(page, "Enter")
    assert kept(store)[-1].judgement["order"] == [[1], [0, 2]]

    page.goto(f"{url}/judge/span")
    page.clock.fast_forward(1000)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("1")
    press(page, "Control+Enter")
    assert kept(store)[-1].judgement["spans"][0]["tag"] == "wrong"

    page.goto(f"{url}/judge/rating")
    page.clock.fast_forward(1000)
    page.keyboard.press("4")
    press(page, "Enter")
    assert kept(store)[-1].judgement["stars"] == 4

    page.goto(f"{url}/chat")
    page.check('[name="consent"]')
    page.fill('[name="message"]', "Where is my order?")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".bubble.assistant strong")
    page.click('button[aria-label="Good answer"]')
    page.wait_for_selector("#notice:has-text('toy@')")
    assert kept(store)[-1].judgement["value"] == 1 and kept(store)[-1].assignment.reason == "chat"
    page.reload()
    assert page.inner_text(".bubble.assistant").startswith("Your order left yesterday")

    page.goto(f"{url}/disagreements")
    page.click("button:has-text('Decide') >> nth=0")
    page.wait_for_selector(".verdict")
    press(page, "1")
    assert "What everybody said" in page.inner_text("h1") and "Ada" in page.inner_text("table")
    assert kept(store)[-1].assignment.reason == "adjudication"

    page.goto(f"{url}/exchange")
    page.select_option('[name="format"]', "trl-preference")
    with page.expect_download() as download:
        page.click("text=Save the file")
    file = tmp_path / "pairs.jsonl"
    download.value.save_as(file)
    pairs = read_rankings(str(file))
    assert len(pairs) >= 8 and any("Thank you." in str(pair.answers[0]) for pair in pairs)

    page.goto(f"{url}/exchange")
    page.set_input_files('input[type="file"]', file)
    page.click("#upload button")
    page.wait_for_selector("#upload-result:not([hidden])")
    assert "prompts" in page.inner_text("#upload-result")


def test_what_cannot_be_sent_waits_in_the_browser_and_is_sent_once(site, page):
    url, store = site
    before = len(kept(store))
    page.goto(f"{url}/judge/pairwise")
    page.clock.fast_forward(1000)
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.wait_for_selector("#notice:has-text('Not saved yet')")
    assert len(kept(store)) == before
    page.context.set_offline(False)
    page.clock.fast_forward(5000)
    page.wait_for_selector("#notice:has-text('saved now')")
    assert len(kept(store)) == before + 1 and page.evaluate("localStorage.getItem('plaudit-unsent')") == "[]"


def test_a_key_that_is_held_or_comes_too_early_judges_nothing(site, page):
    url, store = site
    before = len(kept(store))
    page.clock.pause_at(page.evaluate("Date.now()") + 10_000)
    page.goto(f"{url}/judge/pairwise")
    page.keyboard.press("1")
    page.keyboard.down("2")
    page.keyboard.down("2")
    assert len(kept(store)) == before and "/judge/pairwise" in page.url


def test_no_hostile_text_runs_anywhere(tmp_path, browser, page):
    with Store(tmp_path / "store.sqlite") as store:
        for number, text in enumerate(HOSTILE):
            prompt = Prompt(messages=(Message("user", f"{number} {text}"),))
            store.add_prompts([prompt])
            store.add_completions(
                Completion(prompt.id, f"{text} {place}", (), (), (), "stop", text, place, place) for place in range(3)
            )
        store.set_setting("guideline", "\n\n".join(HOSTILE))
        store.change_setting("rubric", "\n".join(HOSTILE), HOSTILE[1])
        ids = [one.id for one in store.prompts()]
    run = tmp_path / "runs" / "x"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, HOSTILE[1]: 1.0, "loss": 2.0}) + "\n")
    (run / "samples.jsonl").write_text(json.dumps({"step": 1, "prompt": HOSTILE[0], "completion": HOSTILE[2]}) + "\n")
    with screens.serving(tmp_path) as url:
        paths = [*(f"/judge/{kind}" for kind in ("pairwise", "ranking", "rating", "correction", "span"))] * 3
        paths += ["/", "/guideline", "/mechanism", "/data", "/runs/x", "/people", *(f"/data/{one}" for one in ids)]
        for path in paths:
            page.goto(url + path)
            assert page.evaluate("window.ran") is None, path
            if path == "/judge/correction":
                page.fill("#edit", HOSTILE[1])
            for details in page.query_selector_all("details"):
                details.evaluate("one => { one.open = true }")
            if path.startswith("/judge/") and page.query_selector("#skip"):
                with page.expect_navigation():
                    page.click("#skip button")


@pytest.mark.parametrize(("locale", "scheme"), [("en", "light"), ("zh-CN", "dark")])
def test_every_screen_fits_a_phone_and_passes_axe(site, browser, locale, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    url, _ = site
    context = browser.new_context(viewport={"width": 360, "height": 740}, locale=locale, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    serious = []
    for name, path in screens.SCREENS.items():
        page.goto(url + path)
        screens.prepare(page, name)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, f"{name} is {width} wide"
        found = axe.Axe().run(page).response["violations"]
        wrong = [one for one in found if one["impact"] in ("serious", "critical")]
        serious += [(name, one["id"], one["nodes"][0]["html"][:200]) for one in wrong]
    context.close()
    assert serious == []
