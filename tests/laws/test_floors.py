"""The law of the floors: a file imports its own room and lower floors only (docs: the floors of the design)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "plaudit"

FLOORS = [
    {"schema", "hints", "flatyaml", "config", "registry", "stats", "core"},
    {"judgements", "algorithms"},
    {"store"},
    {"data"},
    {"models"},
    {"engines", "environments"},
    {"rewards"},
    {"evaluation"},
    {"training"},
    {"feedback", "serving", "deploy", "pipeline", "bench"},
    {"cli"},
    {"__main__"},
]
GROUND = {"flatyaml": {"schema"}, "config": {"schema", "hints", "flatyaml"}, "registry": {"schema"}, "stats": {"schema"}}
"""Who may lean on whom on the lowest floor, which has no rooms beneath it; `core` and `schema` lean on nothing."""

FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    """`plaudit.core.kl` -> `core`; the package itself is the room ``."""
    return module.split(".")[1] if "." in module else ""


def imports(source: str, module: str, is_package: bool) -> list[tuple[int, str]]:
    """(line, absolute name) of every plaudit module that `source` imports, at any depth, relative ones included."""
    found = []
    for node in ast.walk(ast.parse(source, filename=module)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = module.split(".") if is_package else module.split(".")[:-1]
                kept = here[: len(here) - (node.level - 1)]
                base = ".".join([*kept, *([node.module] if node.module else [])])
            # `from plaudit import core` names a room; `from plaudit.core import kl` a file of one.
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return [(line, name) for line, name in found if name.split(".")[0] == "plaudit" and name != "plaudit.__version__"]


def climbs(source: str, module: str, is_package: bool = False) -> list[str]:
    """Every import of `source` that the law forbids, in words."""
    room, wrong = room_of(module), []
    for line, name in imports(source, module, is_package):
        other = room_of(name)
        allowed = other == room or other in GROUND.get(room, ()) or FLOOR.get(other, 99) < FLOOR.get(room, -1)
        if not allowed:
            wrong.append(f"{module} line {line} imports {name}")
    return wrong


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("plaudit", *path.relative_to(PACKAGE).with_suffix("").parts)
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def test_every_file_imports_its_own_room_and_lower_floors_only():
    wrong = [climb for name, path in modules() for climb in climbs(path.read_text("utf-8"), name, path.stem == "__init__")]
    assert not wrong, "\n".join(wrong)


def test_every_room_stands_on_a_floor():
    rooms = {room_of(name) for name, _ in modules()} - {""}
    assert rooms - FLOOR.keys() == set(), "a new room: say in FLOORS (and in the design) on which floor it stands"
    assert {"schema", "config", "registry", "core"} <= rooms


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("plaudit.core.kl", "from plaudit.training.loop import train"),
        ("plaudit.core.kl", "import plaudit.schema"),
        ("plaudit.core.kl", "from plaudit import schema"),
        ("plaudit.core.kl", "from ..schema import UserError"),
        ("plaudit.schema", "from plaudit.config import load"),
        ("plaudit.config", "from .registry import find"),
        ("plaudit.data.collate", "def f():\n    import plaudit.models.load as load"),
        ("plaudit.data.collate", "if TYPE_CHECKING:\n    from ..engines import base"),
        ("plaudit.judgements.pairwise", "from plaudit.algorithms.base import Algorithm"),
        ("plaudit.serving.app", "from plaudit.feedback import pages"),
        ("plaudit.training.loop", "from plaudit import cli"),
        ("plaudit.attic.old", "from plaudit.schema import Prompt"),
        ("plaudit.core.kl", "from plaudit.attic import old"),
    ],
)
def test_a_planted_climb_is_caught(module, source):
    assert len(climbs(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("plaudit.core.kl", "from . import masked\nfrom .batch import Batch\nfrom plaudit.core import value\nimport torch"),
        ("plaudit.config", "from plaudit.schema import UserError"),
        ("plaudit.models.load", "from plaudit.data.template import encode_prompt\nfrom ..core.batch import Batch"),
        ("plaudit.cli.main", "from plaudit import __version__\nfrom plaudit.pipeline import demo"),
    ],
)
def test_what_is_allowed_is_let_through(module, source):
    assert climbs(source, module) == []


def test_relative_imports_of_a_package_start_in_it():
    assert climbs("from . import masked", "plaudit.core", is_package=True) == []
    assert climbs("from .. import schema", "plaudit.core", is_package=True) == ["plaudit.core line 1 imports plaudit.schema"]
