"""Who may come in: accounts, sessions, invitations, tokens. The store sees digests only, never a secret or a password."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from plaudit.schema import JSON, UserError
from plaudit.store import codec
from plaudit.store.database import Database
from plaudit.store.migrations import now

ROLES = ("viewer", "annotator", "admin")
"""Each may do what those before it may."""


@dataclass(frozen=True)
class Account:
    """One person: `Account("lin", "annotator")`. `password` is a salted hash, `about` what the person says of themselves."""

    name: str
    role: str
    password: str = field(default="", repr=False)
    about: JSON = field(default_factory=dict)
    created_at: str = ""
    disabled: bool = False


@dataclass(frozen=True)
class Token:
    """One API token as it may be shown: the first digits of its digest, what it is for, whose it is."""

    id: str
    label: str
    account: str
    created_at: str


_ACCOUNT = "name, role, password, about, created_at, disabled_at"


class Accounts(Database):
    """Times that something ends at are POSIX seconds."""

    def add_account(self, name: str, role: str, password: str, about: JSON | None = None) -> Account:
        """A new account. UserError for a name that an account has, or that feedback was given under before."""
        self._check_role(role)
        with self._transaction() as db:
            taken = "SELECT 1 FROM accounts WHERE name = ?1 UNION SELECT 1 FROM annotators WHERE name = ?1"
            if self._read(taken, name):  # an annotator without an account may be a model, or come from a file
                raise UserError(f"somebody is called {name} already: choose another name")
            db.execute(
                "INSERT INTO accounts (name, role, password, about, created_at) VALUES (?, ?, ?, ?, ?)",
                (name, role, password, codec.dump(about or {}), now()),
            )
        return self.account(name)

    def _check_role(self, role: str) -> None:
        if role not in ROLES:
            raise UserError(f"there is no role {role!r}: use one of {', '.join(ROLES)}")

    def account(self, name: str) -> Account:
        """UserError where there is none."""
        self._known("accounts", [name], "account", "an admin can invite people", column="name")
        return _account(self._read(f"SELECT {_ACCOUNT} FROM accounts WHERE name = ?", name)[0])

    def accounts(self) -> list[Account]:
        """All accounts, oldest first."""
        return [_account(row) for row in self._read(f"SELECT {_ACCOUNT} FROM accounts ORDER BY number")]

    def has_accounts(self) -> bool:
        return bool(self._read("SELECT 1 FROM accounts LIMIT 1"))

    def change_account(
        self,
        name: str,
        *,
        role: str | None = None,
        password: str | None = None,
        about: JSON | None = None,
        disabled: bool | None = None,
    ) -> Account:
        """Changes what is given. Another password, role or a closed account ends the sessions; the last admin stays one."""
        before = self.account(name)
        if role is not None:
            self._check_role(role)
        leaves = (role is not None and role != "admin") or disabled
        with self._transaction() as db:
            if before.role == "admin" and not before.disabled and leaves:
                others = self._read(
                    "SELECT 1 FROM accounts WHERE role = 'admin' AND disabled_at IS NULL AND name != ? LIMIT 1", name
                )
                if not others:
                    raise UserError(f"{name} is the only admin left: make somebody else an admin first")
            if role is not None:
                db.execute("UPDATE accounts SET role = ? WHERE name = ?", (role, name))
            if password is not None:
                db.execute("UPDATE accounts SET password = ? WHERE name = ?", (password, name))
            if about is not None:
                db.execute("UPDATE accounts SET about = ? WHERE name = ?", (codec.dump(about), name))
            if disabled is not None:
                db.execute("UPDATE accounts SET disabled_at = ? WHERE name = ?", (now() if disabled else None, name))
            if password is not None or disabled or leaves:
                db.execute(
                    "DELETE FROM sessions WHERE account = (SELECT number FROM accounts WHERE name = ?)",
                    (name,),
                )
        return self.account(name)

    def open_session(self, digest: str, name: str, expires_at: float) -> None:
        """A session of an account; those that have ended are cleared away."""
        with self._transaction() as db:
            db.execute("DELETE FROM sessions WHERE expires_at < ?", (time.time(),))
            db.execute(
                "INSERT INTO sessions SELECT ?, number, ?, ? FROM accounts WHERE name = ?", (digest, now(), expires_at, name)
            )

    def session(self, digest: str, at: float) -> Account | None:
        """Whose session this is at that time; None where it has ended or never was."""
        return self._whose("sessions", "AND expires_at > ?", digest, at)

    def close_session(self, digest: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM sessions WHERE digest = ?", (digest,))

    def _whose(self, table: str, further: str, *values: Any) -> Account | None:
        rows = self._read(
            f"""SELECT {", ".join(f"a.{name}" for name in _ACCOUNT.split(", "))} FROM {table} t
            JOIN accounts a ON a.number = t.account WHERE t.digest = ? AND a.disabled_at IS NULL {further}""",
            *values,
        )
        return _account(rows[0]) if rows else None

    def add_invitation(self, digest: str, role: str, expires_at: float) -> None:
        """A link that makes one account of this role, once."""
        self._check_role(role)
        with self._transaction() as db:
            db.execute("INSERT INTO invitations VALUES (?, ?, ?, ?, NULL)", (digest, role, now(), expires_at))

    def invitation(self, digest: str, at: float) -> str | None:
        """The role that an open invitation gives."""
        rows = self._read("SELECT role FROM invitations WHERE digest = ? AND used_at IS NULL AND expires_at > ?", digest, at)
        return rows[0][0] if rows else None

    def join(self, digest: str, at: float, name: str, password: str) -> Account:
        """Uses an invitation up. UserError where it is not open or the name is taken; then it can be used again."""
        with self._transaction() as db:
            role = self.invitation(digest, at)
            if role is None:
                raise UserError("this invitation has been used or has ended: ask for another one")
            account = self.add_account(name, role, password)
            db.execute("UPDATE invitations SET used_at = ? WHERE digest = ?", (now(), digest))
        return account

    def add_token(self, digest: str, name: str, label: str) -> None:
        with self._transaction() as db:
            db.execute("INSERT INTO tokens SELECT ?, number, ?, ? FROM accounts WHERE name = ?", (digest, label, now(), name))

    def token(self, digest: str) -> Account | None:
        """Whose token this is."""
        return self._whose("tokens", "", digest)

    def tokens(self, name: str) -> list[Token]:
        """The tokens of an account, oldest first."""
        rows = self._read(
            """SELECT substr(digest, 1, 8), label, name, t.created_at FROM tokens t JOIN accounts a ON a.number = t.account
            WHERE name = ? ORDER BY t.rowid""",
            name,
        )
        return [Token(*row) for row in rows]

    def revoke_token(self, name: str, token_id: str) -> None:
        """UserError where the account has no such token."""
        with self._transaction() as db:
            gone = db.execute(
                """DELETE FROM tokens WHERE substr(digest, 1, 8) = ?
                AND account = (SELECT number FROM accounts WHERE name = ?)""",
                (token_id, name),
            ).rowcount
        if not gone:
            raise UserError(f"{name} has no token {token_id}: it was taken back already")

    def setting(self, name: str, default: Any = None) -> Any:
        """A setting of the project, as JSON."""
        rows = self._read("SELECT content FROM settings WHERE name = ?", name)
        return json.loads(rows[0][0]) if rows else default

    def set_setting(self, name: str, value: Any) -> None:
        with self._transaction() as db:
            replaced = "ON CONFLICT (name) DO UPDATE SET content = excluded.content"
            db.execute(f"INSERT INTO settings VALUES (?, ?) {replaced}", (name, codec.dump(value)))


def _account(row: Any) -> Account:
    name, role, password, about, created_at, disabled_at = row
    return Account(name, role, password, json.loads(about), created_at, disabled_at is not None)
