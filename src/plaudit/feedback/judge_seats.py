"""Judge models among the annotators: what they are asked, what is kept, and a thread for each that the pages let judge."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from plaudit.engines.judging import Asked, Judge
from plaudit.feedback.questions import ASPECTS, askable
from plaudit.feedback.writer import Readers, Writer
from plaudit.judgements import ai_judge, pairwise
from plaudit.judgements.ai_forms import FORMS, Question
from plaudit.schema import JSON, UserError
from plaudit.store import Conflict, Missing, Store

RUBRIC, SEATS = "rubric", "judges"
"""Settings: what judges go by; seat -> its rubric and what failed."""
KINDS = tuple(FORMS)
"""Kinds of judgement that a judge model can give."""
GROUP = 16
"""Acts that are kept together, so that a judge that is stopped loses little."""


def waiting(store: Store, annotator: str, number: int, kind: str = pairwise.NAME) -> list[Question]:
    """The next questions of a kind for a seat, with their texts. UserError for a kind that judge models do not give."""
    if kind not in KINDS:
        raise UserError(f"a judge model gives judgements of the kinds {', '.join(KINDS)}, not {kind!r}")
    completions, prompts = store.completions(), {one.id: one for one in store.prompts()}
    texts = {one.id: one.text for one in completions}
    drawn, out = askable(completions, kind), store.quarantined()
    asked = ai_judge.questions(store.feedback(), completions, annotator, drawn, kind, out)
    aspects = tuple(store.setting("aspects", list(ASPECTS)))
    return [
        Question(shown, prompts[shown.prompt_id], tuple(texts[one] for one in shown.completion_ids), aspects)
        for shown in asked[:number]
        if shown.prompt_id in prompts
    ]


def keep(store: Store, seat: Judge, found: Sequence[Asked]) -> None:
    """The acts, and how often there was none, with the rubric that the seat goes by."""
    with store.together():
        store.add_feedback([one.act for one in found if one.act is not None])
        seats = store.setting(SEATS, {})
        failed = Counter(seats.get(seat.annotator, {}).get("failed", {}))
        failed.update(one.failure for one in found if one.failure)
        store.set_setting(SEATS, {**seats, seat.annotator: {"rubric": seat.rubric, "failed": dict(failed)}})


def failures(store: Store) -> dict[str, int]:
    """Seat -> questions to which no verdict came."""
    return {name: sum(seat["failed"].values()) for name, seat in store.setting(SEATS, {}).items()}


def rubric_of(store: Store) -> str:
    """What judges go by: the project's rubric, else a general one."""
    return str(store.setting(RUBRIC, "")) or ai_judge.RUBRIC


def judged(
    seat: Judge,
    questions: Sequence[Question],
    write: Callable[[Sequence[Asked]], None],
    *,
    concurrency: int = 8,
    stop: threading.Event | None = None,
) -> Iterator[Asked]:
    """Asks and hands on what comes, after `write` has kept it, a few together. What had come when a judge fails is kept too."""
    group: list[Asked] = []
    try:
        for one in seat.ask(questions, concurrency=concurrency, stop=stop):
            group.append(one)
            if len(group) == GROUP:
                whole, group = group, []
                write(whole)
                yield from whole
    finally:
        if group:
            write(group)
    yield from group


@dataclass
class Work:
    """One judge at work, or how its last work ended."""

    name: str
    kind: str
    asked: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    going: bool = True
    problem: str = ""

    def to_json(self) -> JSON:
        return {
            "judge": self.name,
            "kind": self.kind,
            "asked": self.asked,
            "going": self.going,
            "problem": self.problem,
            **self.counts,
        }


class Seats:
    """The judges that the server was started with, each judging in a thread of its own when an admin asks for it."""

    def __init__(self, writer: Writer, readers: Readers, names: Sequence[str]) -> None:
        """UserError for a name that is not URL#MODEL."""
        self.writer, self.readers = writer, readers
        self.names = {Judge(name).annotator: name for name in names}
        self.work: dict[str, Work] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, judge: str, number: int, kind: str = pairwise.NAME) -> Work:
        """Let a judge (by the name of its general seat) answer so many questions of a kind. Conflict where it is at work."""
        if judge not in self.names:
            raise Missing(f"there is no judge {judge!r} here: start the server with --judge URL#MODEL")
        with self.readers.lend() as store:
            seat = Judge(self.names[judge], rubric_of(store))
            asked = waiting(store, seat.annotator, number, kind)
        with self._lock:
            if judge in self.work and self.work[judge].going:
                raise Conflict(f"the judge {judge} is at work already: wait until it is done")
            work = self.work[judge] = Work(seat.annotator, kind, len(asked))
            thread = threading.Thread(target=self._run, args=(seat, asked, work), name="plaudit-seat", daemon=True)
            self._threads.append(thread)
        thread.start()
        return work

    def _run(self, seat: Judge, asked: Sequence[Question], work: Work) -> None:
        try:
            write = lambda found: self.writer.do(lambda store: keep(store, seat, found))  # noqa: E731
            for one in judged(seat, asked, write, stop=self._stop):
                work.counts[one.failure or "judged"] += 1
        except UserError as problem:
            work.problem = str(problem)
        finally:
            work.going = False

    def wait(self) -> None:
        """Until nobody is at work."""
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Ends all work after what is under way."""
        self._stop.set()
        self.wait()
