"""What several rooms' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Fresh processes with plaudit already imported, to be killed at will."""
    with Nursery() as warm:
        yield warm
