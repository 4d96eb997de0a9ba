"""Each kind of judgement through its page: what is stored, sent twice, undone, skipped, too late, somebody else's."""

from __future__ import annotations

import json
import queue
import re

import pytest

from feedback_world import ANSWERS, Browser, account, acts, running, seeded
from plaudit.judgements.correction import KIND as CORRECTION
from plaudit.schema import Completion, Message, Prompt
from plaudit.store import Store


@pytest.fixture
def app(tmp_path):
    seeded(tmp_path / "store.sqlite")
    with running(tmp_path) as app:
        yield app


@pytest.mark.parametrize(
    ("kind", "form", "judgement"),
    [
        ("pairwise", {"verdict": "b3"}, {"choice": "b", "strength": 3}),
        ("pairwise", {"verdict": "tie", "comment": " same "}, {"choice": "tie", "strength": 0, "comment": "same"}),
        ("ranking", {"rank-0": "2", "rank-1": "1", "rank-2": "2"}, {"order": [[1], [0, 2]]}),
        ("ranking", {"rank-0": "1", "rank-1": "2", "rank-2": ""}, {"order": [[0], [1]]}),
        ("rating", {"stars": "4", "aspect-helpful": "5"}, {"stars": 4, "aspects": {"helpful": 5}}),
        ("correction", {"text": "It left on Monday. 👩‍💻 مرحبا"}, {"text": "It left on Monday. 👩‍💻 مرحبا"}),
        ("span", {"tag-0-4": "wrong"}, {"spans": [{"start": 0, "end": 4, "tag": "wrong"}]}),
        ("span", {"spans": '[{"start": 1, "end": 3, "tag": "great"}]'}, {"spans": [{"start": 1, "end": 3, "tag": "great"}]}),
    ],
)
def test_a_page_stores_what_was_said_with_what_was_shown(app, kind, form, judgement):
    browser = Browser(app)
    lease, key, page = browser.question(kind)
    assert browser.submit(f"/judge/{lease}", {"key": key, "seconds": "0.001", **form}).status_code == 200
    (act,) = acts(app)
    assert {name: act.judgement[name] for name in judgement} == judgement
    assert act.assignment.kind == kind and act.annotator == "local" and act.source == "human" and act.seconds == 0.001
    with app.state.server.readers.lend() as store:
        texts = [one.text for one in store.completions(ids=act.assignment.completion_ids)]
    places = [page.index(text.split("*")[0].split(".")[0]) for text in texts]
    assert places == sorted(places), "the order stored is the order shown"
    assert "model-" not in page, "no model's name before the judgement"


def test_the_kinds_of_pages_are_kinds_of_judgements():
    assert CORRECTION.read({"text": "x"})["text"] == "x"


def test_sent_twice_is_stored_once_and_answered_alike(app):
    browser = Browser(app)
    lease, key, _ = browser.question()
    first, again = (browser.submit(f"/judge/{lease}", {"key": key, "verdict": "a2"}) for _ in range(2))
    assert first.json() == again.json() and len(acts(app)) == 1
    other = browser.submit(f"/judge/{lease}", {"key": key, "verdict": "b2"})
    assert other.status_code == 409 and "key" in other.json()["error"]
    assert len(acts(app)) == 1


def test_a_second_tab_cannot_answer_what_was_answered(app):
    browser = Browser(app)
    lease, key, _ = browser.question()
    browser.submit(f"/judge/{lease}", {"key": key, "verdict": "a2"})
    stale = browser.submit(f"/judge/{lease}", {"key": "another-key", "verdict": "b2"})
    assert stale.status_code == 409 and [act.judgement["choice"] for act in acts(app)] == ["a"]


def test_undo_supersedes_and_keeps_the_first_answer(app):
    browser = Browser(app)
    lease, key, _ = browser.question()
    browser.submit(f"/judge/{lease}", {"key": key, "verdict": "a2", "comment": "first"})
    page = browser.get(f"/judge/again/{lease}").text
    assert 'value="a2" class="verdict a2" aria-pressed="true"' in page and "first" in page
    assert browser.submit(f"/judge/{lease}", {"key": "key-of-undo", "verdict": "b1", "undo": "1"}).status_code == 200
    assert [act.judgement["choice"] for act in acts(app)] == ["b"]
    assert [act.judgement["choice"] for act in acts(app, current=False)] == ["a", "b"]


def test_a_reload_shows_the_same_question_and_an_answer_the_next(app):
    browser = Browser(app)
    first = browser.question()[0]
    assert browser.question()[0] == first
    browser.submit(f"/judge/{first}", {"key": "k" * 8, "verdict": "a2"})
    for _ in range(20):
        browser.judge(verdict="a2")
    shown = [tuple(sorted(act.assignment.completion_ids)) for act in acts(app)]
    assert len(shown) == len(set(shown)) == 12, "three pairs of each of the four prompts, none twice"


def test_a_question_that_could_not_be_leased_is_given_again(app, monkeypatch):
    browser, writer = Browser(app), app.state.server.writer
    browser.csrf()
    full = queue.Queue(1)
    full.put(None)
    monkeypatch.setattr(writer, "_queue", full)
    assert browser.get("/judge/rating").status_code == 503
    monkeypatch.undo()
    lease, _, _ = browser.question("rating")
    assert browser.submit(f"/judge/{lease}/skip", {"why": ""}).status_code == 200


