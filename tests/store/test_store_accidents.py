"""The store under accidents: old and damaged files, full disks, kills, several writers."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from plaudit.schema import (
    Prompt,
    UserError,
)
from plaudit.store import Store
from plaudit.store.connection import create
from plaudit.store.migrations import MIGRATIONS
from plaudit.store.postgres import is_url
from stored_acts import FILES, LATE, PLAIN, answer, fill


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
