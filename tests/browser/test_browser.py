"""The pages in a real browser: by keyboard alone, without network, with hostile texts, on a phone, for screen readers.

Needs Debian's chromium (or CHROMIUM=/path) and `pip install plaudit[browser]`; skipped where one of them is missing.
"""

from __future__ import annotations

import json

import pytest

from browser_world import IN_A_BROWSER, kept, press, screens
from plaudit.schema import Completion, Message, Prompt
from plaudit.store import Store

pytestmark = IN_A_BROWSER
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


def test_ranking_marking_and_rating_by_keyboard_alone(site, page):
    url, store = site
    page.goto(f"{url}/judge/ranking")
    press(page, "2", "1", "=", "3", "Enter")
    assert kept(store)[-1].judgement["order"] == [[1], [0, 2]]
    page.goto(f"{url}/judge/span")
    press(page, "ArrowDown", "1", "Control+Enter")
    assert kept(store)[-1].judgement["spans"][0]["tag"] == "wrong"
    page.goto(f"{url}/judge/rating")
    press(page, "4", "Enter")
    assert kept(store)[-1].judgement["stars"] == 4


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
def test_every_screen_fits_a_phone_and_passes_axe(tmp_path, browser, locale, scheme):
    pytest.importorskip("axe_playwright_python", reason="the package axe-playwright-python is not installed")
    context = browser.new_context(**(screens.LOOKS["phone"] | {"locale": locale, "color_scheme": scheme}), bypass_csp=True)
    page = context.new_page()
    wrong = []
    with screens.sites(tmp_path) as addresses:
        for name, address in addresses.items():
            page.goto(address)
            screens.prepare(page, name)
            assert page.evaluate("window.innerWidth") == screens.WIDTH, name
            wrong += [(name, one) for one in screens.faults(page)]
    context.close()
    assert len(addresses) > 20 and wrong == []


def test_a_page_that_is_too_wide_or_has_a_field_without_a_name_is_told(browser):
    pytest.importorskip("axe_playwright_python", reason="the package axe-playwright-python is not installed")
    page = browser.new_page(viewport={"width": screens.WIDTH, "height": 740})
    page.set_content('<html lang="en"><title>x</title><main><h1>x</h1><input><p style="width:400px">wide</p></main>')
    assert [one.split(":")[0] for one in screens.faults(page)] == ["label", "408 px wide in a window of 360"]
    page.close()