def test_a_skipped_question_does_not_come_back_to_the_same_person(app):
    browser = Browser(app)
    seen = set()
    while (lease := browser.question("rating")[0]) is not None:
        with app.state.server.readers.lend() as store:
            shown = store.lease(lease).assignment.completion_ids
        assert shown not in seen
        seen.add(shown)
        assert browser.submit(f"/judge/{lease}/skip", {"why": "broken"}).status_code == 200
    assert len(seen) == 12 and acts(app) == []


def test_another_persons_question_is_as_unknown_as_none(app):
    lin, ada = account(app, "lin", "admin"), account(app, "ada")
    lease, key, _ = lin.question()
    for path in (f"/judge/{lease}", f"/judge/{lease}/skip", "/judge/0123456789abcdef"):
        assert ada.submit(path, {"key": key, "verdict": "a2"}).status_code == 404
    assert ada.get(f"/judge/again/{lease}").status_code == 404
    assert acts(app) == []


def test_a_late_answer_counts_unless_somebody_else_was_asked_since(tmp_path):
    seeded(tmp_path / "store.sqlite", questions=1, answers=ANSWERS[:2])
    with running(tmp_path) as app:
        lin, ada = account(app, "lin", "admin"), account(app, "ada")
        now = [1_000_000.0]
        app.state.server.questions.clock = lambda: now[0]
        lease, key, _ = lin.question()
        assert ada.question()[0] is None, "it is leased to somebody else"
        now[0] += 901
        other, other_key, _ = ada.question()
        assert other is not None
        late = lin.submit(f"/judge/{lease}", {"key": key, "verdict": "a2"})
        assert late.status_code == 409 and "too long" in late.json()["error"]
        now[0] += 5000  # nobody was asked after ada's lease ended
        assert ada.submit(f"/judge/{other}", {"key": other_key, "verdict": "a2"}).status_code == 200
        assert [act.annotator for act in acts(app)] == ["ada"]


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("pairwise", {}),
        ("pairwise", {"verdict": "a9"}),
        ("pairwise", {"verdict": "a2", "reason-made_up": "1"}),
        ("pairwise", {"verdict": "a2", "comment": "x" * 20_001}),
        ("ranking", {}),
        ("ranking", {"rank-0": "first", "rank-1": "2"}),
        ("ranking", {"rank-9": "1", "rank-0": "2"}),
        ("rating", {}),
        ("rating", {"stars": "6"}),
        ("rating", {"stars": "true"}),
        ("correction", {"text": ""}),
        ("correction", {"text": "x" * 200_001}),
        ("span", {"spans": "not json"}),
        ("span", {"spans": "[" * 5000}),
        ("span", {"tag-4-0": "wrong"}),
    ],
)
def test_a_form_that_makes_no_sense_is_refused_in_words_and_nothing_is_stored(app, kind, form):
    answer = Browser(app).judge(kind, **form)
    assert answer.status_code == 400 and len(answer.json()["error"]) > 15
    assert acts(app) == []


def test_a_span_beyond_the_answer_is_kept_for_nobody(app):
    answer = Browser(app).judge("span", **{"tag-0-999999": "wrong"})
    assert answer.status_code == 400 and acts(app) == []


def test_hostile_and_long_texts_are_shown_as_text(tmp_path):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)> [a](javascript:alert(1)) \"'`"
    prompt = Prompt(messages=(Message("user", hostile),))
    long = "word " * 20_000
    with Store(tmp_path / "store.sqlite") as store:
        store.add_prompts([prompt])
        store.add_completions(
            Completion(prompt.id, text, (), (), (), "stop", "m", place, place)
            for place, text in enumerate((hostile, long, "مرحبا"))
        )
    with running(tmp_path) as app:
        for kind in ("pairwise", "ranking", "rating", "correction", "span"):
            page = Browser(app).get(f"/judge/{kind}").text
            body = page[page.index("<main") :]
            assert not re.search(r"<script|<img|onerror=alert\(1\)>|href=\"javascript", body), kind


def test_every_question_says_how_long_it_took_or_that_it_is_not_known(app):
    browser = Browser(app)
    for seconds in ("NaN", "inf", "-3", "1e9", "abc"):
        assert browser.judge(verdict="a2", seconds=seconds).status_code == 200
    assert {act.seconds for act in acts(app)} == {None}


def test_the_measured_time_cannot_be_longer_than_the_lease_is_old(app):
    Browser(app).judge(verdict="a2", seconds="5000")
    assert acts(app)[0].seconds < 60


def test_admins_see_what_a_correction_changed(app):
    browser = Browser(app)
    browser.judge("correction", text="It left <b>today</b>.")
    (act,) = acts(app)
    page = browser.get(f"/data/{act.assignment.prompt_id}").text
    assert "<ins>" in page and "&lt;" in page and "<b>today" not in page


def test_json_is_taken_like_a_form(app):
    browser = Browser(app)
    lease, key, _ = browser.question()
    headers = {"x-csrf-token": browser.csrf(), "content-type": "application/json", "accept": "application/json"}
    answer = browser.post(f"/judge/{lease}", content=json.dumps({"verdict": "a1", "key": key}), headers=headers)
    assert answer.status_code == 200 and acts(app)[0].judgement["strength"] == 1
