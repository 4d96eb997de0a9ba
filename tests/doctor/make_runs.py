"""The planted defects behind docs/doctor.md: their logs, the confusion matrix, and the command that makes both anew.

python tests/doctor/make_runs.py           prints the matrix of the stored logs and of the planted files
python tests/doctor/make_runs.py --write   puts it into docs/doctor.md, between its marks
python tests/doctor/make_runs.py --make [NAME ...]   trains the runs anew (all: five minutes on one core), stores them first
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import planted_data as data

LOGS = Path(__file__).with_name("logs.jsonl")
PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"
BLOCK = re.compile(r"(<!-- doctor: matrix -->\n```text\n).*?(\n```)", re.DOTALL)
SEED = 2026
"""Of the stored logs and planted files. Thresholds are published ones or house rules; how large a defect is planted was tried
out on the seeds 101 and 102."""
LETTER = {"act": "A", "watch": "w", "ok": "·", "unknown": " "}


@dataclass(frozen=True)
class Case:
    """Something with a known flaw: the rule that is to find it (none where it is healthy), how bad it is, and its files."""

    rule: str | None
    severity: str
    about: str
    lay: Callable[[Path], list[str]]
    """Lays the files into a folder; the words behind `plaudit doctor`."""

    @property
    def name(self) -> str:
        return f"{self.rule or 'healthy'}-{self.severity}"


def files() -> list[Case]:
    """Flaws of data, made from a seed."""
    return [
        Case("duplicates", "mild", "6 % of the rows twice", lambda f: data.doubles(f, SEED, 0.06)),
        Case("duplicates", "severe", "5 of 40 test prompts in the training file", lambda f: data.leak(f, SEED, 5, 40)),
        Case("length_preference", "mild", "the longer answer better in 2 of 3 pairs", lambda f: data.lengthy(f, SEED, 0.66)),
        Case(
            "length_preference", "severe", "the longer answer better in 17 of 20 pairs", lambda f: data.lengthy(f, SEED, 0.85)
        ),
        Case("agreement", "mild", "three people who are right in 75 of 100", lambda f: data.judged(f, SEED, [0.75] * 3)),
        Case("agreement", "severe", "three people who are right in 60 of 100", lambda f: data.judged(f, SEED, [0.6] * 3)),
        Case("annotators", "mild", "one of six chooses the left side", lambda f: data.judged(f, SEED, [0.85] * 6, lefties=1)),
        Case("annotators", "severe", "two of six choose the left side", lambda f: data.judged(f, SEED, [0.85] * 6, lefties=2)),
        Case("best_of_n", "mild", "a flaw in 2 % of the answers", lambda f: data.best_of_n(f, SEED, 0.02, 1.8)),
        Case("best_of_n", "severe", "a flaw in 3 % of the answers that costs much", lambda f: data.best_of_n(f, SEED, 0.03, 3)),
        Case("regression", "mild", "a task falls from 0.70 to 0.66", lambda f: data.forgotten(f, SEED, 0.7, 0.66)),
        Case("regression", "severe", "a task falls from 0.70 to 0.55", lambda f: data.forgotten(f, SEED, 0.7, 0.55)),
        Case(None, "prompts", "different prompts, a test file of others", lambda f: data.leak(f, SEED + 1, 0, 40)),
        Case(None, "pairs", "pairs of any length", lambda f: data.lengthy(f, SEED + 2, 0.53)),
        Case(None, "people", "five people who are right in 85 of 100", lambda f: data.judged(f, SEED + 3, [0.85] * 5)),
        Case(None, "best-of-n", "no flaw to find", lambda f: data.best_of_n(f, SEED + 4, 0.0, 0.0)),
        Case(None, "tasks", "nothing forgotten", lambda f: data.forgotten(f, SEED + 5, 0.7, 0.7)),
    ]


def runs() -> list[Case]:
    """The stored logs of trained runs."""
    return [_stored(json.loads(line)) for line in LOGS.read_text("utf-8").splitlines()]


def missing() -> list[str]:
    """Planned runs whose logs are not stored."""
    import planted_runs as planted

    stored = {case.name for case in runs()}
    return [one.name for one in planted.EVERY if one.name not in stored]


def cases() -> list[Case]:
    """All, in the order of the rules, the healthy ones last."""
    from plaudit.evaluation.doctor import chosen_rules

    order = [rule.name for rule in chosen_rules()]
    found = [*files(), *runs()]
    return sorted(found, key=lambda case: (order.index(case.rule) if case.rule else len(order), case.rule is None))


def _stored(record: dict[str, Any]) -> Case:
    def lay(folder: Path) -> list[str]:
        for name, table in record["files"].items():
            data.write(folder / name, list(_rows(table)))
        (folder / "config.yaml").write_text("bf16: false\n", "utf-8")
        return [str(folder)]

    return Case(record["rule"], record["severity"], record["about"], lay)


def _rows(table: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Columns to rows; a hole is a figure that was not logged."""
    for values in zip(*table.values(), strict=True):
        yield {name: value for name, value in zip(table, values, strict=True) if value is not None}


