"""The store as its users see it: what goes in comes out, edits supersede, erasure erases."""

import sqlite3

import pytest

from plaudit.schema import (
    Assignment,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    RunRecord,
    UserError,
)
from plaudit.store import Store
from stored_acts import FILES, LATE, PLAIN, act, answer, fill
from whole_store import everything_on_disk


def test_what_goes_in_comes_out_equal_after_reopening(path):
    fill(path, act())
    with Store(path, readonly=True) as store:
        assert store.prompts() == [LATE, PLAIN]
        assert store.prompts([PLAIN.id, LATE.id]) == [PLAIN, LATE]
        assert store.completions() == [answer(0), answer(1), answer(0, PLAIN, "there was")]
        assert store.completions(PLAIN.id) == [answer(0, PLAIN, "there was")]
        assert store.completions(ids=[answer(1).id, answer(0).id]) == [answer(1), answer(0)]
        assert store.feedback() == [act()]
        assert store.completions()[0].logprobs == (-0.1, -1 / 3, -1e-300)


@FILES
def test_adding_twice_changes_nothing(path):
    fill(path, act())
    before = sqlite3.connect(path).execute("SELECT * FROM feedback, prompts, completions").fetchall()
    with Store(path) as store:
        assert store.add_prompts([LATE]) == store.add_completions([answer(0)]) == store.add_feedback([act(), act()]) == 0
    assert sqlite3.connect(path).execute("SELECT * FROM feedback, prompts, completions").fetchall() == before


def test_an_edit_hides_the_act_that_it_supersedes(path):
    first = act("a")
    second = act("b", supersedes=first.id)
    third = act("tie", supersedes=second.id)
    other = act("a", annotator="bob")
    fill(path, first, second, third, other)
    with Store(path) as store:
        assert store.feedback() == [third, other]
        assert store.feedback(current=False) == [first, second, third, other]
        assert store.feedback(current=False, ids=[second.id]) == [second]
        with pytest.raises(UserError, match=r"replaced by .* already"):
            store.add_feedback([act("a", supersedes=first.id, seconds=9.0)])
        with pytest.raises(UserError, match="another annotator"):
            store.add_feedback([act("a", "eve", supersedes=other.id)])
        with pytest.raises(UserError, match="no feedback nothing"):
            store.add_feedback([act("a", "new", seconds=1.0), act("a", "eve", supersedes="nothing")])
        assert len(store.feedback(current=False)) == 4  # the good act of the refused call was not kept either


def test_feedback_cannot_be_changed_or_deleted(path):
    fill(path, act())
    for statement in ("UPDATE feedback SET judgement = '{}'", "DELETE FROM feedback", "DELETE FROM feedback_completions"):
        with Store(path) as store, pytest.raises(Exception, match="append-only"):
            store.db.execute(statement)


def test_what_is_missing_or_does_not_fit_is_named(path):
    fill(path)
    stranger = Prompt(text="never added")
    with Store(path) as store:
        with pytest.raises(UserError, match=f"no prompt {stranger.id}"):
            store.add_completions([answer(0, stranger)])
        with pytest.raises(UserError, match="no completion zzz and 1 more"):
            store.add_feedback([act(assignment=Assignment(LATE.id, ("zzz", "yyy")))])
        with pytest.raises(UserError, match=f"answers prompt {PLAIN.id}"):
            store.add_feedback([act(assignment=Assignment(LATE.id, (answer(0).id, answer(0, PLAIN, "there was").id)))])
        with pytest.raises(UserError, match="no annotator"):
            store.add_feedback([act(annotator="")])
        with pytest.raises(UserError, match="no prompt nix"):
            store.prompts(["nix"])


def test_a_snapshot_is_known_by_its_content(path):
    fill(path, act(), act("b", "bob"))
    rows = [Ranking(LATE, ("good", (Message("assistant", "bad"),)), probability=0.8, meta={"k": 1}), Ranking(PLAIN, ("x", "y"))]
    with Store(path) as store:
        digest = store.snapshot("rankings", rows, [act("b", "bob").id, act().id])
        assert store.snapshot("rankings", rows, [act("b", "bob").id, act().id]) == digest
        assert store.snapshot("rankings", rows, [act().id]) != digest != store.snapshot("rankings", rows[::-1])
        kept = store.dataset(digest)
        assert (kept.rows, kept.kind, kept.erased) == (tuple(rows), "rankings", 0)
        assert kept.feedback_ids == (act("b", "bob").id, act().id)
        told = [Demonstration(LATE, (Message("assistant", "hi"),), 2.0), Demonstration(PLAIN, "there was")]
        assert list(store.dataset(store.snapshot("demonstrations", told)).rows) == told
        with pytest.raises(UserError, match="no kind"):
            store.snapshot("songs", rows)
        with pytest.raises(UserError, match="without rows"):
            store.snapshot("rankings", [])
        with pytest.raises(UserError, match="no data set"):
            store.dataset("0")


def family(store):
    digest = store.snapshot("rankings", [Ranking(LATE, ("good", "bad")), Ranking(PLAIN, ("x", "y"))], [act().id])
    store.add_run(RunRecord("sft", "train sft", "runs/sft", {"lr": 1e-4}, data={"demos": "file-1"}, created_at="2026"))
    store.add_run(RunRecord("reward", "train reward", "runs/rm", {"lr": 1e-5}, parents=("sft",), data={"pairs": digest}))
    store.add_run(RunRecord("ppo", "train ppo", "runs/ppo", {}, parents=("sft", "reward"), data={"demos": "file-1"}))
    return digest


