"""What nobody should send, and what a machine does at the wrong moment; and where each of these is tested."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from feedback_world import ANSWERS, Browser, account, acts, running, seeded, token
from plaudit.feedback import protection
from plaudit.schema import Completion
from plaudit.store import Store

TESTED = {
    "malformed bodies": "test_doors.py::test_bodies_that_cannot_be_read_are_refused",
    "any value in any field of the API": "test_api_fuzz.py::test_no_request_is_answered_with_a_fault",
    "senseless forms": "test_judging_pages.py::test_a_form_that_makes_no_sense_is_refused_in_words_and_nothing_is_stored",
    "oversized bodies": "test_doors.py::test_a_body_that_is_too_large_is_refused_with_and_without_its_length",
    "unknown ids": "test_feedback_bad_input.py::test_what_is_not_there_is_a_sentence_on_every_page",
    "double submit": "test_judging_pages.py::test_sent_twice_is_stored_once_and_answered_alike",
    "a second tab": "test_judging_pages.py::test_a_second_tab_cannot_answer_what_was_answered",
    "stale lease": "test_judging_pages.py::test_a_late_answer_counts_unless_somebody_else_was_asked_since",
    "vote on one's own answer": "test_feedback_bad_input.py::test_nobody_is_asked_about_an_answer_of_their_own",
    "wrong role": "test_doors.py::test_a_lower_role_is_refused_whatever_asks_for_a_higher_one",
    "no session": "test_doors.py::test_nobody_comes_in_without_a_session_once_there_is_an_account",
    "expired session": "test_doors.py::test_login_logout_and_an_expired_session",
    "a session that ends while somebody judges": "test_feedback_bad_input.py::test_a_session_that_ends_loses_nothing",
    "forged CSRF token": "test_doors.py::test_a_post_without_the_token_of_this_session_is_refused",
    "cross-site posts": "test_doors.py::test_what_another_site_sends_is_refused",
    "another name of the host": "test_doors.py::test_a_name_that_is_not_ours_is_not_answered",
    "guessed passwords": "test_doors.py::test_wrong_passwords_say_nothing_and_wait_in_the_end",
    "HTML, script and markdown in every field": "../browser/test_injection.py::test_a_page_about_one_thing",
    "hostile answers of a model": "../browser/test_injection.py::test_talking_to_a_hostile_model",
    "100 kB answers": "test_rendering.py::test_a_text_of_100_kb_is_shown_as_it_is",
    "right-to-left and emoji text": "test_feedback_bad_input.py::test_text_of_any_script_comes_back_as_it_was_written",
    "broken UTF-8": "test_api.py::test_text_that_is_no_unicode_is_refused",
    "a wrong file": "test_exchange.py::test_a_file_that_is_none_is_refused_and_leaves_nothing",
    "a huge file": "test_feedback_bad_input.py::test_a_file_that_is_too_large_is_refused_before_it_is_whole",
    "a store that another process writes": "test_writer.py::test_a_store_that_another_process_writes_is_refused_in_words",
    "database locked while people judge": "test_feedback_bad_input.py::test_a_locked_database_is_told_and_nothing_is_lost",
    "disk full": "test_writer.py::test_a_full_disk_refuses_and_keeps_all_that_was_acknowledged",
    "disk full while people judge": "test_feedback_bad_input.py::test_a_full_disk_is_told_and_what_is_sent_again_counts",
    "too many who write": "test_writer.py::test_too_many_who_wait_are_refused_instead_of_filling_the_memory",
    "server killed while people write": "test_writer.py::test_what_ten_people_were_told_is_there_exactly_once_after_two_kills",
    "network lost": "../browser/test_browser.py::test_what_cannot_be_sent_waits_in_the_browser_and_is_sent_once",
    "names that are paths": "test_watching.py::test_a_name_is_never_a_path",
    "a model that misbehaves": "test_talking.py::test_a_model_that_misbehaves_is_a_sentence",
}


@pytest.fixture
def app(tmp_path):
    seeded(tmp_path / "store.sqlite")
    with running(tmp_path) as app:
        yield app


@pytest.mark.parametrize("what", TESTED)
def test_every_kind_of_bad_input_has_its_test(what):
    file, _, name = TESTED[what].partition("::")
    assert re.search(rf"^def {name}\(", (Path(__file__).parent / file).read_text("utf-8"), re.MULTILINE), what


NOWHERE = "0123456789abcdef"
UNKNOWN = ("/judge/nothing", f"/judge/again/{NOWHERE}", f"/judge/given/{NOWHERE}", f"/disagreements/{NOWHERE}", "/runs/nothing")
UNKNOWN += (f"/data/{NOWHERE}", f"/chat/{NOWHERE}", "/nothing", "/static/nothing.js", "/people/nobody")


@pytest.mark.parametrize("path", UNKNOWN)
def test_what_is_not_there_is_a_sentence_on_every_page(app, path):
    answer = Browser(app).get(path, headers={"accept": "application/json"})
    assert answer.status_code in (404, 405), answer.text
    if not path.startswith("/static"):
        assert len(answer.json()["error"]) >= 9


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (f"/judge/{NOWHERE}", {"key": "key-0001", "verdict": "a2"}),
        (f"/judge/{NOWHERE}/skip", {}),
        (f"/data/{NOWHERE}/quarantine", {"reason": "x"}),
        (f"/data/{NOWHERE}/erase", {"sure": "yes"}),
        ("/disagreements", {"unit": "nothing"}),
        ("/people/nobody/role", {"role": "viewer"}),
        ("/people/nobody/disable", {"disabled": "1"}),
        ("/people/nobody/erase", {"sure": "yes"}),
    ],
)
def test_nothing_is_done_to_what_is_not_there(app, path, form):
    answer = Browser(app).submit(path, form)
    assert answer.status_code == 404 and len(answer.json()["error"]) > 10


def test_nobody_is_asked_about_an_answer_of_their_own(tmp_path):
    prompts = seeded(tmp_path / "store.sqlite", questions=3, answers=ANSWERS[:1])
    with Store(tmp_path / "store.sqlite") as store:
        store.add_completions(Completion(one.id, "I say so.", (), (), (), "stop", "ada", 1, 1) for one in prompts)
    with running(tmp_path) as app:
        lin, ada, ben = account(app, "lin", "admin"), account(app, "ada", "admin"), account(app, "ben")
        assert ada.question("pairwise")[0] is None, "one of the two answers is hers"
        app.state.server.questions.policy = type(app.state.server.questions.policy)(overlap_share=1.0, gold_early=0.0)
        app.state.server.questions.changed()
        asked = set()
        while (lease := ada.question("rating")[0]) is not None:
            with app.state.server.readers.lend() as store:
                asked |= {one.policy for one in store.completions(ids=store.lease(lease).assignment.completion_ids)}
            ada.judge("rating", stars="3")
        assert asked == {"model-0"}
        for browser, best in ((lin, "model-0"), (ben, "ada")):
            vote(app, browser, best)
        (unit,) = {str(one.unit) for one in app.state.server.disagreements()}
        assert ada.submit("/disagreements", {"unit": unit}).status_code == 403
        assert lin.submit("/disagreements", {"unit": unit}).status_code == 303


def vote(app, browser, best):
    """A pair whose better answer is that of `best`."""
    lease, key, _ = browser.question()
    with app.state.server.readers.lend() as store:
        first = store.completions(ids=store.lease(lease).assignment.completion_ids)[0]
    answer = browser.submit(f"/judge/{lease}", {"key": key, "verdict": "a2" if first.policy == best else "b2"})
    assert answer.status_code == 200


def test_a_session_that_ends_loses_nothing(app):
    lin = account(app, "lin", "admin")
    lease, key, _ = lin.question()
    app.state.server.writer.do(lambda store: store.db.execute("UPDATE sessions SET expires_at = 1.0"))
    form = {"key": key, "verdict": "a2"}
    assert lin.submit(f"/judge/{lease}", form).status_code == 401 and acts(app) == []
    again = Browser(app)
    again.post("/login", data={"name": "lin", "password": "correct horse"})
    assert again.question()[0] == lease, "the same question waits"
    assert again.submit(f"/judge/{lease}", form).status_code == 200 and len(acts(app)) == 1


TEXTS = (
    "مرحبا بالعالم",
    "שלום 1182",
    "你好，世界 👋🏽",
    "👨‍👩‍👧‍👦 🏳️‍🌈",
    "a\u0301\u0323 ﷽ ꙮ",
    "\u202bmixed مرحبا\u202c",
    "x" * 9_000,
)


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_any_script_comes_back_as_it_was_written(app, text):
    here = Browser(app)
    assert here.judge("correction", text=f"{text} {text}", comment=text).status_code == 200
    (act,) = acts(app)
    assert act.judgement == {"text": f"{text} {text}", "comment": text}
    lines = here.post("/api/v1/export/plaudit", headers={"x-csrf-token": here.csrf()}).content.decode("utf-8")
    assert text in lines
    page = here.get(f"/data/{act.assignment.prompt_id}").text
    assert 'dir="auto"' in page and ("⟨U+202B⟩" in page if "\u202b" in text else text[:20] in page)


def test_a_file_that_is_too_large_is_refused_before_it_is_whole(app):
    here = Browser(app)
    headers = {"x-csrf-token": here.csrf(), "accept": "application/json", "content-type": "application/octet-stream"}
    said = {**headers, "content-length": str(protection.LARGEST_UPLOAD + 1)}
    assert here.post("/exchange/import?name=a.jsonl", content=b"{}", headers=said).status_code == 413
    sent = 0

    def pieces():
        nonlocal sent
        for _ in range(200):
            sent += 1_000_000
            yield b" " * 1_000_000

    assert here.post("/api/v1/import?name=a.jsonl", content=pieces(), headers=headers).status_code == 413
    with app.state.server.readers.lend() as store:
        assert store.counts()["prompts"] == 4


def refused_then_taken(app, here, mend, words):
    """A judgement is refused with 503 and words; sent again after `mend` it counts once."""
    lease, key, _ = here.question()
    form = {"key": key, "verdict": "a2", "comment": "x" * 9_000}  # more than fits into what the file has left
    mend_now = mend()
    refused = here.submit(f"/judge/{lease}", form)
    assert refused.status_code == 503 and words in refused.json()["error"] and refused.headers["retry-after"]
    assert str(app.state.server.settings.store) not in refused.text, "where the store lies is nobody's business"
    assert here.get("/help").status_code == 200 and acts(app) == [], "what needs no writing goes on"
    mend_now()
    for _ in range(2):
        assert here.submit(f"/judge/{lease}", form).status_code == 200
    assert len(acts(app)) == 1


def test_a_locked_database_is_told_and_nothing_is_lost(app):
    writer = app.state.server.writer
    writer.do(lambda store: store.db.execute("PRAGMA busy_timeout = 20"), alone=True)
    with closing(sqlite3.connect(writer.path, isolation_level=None)) as other:

        def lock():
            other.execute("BEGIN IMMEDIATE")
            return lambda: other.execute("ROLLBACK")

        refused_then_taken(app, Browser(app), lock, "another process is writing")


def test_a_full_disk_is_told_and_what_is_sent_again_counts(app):
    writer = app.state.server.writer

    def limit(pages):
        writer.do(lambda store: store.db.execute(f"PRAGMA max_page_count = {pages}"), alone=True)

    def fill():
        writer.do(lambda store: store.db.execute("CREATE TABLE filler (x)"))
        limit(writer.do(lambda store: store.db.execute("PRAGMA page_count").fetchone()[0]))
        writer.do(lambda store: store.db.execute("PRAGMA user_version"))
        return lambda: limit(1_000_000)

    refused_then_taken(app, Browser(app), fill, "disk is full")


def test_a_token_of_a_closed_account_opens_nothing(app):
    lin = account(app, "lin", "admin")
    account(app, "ada")
    secret = token(app, "ada")
    program = Browser(app)
    program.headers["authorization"] = f"Bearer {secret}"
    assert program.get("/api/v1/me").status_code == 200
    lin.submit("/people/ada/disable", {"disabled": "1"})
    assert program.get("/api/v1/me").status_code == 401
