"""Tasks of kind `code`: answers become programs, programs verdicts; pass@k and the reasons of failure."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence

from plaudit.evaluation.subject import Told
from plaudit.evaluation.tasks.task import Task
from plaudit.rewards.sandbox.rows import exam_of
from plaudit.rewards.sandbox.running import REASONS, Exam, SandboxConfig, Verdict, examined, lacking, permitted
from plaudit.schema import JSON, UserError


def ready(tasks: Sequence[Task], options: SandboxConfig) -> bool:
    """Whether one of them runs written code. UserError where that is not allowed, or a row has no tests that can be run."""
    found = [task for task in tasks if task.kind == "code"]
    for task in found:
        permitted(options, f"task {task.name}")
        for number, row in enumerate(task.asked(), 1 + task.examples):
            exam = exam_of(row, "")
            if exam is None:
                wanted = "it needs the columns tests, test_list, or test and entry_point"
                raise UserError(f"task {task.name}: row {number} has no tests; {wanted}")
            try:
                ast.parse(f"{exam.prelude}\n{exam.tests}")
            except (SyntaxError, ValueError) as problem:
                raise UserError(f"task {task.name}: the tests of row {number} are no Python ({problem})") from None
    return bool(found)


def verdicts(task: Task, answers: Sequence[Sequence[str]], options: SandboxConfig, told: Told) -> list[list[Verdict]]:
    """One for each answer of each row."""
    ready([task], options)
    exams = [_exam(row, answer) for row, said in zip(task.asked(), answers, strict=True) for answer in said]
    found = examined(exams, options, told)
    return [found[i : i + task.samples] for i in range(0, len(found), task.samples)]


def _exam(row: JSON, answer: str) -> Exam:
    exam = exam_of(row, answer)
    assert exam is not None, "`ready` has looked"
    return exam


def figures(found: Sequence[Sequence[Verdict]]) -> JSON:
    """How many answers passed, and how many failed for which reason; every reason is there. And what held nobody back."""
    counted = Counter(one.reason for row in found for one in row)
    missing = lacking(found[0][0].walls)
    told: JSON = {"programs": counted.total(), **{reason: counted[reason] for reason in REASONS}}
    return {**told, "missing_walls": missing} if missing else told
