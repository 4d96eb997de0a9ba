"""From a path to evidence: a run of ours or another library's log, a data set, a store, a reward model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from plaudit.evaluation.doctor.evidence import BestOfN, Dataset, Evaluation, Evidence, ScoredPairs
from plaudit.evaluation.doctor.logs import read_log, trainer_state
from plaudit.evaluation.doctor.names import series_of
from plaudit.evaluation.subject import Told, silent
from plaudit.schema import JSON, UserError

METRICS, EVALUATIONS, SCORES = "metrics.jsonl", "evaluations.jsonl", "held_out_scores.jsonl"
BEST_OF_N, TASKS = "best_of_n.jsonl", "tasks.jsonl"
REWARD_MODEL = "reward.json"
SQLITE = b"SQLite format 3\0"


def look(path: Path, held_out: Path | None = None, told: Told = silent) -> Evidence:
    """The evidence at `path`; `held_out`: pairs to measure a reward model on, or the test file beside a data set;
    `told(done, total)` is called as pairs are scored.

    UserError, one sentence, where nothing there can be read.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder; give a run, a log, a data set or a reward model")
    if path.is_dir():
        return _folder(path, held_out, told)
    if _is_sqlite(path):
        return _store(path, path)
    return _file(path, held_out)


def _folder(path: Path, held_out: Path | None, told: Told) -> Evidence:
    if (path / METRICS).is_file():
        return _run(path, held_out, told)
    if (state := trainer_state(path)) is not None:
        origin, rows = read_log(state)
        return _with_files(Evidence(str(path), "run", origin, series_of(rows)), path)
    if (path / REWARD_MODEL).is_file():
        return _model(path, held_out, told)
    for name in ("store.sqlite", "plaudit.sqlite"):
        if (path / name).is_file():
            return _store(path, path / name)
    if any((path / name).is_file() for name in (EVALUATIONS, SCORES, BEST_OF_N, TASKS)):
        return _with_files(Evidence(str(path), "run"), path)
    return _data(path, held_out)


def _file(path: Path, held_out: Path | None) -> Evidence:
    try:
        origin, rows = read_log(path)
    except UserError as no_log:
        if path.suffix in (".log", ".txt", ".out") or path.name == "trainer_state.json":
            raise
        try:
            return _data(path, held_out)
        except UserError as no_data:
            raise UserError(f"{path} is neither a log nor data: {str(no_data).partition(': ')[2] or no_log}") from None
    return Evidence(str(path), "run", origin, series_of(rows))


def _run(path: Path, held_out: Path | None, told: Told) -> Evidence:
    rows = [row for row in _objects(path / METRICS) if "step" in row]
    if not rows:
        raise UserError(f"{path / METRICS}: no line holds a step yet; wait until the run has logged one")
    options = _options(path / "config.yaml")
    found = _with_files(Evidence(str(path), "run", "plaudit", series_of(rows), options=options), path)
    if held_out is not None and (path / "model" / REWARD_MODEL).is_file():
        found = replace(found, pairs=_scored(path / "model", held_out, told))
    return replace(found, dataset=_dataset_of(options, path))


