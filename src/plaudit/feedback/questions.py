"""What to ask next and whom, and taking an answer in. The policy is `judgements.assign`; here it meets the store.

The questions that can be asked and who answered them are kept in memory, and looked up anew when another process has written
to the store. A question is leased to one person for a while, and is given to nobody else until the lease ends.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from plaudit.feedback.writer import Readers, Writer
from plaudit.judgements import assign, pairwise
from plaudit.judgements.active import uncertainty
from plaudit.judgements.base import ADJUDICATION
from plaudit.registry import find
from plaudit.schema import JSON, Assignment, Completion, Feedback, Prompt, UserError
from plaudit.store import Lease, Store
from plaudit.store.leases import OPEN, SKIPPED

KINDS = ("pairwise", "ranking", "rating", "correction", "span")
"""Kinds that are asked on pages of their own."""
MOST_RANKED = 7
PAIRS_PER_PROMPT = 3
ASPECTS = ("helpful", "correct", "harmless")
"""What is rated beside the stars, where the project's settings name nothing else."""
ASSIGNMENT = "assignment"
"""The setting that changes fields of the policy, such as `{"random_share": 0.5}`."""


class Board:
    """The questions of one kind: what can be asked, what was answered, what is leased, what was skipped by whom."""

    def __init__(self, items: Sequence[assign.Item], acts: Iterable[Feedback], leases: Iterable[Lease], policy: assign.Policy):
        self.pool = assign.Pool(items, policy)
        self.progress = assign.Progress.of(assign.done_of(acts))
        self.leases: dict[str, Lease] = {}
        self.skipped: dict[str, set[str]] = {}
        for lease in leases:
            if lease.assignment.reason == ADJUDICATION:
                continue  # chosen by hand, and answered on a page of its own
            if lease.outcome == OPEN:
                self.leases[lease.id] = lease
            elif lease.outcome == SKIPPED:
                self.skipped.setdefault(lease.annotator, set()).add(key_of(lease.assignment))


def key_of(shown: Assignment) -> str:
    """What a question is called whatever the sides."""
    return assign.Item(shown.prompt_id, shown.completion_ids, shown.kind).key


