"""Talking to a model: what is streamed, what is kept with consent and without, feedback, a server that misbehaves."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from feedback_world import Browser, account, acts, running
from plaudit.feedback import models
from plaudit.feedback.models import ChatModel
from plaudit.schema import UserError


class Model(BaseHTTPRequestHandler):
    """Streams what it is told to; remembers what it was asked."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        self.send_response(self.server.status)
        self.end_headers()
        for line in self.server.lines:
            self.wfile.write(line.encode() + b"\n\n")

    def log_message(self, *_):
        pass


def said(*words):
    return [*(f"data: {json.dumps({'choices': [{'delta': {'content': word}}]})}" for word in words), "data: [DONE]"]


@contextmanager
def model(lines, status=200):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.asked, server.lines, server.status = [], lines, status
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}/v1#toy"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def talking(folder, lines, *, drafts=0.0, status=200):
    with model(lines, status) as (server, url), running(folder, models=(url,), drafts=drafts) as app:
        yield app, server


def ask(browser, text="Hi", *, before=(), **more):
    """The events of an answer, by name."""
    messages = [*before, {"role": "user", "content": text}]
    headers = {"x-csrf-token": browser.csrf(), "accept": "application/json"}
    answer = browser.post("/chat/answer", json={"messages": messages, "model": 0, **more}, headers=headers)
    assert answer.status_code == 200, answer.text
    events = [part.split("\n") for part in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]


def post(browser, path, **body):
    return browser.post(path, json=body, headers={"x-csrf-token": browser.csrf(), "accept": "application/json"})


def test_without_consent_the_answer_comes_and_nothing_is_kept(tmp_path):
    with talking(tmp_path, said("Hel", "lo **you**")) as (app, server):
        events = ask(Browser(app))
        assert [data["text"] for name, data in events if name == "piece"] == ["Hel", "lo **you**"]
        assert events[-1] == ("done", {"answers": [{"text": "Hello **you**", "html": "<p>Hello <strong>you</strong></p>\n"}]})
        assert server.asked[0]["messages"] == [{"role": "user", "content": "Hi"}] and server.asked[0]["stream"] is True
        with app.state.server.readers.lend() as store:
            assert store.counts()["prompts"] == 0 and store.conversations("local") == []


def test_line_ends_of_other_kinds_are_letters_of_an_answer(tmp_path):
    """U+2028, U+2029 and U+0085 stand in JSON as they are: str.splitlines, httpx2 and JavaScript's `$` end a line there."""
    words = ("one\u2028two", "\u2029three\x85four")
    with talking(tmp_path, [line.encode().decode("unicode_escape") for line in said(*words)]) as (app, _):
        events = ask(Browser(app))
        assert [data["text"] for name, data in events if name == "piece"] == list(words)


def test_with_consent_the_talk_is_kept_and_seen_again_by_its_owner_only(tmp_path):
    with talking(tmp_path, said("Hello")) as (app, _):
        lin, ada = account(app, "lin", "admin"), account(app, "ada")
        first = ask(lin, "Hi", consent=True)[-1][1]
        before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        second = ask(lin, "And now?", before=before, consent=True, conversation=first["conversation"])[-1][1]
        assert second["conversation"] == first["conversation"] and (first["place"], second["place"]) == (1, 2)
        page = lin.get(f"/chat/{first['conversation']}").text
        assert "And now?" in page and page.count('data-role="assistant"') == 2 and "toy@" not in page
        assert ada.get(f"/chat/{first['conversation']}").status_code == 404
        stolen = ask(ada, "Mine?", consent=True, conversation=first["conversation"])[-1]
        assert "conversation" not in stolen[1] and "no conversation" in stolen[1]["not_kept"]


def test_thumbs_corrections_and_choices_are_acts_on_what_was_shown(tmp_path):
    with talking(tmp_path, said("Hello"), drafts=1.0) as (app, _):
        here = Browser(app)
        done = ask(here, consent=True)[-1][1]
        ids = [one["completion"] for one in done["answers"]]
        assert len(set(ids)) == 2, "two drafts"
        chosen = post(here, "/chat/choose", conversation=done["conversation"], completions=ids, choice="b")
        assert chosen.status_code == 200 and chosen.json()["models"][0].startswith("toy@"), "now the name may be seen"
        one = {"conversation": done["conversation"], "completion": ids[1]}
        assert post(here, "/chat/thumb", **one, value=1).status_code == 200
        assert post(here, "/chat/thumb", **one, value=0, reasons=["wrong"]).status_code == 200
        assert "<strong>now</strong>" in post(here, "/chat/correct", **one, text="Hello **now**").json()["html"]
        found = {act.assignment.kind: act for act in acts(app)}
        assert found["pairwise"].judgement["choice"] == "b" and found["pairwise"].assignment.completion_ids == tuple(ids)
        assert found["thumb"].judgement == {"value": 0, "reasons": ["wrong"]}, "the second thumb replaces the first"
        assert found["correction"].judgement["text"] == "Hello **now**" and len(acts(app)) == 3
        with app.state.server.readers.lend() as store:
            assert store.turns(done["conversation"], "local")[0].chosen == ids[1]


