"""Prompts, completions and acts of feedback: what people and models said."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from plaudit.schema import Assignment, Completion, Feedback, Prompt, UserError, to_json
from plaudit.store import codec
from plaudit.store.database import Database
from plaudit.store.migrations import now

WORDS = ("text", "comment")
"""Fields of a judgement that hold what a person wrote: kept apart, since they can be erased on request."""


class Records(Database):
    """Adding is by content: what is there already is left as it is, so that a repeated call changes nothing."""

    def add_prompts(self, prompts: Iterable[Prompt]) -> int:
        """Adds prompts; returns how many were new. The first `meta` of a prompt stays. An erased prompt is refused."""
        added = 0
        with self._transaction() as db:
            for prompt in prompts:
                new = db.execute(
                    "INSERT INTO prompts (id, added_at) VALUES (?, ?) ON CONFLICT DO NOTHING", (prompt.id, now())
                ).rowcount
                if new:
                    db.execute("INSERT INTO prompt_texts VALUES (?, ?)", (prompt.id, codec.dump(to_json(prompt))))
                else:
                    self._refuse_erased(prompt.id)
                added += new
        return added

    def add_completions(self, completions: Iterable[Completion]) -> int:
        """Adds completions of prompts that are there; returns how many were new."""
        rows = list(completions)
        self._known("prompts", {row.prompt_id: None for row in rows}, "prompt", "add the prompts before their completions")
        added = 0
        with self._transaction() as db:
            for row in rows:
                head = (
                    row.id,
                    row.prompt_id,
                    row.policy,
                    row.index,
                    row.seed,
                    row.finish_reason,
                    codec.dump(asdict(row.sampling)),
                    now(),
                )
                new = db.execute(
                    """INSERT INTO completions (id, prompt_id, policy, place, seed, finish_reason, sampling, added_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING""",
                    head,
                ).rowcount
                if new:
                    self._refuse_erased(row.prompt_id)
                    arrays = codec.pack_ids(row.prompt_tokens), codec.pack_ids(row.tokens), codec.pack_floats(row.logprobs)
                    db.execute("INSERT INTO completion_texts VALUES (?, ?, ?, ?, ?)", (row.id, row.text, *arrays))
                added += new
        return added

    def add_feedback(self, acts: Iterable[Feedback]) -> int:
        """Adds acts of feedback; returns how many were new. Prompt and completions must be there.

        An act may supersede one earlier act of the same annotator on the same prompt, which no other act has superseded:
        a page that was left open cannot undo an edit made elsewhere. UserError otherwise, and then nothing of the call is kept.
        """
        added = 0
        with self._transaction():
            for act in acts:
                if not self._read("SELECT 1 FROM feedback WHERE id = ?", act.id):
                    self._add_act(act)
                    added += 1
        return added

    def _add_act(self, act: Feedback) -> None:
        shown = act.assignment
        if not act.annotator:
            raise UserError(f"store {self.path}: feedback {act.id} names no annotator: say who or what gave it")
        self._known("prompts", [shown.prompt_id], "prompt", "add the prompt before feedback on it")
        self._known("completions", shown.completion_ids, "completion", "add the completions before feedback on them")
        for one, prompt_id in self._read(
            "SELECT id, prompt_id FROM completions WHERE id IN (SELECT value FROM json_each(?))",
            json.dumps(shown.completion_ids),
        ):
            if prompt_id != shown.prompt_id:
                raise UserError(
                    f"store {self.path}: completion {one} answers prompt {prompt_id}, not {shown.prompt_id}: mend it"
                )
        self.db.execute("INSERT INTO annotators (name) VALUES (?) ON CONFLICT DO NOTHING", (act.annotator,))
        who = self._read("SELECT number FROM annotators WHERE name = ?", act.annotator)[0][0]
        if act.supersedes is not None:
            self._check_edit(act, who)
        words = {name: act.judgement[name] for name in WORDS if name in act.judgement}
        judgement = codec.dump({name: value for name, value in act.judgement.items() if name not in WORDS})
        self.db.execute(
            """INSERT INTO feedback (id, prompt_id, kind, reason, judgement, annotator, source, seconds, created_at,
                supersedes, added_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                act.id,
                shown.prompt_id,
                shown.kind,
                shown.reason,
                judgement,
                who,
                act.source,
                act.seconds,
                act.created_at,
                act.supersedes,
                now(),
            ),
        )
        self.db.executemany(
            "INSERT INTO feedback_completions VALUES (?, ?, ?)",
            [(act.id, i, one) for i, one in enumerate(shown.completion_ids)],
        )
        if words:
            self.db.execute("INSERT INTO feedback_texts VALUES (?, ?)", (act.id, codec.dump(words)))

    def _check_edit(self, act: Feedback, who: int) -> None:
        self._known("feedback", [act.supersedes or ""], "feedback", "an edit names the act that it replaces")
        ((annotator, prompt_id),) = self._read("SELECT annotator, prompt_id FROM feedback WHERE id = ?", act.supersedes)
        if (annotator, prompt_id) != (who, act.assignment.prompt_id):
            raise UserError(
                f"store {self.path}: feedback {act.supersedes} is of another annotator or prompt: only its author may edit it"
            )
        later = self._read("SELECT id FROM feedback WHERE supersedes = ?", act.supersedes)
        if later:
            raise UserError(
                f"store {self.path}: feedback {act.supersedes} was replaced by {later[0][0]} already: edit that one"
            )

    def _refuse_erased(self, prompt_id: str) -> None:
        if not self._read("SELECT 1 FROM prompt_texts WHERE prompt_id = ?", prompt_id):
            raise UserError(f"store {self.path}: prompt {prompt_id} was erased on request: take it out of the data")

    def prompts(self, ids: Sequence[str] | None = None) -> list[Prompt]:
        """All prompts in the order in which they came, or those of `ids` in that order; not the erased."""
        if ids is not None:
            self._known("prompts", ids, "prompt", "check the id")
        rows = self._read(
            """SELECT id, content FROM prompts JOIN prompt_texts ON prompt_id = id
            WHERE ?1 IS NULL OR id IN (SELECT value FROM json_each(?1)) ORDER BY number""",
            None if ids is None else json.dumps(list(ids)),
        )
        return self._in_order(ids, [(row[0], codec.prompt(json.loads(row[1]))) for row in rows])

    def completions(self, prompt_id: str | None = None, ids: Sequence[str] | None = None) -> list[Completion]:
        """All completions as they came, those of one prompt, or those of `ids` in that order; not the erased."""
        if ids is not None:
            self._known("completions", ids, "completion", "check the id")
        rows = self._read(
            """SELECT id, prompt_id, text, prompt_tokens, tokens, logprobs, finish_reason, policy, place, seed, sampling
            FROM completions JOIN completion_texts ON completion_id = id
            WHERE (?1 IS NULL OR prompt_id = ?1) AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2))) ORDER BY number""",
            prompt_id,
            None if ids is None else json.dumps(list(ids)),
        )
        return self._in_order(ids, [(row[0], codec.completion(row[1:])) for row in rows])

    def feedback(
        self,
        current: bool = True,
        ids: Sequence[str] | None = None,
        prompt_id: str | None = None,
        until: int | None = None,
    ) -> list[Feedback]:
        """Acts of feedback as they came, those on one prompt, or those of `ids`; superseded ones only with `current=False`.

        With `until`, as it was when the act of this number had come and none after it.

        Acts of an erased annotator come back as by `erased-N`. Their `id` differs from the stored one, as it hashes the
        name; the store takes both.
        """
        acts, replaced = self._acts(prompt_id, until)
        wanted = list(acts) if ids is None else self._stored_ids(ids)
        return [acts[one] for one in wanted if not (current and one in replaced)]

    def judged_since(self, number: int, kind: str, sources: Collection[str]) -> tuple[int, int]:
        """How many acts of a kind came after the act of this number, edits left out, and the number of the newest act."""
        query = "SELECT count(*) FROM feedback WHERE number > ? AND kind = ? AND supersedes IS NULL AND source IN "
        ((count,),) = self._read(query + "(SELECT value FROM json_each(?))", number, kind, json.dumps(list(sources)))
        ((newest,),) = self._read("SELECT coalesce(max(number), 0) FROM feedback")
        return count, newest

    def _acts(self, prompt_id: str | None = None, until: int | None = None) -> tuple[dict[str, Feedback], set[str]]:
        """All acts, or those on one prompt, by stored id, and the stored ids of the superseded ones."""
        rows = self._read(
            """SELECT f.id, f.prompt_id, f.kind, f.reason, f.judgement, coalesce(a.name, 'erased-' || a.number), f.source,
                f.seconds, f.created_at, f.supersedes, t.content, c.completion_id
            FROM feedback f JOIN annotators a ON a.number = f.annotator LEFT JOIN feedback_completions c ON c.feedback_id = f.id
            LEFT JOIN feedback_texts t ON t.feedback_id = f.id
            WHERE (?1 IS NULL OR f.prompt_id = ?1) AND (?2 IS NULL OR f.number <= CAST(?2 AS BIGINT))
            ORDER BY f.number, c.place""",
            prompt_id,
            until,
        )
        acts: dict[str, Feedback] = {}
        for stored, group in itertools.groupby(rows, key=lambda row: row[0]):
            act = _act(list(group))
            # An edit points at the act before it by the id that the caller can compute, also where the name was erased.
            acts[stored] = act if act.supersedes is None else replace(act, supersedes=acts[act.supersedes].id)
        return acts, {row[9] for row in rows}

    def _stored_ids(self, ids: Sequence[str]) -> list[str]:
        """`ids` as they are stored: the id of an act whose annotator was erased may be the one computed without the name."""
        renamed = {act.id: stored for stored, act in self._acts()[0].items() if act.id != stored}
        return self._known("feedback", [renamed.get(one, one) for one in ids], "feedback", "add the feedback first")


def _act(rows: Sequence[Sequence[Any]]) -> Feedback:
    """One act from its rows, which differ in the completion shown, in the order shown."""
    _, prompt_id, kind, reason, judgement, annotator, source, seconds, created_at, supersedes, words, _ = rows[0]
    shown = Assignment(prompt_id, tuple(row[-1] for row in rows if row[-1] is not None), kind, reason)
    said = json.loads(judgement) | (json.loads(words) if words else {})
    return Feedback(shown, said, annotator, source, seconds, created_at, supersedes)
