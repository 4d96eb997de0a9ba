"""The packages of `plaudit[eval]`, asked for where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from plaudit.schema import UserError


def needed(module: str, purpose: str) -> Any:
    """The module, or a UserError that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        if missing.name and not module.startswith(missing.name):
            raise UserError(f"{purpose} needs {module}, which needs {missing.name}: pip install 'plaudit[eval]'") from missing
        raise UserError(f"{purpose} needs the package {module.partition('.')[0]}: pip install 'plaudit[eval]'") from None
