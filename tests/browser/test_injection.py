"""More than a hundred hostile texts in every field that shows what people or models wrote: none runs, none asks elsewhere.

The browser does not apply the Content-Security-Policy here, so that what makes the pages must be right by itself. Each field
takes one text in twelve, others than the field before; INJECTIONS=all, as `make injections` sets it, takes all, and then a
missing browser is a failure.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from hostile_world import ME, NUMBER, fill, fill_runs, lease, run_name, serving, text
from markupsafe import Markup

from browser_world import IN_A_BROWSER
from hostile_texts import HOSTILE
from plaudit.feedback.identity import COOKIE

STEP = 1 if os.environ.get("INJECTIONS") == "all" else 12
if STEP > 1:
    pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
from playwright.sync_api import Error  # noqa: E402

pytestmark = IN_A_BROWSER if STEP > 1 else [mark for mark in IN_A_BROWSER if mark.name != "skipif"]
ONE_TALK = 40
"""Texts in one conversation, which has an end."""
LOOK = """() => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  const found = [], safe = /^(https?:|mailto:|\\/(?!\\/)|#|$)/i;
  const links = ["href", "src", "action", "formaction", "xlink:href", "data", "srcdoc", "background", "poster"];
  for (const one of document.querySelectorAll("*")) {
    for (const { name, value } of one.attributes) {
      if (/^on/i.test(name) || name === "style") found.push(`${one.tagName} has ${name}`);
      if (links.includes(name.toLowerCase()) && !safe.test(value)) found.push(`${one.tagName} leads to ${value}`);
    }
    if (/^(iframe|object|embed|base|img|style|video|audio|template|animate)$/i.test(one.tagName)) found.push(one.tagName);
    if (one.tagName === "SCRIPT" && one.getAttribute("src") !== "/static/plaudit.js") found.push("SCRIPT");
    if (one.tagName === "META" && one.httpEquiv) found.push("META");
  }
  if (window.ran) found.push("a script ran");
  return found;
}"""


class Echo(BaseHTTPRequestHandler):
    """A model that says what it was told, in two pieces; or refuses in those words."""

    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][-1]["content"]
        refused = said.startswith("refuse ")
        pieces = (said[: len(said) // 2], said[len(said) // 2 :])
        lines = [json.dumps({"choices": [{"delta": {"content": piece}}]}, ensure_ascii=False) for piece in pieces]
        body = json.dumps({"error": {"message": said}}) if refused else "".join(f"data: {line}\n\n" for line in lines)
        self.send_response(500 if refused else 200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@contextmanager
def echo():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1#{text(0)}"
    finally:
        server.shutdown()
        server.server_close()


class Visitor:
    """A page that notes every script that ran, every dialog, and every request that leads away."""

    def __init__(self, browser, url, app):
        self.url, self.app, self.problems, self.looked = url, app, [], 0
        self.context = browser.new_context(bypass_csp=True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(8000)
        self.page.on("dialog", lambda dialog: (self.problems.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._asked)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.come_in(ME)

    def _asked(self, request):
        if not request.url.startswith(self.url):
            self.problems.append(f"asked for {request.url}")

    def come_in(self, name):
        server = self.app.state.server
        with server.readers.lend() as store:
            account = store.account(name)
        self.context.add_cookies([{"name": COOKIE, "value": server.gate.session(account), "url": self.url}])

    def go(self, path, status=200):
        assert self.page.goto(self.url + path, wait_until="domcontentloaded").status == status, path

    def look(self, what):
        self.looked += 1
        self.problems += [f"{what}: {one}" for one in self.page.locator("html").evaluate(LOOK, timeout=8000)]

    def until(self, done, place):
        """Waits for a condition of the page's script; a failure names the text and what the page told."""
        try:
            self.page.wait_for_function(done)
        except Error:
            told = self.page.locator("#notice").text_content()
            pytest.fail(f"text {place} {text(place)[:80]!r}: never {done}; the page told {told!r}")

    def visit(self, path, status=200):
        try:
            self.go(path, status)
            self.look(path)
        except Error as error:  # a page that leads away by itself
            self.problems.append(f"{path}: {error.message}")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    ids = fill(folder / "store.sqlite")
    fill_runs(folder / "runs")
    with echo() as model, serving(folder, model) as (url, app):
        yield url, app, ids


@pytest.fixture
def visitor(browser, hostile):
    visitor = Visitor(browser, *hostile[:2])
    yield visitor
    visitor.context.close()


def places(first):
    """Numbers of the texts that a field takes."""
    return range(first % STEP, NUMBER, STEP)


