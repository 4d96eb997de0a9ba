"""Who asks: a person with a session, a program with a token, or whoever sits at this machine while there are no accounts."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Literal

from plaudit.feedback import passwords
from plaudit.feedback.writer import Readers, Unavailable, Writer
from plaudit.schema import UserError
from plaudit.store import Account, Store
from plaudit.store.accounts import ROLES

COOKIE = "plaudit_session"
LOCAL = "local"
"""The name of whoever judges without an account."""
SESSION_SECONDS = 14 * 86400.0
INVITATION_SECONDS = 7 * 86400.0
TRIES, TRIES_SECONDS = 10, 300.0
"""Wrong passwords for one name within so many seconds, after which the name waits."""


@dataclass(frozen=True)
class Person:
    """Who sent a request, and how that is known."""

    name: str
    role: str
    via: Literal["local", "session", "token"]
    csrf: str
    """What a form of this person's must bring along; nobody else can know it."""

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


class Gate:
    """Knows people by what they bring. `local`: whoever comes over loopback needs no login while there are no accounts."""

    def __init__(self, writer: Writer, readers: Readers, local: bool) -> None:
        self.writer, self.readers, self.local = writer, readers, local
        self.secret: str = writer.do(_secret)
        with readers.lend() as store:
            self._accounts = store.has_accounts()
        self._wrong: dict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._hashing = threading.Semaphore(2)

    @property
    def open(self) -> bool:
        """Whether no login is needed."""
        return self.local and not self._accounts

    def who(self, cookie: str | None, authorization: str | None) -> Person | None:
        """The person of a request; None where nobody is known."""
        if authorization:
            kind, _, secret = authorization.partition(" ")
            if kind.lower() != "bearer" or not secret:
                return None
            with self.readers.lend() as store:
                account = store.token(passwords.digest(secret.strip()))
            return Person(account.name, account.role, "token", "") if account else None
        if self.open:
            return Person(LOCAL, "admin", "local", passwords.derived(self.secret, "csrf"))
        if not cookie:
            return None
        with self.readers.lend() as store:
            account = store.session(passwords.digest(cookie), time.time())
        return Person(account.name, account.role, "session", passwords.derived(cookie, "csrf")) if account else None

    def login(self, name: str, password: str) -> str:
        """A session's secret. UserError where name and password do not fit, without saying which."""
        self._throttle(name)
        with self.readers.lend() as store:
            account = next((one for one in store.accounts() if one.name == name and not one.disabled), None)
        with self._hashing:  # each takes 16 MiB
            right = passwords.fits(password, account.password if account else "")
        if not right or account is None:
            with self._lock:
                self._wrong[name].append(time.monotonic())
            raise UserError("name and password do not fit: try again, or ask an admin for an invitation")
        with self._lock:
            self._wrong.pop(name, None)
        return self.session(account)

    def _throttle(self, name: str) -> None:
        with self._lock:
            if len(self._wrong) > 10_000:
                self._wrong.clear()
            wrong = self._wrong[name]
            while wrong and wrong[0] < time.monotonic() - TRIES_SECONDS:
                wrong.popleft()
            if len(wrong) >= TRIES:
                raise Unavailable("too many wrong passwords for this name: wait five minutes")

    def session(self, account: Account) -> str:
        """Opens a session; returns its secret, the cookie's value."""
        secret = passwords.new()
        self.writer.do(lambda store: store.open_session(passwords.digest(secret), account.name, time.time() + SESSION_SECONDS))
        return secret

    def invite(self, role: str) -> str:
        """The secret of a new invitation link."""
        secret = passwords.new()
        until = time.time() + INVITATION_SECONDS
        self.writer.do(lambda store: store.add_invitation(passwords.digest(secret), role, until))
        return secret

    def join(self, secret: str, name: str, password: str) -> str:
        """Makes the account of an invitation; returns a session's secret."""
        name = checked_name(name)
        with self._hashing:
            hashed = passwords.hashed(password)
        account = self.writer.do(lambda store: store.join(passwords.digest(secret), time.time(), name, hashed))
        self._accounts = True
        return self.session(account)

    def token(self, name: str, label: str) -> str:
        """A new API token, which is shown once."""
        secret = passwords.new()
        self.writer.do(lambda store: store.add_token(passwords.digest(secret), name, label[:100]))
        return secret


def _secret(store: Store) -> str:
    """The project's own secret, made on first use: pages left open go on working when the server was started anew."""
    found: str | None = store.setting("secret")
    if found is None:
        found = passwords.new()
        store.set_setting("secret", found)
    return found


def checked_name(name: str) -> str:
    """A name as it may be shown and kept. UserError for one that could be taken for another or for nobody's."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= 60 or not name.isprintable() or name.startswith("erased-") or name == LOCAL:
        raise UserError("a name has 1 to 60 letters, digits or signs that can be seen, and is not 'local'")
    return name
