"""The store: one SQLite file per project. `with Store("plaudit.db") as store: store.add_prompts(...)`."""

from plaudit.store.provenance import Dataset, Erasure, Lineage, Provenance

__all__ = ["Dataset", "Erasure", "Lineage", "Store"]


class Store(Provenance):
    """Prompts, completions, feedback, data sets and runs of one project. See `Database` for opening, locking and errors."""
