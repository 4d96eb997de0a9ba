"""`plaudit evaluate MODEL [PROMPTS] [--task NAME]`: answers and tasks in figures, alone or against another model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plaudit.cli.show import AsJson, Words, emit, figure, progress, prompts_of
from plaudit.schema import UserError


def evaluate(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, a model folder, file or name, or URL#MODEL.")],
    prompts: Annotated[
        str | None, typer.Argument(metavar="[PROMPTS]", help="A file with prompts that were held out from training.")
    ] = None,
    words: Words = None,
    against: Annotated[str | None, typer.Option(metavar="RUN|MODEL", help="Answer with this one too, and compare.")] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="A task file or name, or forgetting, transfer, safety; often.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Answers to each prompt.")] = 1,
    output: Annotated[Path | None, typer.Option(help="Write every answer with its score, as JSONL.")] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model: `plaudit evaluate RUN held-out.jsonl --against MODEL "reward_funcs=[rules.py:polite]"`."""
    from plaudit.config import load
    from plaudit.data.options import ReadConfig
    from plaudit.evaluation import measuring
    from plaudit.evaluation.against import judges_of
    from plaudit.evaluation.judging import JudgeConfig
    from plaudit.evaluation.measuring import EvaluateConfig
    from plaudit.evaluation.subject import Subject
    from plaudit.evaluation.tasks.task import read_tasks
    from plaudit.rewards.mix import RewardConfig
    from plaudit.schema import Sampling

    if prompts is not None and "=" in prompts and not Path(prompts).exists():
        prompts, words = None, [prompts, *(words or [])]
    resolved = load([Sampling, RewardConfig, JudgeConfig, EvaluateConfig, ReadConfig], None, words or [])
    rewards, judge, options = resolved[RewardConfig], resolved[JudgeConfig], resolved[EvaluateConfig]
    if prompts is None and not task:
        raise UserError("nothing to evaluate on: give a file with prompts, or --task NAME")
    if judge.judge is not None and (against is None or prompts is None):
        raise UserError("a judge compares two models on prompts: give PROMPTS and --against MODEL")
    tasks = read_tasks(task or [])
    subjects = [Subject(name) for name in (model, against) if name is not None]
    result: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    if prompts is not None:
        judges = judges_of(rewards)
        asked = prompts_of(Path(prompts), resolved[ReadConfig])
        result |= {"prompts": len(asked), "samples": n}
        if against is not None:
            result |= measuring.advice(len(asked), options.expected_win_rate)
        tables, answers = [], []
        for role, subject in zip(("model", "against"), subjects, strict=False):
            found, table, said = measuring.answered(subject, asked, n, resolved[Sampling], rewards, judges, options, progress)
            result[role] = {"name": subject.name, **found}
            tables.append(table)
            answers.append(said)
            rows += _rows(subject.name, asked, said, table)
        if against is not None:
            result |= measuring.compared(asked, tables, answers, judge, options, progress)
    if tasks:
        told, outcomes = measuring.measured(tasks, subjects, progress)
        result |= told
        for subject, mine in zip(subjects, outcomes, strict=True):
            rows += [{"model": subject.name, "task": one.task, **sample} for one in mine for sample in one.samples]
    if output is not None:
        from plaudit.data.readers import write_jsonl

        output.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(output, rows)
    if as_json:
        emit(result, True)
    else:
        _shown(result)


def _rows(name: str, asked: list[Any], said: list[Any], table: Any) -> list[dict[str, Any]]:
    n = len(said) // len(asked)
    rewards = [value for row in table for value in row] or [None] * len(said)
    return [
        {"model": name, "prompt_id": asked[i // n].id, "answer": one.text, "truncated": one.truncated, "score": rewards[i]}
        for i, one in enumerate(said)
    ]


def _shown(result: dict[str, Any]) -> None:
    """A table with a column for each model, what compares them, and the tasks."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    columns = [result.pop(role) for role in ("model", "against") if role in result]
    if columns:
        shown = Table("", *(escape(column.pop("name")) for column in columns), box=None, header_style="bold")
        for name in columns[0]:
            shown.add_row(name, *(figure(column.get(name)) for column in columns))
        console.print(shown, "")
    tasks, other = result.pop("tasks", {}), result.pop("tasks_against", {})
    changes = {one["task"]: one for one in result.pop("regressions", [])}
    if result:
        emit(result, False)
    if tasks:
        table = Table("task", "figure", "model", "95 %", box=None, header_style="bold")
        for column in ("against", "difference", "95 %", "p") if other else ():
            table.add_column(column)
        for name, told in tasks.items():
            metric = list(told)[1]
            row = [escape(name), metric, figure(told[metric]), figure(told[f"{metric}_ci"])]
            if other:
                change = changes[name]
                lost = " [red]forgotten[/]" if change["forgotten"] else ""
                row += [figure(other[name][metric]), figure(change["difference"]), figure(change["difference_ci"])]
                row.append(figure(change["p"]) + lost)
            table.add_row(*row)
            for key, value in list(told.items())[3:]:
                if isinstance(value, int | float) or value is None:
                    table.add_row("", key, figure(value))
        console.print(table)
