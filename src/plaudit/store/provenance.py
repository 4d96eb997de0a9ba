"""Data sets, runs, where a model comes from, and erasure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plaudit.schema import JSON, RunRecord, UserError, content_hash, to_json
from plaudit.store import codec
from plaudit.store.migrations import now
from plaudit.store.records import Records


@dataclass(frozen=True)
class Dataset:
    """A snapshot: rows as they were trained on, and the acts of feedback that they were made from, in order."""

    digest: str
    kind: str
    created_at: str
    rows: tuple[Any, ...]
    feedback_ids: tuple[str, ...]
    erased: int
    """Rows that were erased on request since: they are not in `rows`."""


@dataclass(frozen=True)
class Erasure:
    """A tombstone: what was erased when, the data sets that held it and the runs that were made from those."""

    what: str
    key: str
    erased_at: str
    datasets: tuple[str, ...]
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Lineage:
    """A run, the runs it came from (nearest first), and the data and feedback behind all of them."""

    run: RunRecord
    ancestors: tuple[RunRecord, ...]
    datasets: tuple[str, ...]
    """Digests of the snapshots in this store, in the order met."""
    elsewhere: dict[str, str]
    """Name -> digest of the data that this store does not hold, such as files."""
    feedback_ids: tuple[str, ...]
    erasures: tuple[Erasure, ...]
    """What was erased since out of that data."""


class Provenance(Records):
    """From a model back to the people's acts, and from an erased text forward to the models."""

    def snapshot(self, kind: str, rows: Sequence[Any], feedback_ids: Sequence[str] = ()) -> str:
        """Keeps a data set as it is now; returns its digest, the same for the same rows and acts in the same order.

        `kind` is rankings, demonstrations, labels or prompts.
        """
        if kind not in codec.ROWS:
            raise UserError(f"store {self.path}: '{kind}' is no kind of data set: use one of {', '.join(codec.ROWS)}")
        if not rows:
            raise UserError(f"store {self.path}: a data set of {kind} without rows cannot be kept: look why nothing was left")
        acts = self._stored_ids(feedback_ids)
        content = [to_json(row) for row in rows]
        digest = content_hash({"kind": kind, "rows": content, "feedback": acts})
        with self._transaction() as db:
            if db.execute("INSERT INTO datasets VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (digest, kind, now())).rowcount:
                lines = [
                    (digest, i, codec.row_prompt(r).id, codec.dump(c))
                    for i, (r, c) in enumerate(zip(rows, content, strict=True))
                ]
                db.executemany("INSERT INTO dataset_rows VALUES (?, ?, ?, ?)", lines)
                db.executemany("INSERT INTO dataset_acts VALUES (?, ?, ?)", [(digest, i, act) for i, act in enumerate(acts)])
        return digest

    def dataset(self, digest: str) -> Dataset:
        """The snapshot with this digest."""
        self._known("datasets", [digest], "data set", "check the digest", column="digest")
        ((kind, created_at),) = self._read("SELECT kind, created_at FROM datasets WHERE digest = ?", digest)
        content = [row[0] for row in self._read("SELECT content FROM dataset_rows WHERE digest = ? ORDER BY place", digest)]
        rows = tuple(codec.ROWS[kind](json.loads(row)) for row in content if row is not None)
        return Dataset(digest, kind, created_at, rows, self._acts_of(digest), len(content) - len(rows))

    def _acts_of(self, digest: str) -> tuple[str, ...]:
        return tuple(
            row[0] for row in self._read("SELECT feedback_id FROM dataset_acts WHERE digest = ? ORDER BY place", digest)
        )

    def add_run(self, run: RunRecord) -> None:
        """Adds a run whose parents are there. Adding a run again changes nothing; another one under its id is refused."""
        known = next((known for known in self.runs() if known.id == run.id), None)
        if known is not None:
            moves = ("status", "summary", "created_at")  # what changes while a run goes on
            if any(value != to_json(known)[name] for name, value in to_json(run).items() if name not in moves):
                raise UserError(f"store {self.path}: there is another run {run.id}: choose a new id")
            return
        parents = self._known("runs", run.parents, "run", "add a run's parents before it")
        with self._transaction() as db:
            texts = (
                codec.dump(run.config),
                run.status,
                codec.dump(run.data),
                run.commit,
                run.created_at or now(),
                codec.dump(run.summary),
            )
            db.execute(
                """INSERT INTO runs (id, verb, folder, config, status, data, code_commit, created_at, summary)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (run.id, run.verb, run.folder, *texts),
            )
            db.executemany(
                "INSERT INTO run_parents VALUES (?, ?, ?)", [(run.id, i, parent) for i, parent in enumerate(parents)]
            )

    def update_run(self, run_id: str, *, status: str | None = None, summary: JSON | None = None) -> None:
        """Sets the status, the summary, or both; what is None stays."""
        self._known("runs", [run_id], "run", "add the run first")
        with self._transaction() as db:
            text = None if summary is None else codec.dump(summary)
            db.execute(
                "UPDATE runs SET status = coalesce(?, status), summary = coalesce(?, summary) WHERE id = ?",
                (status, text, run_id),
            )

    def runs(self) -> list[RunRecord]:
        """All runs, oldest first."""
        parents: dict[str, list[str]] = {}
        for run_id, parent in self._read("SELECT run_id, parent_id FROM run_parents ORDER BY run_id, place"):
            parents.setdefault(run_id, []).append(parent)
        return [
            RunRecord(
                i,
                verb,
                folder,
                json.loads(config),
                status,
                tuple(parents.get(i, ())),
                json.loads(data),
                commit,
                at,
                json.loads(end),
            )
            for i, verb, folder, config, status, data, commit, at, end in self._read(
                "SELECT id, verb, folder, config, status, data, code_commit, created_at, summary FROM runs ORDER BY number"
            )
        ]

    def _run(self, run_id: str) -> RunRecord:
        self._known("runs", [run_id], "run", "`plaudit runs` lists them")
        return next(run for run in self.runs() if run.id == run_id)

    def lineage(self, run_id: str) -> Lineage:
        """Everything that a run stands on: its parents and theirs, their data and the acts of feedback behind it."""
        known = {run.id: run for run in self.runs()}
        family = [self._run(run_id)]
        for run in family:  # grows while it is walked: breadth first, each run once
            family.extend(known[parent] for parent in run.parents if known[parent] not in family)
        data = {(name, digest): None for run in family for name, digest in run.data.items()}
        here = {row[0] for row in self._read("SELECT digest FROM datasets")}
        datasets = tuple(dict.fromkeys(digest for _, digest in data if digest in here))
        return Lineage(
            run=family[0],
            ancestors=tuple(family[1:]),
            datasets=datasets,
            elsewhere={name: digest for name, digest in data if digest not in here},
            feedback_ids=tuple(dict.fromkeys(act for digest in datasets for act in self._acts_of(digest))),
            erasures=tuple(mark for mark in self.erasures() if set(mark.datasets) & set(datasets)),
        )

    def erase(self, *, prompt_id: str | None = None, annotator: str | None = None) -> Erasure:
        """Removes the text of a prompt and of all answers to it, or the name of an annotator, for good; returns the tombstone.

        What people wrote goes with it: comments and corrections on the prompt, or by the annotator, whose account goes too.
        Acts of feedback stay, without the text or the name. The data sets and runs that were made with them are listed;
        a data set loses its rows of an erased prompt, and nothing else of it changes.
        """
        if (prompt_id is None) == (annotator is None):
            raise UserError("erase takes either prompt_id or annotator: name one of them")
        if prompt_id is not None:
            what, key = "prompt", self._known("prompts", [prompt_id], "prompt", "check the id")[0]
            touched = self._read("SELECT DISTINCT digest FROM dataset_rows WHERE prompt_id = ? ORDER BY digest", prompt_id)
        else:
            self._known("annotators", [annotator or ""], "annotator", "check the name", column="name")
            number = self._read("SELECT number FROM annotators WHERE name = ?", annotator)[0][0]
            what, key = "annotator", f"erased-{number}"  # the tombstone must not keep the name
            touched = self._read(
                "SELECT DISTINCT digest FROM dataset_acts JOIN feedback ON id = feedback_id WHERE annotator = ? ORDER BY 1",
                number,
            )
        datasets = tuple(row[0] for row in touched)
        erasure = Erasure(what, key, now(), datasets, self._made_from(set(datasets)))
        with self._transaction() as db:
            if prompt_id is not None:
                db.execute(
                    "DELETE FROM completion_texts WHERE completion_id IN (SELECT id FROM completions WHERE prompt_id = ?)",
                    (prompt_id,),
                )
                db.execute("DELETE FROM prompt_texts WHERE prompt_id = ?", (prompt_id,))
                db.execute(
                    "DELETE FROM feedback_texts WHERE feedback_id IN (SELECT id FROM feedback WHERE prompt_id = ?)",
                    (prompt_id,),
                )
                db.execute("UPDATE dataset_rows SET content = NULL WHERE prompt_id = ?", (prompt_id,))
            else:
                db.execute(
                    "DELETE FROM feedback_texts WHERE feedback_id IN (SELECT id FROM feedback WHERE annotator = ?)", (number,)
                )
                db.execute("UPDATE leases SET note = '' WHERE annotator = ?", (number,))
                db.execute("UPDATE annotators SET name = NULL WHERE name = ?", (annotator,))
                db.execute("DELETE FROM accounts WHERE name = ?", (annotator,))
            db.execute(
                "INSERT INTO erasures (what, key, erased_at, datasets, runs) VALUES (?, ?, ?, ?, ?)",
                (what, key, erasure.erased_at, codec.dump(datasets), codec.dump(erasure.runs)),
            )
        self._scrub()
        return erasure

    def _made_from(self, digests: set[str]) -> tuple[str, ...]:
        """Ids of the runs that used one of these data sets, and of all runs that came from those, oldest first."""
        touched: set[str] = set()
        for run in self.runs():  # parents come before their children
            if digests & set(run.data.values()) or touched & set(run.parents):
                touched.add(run.id)
        return tuple(run.id for run in self.runs() if run.id in touched)

    def erasures(self) -> list[Erasure]:
        """All tombstones, oldest first."""
        rows = self._read("SELECT what, key, erased_at, datasets, runs FROM erasures ORDER BY number")
        return [Erasure(what, key, at, tuple(json.loads(sets)), tuple(json.loads(runs))) for what, key, at, sets, runs in rows]