class Questions:
    """Thread-safe. `clock` gives POSIX seconds."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        policy: assign.Policy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.writer, self.readers, self.clock = writer, readers, clock
        self.policy = policy or assign.Policy()
        self._boards: dict[str, Board] = {}
        self._seen: tuple[int, int, int, int] | None = None
        self._lock = threading.RLock()

    def changed(self) -> None:
        """Something was imported, erased or put into quarantine: look again at the next question."""
        with self._lock:
            self._boards.clear()

    def random_share(self) -> float:
        """The share of fresh questions that are drawn at random now."""
        with self.readers.lend() as store:
            return self.checked(**store.setting(ASSIGNMENT, {})).random_share

    def checked(self, **changed: float) -> assign.Policy:
        """The policy with fields changed. UserError for a value that is none."""
        return replace(self.policy, **changed)  # type: ignore[arg-type]  # names and types come from our own setting

    def _board(self, kind: str) -> Board:
        with self.readers.lend() as store:
            completions, _, scored, erased = store.newest()
            seen = completions, scored, erased, self.writer.version
            if seen != self._seen:
                self._boards.clear()
                self._seen = seen
            if kind not in self._boards:
                acts = [act for act in store.feedback() if act.assignment.kind == kind]
                gold = {key_of(act.assignment) for act in acts if act.assignment.reason == ADJUDICATION}
                kept_out = store.quarantined()
                answers = [one for one in store.completions() if one.prompt_id not in kept_out]
                scores = store.scores()
                wrote = {one.id: one.policy for one in answers}
                items = [
                    assign.Item(
                        shown.prompt_id,
                        shown.completion_ids,
                        kind,
                        key_of(shown) in gold,
                        uncertainty(scores, shown.completion_ids),
                        authors=tuple(wrote[one] for one in shown.completion_ids),
                    )
                    for shown in askable(answers, kind)
                ]
                leases = [*store.leases(kind=kind, outcome=OPEN, after=self.clock()), *store.leases(kind=kind, outcome=SKIPPED)]
                policy = self.checked(**store.setting(ASSIGNMENT, {}))
                self._boards[kind] = Board(items, acts, leases, policy)
        return self._boards[kind]

    def next(self, annotator: str, kind: str) -> Lease | None:
        """The next question for a person, or the one that the person has open; None where nothing is left."""
        at = self.clock()
        with self._lock:
            board = self._board(kind)
            board.leases = {one.id: one for one in board.leases.values() if one.expires_at > at}
            mine = next((one for one in board.leases.values() if one.annotator == annotator), None)
            if mine is not None:
                return mine
            live = [assign.Lease(key_of(one.assignment), one.annotator, one.expires_at) for one in board.leases.values()]
            skipped = board.skipped.get(annotator, set())
            choice = assign.choose(board.pool, board.progress, live, annotator, at, skipped=skipped)
            if choice is None:
                return None
            lease = self._lease(annotator, choice.assignment, at)
            board.leases[lease.id] = lease
        try:
            self.writer.do(lambda store: store.add_lease(lease))
        except UserError:
            with self._lock:
                board.leases.pop(lease.id, None)  # nobody has it, so it can be given again
            raise
        return lease

    def ask(self, annotator: str, shown: Assignment) -> Lease:
        """A question that was chosen by hand, such as one to adjudicate."""
        lease = self._lease(annotator, shown, self.clock())
        self.writer.do(lambda store: store.add_lease(lease))
        return lease

    def _lease(self, annotator: str, shown: Assignment, at: float) -> Lease:
        return Lease(secrets.token_hex(8), annotator, shown, at, at + self.policy.lease_seconds)

    def answer(
        self, lease_id: str, annotator: str, form: JSON, *, key: str, seconds: float | None = None, undo: bool = False
    ) -> JSON:
        """Takes a judgement in, exactly once for each `key`. With `undo` it supersedes the person's earlier one.

        UserError for a form that its kind refuses; Conflict and Missing as `Store.settle`.
        """
        at = self.clock()
        with self.readers.lend() as reader:
            lease = reader.lease(lease_id)
            shown = lease.assignment
            judgement = find("judgements", shown.kind).read(form)
            check_places(judgement, shown_texts(reader, shown)[1])
        body: JSON = {"lease": lease_id, "judgement": judgement, "undo": undo}
        taken = min(seconds, at - lease.leased_at) if seconds is not None and seconds >= 0 else None
        stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")

        def settle(store: Store) -> tuple[JSON, bool, Feedback]:
            earlier = store.lease(lease_id).feedback_id if undo else None
            act = Feedback(shown, judgement, annotator, "human", taken, stamp, earlier)
            answer, new = store.settle(lease_id, act, key, body, at=at)
            return answer, new, act

        answer, new, act = self.writer.do(settle)
        with self._lock:
            board = self._boards.get(shown.kind)
            if board is not None:
                board.leases.pop(lease_id, None)
                if new and not undo:
                    for done in assign.done_of([act]):
                        board.progress.add(done)
            if new and shown.reason == ADJUDICATION:
                self._boards.pop(shown.kind, None)
        return answer

    def skip(self, lease_id: str, annotator: str, note: str) -> None:
        """Ends a question without a judgement; the person is not asked it again."""
        with self.readers.lend() as reader:
            shown = reader.lease(lease_id).assignment
        self.writer.do(lambda store: store.skip(lease_id, annotator, note))
        with self._lock:
            board = self._boards.get(shown.kind)
            if board is not None:
                board.leases.pop(lease_id, None)
                board.skipped.setdefault(annotator, set()).add(key_of(shown))

    def status(self, kind: str) -> dict[str, int]:
        """How many judgements of a kind are still `open`, and how many questions are `finished`."""
        with self._lock:
            board = self._board(kind)
            found = assign.status(board.pool, board.progress)
        return {"open": found["judgements_left"], "finished": found["finished"]}


def askable(completions: Sequence[Completion], kind: str) -> list[Assignment]:
    """Every question of a kind that these answers allow; equal answers to one prompt count once."""
    if kind == "pairwise":
        return pairwise.assignments(completions, per_prompt=PAIRS_PER_PROMPT)
    groups: dict[str, dict[str, str]] = {}
    for one in sorted(completions, key=lambda c: c.id):
        groups.setdefault(one.prompt_id, {}).setdefault(one.text, one.id)
    if kind == "ranking":
        return [
            Assignment(prompt_id, tuple(ids.values())[:MOST_RANKED], kind) for prompt_id, ids in groups.items() if len(ids) > 2
        ]
    return [Assignment(prompt_id, (one,), kind) for prompt_id, ids in groups.items() for one in ids.values()]


def check_places(judgement: JSON, texts: Sequence[str]) -> None:
    """UserError where a judgement speaks of answers or characters that were not shown: no conversion could read it later."""
    places = [place for group in judgement.get("order", []) for place in group]
    if places and max(places) >= len(texts):
        raise UserError(f"the order names answer {max(places)}, but only 0 to {len(texts) - 1} were shown")
    ends = [span["end"] for span in judgement.get("spans", [])]
    if ends and max(ends) > len(texts[0]):
        raise UserError(f"a span ends at character {max(ends)}, but the answer has {len(texts[0])}")


def shown_texts(store: Store, shown: Assignment) -> tuple[Prompt | None, list[str]]:
    """The prompt (None where it was erased) and the answers of a question, in the order shown."""
    prompts = store.prompts(ids=[shown.prompt_id])
    return (prompts[0] if prompts else None), [one.text for one in store.completions(ids=shown.completion_ids)]