def test_feedback_on_an_answer_of_somebody_else_is_refused(tmp_path):
    with talking(tmp_path, said("Hello")) as (app, _):
        lin, ada = account(app, "lin", "admin"), account(app, "ada")
        done = ask(lin, consent=True)[-1][1]
        one = {"conversation": done["conversation"], "completion": done["answers"][0]["completion"]}
        assert post(ada, "/chat/thumb", **one, value=1).status_code == 404 and acts(app) == []


def test_deleting_ones_data_takes_the_conversations_but_not_what_others_said_too(tmp_path):
    with talking(tmp_path, said("Hello")) as (app, _):
        account(app, "lin", "admin")
        ada, ben = account(app, "ada"), account(app, "ben")
        ask(ada, "my secret address", consent=True)
        for person in (ada, ben):
            ask(person, "good morning", consent=True)
        assert ada.submit("/account/delete", {"sure": "yes"}).status_code == 303
        kept = b"".join(file.read_bytes() for file in tmp_path.glob("store.sqlite*"))
        assert b"secret address" not in kept and b"good morning" in kept
        with app.state.server.readers.lend() as store:
            assert len(store.conversations("ben")) == 1 and store.conversations("ada") == []
        again = ask(ben, "my secret address", consent=True)[-1]
        assert again[0] == "done" and "erased" in again[1]["not_kept"], "it is answered, and not kept"


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        (["data: not json"], 200, "no chat completion"),
        (['data: {"choices": [{"delta": 3}]}'], 200, "no chat completion"),
        (['data: {"error": "x"}'], 200, "no chat completion"),
        ([], 500, "status 500"),
    ],
)
def test_a_model_that_misbehaves_is_a_sentence(tmp_path, lines, status, words):
    with talking(tmp_path, lines, status=status) as (app, _):
        name, data = ask(Browser(app))[-1]
        assert name == "problem" and words in data["error"]


def test_a_model_that_is_not_there_is_a_sentence(tmp_path):
    with running(tmp_path, models=("http://127.0.0.1:9/v1#toy",)) as app:
        assert "cannot be reached" in ask(Browser(app))[-1][1]["error"]


def test_hostile_answers_are_cleaned(tmp_path):
    with talking(tmp_path, said("<script>alert(1)</script>", "[x](javascript:alert(1))")) as (app, _):
        html = ask(Browser(app))[-1][1]["answers"][0]["html"]
        assert "<script" not in html and "href" not in html


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": "x"},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "user", "content": " "}]},
        {"messages": [{"role": "user", "content": "x"}], "model": 1},
        {"messages": [{"role": "user", "content": "x"}], "model": -1},
        {"messages": [{"role": "user", "content": "x"}], "model": True},
        {"messages": [{"role": "user", "content": "x"}] * 201},
    ],
)
def test_questions_that_no_page_of_ours_sends_are_refused(tmp_path, body):
    with running(tmp_path, models=("http://127.0.0.1:9/v1#toy",)) as app:
        assert post(Browser(app), "/chat/answer", **body).status_code == 400


@pytest.mark.slow
def test_a_model_of_ours_answers_from_a_process_of_its_own_and_comes_back_when_that_dies(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "LONGEST_ANSWER", 8)

    def answer(here):
        """The first answer that is not "still being loaded"."""
        while True:
            headers = {"x-csrf-token": here.csrf(), "accept": "application/json"}
            body = {"messages": [{"role": "user", "content": "Hi"}], "model": 0}
            got = here.post("/chat/answer", json=body, headers=headers)
            if got.status_code == 200:
                return json.loads(got.text.split("event: done\ndata: ")[1])["answers"][0]["text"]
            assert "in a moment" in got.json()["error"]
            threading.Event().wait(0.1)

    with running(tmp_path, models=("tiny",)) as app:
        here, (child,) = Browser(app), app.state.server.models
        assert answer(here)
        assert httpx2.post(f"{child.ready().url}/chat/completions", json={}).status_code == 401, "nobody else may ask it"
        child._process.kill()
        child._process.wait()
        with pytest.raises(UserError, match="started again"):
            child.ready()
        process = child._process
    assert process.poll() is not None, "it ends with the server"


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_says_why(tmp_path):
    with running(tmp_path, models=("no/such/model-folder",)) as app:
        (child,) = app.state.server.models
        child._process.wait(60)
        while not child._problem:
            threading.Event().wait(0.05)
        answer = post(Browser(app), "/chat/answer", messages=[{"role": "user", "content": "x"}])
        assert answer.status_code == 400 and "cannot be loaded" in answer.json()["error"]


@pytest.mark.parametrize("name", ["", "toy", "http://#x", "ftp://a/v1#x", "http://a/v1", "http://user:word@a/v1#x", "http://["])
def test_what_is_no_address_of_a_model_is_refused(name):
    with pytest.raises(UserError, match="URL#MODEL"):
        ChatModel.named(name)
