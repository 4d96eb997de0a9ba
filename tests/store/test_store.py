"""The store as its users see it: what goes in comes out, edits supersede, erasure erases, accidents are said."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from plaudit.schema import (
    Assignment,
    Completion,
    Demonstration,
    Feedback,
    Message,
    Prompt,
    Ranking,
    RunRecord,
    Sampling,
    UserError,
)
from plaudit.store import Store
from plaudit.store.connection import create
from plaudit.store.migrations import MIGRATIONS
from plaudit.store.postgres import is_url
from whole_store import everything_on_disk

FILES = pytest.mark.parametrize("path", ["sqlite"], indirect=True)
"""What can happen to a file only."""
LATE = Prompt(messages=(Message("user", "Wo ist Bestellung 1182? 订单"),), meta={"template": "late-1", "n": [1, 2]})
PLAIN = Prompt(text="Once upon a time")
SETTINGS = Sampling(max_new_tokens=8, temperature=0.7, top_k=5, stop=("\n\n", "END"), stop_token_ids=(2, 7), seed=3)


def answer(place, prompt=LATE, text="On its way."):
    return Completion(
        prompt.id, f"{text} {place}", (1, 5, 49151), (17, 4, 2), (-0.1, -1 / 3, -1e-300), "stop", "run-1@4", place, 11, SETTINGS
    )


def act(choice="a", annotator="ada", **changes):
    shown = Assignment(LATE.id, (answer(0).id, answer(1).id), reason="random")
    return replace(
        Feedback(shown, {"choice": choice, "strength": 2}, annotator, "human", 4.5, "2026-11-22T10:00:00Z"), **changes
    )


def fill(path, *acts):
    with Store(path) as store:
        store.add_prompts([LATE, PLAIN])
        store.add_completions([answer(0), answer(1), answer(0, PLAIN, "there was")])
        store.add_feedback(acts)


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


@pytest.mark.parametrize("steps", range(1, len(MIGRATIONS)))
def test_a_database_of_an_older_version_is_upgraded_on_opening(tmp_path, steps):
    path = tmp_path / "old.db"
    create(path, MIGRATIONS[:steps])
    db = sqlite3.connect(path)
    db.execute("INSERT INTO prompts (id, added_at) VALUES (?, '2026')", (PLAIN.id,))
    db.execute("INSERT INTO prompt_texts VALUES (?, ?)", (PLAIN.id, '{"text": "Once upon a time", "messages": [], "meta": {}}'))
    db.commit()
    db.close()
    with pytest.raises(UserError, match=f"step {steps}.*for writing"):
        Store(path, readonly=True)
    with Store(path) as store:
        assert store.prompts() == [PLAIN]
        store.add_completions([answer(0, PLAIN), answer(1, PLAIN)])
        assert store.feedback() == store.runs() == store.erasures() == []
    rows = sqlite3.connect(path).execute("SELECT number, name FROM migrations").fetchall()
    assert rows == [(step.number, step.name) for step in MIGRATIONS]


@FILES
def test_a_database_of_a_newer_version_is_refused_untouched(path):
    fill(path)
    db = sqlite3.connect(path)
    db.execute("INSERT INTO migrations VALUES (99, 'votes by horse', '2030')")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"votes by horse.*upgrade plaudit"):
        Store(path)
    assert path.read_bytes() == before


def test_the_steps_are_numbered_from_one_without_gaps():
    assert [step.number for step in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_a_second_writer_is_told_who_writes_and_readers_are_let_in(path):
    fill(path)
    with Store(path):
        with pytest.raises(UserError, match=r"(process|session) [0-9]+ is writing"):
            Store(path, wait=0.05)
        with Store(path, readonly=True) as reader:
            assert len(reader.prompts()) == 2
            with pytest.raises(UserError, match="reading only"):
                reader.add_prompts([Prompt(text="new")])
    with Store(path, wait=0):  # closing let the next one in
        pass


def test_what_a_call_returned_from_survives_kill_9(path):
    script = f"""