def _options(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise UserError(f"{path} cannot be read: {' '.join(str(problem).split())}") from None
    return found if isinstance(found, dict) else {}


def _dataset_of(options: Mapping[str, Any], run: Path) -> Dataset | None:
    """What a run was trained on, where its files are still there; None where they cannot be read from here."""
    train, held_out = _found(options.get("train_file"), run), _found(options.get("eval_file"), run)
    if train is None:
        return None
    from plaudit.evaluation.doctor.datasets import facts

    keywords = {
        "dataset_format": options.get("dataset_format", "auto"),
        "columns": options.get("dataset_columns"),
        "skip_refused": True,
    }
    try:
        return facts(train, held_out, **keywords)
    except UserError:
        return None  # changed since; the rules then say that they know nothing of the data


def _found(named: Any, run: Path) -> Path | None:
    """A file of a config, whose path starts from the folder that the run was started in: this one, or one above the run."""
    if not isinstance(named, str):
        return None
    places = (folder / named for folder in (Path(), *run.resolve().parents))
    return next((place for place in places if place.exists()), None)


def _with_files(found: Evidence, path: Path) -> Evidence:
    """The evidence with what stands beside the metrics."""
    return replace(
        found,
        evaluations=tuple(evaluations_of(_objects(path / EVALUATIONS), path / EVALUATIONS)),
        pairs=_pairs(path / SCORES),
        best_of_n=_best_of_n(path / BEST_OF_N),
        tasks=_tasks(path / TASKS),
    )


def _objects(path: Path) -> list[JSON]:
    """The objects of a JSONL file that may be absent; a torn last line (a run that is still writing) is passed over."""
    if not path.is_file():
        return []
    try:
        lines = path.read_text("utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"{path} cannot be read: {problem}") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                continue
            raise UserError(f"{path}, line {number}: is not JSON; the file is damaged") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: is no JSON object; the file is damaged")
        found.append(row)
    return found


def _columns(rows: Sequence[JSON], names: Sequence[str], path: Path) -> list[np.ndarray]:
    """Columns of numbers; UserError where a row lacks one."""
    try:
        return [np.array([float(row[name]) for row in rows]) for name in names]
    except (KeyError, TypeError, ValueError) as problem:
        raise UserError(f"{path}: every row needs numbers under {', '.join(names)}; one has not ({problem})") from None


def evaluations_of(rows: Sequence[JSON], path: Path = Path(EVALUATIONS)) -> list[Evaluation]:
    """Lines of evaluations.jsonl, on the prompts that have every figure in all of them. UserError where they do not fit."""
    found = [_evaluation(row, path) for row in rows]
    if len({len(one.reward) for one in found}) > 1:
        raise UserError(f"{path}: evaluations have different numbers of prompts")
    columns = [column for one in found for column in (one.reward, one.length, one.independent) if column is not None]
    whole = np.isfinite(np.stack(columns)).all(axis=0) if columns else np.zeros(0, bool)
    return [
        Evaluation(one.step, one.reward[whole], one.length[whole], None if one.independent is None else one.independent[whole])
        for one in found
        if whole.any()
    ]


def _evaluation(row: JSON, path: Path) -> Evaluation:
    try:
        reward, length = (np.array(row[name], dtype=np.float64) for name in ("reward", "length"))
        given = row.get("independent")
        independent = np.array(given, dtype=np.float64) if given is not None else None
        step = int(row["step"])
    except (KeyError, TypeError, ValueError) as problem:
        raise UserError(f"{path}: a line has no step, reward and length as numbers ({problem})") from None
    if not reward.shape == length.shape == (reward if independent is None else independent).shape or reward.ndim != 1:
        raise UserError(f"{path}: reward, length and independent of step {step} have different numbers of prompts")
    return Evaluation(step, reward, length, independent)


def _pairs(path: Path) -> ScoredPairs | None:
    rows = _objects(path)
    names = ("chosen", "rejected", "chosen_length", "rejected_length")
    return ScoredPairs(*_columns(rows, names, path)) if rows else None


def _best_of_n(path: Path) -> BestOfN | None:
    rows = sorted(_objects(path), key=lambda row: row.get("n", 0))
    return BestOfN(*_columns(rows, ("n", "proxy", "independent", "stderr"), path)) if rows else None


def _tasks(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rows = _objects(path)
    before, after = _columns(rows, ("before", "after"), path)
    names = [str(row.get("task", "task")) for row in rows]
    of = {name: [i for i, other in enumerate(names) if other == name] for name in dict.fromkeys(names)}
    return {name: (before[chosen], after[chosen]) for name, chosen in of.items()}


def _data(path: Path, held_out: Path | None) -> Evidence:
    from plaudit.evaluation.doctor.datasets import facts, labels

    quality = labels(path)
    return Evidence(str(path), "dataset", dataset=quality or facts(path, held_out))


def _store(path: Path, store: Path) -> Evidence:
    from plaudit.evaluation.doctor.datasets import of_store

    return Evidence(str(path), "dataset", dataset=of_store(store))


def _model(path: Path, held_out: Path | None, told: Told) -> Evidence:
    pairs = _scored(path, held_out, told) if held_out is not None else _pairs(path.parent / SCORES)
    if pairs is None:
        raise UserError(
            f"{path}: a reward model is measured on pairs; give some that it was not trained on with --held-out FILE"
        )
    return Evidence(str(path), "model", pairs=pairs)


def _scored(folder: Path, held_out: Path, told: Told) -> ScoredPairs:
    from plaudit.evaluation.doctor.scoring import scored_pairs

    return scored_pairs(folder, held_out, told)


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            return opened.read(len(SQLITE)) == SQLITE
    except OSError as problem:
        raise UserError(f"{path} cannot be read: {problem.strerror}") from None
