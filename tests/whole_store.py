"""Everything that a store holds, as bytes: to look for what must be gone."""

from __future__ import annotations

from plaudit.store import Store
from plaudit.store.postgres import is_url


def everything_on_disk(path):
    """All files, or all rows of a server."""
    if not is_url(path):
        return b"".join(file.read_bytes() for file in path.parent.iterdir())
    with Store(path, readonly=True) as store:
        tables = store.db.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").rows
        found = [store.db.execute(f"SELECT CAST(t AS TEXT) FROM {name} t").rows for (name,) in tables]
    return "\n".join(row for rows in found for (row,) in rows).encode()
