"""What a model was made of, written into the store: data, config, parents and code of every run of a pipeline."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from plaudit.schema import JSON, RunRecord
from plaudit.store import Store, Where


def code_version() -> str:
    """The version, and the commit where the code runs from a git checkout: `plaudit 0.1.0 (4f3c2b1)`."""
    here, number = Path(__file__).parent, version("plaudit")
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return f"plaudit {number}"
    return f"plaudit {number} ({commit})"


def file_digest(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def record(
    store: Where,
    folder: Path,
    verb: str,
    config: Mapping[str, Any],
    summary: JSON,
    *,
    parents: Sequence[str],
    data: Mapping[str, str],
    name: str | None = None,
    code: str | None = None,
) -> str:
    """Add a finished run to the store; returns its id, `<project folder>/<name>`.

    `name` is the verb where none is given; `code` is what it was made with, the version of now where it is not given.
    """
    run_id = f"{folder.parent.name}/{name or verb}"
    with Store(store) as opened:
        opened.add_run(
            RunRecord(
                run_id,
                verb,
                str(folder),
                dict(config),
                "finished",
                tuple(parents),
                dict(data),
                code or code_version(),
                summary=summary,
            )
        )
    return run_id