def test_a_run_is_traced_back_to_the_acts_of_feedback(path):
    fill(path, act())
    with Store(path) as store:
        digest = family(store)
        line = store.lineage("ppo")
        assert [run.id for run in (line.run, *line.ancestors)] == ["ppo", "sft", "reward"]
        assert (line.datasets, line.elsewhere, line.feedback_ids) == ((digest,), {"demos": "file-1"}, (act().id,))
        store.update_run("sft", status="finished", summary={"loss": 1.5})
        store.add_run(RunRecord("sft", "train sft", "runs/sft", {"lr": 1e-4}, data={"demos": "file-1"}))  # a resumed run
        sft = store.runs()[0]
        assert (sft.status, sft.summary, sft.created_at) == ("finished", {"loss": 1.5}, "2026")
        store.update_run("sft", status="stopped")
        assert store.runs()[0].summary == {"loss": 1.5}
        with pytest.raises(UserError, match="another run sft"):
            store.add_run(RunRecord("sft", "train sft", "runs/sft", {"lr": 2e-4}))
        for wrong in (lambda: store.update_run("x"), lambda: store.lineage("x")):
            with pytest.raises(UserError, match="no run x"):
                wrong()
        with pytest.raises(UserError, match="no run gone"):
            store.add_run(RunRecord("child", "train ppo", "runs/c", {}, parents=("gone",)))


def test_an_erased_prompt_is_gone_from_the_disk_and_its_data_sets_and_models_are_named(path):
    fill(path, act())
    with Store(path) as store:
        digest = family(store)
        assert b"Bestellung 1182" in everything_on_disk(path)
        mark = store.erase(prompt_id=LATE.id)
        assert (mark.what, mark.key, mark.datasets, mark.runs) == ("prompt", LATE.id, (digest,), ("reward", "ppo"))
        assert b"Bestellung 1182" not in everything_on_disk(path) and b"On its way" not in everything_on_disk(path)
        assert store.prompts() == [PLAIN] == store.prompts([LATE.id, PLAIN.id])
        assert [c.prompt_id for c in store.completions()] == [PLAIN.id]
        assert store.feedback() == [act()]  # that somebody judged stays known
        assert (store.dataset(digest).erased, len(store.dataset(digest).rows)) == (1, 1)
        assert store.erasures() == [mark] == list(store.lineage("ppo").erasures)
        with pytest.raises(UserError, match="erased on request"):
            store.add_prompts([LATE])
        with pytest.raises(UserError, match="erased on request"):
            store.add_completions([answer(7)])


def test_an_erased_annotator_loses_the_name_and_keeps_the_acts(path):
    first = act("a", "Ada Lovelace")
    second = act("b", "Ada Lovelace", supersedes=first.id)
    fill(path, first, second, act("a", "bob"))
    with Store(path) as store:
        digest = store.snapshot("rankings", [Ranking(LATE, ("good", "bad"))], [second.id])
        assert store.erase(annotator="Ada Lovelace").datasets == (digest,)
        assert b"Lovelace" not in everything_on_disk(path)
        old, new, _ = store.feedback(current=False)
        assert old.annotator == new.annotator == "erased-1" and new.supersedes == old.id and new.judgement["choice"] == "b"
        assert store.dataset(store.snapshot("rankings", [Ranking(LATE, ("x", "y"))], [new.id])).feedback_ids == (second.id,)
        assert store.feedback(ids=[second.id]) == store.feedback(ids=[new.id]) == [new]
        assert store.add_feedback([first]) == 0  # sent again by a stale page: known by its id
        for wrong in ({}, {"annotator": "a", "prompt_id": "b"}):
            with pytest.raises(UserError, match="either"):
                store.erase(**wrong)
        with pytest.raises(UserError, match="no annotator Ada"):
            store.erase(annotator="Ada Lovelace")


def test_a_setting_keeps_its_history_without_the_names_that_are_erased(path):
    with Store(path) as store:
        store.change_setting("guideline", "be kind", "Ada")
        store.change_setting("guideline", "be kind", "Ben")
        store.propose("p1", {"key": "x"})
        store.propose("p1", {"key": "y"})
        store.change_setting("guideline", "be brief", "Ben", "p1")
        store.decide("p1", "accepted", "Ben", "yes")
        assert [(one.old, one.new, one.by, one.proposal) for one in store.changes()] == [
            ("be kind", "be brief", "Ben", "p1"),
            (None, "be kind", "Ada", None),
        ]
        (one,) = store.proposals()
        assert (one.content, one.decision, one.by, one.note) == ({"key": "x"}, "accepted", "Ben", "yes")
        with pytest.raises(UserError, match="accepted already, by Ben"):
            store.decide("p1", "refused", "Ada")
        with pytest.raises(UserError, match="no proposal"):
            store.decide("p2", "refused", "Ada")
        store.change_setting("left out", [["human", store.number_of("Ben")]], "Ada")
        assert store.left_out() == {"human:Ben"}
        store.erase(annotator="Ben")
        assert store.changes()[1].by.startswith("erased-") and next(iter(store.left_out())).startswith("human:erased-")
    assert b"Ben" not in everything_on_disk(path)


def test_the_newest_score_of_a_model_counts_and_is_news(path):
    fill(path)
    first = answer(0)
    with Store(path) as store:
        store.set_scores("rm-1", {first.id: 1.0})
        store.set_scores("rm-2", {first.id: 2.0})
        before = store.newest()
        store.set_scores("rm-1", {first.id: 3.0})
        assert store.newest() > before
        assert list(store.scores().items()) == [("rm-2", {first.id: 2.0}), ("rm-1", {first.id: 3.0})]
        with pytest.raises(UserError, match="no completion"):
            store.set_scores("rm-1", {"f" * 16: 1.0})