import os, signal, sys
from plaudit.schema import Prompt
from plaudit.store import Store
store = Store({str(path)!r})
for i in range(10_000):
    store.add_prompts([Prompt(text=str(i))])
    print(i, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    said = [child.stdout.readline() for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    said += child.stdout.read().splitlines()
    child.wait()
    with Store(path, wait=0) as store:  # the lock of a dead process holds nobody up
        assert len(said) <= len(store.prompts()) <= len(said) + 1


@FILES
@pytest.mark.parametrize("size", [0, 1000, 30_000])
def test_a_torn_file_is_refused_and_left_as_it_is(path, size):
    with Store(path) as store:
        store.add_prompts([Prompt(text=f"{i} " * 200) for i in range(100)])
    whole = path.read_bytes()
    assert len(whole) > 30_000
    path.write_bytes(whole[:size])
    for readonly in (False, True):
        with pytest.raises(UserError, match="backup"):
            Store(path, readonly=readonly)
    assert path.read_bytes() == whole[:size]
    path.write_bytes(whole)
    with Store(path) as store:
        assert len(store.prompts()) == 100


@FILES
def test_damaged_pages_are_refused(path):
    with Store(path) as store:
        store.add_prompts([Prompt(text=f"{i} " * 200) for i in range(100)])
    data = bytearray(path.read_bytes())
    data[8192:40_960] = os.urandom(32_768)
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        Store(path)


def test_other_files_are_refused(tmp_path):
    text, foreign, lost = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "lost.db"
    text.write_text("my notes " * 500)
    with pytest.raises(UserError, match="damaged or no database"):
        Store(text)
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE cake (x)")
    with pytest.raises(UserError, match="not one of plaudit"):
        Store(foreign)
    (tmp_path / "lost.db-wal").write_bytes(b"acts of people")
    with pytest.raises(UserError, match="the file is gone"):
        Store(lost)
    with pytest.raises(UserError, match="no such file"):
        Store(tmp_path / "none.db", readonly=True)
    assert not lost.exists() and (tmp_path / "lost.db-wal").read_bytes() == b"acts of people"


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be opened"):
        Store(tmp_path / "file" / "plaudit.db")
    with pytest.raises(UserError, match="cannot be read or written"):
        Store(tmp_path)


@FILES
def test_a_full_disk_undoes_the_write_and_keeps_what_was_there(path):
    with Store(path) as store:
        store.add_prompts([LATE])
        pages = store.db.execute("PRAGMA page_count").fetchone()[0]
        store.db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(UserError, match="disk is full"):
            store.add_prompts([PLAIN, Prompt(text="long " * 10_000)])
        assert store.prompts() == [LATE]
        store.db.execute("PRAGMA max_page_count = 100000")
        assert store.add_prompts([PLAIN]) == 1


@FILES
def test_a_creation_that_was_cut_off_leaves_no_trouble(path):
    path.parent.mkdir()
    path.with_name("plaudit.db.new").write_bytes(b"half of a database")
    fill(path)
    with Store(path) as store:
        assert len(store.prompts()) == 2
    assert sorted(file.name for file in path.parent.iterdir()) == ["plaudit.db", "plaudit.db.lock"]


def test_a_server_lets_commands_write_between_its_transactions_and_sees_that_they_did(path):
    with Store(path, shared=True) as server:
        server.add_prompts([Prompt(text="from the server")])
        before = server.version()
        server.add_prompts([Prompt(text="again")])
        assert server.version() == before, "its own writes are no news"
        with Store(path, wait=0) as command:
            command.add_prompts([Prompt(text="from a command")])
            with pytest.raises(UserError, match=r"(process|session) [0-9]+ is writing"):
                Store(path, wait=0)
            server.wait = 0
            with pytest.raises(UserError, match="is writing to it"):
                server.add_prompts([Prompt(text="not now")])
        assert server.version() != before
        server.add_prompts([Prompt(text="now")])
        texts = [one.text for one in server.prompts()]
    assert texts == ["from the server", "again", "from a command", "now"]


def test_of_servers_there_is_one(path):
    with Store(path, shared=True):
        with pytest.raises(UserError, match=r"(process|session) [0-9]+ is serving it"):
            Store(path, shared=True, wait=0)
        with Store(path, wait=0):
            pass
    with Store(path, shared=True, wait=0):
        pass


@pytest.mark.slow
def test_processes_that_write_at_once_take_turns_and_lose_nothing(path):
    script = f"""
from plaudit.schema import Prompt
from plaudit.store import Store
import sys
who, kind = sys.argv[1:]
if kind == "server":
    with Store({str(path)!r}, shared=True, wait=60) as store:
        for i in range(300):
            store.add_prompts([Prompt(text=who + str(i))])
else:
    for i in range(60):
        with Store({str(path)!r}, wait=60) as store:
            store.add_prompts([Prompt(text=who + str(i))])
"""
    Store(path).close()
    each = [("s", "server"), ("a", "command"), ("b", "command")]
    processes = [subprocess.Popen([sys.executable, "-c", script, *words]) for words in each]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with Store(path) as store:
        assert len(store.prompts()) == 420
        assert is_url(path) or store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


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
