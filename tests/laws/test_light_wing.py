"""The light wing: what an annotation server and the command line need loads no torch. Looked at in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs_scripts import script

PACKAGE = Path(__file__).parents[2] / "src" / "plaudit"
LIGHT = ("schema", "hints", "flatyaml", "config", "registry", "stats", "judgements", "store", "feedback", "cli")
HEAVY = {"torch", "transformers", "peft", "safetensors", "gguf", "tokenizers"}


def modules(room: str) -> list[str]:
    """Every module of a room that is there: one file, or all files of a folder."""
    if (PACKAGE / f"{room}.py").is_file():
        return [f"plaudit.{room}"]
    names = []
    for path in sorted((PACKAGE / room).rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names.append(".".join(("plaudit", *(parts[:-1] if parts[-1] == "__init__" else parts))))
    return names


def loaded_by(*names: str) -> set[str]:
    """The top-level packages in memory after a fresh process imported `names`."""
    code = f"import sys, {', '.join(names)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("room", [room for room in LIGHT if modules(room)])
def test_a_light_room_loads_nothing_heavy(room):
    assert loaded_by(*modules(room)) & HEAVY == set()


def test_the_rooms_of_today_are_looked_at():
    assert {room for room in LIGHT if modules(room)} >= {"schema", "config", "registry", "cli"}
    assert "plaudit.cli.main" in modules("cli")


def test_the_command_line_starts_without_the_slow_ones():
    """`plaudit --help` is to answer in half a second: typer and rich are most of that already."""
    slow = {"numpy", "pydantic", "yaml", "sqlite3", "asyncio"}
    assert loaded_by("plaudit.cli.main") & (HEAVY | slow) == set()


def installed_with(*extras: str) -> set[str]:
    """The packages that `pip install plaudit[EXTRAS]` brings, by what each package says that it needs."""
    found: set[str] = set()
    waiting = [("plaudit", frozenset(extras))]
    while waiting:
        name, wanted = waiting.pop()
        for text in requires(name) or ():
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in (wanted or {""})):
                package = canonicalize_name(one.name)
                if package not in found:
                    found.add(package)
                    waiting.append((package, frozenset(one.extras)))
    return found


def test_the_pages_are_installed_without_torch():
    light = installed_with("feedback")
    assert {"fastapi", "uvicorn", "jinja2", "nh3", "numpy"} <= light and len(light) < 40
    assert light & HEAVY == set()
    assert installed_with("train") >= {"torch", "transformers", "safetensors"}, "the walk sees what is heavy"


@pytest.mark.slow
def test_what_make_light_tries_works_and_a_heavy_installation_is_seen(tmp_path):
    """The script of `make light` on this very environment: the pair is judged, and torch is told."""
    found = script("light").tried(Path(sys.executable), tmp_path, starts=1)
    assert found.judged and "torch" in found.heavy and not found.right
    assert replace(found, packages=("numpy",), starts=(0.5, 1.9)).right
    assert not replace(found, packages=("numpy",), starts=(2.5,)).right


@pytest.mark.slow
def test_the_look_sees_a_heavy_import():
    assert "torch" in loaded_by("torch") & HEAVY
