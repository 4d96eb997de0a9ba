"""Passwords and secrets: what is stored of them cannot be used to come in."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from plaudit.schema import UserError

SHORTEST, LONGEST = 8, 200
"""Characters of a password."""
_COST = {"n": 2**14, "r": 8, "p": 1}
"""scrypt (Percival 2009; RFC 7914) with 16 MiB: about 50 ms."""


def new() -> str:
    """A secret of 256 random bits, fit for a URL."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of a random secret. It has no structure to guess, so a fast hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def derived(secret: str, purpose: str) -> str:
    """Another secret that follows from this one and says nothing of it: the CSRF token of a session."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()[:32]


def same(one: str, other: str) -> bool:
    """Equality in a time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def hashed(password: str) -> str:
    """The salted hash of a password. UserError for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise UserError(f"a password has {SHORTEST} to {LONGEST} characters")
    salt = secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${_scrypt(password, salt)}"


def fits(password: str, stored: str) -> bool:
    """Whether the password is the stored one. An empty `stored` (no such account) takes the same time and never fits."""
    kind, _, rest = stored.partition("$")
    salt, _, expected = rest.partition("$")
    found = _scrypt(password[: LONGEST + 1], bytes.fromhex(salt) if salt else b"nobody")
    return kind == "scrypt" and same(found, expected)


def _scrypt(password: str, salt: bytes) -> str:
    return hashlib.scrypt(password.encode("utf-8", "replace"), salt=salt, dklen=32, **_COST).hex()