def _columns(path: Path, keep: Callable[[str], bool]) -> dict[str, list[Any]]:
    """Rows to columns, figures rounded to four digits."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if keep(name)]
    return {name: [_short(row.get(name)) for row in rows] for name in names}


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(one) for one in value]
    if not isinstance(value, float):
        return value
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short


def make(names: list[str]) -> None:
    """Train the runs of these names (none: all), each with a seed of its own, and store what the doctor needs of their logs."""
    import planted_runs as planted

    from plaudit.evaluation.doctor.names import NAMES
    from plaudit.schema import UserError

    known = {"step", *(name for ours, names in NAMES.items() for name in names if ours != "step_seconds")}
    stored = {}
    if names and LOGS.exists():
        records = [json.loads(line) for line in LOGS.read_text("utf-8").splitlines()]
        stored = {f"{one['rule'] or 'healthy'}-{one['severity']}": one for one in records}
    every = planted.EVERY
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        planted.world(folder, SEED)
        chosen = [(number, one) for number, one in enumerate(every) if not names or one.name in names]
        for number, one in sorted(chosen, key=lambda pair: names.index(pair[1].name) if names else pair[0]):
            try:
                run = planted.make(folder, one, SEED + number)
            except UserError as problem:
                print(f"{number + 1:3} {one.name}: could not be made: {problem}", flush=True)
                continue
            tables = {"metrics.jsonl": _columns(run / "metrics.jsonl", known.__contains__)}
            for name in ("evaluations.jsonl", "held_out_scores.jsonl"):
                if (run / name).exists():
                    tables[name] = _columns(run / name, lambda _: True)
            stored[one.name] = {
                "rule": one.rule,
                "severity": one.severity,
                "about": one.about,
                "seed": SEED + number,
                "files": tables,
            }
            print(f"{number + 1:3} {one.name}: {planted.told(run)}", flush=True)
            kept = [stored[other.name] for other in every if other.name in stored]
            LOGS.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in kept), "utf-8")


def found(case: Case, folder: Path) -> dict[str, str]:
    """Rule -> status."""
    from plaudit.evaluation.doctor import examine, look

    folder.mkdir(parents=True, exist_ok=True)
    path, *more = case.lay(folder)
    return {one.rule: one.status for one in examine(look(Path(path), Path(more[1]) if more else None))}


def looked() -> dict[str, dict[str, str]]:
    """Case -> rule -> status, of all cases."""
    with tempfile.TemporaryDirectory() as place:
        return {case.name: found(case, Path(place) / case.name) for case in cases()}


def matrix(statuses: dict[str, dict[str, str]]) -> str:
    """The confusion matrix as text: a line for each case, a column for each rule."""
    rules = list(next(iter(statuses.values())))
    lines = [" " * 34 + "".join(f"{i + 1:3}" for i in range(len(rules)))]
    for case in cases():
        own = f"{rules.index(case.rule) + 1:2} " if case.rule else "   "
        lines.append(f"{own}{case.name:31}" + "".join(f"{LETTER[statuses[case.name][name]]:>3}" for name in rules))
    lines += [f"   {name:31} not made yet" for name in missing()]
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    if "--make" in sys.argv:
        make([word for word in sys.argv[1:] if not word.startswith("--")])
    text = matrix(looked())
    if {"--write", "--make"} & {*sys.argv}:
        PAGE.write_text(BLOCK.sub(lambda old: f"{old[1]}{text}{old[2]}", PAGE.read_text("utf-8")), "utf-8")
    else:
        print(text)
