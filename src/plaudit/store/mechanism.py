"""How feedback is asked for and counted, and who changed that why: settings with their history, proposals, scores of answers.

The history is append-only. It names people by their numbers, so that erasing a name leaves nothing of it behind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plaudit.schema import JSON
from plaudit.store import codec
from plaudit.store.accounts import Accounts
from plaudit.store.database import Missing
from plaudit.store.leases import Conflict, Leases
from plaudit.store.migrations import now

ACCEPTED, REFUSED = "accepted", "refused"
LEFT_OUT = "left out"
"""The setting with the annotators whose acts do not count, as [source, number]."""


@dataclass(frozen=True)
class Proposed:
    """A proposal as the store has it: its content, and what was decided, by whom, with which words, when; None while open."""

    id: str
    content: JSON
    made_at: str
    decision: str | None = None
    note: str = ""
    by: str | None = None
    decided_at: str | None = None


@dataclass(frozen=True)
class Change:
    """One change of a setting. `proposal` is the id of the one that was accepted, None where somebody changed it by hand."""

    setting: str
    old: Any
    new: Any
    by: str
    proposal: str | None
    changed_at: str


class Mechanism(Leases, Accounts):
    """Settings that decide what is asked and what counts."""

    def change_setting(self, name: str, value: Any, by: str, proposal: str | None = None) -> None:
        """Sets a setting and keeps what it was before, who changed it and why. An equal value changes nothing."""
        with self._transaction() as db:
            old = self.setting(name)
            if old == value:
                return
            self.set_setting(name, value)
            db.execute(
                "INSERT INTO changes (setting, old, new, annotator, proposal, changed_at) VALUES (?, ?, ?, ?, ?, ?)",
                (name, codec.dump(old), codec.dump(value), self._number(by), proposal, now()),
            )

    def changes(self) -> list[Change]:
        """Every change of a setting, the newest first."""
        rows = self._read(
            """SELECT setting, old, new, coalesce(name, 'erased-' || a.number), proposal, changed_at
            FROM changes JOIN annotators a ON a.number = annotator ORDER BY changes.number DESC"""
        )
        return [Change(setting, json.loads(old), json.loads(new), by, why, at) for setting, old, new, by, why, at in rows]

    def propose(self, proposal_id: str, content: JSON) -> None:
        """Keeps a proposal. One that is there stays as it is, so what was refused is not proposed again."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO proposals (id, content, made_at, note) VALUES (?, ?, ?, '') ON CONFLICT DO NOTHING",
                (proposal_id, codec.dump(content), now()),
            )

    def proposals(self) -> list[Proposed]:
        """All proposals, the newest first."""
        rows = self._read(
            """SELECT id, content, made_at, decision, note, coalesce(name, 'erased-' || a.number), decided_at
            FROM proposals LEFT JOIN annotators a ON a.number = annotator ORDER BY proposals.number DESC"""
        )
        return [Proposed(i, json.loads(content), *rest) for i, content, *rest in rows]

    def decide(self, proposal_id: str, decision: str, by: str, note: str = "") -> None:
        """Accepts or refuses a proposal, once. Missing, Conflict where it is not there or was decided already."""
        with self._transaction() as db:
            found = next((one for one in self.proposals() if one.id == proposal_id), None)
            if found is None:
                raise Missing(f"there is no proposal {proposal_id}: look at the list of them")
            if found.decision is not None:
                raise Conflict(f"this proposal was {found.decision} already, by {found.by}")
            db.execute(
                "UPDATE proposals SET decision = ?, note = ?, annotator = ?, decided_at = ? WHERE id = ?",
                (decision, note, self._number(by), now(), proposal_id),
            )

    def number_of(self, annotator: str) -> int:
        """What stands for a name where it must not be kept. Missing for somebody who is not known."""
        if annotator.startswith("erased-") and annotator[7:].isdecimal():
            return int(annotator[7:])
        self._known("annotators", [annotator], "annotator", "check the name", column="name")
        found: int = self._read("SELECT number FROM annotators WHERE name = ?", annotator)[0][0]
        return found

    def name_of(self, number: int) -> str:
        """The name, `erased-N` where it was erased."""
        rows = self._read("SELECT coalesce(name, 'erased-' || number) FROM annotators WHERE number = ?", number)
        return str(rows[0][0]) if rows else f"erased-{number}"

    def left_out(self) -> frozenset[str]:
        """The annotators whose acts do not count, as `source:name`."""
        return frozenset(f"{source}:{self.name_of(number)}" for source, number in self.setting(LEFT_OUT, []))

    def set_scores(self, model: str, scores: Mapping[str, float]) -> None:
        """Keeps what a reward model says of answers (completion id -> score); of one model the newest score counts."""
        self._known("completions", scores, "completion", "score answers that the store holds")
        with self._transaction() as db:
            ((last,),) = self._read("SELECT coalesce(max(number), 0) FROM scores")
            db.executemany("DELETE FROM scores WHERE completion_id = ? AND model = ?", [(one, model) for one in scores])
            db.executemany(
                "INSERT INTO scores (number, completion_id, model, score, added_at) VALUES (?, ?, ?, ?, ?)",
                [(last + place, one, model, float(score), now()) for place, (one, score) in enumerate(scores.items(), 1)],
            )

    def scores(self) -> dict[str, dict[str, float]]:
        """Model -> completion id -> score, the model that scored last coming last."""
        found: dict[str, dict[str, float]] = {}
        for model, one, score in self._read("SELECT model, completion_id, score FROM scores ORDER BY number"):
            mine = found.pop(model, {})
            mine[one] = score
            found[model] = mine
        return found
