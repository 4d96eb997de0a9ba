"""The one writer: groups, refusals, a full disk, a locked file, and a real server that is killed while people judge."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from feedback_world import seeded
from plaudit.feedback import passwords
from plaudit.feedback.client import FeedbackClient
from plaudit.feedback.writer import Readers, Unavailable, Writer
from plaudit.schema import Message, Prompt, UserError
from plaudit.store import Store


def prompt(number, length=1):
    return Prompt(messages=(Message("user", f"question {number} " * length),))


@pytest.fixture
def writer(tmp_path):
    writer = Writer(tmp_path / "store.sqlite")
    yield writer
    writer.close()


def test_what_do_has_returned_is_seen_by_every_reader(writer):
    readers = Readers(writer.path)
    for number in range(5):
        writer.do(lambda store, number=number: store.add_prompts([prompt(number)]))
        with readers.lend() as store:
            assert len(store.prompts()) == number + 1
    readers.close()


def test_many_who_write_at_once_share_commits_and_lose_nothing(writer):
    commits = []
    writer.do(lambda store: store.db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None))

    def write(first):
        for number in range(first, first + 20):
            writer.do(lambda store, number=number: store.add_prompts([prompt(number)]))

    threads = [threading.Thread(target=write, args=(1000 * place,)) for place in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.do(lambda store: len(store.prompts())) == 400
    assert len(commits) < 400, "jobs that wait together reach the disk together"


def test_a_refused_job_takes_no_other_of_its_group_with_it(writer):
    gate, results = threading.Event(), {}

    def run(name, work):
        try:
            results[name] = writer.do(work)
        except Exception as error:
            results[name] = error

    def refused(store):
        store.add_prompts([prompt(99)])
        with store.together():
            store.add_prompts([prompt(98)])
            raise UserError("no")

    jobs = {
        "first": lambda store: gate.wait(5),
        "good": lambda store: store.add_prompts([prompt(1)]),
        "refused": refused,
        "broken": lambda store: 1 / 0,
        "last": lambda store: store.add_prompts([prompt(2)]),
    }
    threads = [threading.Thread(target=run, args=item) for item in jobs.items()]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert results["good"] == results["last"] == 1
    assert isinstance(results["refused"], UserError) and isinstance(results["broken"], ZeroDivisionError)
    kept = writer.do(lambda store: {one.id for one in store.prompts()})
    assert kept == {prompt(1).id, prompt(2).id, prompt(99).id}, "what was done together is undone together, and no more"


def test_a_full_disk_refuses_and_keeps_all_that_was_acknowledged(writer):
    writer.do(lambda store: store.add_prompts([prompt(0)]))
    pages = writer.do(lambda store: store.db.execute("PRAGMA page_count").fetchone()[0])
    writer.do(lambda store: store.db.execute(f"PRAGMA max_page_count = {pages + 2}"), alone=True)
    with pytest.raises(UserError, match="disk is full"):
        writer.do(lambda store: store.add_prompts([prompt(1, length=10_000)]))
    writer.do(lambda store: store.db.execute("PRAGMA max_page_count = 100000"), alone=True)
    writer.do(lambda store: store.add_prompts([prompt(2)]))
    assert writer.do(lambda store: [one.id for one in store.prompts()]) == [prompt(0).id, prompt(2).id]


def test_a_store_that_another_process_writes_is_refused_in_words(tmp_path):
    with Store(tmp_path / "store.sqlite"), pytest.raises(UserError, match="writing to it"):
        Writer(tmp_path / "store.sqlite", wait=0.05)


def test_too_many_who_wait_are_refused_instead_of_filling_the_memory(writer, monkeypatch):
    started, gate = threading.Event(), threading.Event()
    first = threading.Thread(target=writer.do, args=(lambda store: (started.set(), gate.wait(5)),))
    first.start()
    started.wait(5)
    monkeypatch.setattr(writer, "_queue", type(writer._queue)(1), raising=True)
    writer._queue.put_nowait(None)
    with pytest.raises(Unavailable, match="try again"):
        writer.do(lambda store: None)
    monkeypatch.undo()
    gate.set()
    first.join()


class Process:
    """`plaudit feedback` as a process of its own, on one port through all its lives."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, 0, None

    def start(self):
        command = [sys.executable, "-m", "plaudit", "feedback", "--project", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(re.search(r":(\d+)  ", self.process.stdout.readline())[1])

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def people_with_tokens(path, number):
    """Accounts in a store; returns the token of each."""
    found = {}
    with Store(path) as store:
        for place in range(number):
            name, secret = f"person {place}", passwords.new()
            store.add_account(name, "annotator", "")
            store.add_token(passwords.digest(secret), name, "test")
            found[name] = secret
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("people", "kills", "each"), [(5, 3, 10)])
def test_a_judgement_that_was_acknowledged_is_there_exactly_once_after_kills(tmp_path, people, kills, each):
    seeded(tmp_path / "store.sqlite", questions=people * each)
    tokens = people_with_tokens(tmp_path / "store.sqlite", people)
    server, acknowledged, lock, failures = Process(tmp_path), [], threading.Lock(), []
    server.start()

    def judge(name, secret):
        try:
            with FeedbackClient(f"http://127.0.0.1:{server.port}", secret, tries=60, pause=0.02) as client:
                for turn in range(each):
                    act = client.judge(client.next("rating")["lease"], {"stars": 1 + turn % 5})
                    with lock:
                        acknowledged.append((name, act))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=judge, args=item) for item in tokens.items()]
    for thread in threads:
        thread.start()
    for done in range(1, kills + 1):  # kills are spread over the work
        while len(acknowledged) < done * people * each // (kills + 2) and not failures:
            threading.Event().wait(0.005)
        server.kill()
        server.start()
    for thread in threads:
        thread.join()
    server.kill()
    assert failures == []
    with Store(tmp_path / "store.sqlite") as store:
        kept = store.feedback(current=False)
        assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert sorted(acknowledged) == sorted((act.annotator, act.id) for act in kept), "each exactly once, and nothing else"
    assert len({(act.annotator, act.assignment.completion_ids) for act in kept}) == people * each, "nobody was asked twice"


def test_the_server_starts_quickly_and_loads_no_torch(tmp_path):
    code = (
        "import sys, time\nbegan = time.perf_counter()\n"
        "from plaudit.feedback.app import create_app\nfrom plaudit.feedback.server import Settings\nfrom pathlib import Path\n"
        f"app = create_app(Settings(Path({str(tmp_path / 'store.sqlite')!r})))\n"
        "print(sorted({'torch', 'transformers', 'pyarrow', 'safetensors'} & set(sys.modules)), time.perf_counter() - began)\n"
        "app.state.server.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    heavy, _, _ = done.stdout.partition("] ")
    assert heavy == "["


def test_sigterm_ends_the_server_and_its_streams_with_everything_on_the_disk(tmp_path):
    seeded(tmp_path / "store.sqlite", questions=1)
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    server = Process(tmp_path)
    server.start()
    with FeedbackClient(f"http://127.0.0.1:{server.port}") as client:
        client.judge(client.next("rating")["lease"], {"stars": 3})
        with client.http.stream("GET", "/runs/x/events", headers={"accept": "text/event-stream"}) as stream:
            pieces = stream.iter_text()
            assert next(pieces).startswith("event: run")
            server.process.terminate()
            assert set(pieces) <= {": still here\n\n"}, "the stream ends by itself"
    assert server.process.wait(20) in (0, -signal.SIGTERM)
    with Store(tmp_path / "store.sqlite", wait=0.1) as store:
        assert len(store.feedback()) == 1
