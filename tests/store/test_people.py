"""Accounts, leases, conversations and quarantine in the store; people's words can be erased; old databases are upgraded."""

from __future__ import annotations

import sqlite3

import pytest

from plaudit.schema import Assignment, Completion, Feedback, Message, Prompt, UserError
from plaudit.store import Conflict, Lease, Missing, Store, Turn
from plaudit.store.connection import create
from plaudit.store.migrations import MIGRATIONS
from whole_store import everything_on_disk

PROMPT = Prompt(messages=(Message("user", "Where is it?"),))
ANSWERS = [Completion(PROMPT.id, text, (), (), (), "stop", "m", place, place) for place, text in enumerate(("Here.", "There."))]
SHOWN = Assignment(PROMPT.id, tuple(one.id for one in ANSWERS))
SINGLE = Assignment(PROMPT.id, (ANSWERS[0].id,), "correction")


@pytest.fixture
def store(path):
    with Store(path) as store:
        store.add_prompts([PROMPT])
        store.add_completions(ANSWERS)
        yield store


def lease(lease_id="l1", annotator="ada", at=0.0):
    return Lease(lease_id, annotator, SHOWN, at, at + 900)


def vote(choice="a", annotator="ada", supersedes=None, **more):
    return Feedback(SHOWN, {"choice": choice, "strength": 1, **more}, annotator, "human", 2.0, "2026-01-01", supersedes)


def test_a_lease_is_settled_once_and_the_key_gives_the_first_answer_again(store):
    store.add_lease(lease())
    answer, new = store.settle("l1", vote(), "key-1", {"x": 1}, at=10)
    assert new and answer == {"lease": "l1", "feedback": vote().id}
    assert store.settle("l1", vote(), "key-1", {"x": 1}, at=20) == (answer, False)
    with pytest.raises(Conflict, match="key"):
        store.settle("l1", vote("b"), "key-1", {"x": 2}, at=20)
    with pytest.raises(Conflict, match="answered already"):
        store.settle("l1", vote("b"), "key-2", {"x": 2}, at=20)
    with pytest.raises(Missing):
        store.settle("l1", vote(annotator="ben"), "key-3", {}, at=20)
    with pytest.raises(Missing):
        store.settle("l9", vote(), "key-4", {}, at=20)
    edit = vote("b", supersedes=vote().id)
    store.settle("l1", edit, "key-5", {"x": 3}, at=20)
    assert [act.judgement["choice"] for act in store.feedback()] == ["b"] and store.lease("l1").feedback_id == edit.id


def test_what_is_refused_within_a_group_leaves_no_trace(store):
    store.add_lease(lease())
    with store.group():
        store.settle("l1", vote(), "key-1", {}, at=10)
        with pytest.raises(Conflict):
            store.settle("l1", vote("b"), "key-2", {}, at=10)
        store.add_lease(lease("l2"))
    assert store.answered("ada", "key-2", {}) is None and len(store.leases()) == 2
    with pytest.raises(RuntimeError), store.group():
        store.settle("l2", vote("b"), "key-3", {}, at=10)
        raise RuntimeError
    assert store.lease("l2").outcome == "open" and store.answered("ada", "key-3", {}) is None


def test_a_late_lease_counts_as_long_as_nobody_else_has_the_question(store):
    store.add_lease(lease("l1", at=0))
    store.add_lease(Lease("l2", "ben", Assignment(PROMPT.id, SHOWN.completion_ids[::-1]), 1000, 1900))
    with pytest.raises(Conflict, match="somebody else"):
        store.settle("l1", vote(), "key-1", {}, at=1001)
    store.settle("l2", Feedback(store.lease("l2").assignment, {"choice": "a"}, "ben", "human"), "key-2", {}, at=5000)
    assert [one.outcome for one in store.leases()] == ["open", "judged"]


def test_skipping_keeps_the_reason_and_another_persons_lease_cannot_be_skipped(store):
    store.add_lease(lease())
    with pytest.raises(Missing):
        store.skip("l1", "ben", "")
    store.skip("l1", "ada", "broken")
    (found,) = store.leases(annotator="ada", outcome="skipped")
    assert found.note == "broken" and store.counts()["skipped"] == 1


