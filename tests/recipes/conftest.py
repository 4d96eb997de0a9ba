"""Recipes are scripts beside the package: `load_recipe("results")` runs one as a module, its neighbours importable."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def load_recipe():
    sys.path.insert(0, str(PLACE))
    yield importlib.import_module
    sys.path.remove(str(PLACE))
