"""One task from a YAML file.

    name: capitals
    data: capitals.jsonl                  # beside this file; or `rows:` with the rows themselves
    prompt: "What is the capital of {country}?"
    answer: "{capital}"                   # a column that holds a list names several right answers
    metrics: [exact_match, f1]            # the first is the main one
    examples: 2                           # rows shown solved before each question, and not asked
    max_new_tokens: 32

kind: answer      scored against the reference by `metrics` (evaluation/reference.py); with `labels`, classification figures too
      choice      `choices` ("{a}" templates, or the name of a column with a list), `answer` the right one or its number, from 0
      perplexity  `text` of each row: bits per byte, perplexity per token
      refusal     column `label` says safe or unsafe: refusals of either kind
      code        tests beside the prompt (rewards/sandbox/rows.py): the answer's program is run against them
      bias        `prompt` with {group}, `groups` that are swapped for each other
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from plaudit.evaluation.perturbing import perturbed
from plaudit.evaluation.reference import METRICS
from plaudit.schema import JSON, UserError

KINDS = ("answer", "choice", "perplexity", "refusal", "bias", "code")
GROUPS = {
    "forgetting": ("facts", "grammar", "arithmetic", "prose"),
    "transfer": ("facts", "arithmetic", "following"),
    "safety": ("refusals", "swaps"),
}
"""Names that stand for several built-in tasks."""
BUILT_IN = Path(__file__).parent / "builtin"
SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Task:
    """A task as its file says it; `rows` are read."""

    name: str
    rows: tuple[JSON, ...]
    kind: str = "answer"
    prompt: str = "{prompt}"
    system: str = ""
    answer: str = "{answer}"
    text: str = "{text}"
    choices: str | tuple[str, ...] = "choices"
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("exact_match",)
    examples: int = 0
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    max_new_tokens: int = 128
    temperature: float = 0.0
    samples: int = 1
    perturbation: str = ""
    """What is done to the question's spelling (evaluation/perturbing.py)."""
    source: str = ""
    """Where the rows come from and under which licence."""

    def asked(self) -> tuple[JSON, ...]:
        """The rows that are asked; the first `examples` are shown solved."""
        return self.rows[self.examples :]

    def question(self, row: JSON) -> str:
        text = filled(self.prompt, self._columns(row), self.name)
        return perturbed(text, self.perturbation) if self.perturbation else text

    def _columns(self, row: JSON) -> JSON:
        """What a template can name: lists of tests line by line, and MBPP's `text` as the prompt."""
        if self.kind != "code":
            return row
        lines = {name: "\n".join(map(str, value)) for name, value in row.items() if isinstance(value, list)}
        return {"prompt": row["text"], **row, **lines} if "text" in row else {**row, **lines}

    def references(self, row: JSON) -> list[str]:
        """The right answers of a row."""
        name = SLOT.fullmatch(self.answer)
        value = row.get(name.group(1)) if name else None
        return [str(one) for one in value] if isinstance(value, list) and value else [filled(self.answer, row, self.name)]

    def choices_of(self, row: JSON) -> tuple[list[str], int]:
        """The choices and the number of the right one, from 0."""
        listed = row.get(self.choices) if isinstance(self.choices, str) else [filled(c, row, self.name) for c in self.choices]
        if not isinstance(listed, list) or len(listed) < 2:
            raise UserError(f"task {self.name}: each row needs a list of two choices or more in the column {self.choices}")
        given, choices = self.references(row)[0], [str(choice) for choice in listed]
        if given in choices:
            return choices, choices.index(given)
        if given.isdigit() and int(given) < len(choices):
            return choices, int(given)
        raise UserError(f"task {self.name}: the answer {given!r} is neither a choice nor the number of one ({choices})")


def filled(template: str, row: Mapping[str, Any], task: str) -> str:
    """`{column}` replaced by the row's value; nothing else of a template is looked at."""

    def value(slot: re.Match[str]) -> str:
        if slot.group(1) not in row:
            raise UserError(f"task {task}: a row has no column {slot.group(1)!r}; it has {', '.join(map(str, row)) or 'none'}")
        return str(row[slot.group(1)])

    return SLOT.sub(value, template)


def task_names() -> list[str]:
    """The built-in tasks, and the names of groups."""
    return [*sorted(path.stem for path in BUILT_IN.glob("*.yaml")), *GROUPS]


