"""Who is asked what: a lease holds one question for one person for a while, and ends judged, skipped or late.

A judgement is taken in once: the key that a page makes for it is kept with the answer, so that a request that is sent again
(lost network, double click, killed server) changes nothing and gets the first answer again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from plaudit.schema import JSON, Assignment, Feedback, UserError
from plaudit.store import codec
from plaudit.store.database import Missing
from plaudit.store.migrations import now
from plaudit.store.records import Records

OPEN, JUDGED, SKIPPED = "open", "judged", "skipped"


class Conflict(UserError):
    """What was sent no longer fits what the store holds: a stale tab, a lease that ended, a key used for something else."""


@dataclass(frozen=True)
class Lease:
    """One question for one person. `assignment` has the answers in the order shown. Times are POSIX seconds."""

    id: str
    annotator: str
    assignment: Assignment
    leased_at: float
    expires_at: float
    outcome: str = OPEN
    note: str = ""
    """Why it was skipped."""
    feedback_id: str | None = None
    """The newest act that came of it."""


_LEASE = """SELECT l.id, coalesce(a.name, 'erased-' || a.number), l.prompt_id, l.completion_ids, l.kind, l.reason, l.leased_at,
    l.expires_at, l.outcome, l.note, l.feedback_id FROM leases l JOIN annotators a ON a.number = l.annotator"""


class Leases(Records):
    """Leases, and acts that come with a key."""

    def _number(self, annotator: str) -> int:
        self.db.execute("INSERT INTO annotators (name) VALUES (?) ON CONFLICT DO NOTHING", (annotator,))
        found: int = self._read("SELECT number FROM annotators WHERE name = ?", annotator)[0][0]
        return found

    def add_lease(self, lease: Lease) -> None:
        shown = lease.assignment
        with self._transaction() as db:
            db.execute(
                """INSERT INTO leases (id, annotator, kind, prompt_id, completion_ids, reason, leased_at, expires_at,
                    outcome, note)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    lease.id,
                    self._number(lease.annotator),
                    shown.kind,
                    shown.prompt_id,
                    codec.dump(shown.completion_ids),
                    shown.reason,
                    lease.leased_at,
                    lease.expires_at,
                    lease.outcome,
                    lease.note,
                ),
            )

    def lease(self, lease_id: str) -> Lease:
        """UserError where there is none."""
        rows = self._read(f"{_LEASE} WHERE l.id = ?", lease_id)
        if not rows:
            raise Missing(f"there is no question {lease_id} of yours: ask for the next one")
        return _lease(rows[0])

    def leases(
        self, *, annotator: str | None = None, kind: str | None = None, outcome: str | None = None, after: float | None = None
    ) -> list[Lease]:
        """Leases as they came: of a person, of a kind, with an outcome, that end after a time."""
        rows = self._read(
            f"""{_LEASE} WHERE (?1 IS NULL OR a.name = ?1) AND (?2 IS NULL OR l.kind = ?2) AND (?3 IS NULL OR l.outcome = ?3)
            AND (?4 IS NULL OR l.expires_at > CAST(?4 AS DOUBLE PRECISION)) ORDER BY l.number""",
            annotator,
            kind,
            outcome,
            after,
        )
        return [_lease(row) for row in rows]

    def answered(self, annotator: str, key: str, body: JSON) -> JSON | None:
        """What was answered to this key before, None where it is new. Conflict where it came with another body."""
        rows = self._read(
            "SELECT digest, answer FROM requests r JOIN annotators a ON a.number = r.annotator WHERE name = ? AND key = ?",
            annotator,
            key,
        )
        if not rows:
            return None
        if rows[0][0] != codec.digest(body):
            raise Conflict("this key was used for another judgement already: make a new key for each judgement")
        answer: JSON = json.loads(rows[0][1])
        return answer

    def settle(self, lease_id: str, act: Feedback, key: str, body: JSON, *, at: float) -> tuple[JSON, bool]:
        """Takes in the act that answers a lease, once; returns the answer for the one who sent it, and whether it was new.

        The act, the end of the lease and the key with the answer are kept together or not at all. Missing: a lease that is
        not there or another person's. Conflict: a key that came with another body; a lease that was answered already, where
        `act` does not supersede that answer; one that has ended, where somebody else was asked since.
        """
        with self._transaction() as db:
            lease = self.lease(lease_id)
            if lease.annotator != act.annotator:
                raise Missing(f"there is no question {lease_id} of yours: ask for the next one")
            before = self.answered(act.annotator, key, body)
            if before is not None:
                return before, False
            if lease.outcome == JUDGED and act.supersedes != lease.feedback_id:
                raise Conflict("this question was answered already, perhaps in another tab: undo that answer to change it")
            if lease.outcome != JUDGED and lease.expires_at < at and self._given_on(lease):
                raise Conflict("this question was open for too long and went to somebody else: take the next one")
            self.add_feedback([act])
            db.execute("UPDATE leases SET outcome = ?, note = '', feedback_id = ? WHERE id = ?", (JUDGED, act.id, lease_id))
            answer: JSON = {"lease": lease_id, "feedback": act.id}
            db.execute(
                "INSERT INTO requests VALUES (?, ?, ?, ?, ?)",
                (self._number(act.annotator), key, codec.digest(body), codec.dump(answer), now()),
            )
        return answer, True

    def _given_on(self, lease: Lease) -> bool:
        """Whether another person was asked the same after this lease had ended."""
        shown = lease.assignment
        later = self._read(
            "SELECT completion_ids FROM leases WHERE prompt_id = ? AND kind = ? AND id != ? AND leased_at >= ?",
            shown.prompt_id,
            shown.kind,
            lease.id,
            lease.expires_at,
        )
        return any(sorted(json.loads(ids)) == sorted(shown.completion_ids) for (ids,) in later)

    def skip(self, lease_id: str, annotator: str, note: str) -> None:
        """Ends a lease without an act; the person is not asked again. Conflict where it was answered."""
        with self._transaction() as db:
            lease = self.lease(lease_id)
            if lease.annotator != annotator:
                raise Missing(f"there is no question {lease_id} of yours: ask for the next one")
            if lease.outcome == JUDGED:
                raise Conflict("this question was answered already, perhaps in another tab")
            db.execute("UPDATE leases SET outcome = ?, note = ? WHERE id = ?", (SKIPPED, note, lease_id))

    def quarantine(self, prompt_id: str, reason: str | None) -> None:
        """Keeps a prompt and all on it out of what is asked and exported; with reason None it comes back."""
        self._known("prompts", [prompt_id], "prompt", "check the id")
        with self._transaction() as db:
            if reason is None:
                db.execute("DELETE FROM quarantine WHERE prompt_id = ?", (prompt_id,))
            else:
                replaced = "ON CONFLICT (prompt_id) DO UPDATE SET reason = excluded.reason, added_at = excluded.added_at"
                db.execute(f"INSERT INTO quarantine VALUES (?, ?, ?) {replaced}", (prompt_id, reason, now()))

    def quarantined(self) -> dict[str, str]:
        """Prompt id -> reason, oldest first."""
        return dict(self._read("SELECT prompt_id, reason FROM quarantine ORDER BY added_at, prompt_id"))

    def counts(self) -> dict[str, int]:
        """How much of everything there is, by name, without reading it."""
        queries = {
            "prompts": "SELECT count(*) FROM prompt_texts",
            "completions": "SELECT count(*) FROM completion_texts",
            "acts": "SELECT count(*) - count(supersedes) FROM feedback",
            "annotators": "SELECT count(DISTINCT annotator) FROM feedback",
            "datasets": "SELECT count(*) FROM datasets",
            "runs": "SELECT count(*) FROM runs",
            "skipped": f"SELECT count(*) FROM leases WHERE outcome = '{SKIPPED}'",
            "quarantined": "SELECT count(*) FROM quarantine",
            "erasures": "SELECT count(*) FROM erasures",
        }
        return {name: self._read(query)[0][0] for name, query in queries.items()}

    def newest(self) -> tuple[int, int, int, int]:
        """Numbers of the newest completion, act, score and erasure: they grow when there is something new, or less."""
        ((completions,),) = self._read("SELECT coalesce(max(number), 0) FROM completions")
        ((acts,),) = self._read("SELECT coalesce(max(number), 0) FROM feedback")
        ((scores,),) = self._read("SELECT coalesce(max(number), 0) FROM scores")
        ((erasures,),) = self._read("SELECT coalesce(max(number), 0) FROM erasures")
        return completions, acts, scores, erasures


def _lease(row: Any) -> Lease:
    lease_id, annotator, prompt_id, ids, kind, reason, leased_at, expires_at, outcome, note, feedback_id = row
    shown = Assignment(prompt_id, tuple(json.loads(ids)), kind, reason)
    return Lease(lease_id, annotator, shown, leased_at, expires_at, outcome, note, feedback_id)
