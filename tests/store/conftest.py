"""A store on either kind of database: the same tests run on an SQLite file and on a PostgreSQL server."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def path(request, tmp_path):
    """Where a store is to be."""
    return tmp_path / "deep" / "plaudit.db" if request.param == "sqlite" else request.getfixturevalue("databases")()