def read_tasks(names: Sequence[str]) -> list[Task]:
    """Tasks by built-in name, group name or file, each once. UserError names the nearest where there is none."""
    wanted = [part for name in names for part in GROUPS.get(name, (name,))]
    return [read_task(name) for name in dict.fromkeys(wanted)]


def read_task(name: str) -> Task:
    """One task. UserError: no such file or name, an unknown key, rows that do not fit."""
    path = BUILT_IN / f"{name}.yaml" if re.fullmatch(r"\w+", name) else Path(name)
    if not path.is_file():
        near = difflib.get_close_matches(name, task_names(), n=1)
        advice = f"did you mean {near[0]}?" if near else f"built in are {', '.join(task_names())}"
        raise UserError(f"there is no task {name}: give a task file (docs/evaluate.md) or a name; {advice}")
    try:
        given = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise UserError(f"{path} is not readable YAML: {' '.join(str(problem).split())}") from None
    if not isinstance(given, dict):
        raise UserError(f"{path} is not a task: it must hold `prompt:`, `data:` or `rows:` and more (docs/evaluate.md)")
    rows = _rows(given, path)
    known = {f.name for f in fields(Task)}
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise UserError(f"{path}: unknown key {key}" + (f"; did you mean {near[0]}?" if near else ""))
    return _checked({"name": path.stem, **given, "rows": rows}, path)


def _rows(given: JSON, path: Path) -> tuple[JSON, ...]:
    """The rows, and `data` and `limit` taken out of what was given."""
    from plaudit.data.files import rows as rows_of

    data, limit, rows = given.pop("data", None), given.pop("limit", None), given.pop("rows", None)
    if (data is None) == (rows is None):
        raise UserError(f"{path}: give the rows in `rows:`, or the file that holds them in `data:`")
    if data is not None:
        rows = [row for _, row in rows_of(path.parent / str(data))]
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: the rows must be a list of mappings, one at least")
    if limit is not None and not isinstance(limit, int):
        raise UserError(f"{path}: limit must be a whole number, not {limit!r}")
    return tuple(rows if limit is None else rows[:limit])


WHOLE, TEXTS = ("examples", "max_new_tokens", "samples"), ("name", "kind", "prompt", "system", "answer", "text", "perturbation")


def _types(given: JSON, path: Path) -> None:
    """UserError for a value of a kind that its key does not take; numbers in the place of text become text."""
    for key in WHOLE:
        if key in given and (
            not isinstance(given[key], int) or isinstance(given[key], bool) or given[key] < (key != "examples")
        ):
            raise UserError(f"{path}: {key} must be a whole number, not {given[key]!r}")
    if not isinstance(given.get("temperature", 0.0), int | float):
        raise UserError(f"{path}: temperature must be a number, not {given['temperature']!r}")
    for key in TEXTS:
        if isinstance(given.get(key), list | dict):
            raise UserError(f"{path}: {key} must be text, not {given[key]!r}")
        if key in given:
            given[key] = str(given[key])
    groups = given.get("groups", {})
    if not isinstance(groups, dict) or not all(isinstance(members, list) for members in groups.values()):
        raise UserError(f"{path}: groups must be lists by axis, as in {{age: [a young person, an old person]}}")


def _checked(given: JSON, path: Path) -> Task:
    _types(given, path)
    for name in ("labels", "metrics"):
        if name in given:
            listed = given[name] if isinstance(given[name], list) else [given[name]]
            given[name] = tuple(str(one) for one in listed)
    if isinstance(given.get("choices"), list):
        given["choices"] = tuple(str(one) for one in given["choices"])
    if "groups" in given:
        given["groups"] = {axis: tuple(str(one) for one in members) for axis, members in given["groups"].items()}
    task = Task(**given)
    if task.kind not in KINDS:
        raise UserError(f"{path}: kind {task.kind!r} is none of {', '.join(KINDS)}")
    if bad := [metric for metric in task.metrics if metric not in METRICS]:
        raise UserError(f"{path}: unknown metric {bad[0]}; there are {', '.join(METRICS)}")
    if not task.metrics:
        raise UserError(f"{path}: name one metric at least")
    if not 0 <= task.examples < len(task.rows):
        raise UserError(f"{path}: {task.examples} examples leave nothing to ask of {len(task.rows)} rows")
    if task.kind == "bias" and not all(len(members) > 1 for members in task.groups.values()):
        raise UserError(f"{path}: a bias task needs `groups:` with two members or more on each axis")
    return task