def test_peoples_words_stand_apart_and_go_when_they_are_erased(store, path):
    fix = Feedback(SINGLE, {"text": "Better words", "reasons": ["wrong"]}, "ada", "human")
    store.add_feedback([vote(comment="private remark"), fix])
    assert store.feedback()[0].judgement["comment"] == "private remark" and store.feedback()[1].id == fix.id
    with pytest.raises(Exception, match="append-only"):
        store.db.execute("UPDATE feedback SET judgement = '{}'")
    erased = store.erase(annotator="ada")
    assert erased.what == "annotator"
    assert [act.judgement for act in store.feedback()] == [{"choice": "a", "strength": 1}, {"reasons": ["wrong"]}]
    kept = everything_on_disk(path)
    assert PROMPT.id.encode() in kept, "it was looked at"
    assert b"private remark" not in kept and b"Better words" not in kept


def test_erasing_a_prompt_takes_the_words_on_it_too(store):
    store.add_feedback([vote(comment="about this order")])
    store.erase(prompt_id=PROMPT.id)
    assert "comment" not in store.feedback()[0].judgement


def test_conversations_belong_to_one_person_and_only_their_own_prompts_go_with_them(store):
    other = Prompt(messages=(Message("user", "Only ada asked this"),))
    store.add_prompts([other])
    for conversation, person, prompts in (("c1", "ada", (PROMPT, other)), ("c2", "ben", (PROMPT,))):
        store.add_conversation(conversation, person)
        for place, prompt in enumerate(prompts, 1):
            store.put_turn(conversation, Turn(place, prompt.id, (ANSWERS[0].id,)))
    with pytest.raises(Missing):
        store.turns("c1", "ben")
    assert store.said_by("ada") == [other.id] and store.said_by("ben") == []
    assert store.forget_conversations("ada") == 1 and store.conversations("ada") == []
    assert len(store.turns("c2", "ben")) == 1


def test_quarantine_is_kept_and_lifted(store):
    store.quarantine(PROMPT.id, "spam")
    assert store.quarantined() == {PROMPT.id: "spam"}
    store.quarantine(PROMPT.id, None)
    assert store.quarantined() == {}
    with pytest.raises(Missing):
        store.quarantine("0" * 16, "x")


def test_accounts_sessions_invitations_and_tokens_end_when_they_should(store):
    store.add_invitation("inv", "admin", 100.0)
    with pytest.raises(UserError, match="ended"):
        store.join("inv", 101.0, "lin", "hash")
    assert store.join("inv", 50.0, "lin", "hash").role == "admin"
    with pytest.raises(UserError, match="used"):
        store.join("inv", 50.0, "ada", "hash")
    store.open_session("s", "lin", 4e9)
    store.add_token("t" * 64, "lin", "script")
    assert store.session("s", 3e9).name == store.token("t" * 64).name == "lin" and store.session("s", 5e9) is None
    store.add_account("ada", "admin", "hash")
    store.change_account("lin", disabled=True)
    assert store.session("s", 3e9) is None and store.token("t" * 64) is None
    with pytest.raises(UserError, match="only admin"):
        store.change_account("ada", role="viewer")
    with pytest.raises(UserError, match="role"):
        store.add_account("eve", "king", "hash")
    store.add_feedback([vote(annotator="gpt-9")])
    for taken in ("ada", "gpt-9"):
        with pytest.raises(UserError, match="already"):
            store.add_account(taken, "viewer", "hash")


@pytest.mark.parametrize("steps", range(3, len(MIGRATIONS)))
def test_a_database_of_an_older_version_is_upgraded_with_its_feedback(tmp_path, steps):
    path = tmp_path / "old.sqlite"
    create(path, MIGRATIONS[:steps])
    db = sqlite3.connect(path)
    db.execute("INSERT INTO prompts (id, added_at) VALUES ('p', 'then')")
    db.execute("INSERT INTO annotators (name) VALUES ('ada')")
    db.execute(
        "INSERT INTO feedback (id, prompt_id, kind, reason, judgement, annotator, source, created_at, added_at) "
        """VALUES ('f', 'p', 'text', 'random', '{"text": "kept"}', 1, 'human', 'then', 'then')"""
    )
    db.commit()
    db.close()
    with Store(path) as store:
        assert [act.judgement for act in store.feedback()] == [{"text": "kept"}]
        assert store.counts()["acts"] == 1 and not store.has_accounts()
