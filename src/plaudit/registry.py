"""find(group, name): every replaceable part by its name, and any other by `module:attribute` or `file.py:attribute`.

Built-in parts and those of plug-ins come in by the same door, the entry points of group `plaudit.<group>`:

    [project.entry-points."plaudit.rewards"]
    politeness = "my_package.rewards:politeness"
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.util
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from plaudit.schema import UserError

GROUPS = ("algorithms", "rewards", "engines", "judgements", "readers", "trackers", "doctor", "verbs")


def names(group: str) -> tuple[str, ...]:
    """The names that `find(group, name)` knows, sorted."""
    return tuple(sorted(_table(group)))


def find(group: str, name: str) -> Any:
    """The object called `name` in `group`, or the one at `module:attribute` or `path/to/file.py:attribute`.

    Modules and files are looked for from the current folder too. UserError: a name that nothing has (the nearest is named),
    a module, file or attribute that is not there, a part whose package is not installed. An error that the module itself
    raises comes through as it is.
    """
    if ":" in name:
        return _load(name, f"{group} {name}")
    table = _table(group)
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(table)) or 'none yet'}"
        own = "your own part is module:attribute or file.py:attribute"
        raise UserError(f"nothing in {group} is called {name!r}; {advice} ({own})")
    return _load(table[name], f"{group} {name}")


@functools.cache
def _table(group: str) -> dict[str, str]:
    if group not in GROUPS:
        raise KeyError(f"no group {group!r}; there are {GROUPS}")
    table: dict[str, str] = {}
    for entry in entry_points(group=f"plaudit.{group}"):
        if table.setdefault(entry.name, entry.value) != entry.value:
            both = f"{table[entry.name]} and {entry.value}"
            raise UserError(f"two installed packages call something {entry.name!r} in {group}: {both}; uninstall one of them")
    return table


def _load(where: str, what: str) -> Any:
    place, _, attribute = where.rpartition(":")
    module = _from_file(Path(place), what) if place.endswith(".py") else _from_name(place, what)
    try:
        return functools.reduce(getattr, attribute.split("."), module)
    except AttributeError:
        there = [name for name in vars(module) if not name.startswith("_")]
        near = difflib.get_close_matches(attribute, there, n=1)
        raise UserError(f"{what}: {place} has no {attribute!r}{f'; did you mean {near[0]}?' if near else ''}") from None


def _from_name(module: str, what: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:  # a console script does not look into the current folder by itself
        sys.path.append(folder)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            raise UserError(f"{what}: there is no module {missing}; is it installed, or in this folder?") from None
        if missing.startswith("plaudit"):
            raise
        advice = f"pip install {missing}, or pip install 'plaudit[all]'"
        raise UserError(f"{what} needs the package {missing}, which is not installed; try {advice}") from None
    except (ValueError, TypeError):
        if module and not module.startswith("."):
            raise
        raise UserError(f"{what}: {module!r} is no module's name; write module:attribute or file.py:attribute") from None


def _from_file(path: Path, what: str) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{what}: there is no file {path}")
    path = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"  # two files of one name stay two modules
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "a path that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        said = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
        raise UserError(f"{what}: {path}, line {line}, raised {type(error).__name__}: {said}") from error
    return module
