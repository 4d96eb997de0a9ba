"""Many people judge at once, and the server is killed meanwhile. `python docs/load.py --people N --seconds S --kills K`

It makes a project in a folder of its own, starts the real server, and has as many clients as there are people ask and answer
until the time is over. In the end every judgement that was acknowledged must be in the store exactly once, and nothing else;
otherwise the exit code is 1. Without kills it also says how long a judgement takes.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plaudit.feedback import passwords
from plaudit.feedback.client import FeedbackClient
from plaudit.schema import Completion, Message, Prompt
from plaudit.store import Store

ANSWERS = ("It left **yesterday**.", "I do not know.", "Please wait a little longer. It will come.")
TARGET = 0.250
"""Seconds that 99 of 100 judgements take at most, without kills, on two cores."""


class Process:
    """`plaudit feedback` as a process of its own, on one port through all its lives."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        self.starts: list[float] = []
        """Seconds from each start to the first answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        began = time.perf_counter()
        command = [sys.executable, "-m", "plaudit", "feedback", "--project", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r":(\d+)  ", self.process.stdout.readline())
        if found is None:
            raise RuntimeError(f"the server did not start: {self.process.wait(10)}")
        self.port = int(found[1])
        with FeedbackClient(self.url, "", tries=20, pause=0.02) as client:  # anybody may ask this
            client.healthy()
        self.starts.append(time.perf_counter() - began)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@dataclass
class Outcome:
    """What came of it: seconds of each judgement, and how the store compares with what was acknowledged."""

    judged: list[tuple[str, str]] = field(default_factory=list)
    """(person, act) of every acknowledgement."""
    waits: list[float] = field(default_factory=list)
    """Seconds from sending a judgement to its acknowledgement."""
    questions: list[float] = field(default_factory=list)
    """Seconds from asking for a question to having it."""
    starts: list[float] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    untold: int = 0
    """Acts in the store that nobody was told of."""

    @property
    def whole(self) -> bool:
        return not (self.failures or self.lost or self.doubled or self.untold) and bool(self.judged)

    def compare(self, path: Path) -> None:
        """Acknowledgements beside the store, whose file must be sound."""
        with Store(path) as store:
            kept = Counter((act.annotator, act.id) for act in store.feedback(current=False))
            answered = Counter(lease.feedback_id for lease in store.leases(outcome="judged"))
            if store.db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise RuntimeError(f"{path} is damaged")
        told = Counter(self.judged)
        self.lost, self.untold = (told - kept).total(), (kept - told).total()
        self.doubled = len(self.judged) - len(told) + sum(number - 1 for number in answered.values())


def project(folder: Path, people: int, questions: int) -> dict[str, str]:
    """A store with `questions` prompts of three answers, and an account with a token for each person; returns the tokens."""
    prompts = [Prompt(messages=(Message("user", f"Where is order {number}?"),)) for number in range(questions)]
    tokens = {f"person {number}": passwords.new() for number in range(people)}
    with Store(folder / "store.sqlite") as store, store.together():
        store.add_prompts(prompts)
        store.add_completions(
            Completion(prompt.id, text, (), (), (), "stop", f"model-{place}", place, place)
            for prompt in prompts
            for place, text in enumerate(ANSWERS)
        )
        for name, secret in tokens.items():
            store.add_account(name, "annotator", "")
            store.add_token(passwords.digest(secret), name, "load")
    return tokens


def load(folder: Path, people: int, seconds: float, kills: int, thinking: float = 1.0) -> Outcome:
    """`people` judge pairs for `seconds`, each thinking for about `thinking` seconds; the server is killed `kills` times."""
    tokens = project(folder, people, questions=int(people * seconds / max(0.2, thinking)) + people)
    server, outcome, lock, over = Process(folder), Outcome(), threading.Lock(), threading.Event()
    server.start()

    def judge(name: str, secret: str) -> None:
        draw = random.Random(name)
        try:
            with FeedbackClient(server.url, secret, tries=30, pause=0.05) as client:
                while not over.wait(draw.uniform(0.5, 1.5) * thinking):
                    began = time.perf_counter()
                    question = client.next("pairwise")
                    if question is None:
                        raise RuntimeError(f"there was nothing left to ask {name}")
                    asked = time.perf_counter()
                    act = client.judge(question["lease"], {"choice": draw.choice("ab"), "strength": 2}, seconds=1.0)
                    done = time.perf_counter()
                    with lock:
                        outcome.judged.append((name, act))
                        outcome.questions.append(asked - began)
                        outcome.waits.append(done - asked)
        except Exception as error:  # told in the end: one client's end must not hide what the others found
            outcome.failures.append(error)

    threads = [threading.Thread(target=judge, args=item) for item in tokens.items()]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for turn in range(1, kills + 1):  # spread evenly over the time
        over.wait(max(0.0, began + seconds * turn / (kills + 1) - time.perf_counter()))
        server.kill()
        server.start()
    over.wait(max(0.0, began + seconds - time.perf_counter()))
    over.set()
    for thread in threads:
        thread.join()
    (server.kill if kills else server.end)()
    outcome.starts = server.starts
    outcome.compare(folder / "store.sqlite")
    return outcome


def share(values: Sequence[float], percent: int) -> float:
    """The value that so many in a hundred do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def report(outcome: Outcome, given: argparse.Namespace, before: float) -> None:
    """The figures, each with its unit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{given.people} people, {given.seconds:g} s, {given.kills} kills; {cores} cores, their load before {before:.1f}")
    judged = len(outcome.judged)
    print(f"judgements acknowledged: {judged:,} ({judged / given.seconds:.1f} per second)")
    wrong = f"lost {outcome.lost}, doubled {outcome.doubled}, kept without an answer {outcome.untold}"
    print(f"{wrong}, failures {len(outcome.failures)}")
    for error in outcome.failures[:3]:
        print(f"  {type(error).__name__}: {error}")
    print(f"start to first answer: {', '.join(f'{one:.2f}' for one in outcome.starts)} s")
    if judged and not given.kills:
        for name, values in (("a judgement", outcome.waits), ("a question", outcome.questions)):
            shares = ", ".join(f"p{percent} {1000 * share(values, percent):.0f} ms" for percent in (50, 95, 99))
            print(f"{name}: {shares}")
        print(f"target: p99 of a judgement at most {1000 * TARGET:.0f} ms")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--people", type=int, default=50)
    words.add_argument("--seconds", type=float, default=60.0)
    words.add_argument("--kills", type=int, default=0)
    words.add_argument("--thinking", type=float, default=1.0, help="seconds that a person thinks, on average")
    given = words.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        outcome = load(Path(folder), given.people, given.seconds, given.kills, given.thinking)
    report(outcome, given, before)
    sys.exit(not outcome.whole)


if __name__ == "__main__":
    main()
