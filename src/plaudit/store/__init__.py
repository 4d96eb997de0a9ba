"""The store of a project, an SQLite file or a PostgreSQL database: `with Store("plaudit.db") as store: store.prompts()`."""

from plaudit.store.accounts import Account, Token
from plaudit.store.conversations import Conversations, Turn
from plaudit.store.database import Missing, Where, located, named
from plaudit.store.leases import Conflict, Lease
from plaudit.store.mechanism import Change, Mechanism, Proposed
from plaudit.store.provenance import Dataset, Erasure, Lineage, Provenance

__all__ = [
    "Account",
    "Change",
    "Conflict",
    "Dataset",
    "Erasure",
    "Lease",
    "Lineage",
    "Missing",
    "Proposed",
    "Store",
    "Token",
    "Turn",
    "Where",
    "located",
    "named",
]


class Store(Provenance, Mechanism, Conversations):
    """Prompts, completions, feedback, data sets, runs and people of one project. Opening, locking, errors: see `Database`."""
