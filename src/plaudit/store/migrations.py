"""The schema of the store as numbered, named steps. A step that has been released never changes: append a new one.

What can be erased on request (texts, token ids, names) stands in tables of its own: prompt_texts, completion_texts,
feedback_texts, annotators.name, dataset_rows.content, and the tables of accounts. Everything else keeps ids only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from plaudit.schema import UserError


@dataclass(frozen=True)
class Migration:
    """One step: its statements run in one transaction, together with the row that says it was applied."""

    number: int
    name: str
    statements: tuple[str, ...]


def _append_only(table: str) -> tuple[str, ...]:
    return tuple(
        f"CREATE TRIGGER {table}_no_{act} BEFORE {act} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'acts of feedback are append-only'); END"
        for act in ("update", "delete")
    )


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        "prompts and completions",
        (
            "CREATE TABLE prompts (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, added_at TEXT NOT NULL)",
            "CREATE TABLE prompt_texts (prompt_id TEXT PRIMARY KEY REFERENCES prompts (id), content TEXT NOT NULL)",
            """CREATE TABLE completions (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
                prompt_id TEXT NOT NULL REFERENCES prompts (id), policy TEXT NOT NULL, place INTEGER NOT NULL,
                seed INTEGER NOT NULL, finish_reason TEXT NOT NULL, sampling TEXT NOT NULL, added_at TEXT NOT NULL)""",
            "CREATE INDEX completions_of_prompt ON completions (prompt_id)",
            """CREATE TABLE completion_texts (completion_id TEXT PRIMARY KEY REFERENCES completions (id), text TEXT NOT NULL,
                prompt_tokens BLOB NOT NULL, tokens BLOB NOT NULL, logprobs BLOB NOT NULL)""",
        ),
    ),
    Migration(
        2,
        "feedback",
        (
            "CREATE TABLE annotators (number INTEGER PRIMARY KEY, name TEXT UNIQUE)",
            """CREATE TABLE feedback (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
                prompt_id TEXT NOT NULL REFERENCES prompts (id), kind TEXT NOT NULL, reason TEXT NOT NULL,
                judgement TEXT NOT NULL, annotator INTEGER NOT NULL REFERENCES annotators (number),
                source TEXT NOT NULL, seconds REAL,
                created_at TEXT NOT NULL, supersedes TEXT UNIQUE REFERENCES feedback (id), added_at TEXT NOT NULL)""",
            """CREATE TABLE feedback_completions (feedback_id TEXT NOT NULL REFERENCES feedback (id), place INTEGER NOT NULL,
                completion_id TEXT NOT NULL REFERENCES completions (id), PRIMARY KEY (feedback_id, place))""",
            "CREATE INDEX feedback_of_prompt ON feedback (prompt_id)",
            *_append_only("feedback"),
            *_append_only("feedback_completions"),
        ),
    ),
    Migration(
        3,
        "datasets and runs",
        (
            "CREATE TABLE datasets (digest TEXT PRIMARY KEY, kind TEXT NOT NULL, created_at TEXT NOT NULL)",
            """CREATE TABLE dataset_rows (digest TEXT NOT NULL REFERENCES datasets (digest), place INTEGER NOT NULL,
                prompt_id TEXT NOT NULL, content TEXT, PRIMARY KEY (digest, place))""",
            "CREATE INDEX dataset_rows_of_prompt ON dataset_rows (prompt_id)",
            """CREATE TABLE dataset_acts (digest TEXT NOT NULL REFERENCES datasets (digest), place INTEGER NOT NULL,
                feedback_id TEXT NOT NULL REFERENCES feedback (id), PRIMARY KEY (digest, place))""",
            """CREATE TABLE runs (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, verb TEXT NOT NULL, folder TEXT NOT NULL,
                config TEXT NOT NULL, status TEXT NOT NULL, data TEXT NOT NULL, code_commit TEXT NOT NULL,
                created_at TEXT NOT NULL, summary TEXT NOT NULL)""",
            """CREATE TABLE run_parents (run_id TEXT NOT NULL REFERENCES runs (id), place INTEGER NOT NULL,
                parent_id TEXT NOT NULL REFERENCES runs (id), PRIMARY KEY (run_id, place))""",
        ),
    ),
    Migration(
        4,
        "erasures",
        (
            """CREATE TABLE erasures (number INTEGER PRIMARY KEY, what TEXT NOT NULL, key TEXT NOT NULL,
                erased_at TEXT NOT NULL, datasets TEXT NOT NULL, runs TEXT NOT NULL)""",
        ),
    ),
    Migration(
        5,
        "what people write and who they are",
        (
            """CREATE TABLE feedback_texts (feedback_id TEXT PRIMARY KEY REFERENCES feedback (id), content TEXT NOT NULL)""",
            """CREATE TABLE accounts (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
                password TEXT NOT NULL, about TEXT NOT NULL, created_at TEXT NOT NULL, disabled_at TEXT)""",
            """CREATE TABLE sessions (digest TEXT PRIMARY KEY, account INTEGER NOT NULL
                REFERENCES accounts (number) ON DELETE CASCADE, created_at TEXT NOT NULL, expires_at REAL NOT NULL)""",
            """CREATE TABLE invitations (digest TEXT PRIMARY KEY, role TEXT NOT NULL, created_at TEXT NOT NULL,
                expires_at REAL NOT NULL, used_at TEXT)""",
            """CREATE TABLE tokens (digest TEXT PRIMARY KEY, account INTEGER NOT NULL
                REFERENCES accounts (number) ON DELETE CASCADE, label TEXT NOT NULL, created_at TEXT NOT NULL)""",
            "CREATE TABLE settings (name TEXT PRIMARY KEY, content TEXT NOT NULL)",
        ),
    ),
    Migration(
        6,
        "leases, requests, conversations, quarantine",
        (
            """CREATE TABLE leases (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
                annotator INTEGER NOT NULL REFERENCES annotators (number), kind TEXT NOT NULL,
                prompt_id TEXT NOT NULL REFERENCES prompts (id), completion_ids TEXT NOT NULL, reason TEXT NOT NULL,
                leased_at REAL NOT NULL, expires_at REAL NOT NULL, outcome TEXT NOT NULL, note TEXT NOT NULL,
                feedback_id TEXT)""",
            "CREATE INDEX leases_of_annotator ON leases (annotator, kind, outcome)",
            "CREATE INDEX leases_of_prompt ON leases (prompt_id)",
            """CREATE TABLE requests (annotator INTEGER NOT NULL REFERENCES annotators (number), key TEXT NOT NULL,
                digest TEXT NOT NULL, answer TEXT NOT NULL, added_at TEXT NOT NULL, PRIMARY KEY (annotator, key))""",
            """CREATE TABLE conversations (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
                annotator INTEGER NOT NULL REFERENCES annotators (number), created_at TEXT NOT NULL)""",
            """CREATE TABLE turns (conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
                place INTEGER NOT NULL, prompt_id TEXT NOT NULL REFERENCES prompts (id), completion_ids TEXT NOT NULL,
                chosen TEXT, PRIMARY KEY (conversation, place))""",
            """CREATE TABLE quarantine (prompt_id TEXT PRIMARY KEY REFERENCES prompts (id), reason TEXT NOT NULL,
                added_at TEXT NOT NULL)""",
        ),
    ),
    Migration(
        7,
        "scores, proposals, changes",
        (
            """CREATE TABLE scores (number INTEGER PRIMARY KEY, completion_id TEXT NOT NULL REFERENCES completions (id),
                model TEXT NOT NULL, score REAL NOT NULL, added_at TEXT NOT NULL, UNIQUE (completion_id, model))""",
            """CREATE TABLE proposals (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content TEXT NOT NULL,
                made_at TEXT NOT NULL, decision TEXT, note TEXT NOT NULL, annotator INTEGER REFERENCES annotators (number),
                decided_at TEXT)""",
            """CREATE TABLE changes (number INTEGER PRIMARY KEY, setting TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL,
                annotator INTEGER NOT NULL REFERENCES annotators (number), proposal TEXT REFERENCES proposals (id),
                changed_at TEXT NOT NULL)""",
            "CREATE TABLE writes (count INTEGER NOT NULL)",
            "INSERT INTO writes VALUES (0)",
        ),
    ),
)


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def applied(db: Any) -> list[tuple[int, str]]:
    """Number and name of the steps that this database has had, in order; [] for one without the table."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchone():
        return []
    return [(row[0], row[1]) for row in db.execute("SELECT number, name FROM migrations ORDER BY number").fetchall()]


def pending(db: Any, migrations: Sequence[Migration] = MIGRATIONS) -> Sequence[Migration]:
    """The steps that are still to be applied. UserError for a database that has had steps unknown here."""
    had = applied(db)
    if had != [(step.number, step.name) for step in migrations[: len(had)]]:
        raise UserError(
            f"it was written by another version of plaudit (step {had[-1][0]}, '{had[-1][1]}'): upgrade plaudit to open it"
        )
    return migrations[len(had) :]


def migrate(db: Any, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Applies the pending steps, each whole or not at all. `db` is in autocommit mode (isolation_level=None)."""
    for step in pending(db, migrations):
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute(
                "CREATE TABLE IF NOT EXISTS migrations "
                "(number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL)"
            )
            for statement in step.statements:
                db.execute(statement)
            db.execute("INSERT INTO migrations VALUES (?, ?, ?)", (step.number, step.name, now()))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