FIELDS = {
    "pair": lambda place, _: f"/judge/given/{lease(place, 'pairwise')}",
    "rank": lambda place, _: f"/judge/given/{lease(place, 'ranking')}",
    "rate": lambda place, _: f"/judge/given/{lease(place, 'rating')}",
    "span": lambda place, _: f"/judge/given/{lease(place, 'span')}",
    "again": lambda place, _: f"/judge/again/{lease(place, 'mended')}",
    "prompt": lambda place, ids: f"/data/{ids[place]}",
    "revealed": lambda place, _: f"/disagreements/{lease(place, 'decided')}",
    "run": lambda place, _: f"/runs/{quote(run_name(place))}",
    "problem": lambda place, _: f"/judge/{quote(text(place), safe='')}",
    "address": lambda place, _: f"/help?next={quote(text(place))}",
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_page_about_one_thing(visitor, hostile, field):
    for place in places(list(FIELDS).index(field)):
        visitor.visit(FIELDS[field](place, hostile[2]), 404 if field == "problem" else 200)
    assert visitor.problems == [] and visitor.looked >= NUMBER // STEP


def test_pages_that_list_everything(visitor):
    for path in (
        "/",
        "/disagreements",
        "/people",
        "/data",
        "/runs",
        "/account",
        "/guideline",
        "/judge",
        "/exchange",
        "/chat",
        "/mechanism",
    ):
        visitor.visit(path)
    shown = {
        path: visitor.page.goto(visitor.url + path).text()
        for path in ("/people", "/data", "/account", "/guideline", "/mechanism")
    }
    assert all("evil.example" in page and "window.ran" in page for page in shown.values()), "the texts are there to be seen"
    assert visitor.problems == []


def test_names_and_what_people_say_of_themselves(visitor):
    for place in places(1):
        visitor.come_in(f"{text(place)} {place}")
        visitor.visit("/help")
    assert visitor.problems == []


def test_a_correction_as_it_is_typed(visitor):
    for place in places(2):
        visitor.go(f"/judge/given/{lease(place, 'correction')}")
        visitor.page.fill("#edit", text(place + 1) + text(place))
        visitor.look(place)
    assert visitor.problems == []


def test_talking_to_a_hostile_model(visitor):
    for first in range(0, NUMBER, ONE_TALK):
        talk(visitor, [place for place in places(3) if first <= place < first + ONE_TALK])
    assert visitor.problems == [] and visitor.looked > 1


def talk(visitor, texts):
    """One conversation about these texts, and the same as it is kept."""
    visitor.go("/chat")
    visitor.page.check('[name="consent"]')
    done = 0
    for place in texts:
        visitor.page.fill('[name="message"]', text(place))
        visitor.page.click("#chat-form button.main")
        done += 1
        visitor.until(f"document.querySelectorAll('.bubble.assistant .row').length >= {done}", place)
        visitor.page.click(".bubble.assistant >> nth=-1 >> button[aria-pressed] >> nth=0")
    visitor.look("chat")
    visitor.go(visitor.page.url.removeprefix(visitor.url))
    assert visitor.page.locator(".bubble.assistant").count() == done == len(texts)
    visitor.look("chat, again")


def test_a_model_that_refuses_in_hostile_words(visitor):
    for number, place in enumerate(places(0)):
        if number % ONE_TALK == 0:
            visitor.go("/chat")
        visitor.page.fill('[name="message"]', f"refuse {text(place)}")
        visitor.page.click("#chat-form button.main")
        visitor.until("document.querySelector('#notice').textContent.includes('status 500')", place)
        visitor.look(place)
        visitor.page.evaluate("document.querySelector('#notice').textContent = ''")
    assert visitor.problems == []


def test_files_with_hostile_names_and_words(visitor):
    visitor.go("/exchange")
    for place in places(1):
        for name, row in ((f"{text(place)}"[:80], "{}"), ("rows.jsonl", json.dumps({"plaudit": text(place)}))):
            visitor.page.evaluate("document.querySelector('#upload-result').hidden = true")
            file = {"name": name.replace("\0", ""), "mimeType": "text/plain", "buffer": row.encode()}
            visitor.page.set_input_files('input[type="file"]', file)
            visitor.page.click("#upload button")
            visitor.page.wait_for_selector("#upload-result:not([hidden])")
        visitor.look(place)
    assert visitor.problems == []


def test_a_name_that_is_refused_is_shown_again(visitor):
    visitor.context.clear_cookies()
    visitor.go("/join/x")
    for place in places(2):
        visitor.page.evaluate(
            """text => { const form = document.querySelector("form.narrow");
            form.elements.name.value = text; form.elements.password.value = "short"; form.noValidate = true; }""",
            text(place)[:150],
        )
        with visitor.page.expect_navigation(wait_until="load"):
            visitor.page.evaluate("document.querySelector('form.narrow').submit()")
        visitor.look(place)
    assert visitor.problems == []


@pytest.mark.parametrize(
    ("filter", "path"), [("markdown", "pair"), ("plain", "run"), ("visible", "problem"), ("markdown", "revealed")]
)
def test_a_template_that_trusts_its_text_is_noticed(visitor, hostile, filter, path):
    _, app, ids = hostile
    templates = app.state.server.templates
    right = templates.filters[filter]
    templates.filters[filter] = Markup
    templates.cache.clear()
    try:
        for place in (0, 6):  # a script, and a picture that is not there
            visitor.visit(FIELDS[path](place, ids), 404 if path == "problem" else 200)
    finally:
        templates.filters[filter] = right
        templates.cache.clear()
    assert any("a script ran" in one for one in visitor.problems), visitor.problems


def test_there_are_a_hundred_texts_each_of_its_own():
    assert len(set(HOSTILE)) == NUMBER >= 100
