"""Conversations that people agreed to keep: the prompts asked and the answers seen. Texts stand with the prompts."""

from __future__ import annotations

import json
from dataclasses import dataclass

from plaudit.store import codec
from plaudit.store.database import Missing
from plaudit.store.leases import Leases
from plaudit.store.migrations import now


@dataclass(frozen=True)
class Turn:
    """One question of a person and the answers shown to it, in that order; the talk went on with `chosen`."""

    place: int
    prompt_id: str
    completion_ids: tuple[str, ...]
    chosen: str | None = None


class Conversations(Leases):
    """A conversation belongs to one person; nobody else reads it."""

    def add_conversation(self, conversation_id: str, annotator: str) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT INTO conversations (id, annotator, created_at) VALUES (?, ?, ?)",
                (conversation_id, self._number(annotator), now()),
            )

    def conversations(self, annotator: str) -> list[tuple[str, str]]:
        """(id, when it began) of a person's conversations, newest first."""
        return self._read(
            """SELECT id, created_at FROM conversations c JOIN annotators a ON a.number = c.annotator WHERE a.name = ?
            ORDER BY c.number DESC""",
            annotator,
        )

    def turns(self, conversation_id: str, annotator: str) -> list[Turn]:
        """The turns in order. UserError where the person has no such conversation."""
        if conversation_id not in {one for one, _ in self.conversations(annotator)}:
            raise Missing(f"there is no conversation {conversation_id} of yours: begin a new one")
        rows = self._read(
            "SELECT place, prompt_id, completion_ids, chosen FROM turns WHERE conversation = ? ORDER BY place", conversation_id
        )
        return [Turn(place, prompt_id, tuple(json.loads(ids)), chosen) for place, prompt_id, ids, chosen in rows]

    def put_turn(self, conversation_id: str, turn: Turn) -> None:
        """Adds a turn, or changes it: further answers after `regenerate`, another choice."""
        with self._transaction() as db:
            db.execute(
                """INSERT INTO turns VALUES (?, ?, ?, ?, ?) ON CONFLICT (conversation, place) DO UPDATE SET
                prompt_id = excluded.prompt_id, completion_ids = excluded.completion_ids, chosen = excluded.chosen""",
                (conversation_id, turn.place, turn.prompt_id, codec.dump(turn.completion_ids), turn.chosen),
            )

    def said_by(self, annotator: str) -> list[str]:
        """Ids of the prompts that only this person asked in conversations: what goes when the person's data are deleted."""
        rows = self._read(
            """SELECT DISTINCT t.prompt_id FROM turns t JOIN conversations c ON c.id = t.conversation
            JOIN annotators a ON a.number = c.annotator JOIN prompt_texts p ON p.prompt_id = t.prompt_id WHERE a.name = ?1
            AND NOT EXISTS (SELECT 1 FROM turns o JOIN conversations d ON d.id = o.conversation
                WHERE o.prompt_id = t.prompt_id AND d.annotator != c.annotator)""",
            annotator,
        )
        return [row[0] for row in rows]

    def forget_conversations(self, annotator: str) -> int:
        """Removes the list of a person's conversations; returns how many. Their texts go by `erase`."""
        with self._transaction() as db:
            return db.execute(
                "DELETE FROM conversations WHERE annotator = (SELECT number FROM annotators WHERE name = ?)", (annotator,)
            ).rowcount
