"""`plaudit data quality`: who agrees with whom, which labels are doubtful, what a reward model can reach on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plaudit.cli.show import AsJson, emit
from plaudit.schema import UserError

if TYPE_CHECKING:
    from plaudit.judgements.quality import Quality
    from plaudit.store import Where

SQLITE = b"SQLite format 3\0"


def quality(
    file: Annotated[
        Path, typer.Argument(metavar="FILE|PROJECT", help="A file with several annotators, a store, or a project's folder.")
    ],
    words: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="dataset_columns.OURS=THEIRS.")] = None,
    level: Annotated[
        str | None, typer.Option(help="What the answers of a file are: preference, nominal, ordinal or interval.")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="A reward model's scores, rows of completion_id and score: help to find label errors."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(help='JSON: {"annotators": {"ada": {"language": "zh"}}, "serves": {"language": {"zh": 0.4, "en": 0.6}}}.'),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws behind the intervals.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say how good the labels are: `plaudit data quality store.sqlite`; docs/quality.md explains every figure."""
    options = _extras(scores, groups) | {"seed": seed}
    store = _store(file)
    found = _of_store(store, options) if store is not None else _of_file(file, words or [], level, options)
    if as_json:
        emit(found.to_json(), True)
        return
    from plaudit.data.inspect import safely

    for line in found.lines():
        typer.echo(line[: len(line) - len(line.lstrip())] + safely(line, 400))


def _store(path: Path) -> Where | None:
    """The store that `path` means; None where it is data. UserError for a project whose store is not there yet."""
    if path.is_dir():
        from plaudit.store import located

        named = _named_store(path / "plaudit.yaml")
        store = located(named or "store.sqlite", path)
        if not isinstance(store, Path):
            return store
        if named is not None and not store.exists():
            raise UserError(f"{path}: the project has no store {store.name} yet; collect judgements first")
        return store if store.exists() else None
    if path.is_file():
        with path.open("rb") as opened:
            if opened.read(len(SQLITE)) == SQLITE:
                return path
    return None


def _named_store(project: Path) -> str | None:
    if not project.is_file():
        return None
    import yaml

    try:
        content = yaml.safe_load(project.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{project} cannot be read: {' '.join(str(error).split())}") from None
    return str(content.get("store") or "store.sqlite") if isinstance(content, dict) else "store.sqlite"


def _of_store(path: Where, options: dict[str, Any]) -> Quality:
    from plaudit.feedback.judge_seats import failures
    from plaudit.judgements.quality import assess
    from plaudit.store import Store, named

    with Store(path, readonly=True) as store:
        feedback, completions, failed = store.feedback(current=False), store.completions(), failures(store)
    if not feedback:
        raise UserError(f"store {named(path)}: holds no judgements yet")
    return assess(feedback, completions, failed=failed, **options)


def _of_file(path: Path, words: list[str], level: str | None, options: dict[str, Any]) -> Quality:
    from plaudit.config import load
    from plaudit.data.annotations import read_ballots
    from plaudit.data.options import ReadConfig
    from plaudit.judgements.quality import assess_ballots

    if "scores" in options:
        raise UserError("--scores needs a store or project, whose completions have ids; a file of answers has none")
    read = load([ReadConfig], None, words)[ReadConfig]
    ballots, _ = read_ballots(path, columns=read.dataset_columns, level=level)
    return assess_ballots(ballots, **options)


def _extras(scores: Path | None, groups: Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if scores is not None:
        from plaudit.data.files import rows

        found["scores"] = {}
        for where, row in rows(scores):
            value = row.get("score")
            if "completion_id" not in row or isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"{where}: needs completion_id and a number under score")
            found["scores"][str(row["completion_id"])] = float(value)
    if groups is not None:
        try:
            said = json.loads(groups.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"--groups {groups} cannot be read as JSON: {error}") from None
        if not isinstance(said, dict) or not set(said) <= {"annotators", "serves"}:
            raise UserError(f"--groups {groups}: must be an object with annotators and serves")
        found["groups"] = _table(said.get("annotators", {}), f"--groups {groups}, annotators", str)
        if "serves" in said:
            found["served"] = _table(said["serves"], f"--groups {groups}, serves", float)
    return found


def _table(given: Any, where: str, of: type) -> dict[str, dict[str, Any]]:
    """An object of objects of texts or of numbers."""
    wanted = int | float if of is float else str
    if not isinstance(given, Mapping) or not all(isinstance(inner, Mapping) for inner in given.values()):
        raise UserError(f"{where}: must be an object of objects")
    for name, inner in given.items():
        wrong = next((key for key, value in inner.items() if isinstance(value, bool) or not isinstance(value, wanted)), None)
        if wrong is not None:
            raise UserError(f"{where}, {name}, {wrong}: must be a {'number' if of is float else 'text'}")
    return {str(name): {str(key): of(value) for key, value in inner.items()} for name, inner in given.items()}
