"""The one writer: groups, refusals, a full disk, a locked file, and a real server that is killed while people judge."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from docs_scripts import script
from feedback_world import running, seeded
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


@pytest.mark.slow
def test_what_ten_people_were_told_is_there_exactly_once_after_two_kills(tmp_path):
    """The short form of `make load`; that one has 50 people and 5 kills."""
    outcome = script("load").load(tmp_path, people=10, seconds=10, kills=2, thinking=0.5)
    assert outcome.failures == []
    assert (outcome.lost, outcome.doubled, outcome.untold) == (0, 0, 0)
    assert len(outcome.judged) > 20 and len(outcome.starts) == 3 and outcome.whole


def test_the_comparison_sees_what_was_lost_doubled_or_never_told(tmp_path):
    load = script("load")
    seeded(tmp_path / "store.sqlite", questions=3)
    acts = []
    with running(tmp_path) as app:
        questions = app.state.server.questions
        for number in range(3):
            lease = questions.next("ada", "rating")
            acts.append(questions.answer(lease.id, "ada", {"stars": 3}, key=f"key-{number}")["feedback"])
    told = [("ada", act) for act in acts]
    for judged, found in (
        (told, (0, 0, 0)),
        (told[:2], (0, 0, 1)),
        ([*told, ("ben", acts[0])], (1, 0, 0)),
        ([*told, told[0]], (1, 1, 0)),
    ):
        outcome = load.Outcome(judged=judged)
        outcome.compare(tmp_path / "store.sqlite")
        assert (outcome.lost, outcome.doubled, outcome.untold) == found and outcome.whole == (found == (0, 0, 0))


def test_the_server_opens_without_anything_heavy(tmp_path):
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
    server = script("load").Process(tmp_path)
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
