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
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN|MODEL", help="Answer with this one too, and compare; often: ratings."),
    ] = None,
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
    from plaudit.data.readers import write_jsonl
    from plaudit.evaluation import measuring
    from plaudit.evaluation.judging import PairJudgeConfig
    from plaudit.evaluation.measuring import MeasureConfig
    from plaudit.evaluation.subject import Subject
    from plaudit.evaluation.tasks import code
    from plaudit.evaluation.tasks.task import read_tasks
    from plaudit.rewards.mix import RewardConfig
    from plaudit.rewards.sandbox import running as sandbox
    from plaudit.schema import Sampling

    if prompts is not None and "=" in prompts and not Path(prompts).exists():
        words, prompts = [prompts, *(words or [])], None
    resolved = load(
        [Sampling, RewardConfig, PairJudgeConfig, MeasureConfig, sandbox.SandboxConfig, ReadConfig], None, words or []
    )
    if prompts is None and not task:
        raise UserError("nothing to evaluate on: give a file with prompts, or --task NAME")
    if resolved[PairJudgeConfig].judge is not None and (not against or prompts is None):
        raise UserError("a judge compares two models on prompts: give PROMPTS and --against MODEL")
    names, tasks = [model, *(against or [])], read_tasks(task or [])
    if len(set(names)) < len(names) > 2:
        raise UserError("--against names a model twice; name each once")
    if code.ready(tasks, resolved[sandbox.SandboxConfig]) and (weak := sandbox.warning()):
        typer.echo(weak, err=True)
    subjects = [Subject(name) for name in names]
    result: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    if prompts is not None:
        asked = prompts_of(Path(prompts), resolved[ReadConfig])
        configs = (resolved[Sampling], resolved[RewardConfig], resolved[PairJudgeConfig], resolved[MeasureConfig])
        result, rows = measuring.on_prompts(subjects, asked, n, *configs, progress)
    if tasks:
        options = resolved[MeasureConfig], resolved[sandbox.SandboxConfig]
        told, outcomes = measuring.measured(tasks, subjects, progress, options[0].perturb, options[1])
        result |= told
        for subject, mine in zip(subjects, outcomes, strict=True):
            rows += [{"model": subject.name, "task": one.task, **sample} for one in mine for sample in one.samples]
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(output, rows)
    if as_json:
        emit(result, True)
    else:
        _shown(result)


def _shown(result: dict[str, Any]) -> None:
    """A table with a column for each model, what compares them, and the tasks."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    columns = [result.pop(role) for role in list(result) if role == "model" or role.startswith("against")]
    if columns:
        shown = Table("", *(escape(column.pop("name")) for column in columns), box=None, header_style="bold")
        for name in columns[0]:
            shown.add_row(name, *(figure(column.get(name)) for column in columns))
        console.print(shown, "")
    parts = {name: result.pop(name, None) for name in ("ratings", "pairs", "tasks", "tasks_against", "regressions")}
    if result:
        emit(result, False)
    if parts["ratings"]:
        console.print(_ratings(parts["ratings"]), "")
        console.print(_pairs(parts["pairs"]), "")
    if parts["tasks"]:
        console.print(_tasks(parts["tasks"], parts["tasks_against"], parts["regressions"]))


def _ratings(rated: list[dict[str, Any]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table("place", "model", "Elo", "95 %", box=None, header_style="bold")
    for one in rated:
        table.add_row(figure(one["place"]), escape(one["model"]), figure(one["elo"]), figure(one["elo_ci"]))
    return table


def _pairs(compared: list[dict[str, Any]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table("model", "against", "wins", "95 %", "p", box=None, header_style="bold")
    for one in compared:
        cells = (figure(one[name]) for name in ("win_rate", "win_rate_ci", "p"))
        table.add_row(escape(one["model"]), escape(one["against"]), *cells)
    return table


def _tasks(tasks: dict[str, Any], other: dict[str, Any] | None, regressions: list[dict[str, Any]] | None) -> Any:
    """A row for each task's main figure, and below it its other figures."""
    from rich.markup import escape
    from rich.table import Table

    changes = {one["task"]: one for one in regressions or []}
    table = Table("task", "figure", "model", "95 %", box=None, header_style="bold")
    for column in ("against", "difference", "95 %", "p") if other else ():
        table.add_column(column)
    for name, told in tasks.items():
        metric = list(told)[1]
        row = [escape(name), metric, figure(told[metric]), figure(told[f"{metric}_ci"])]
        if other:
            change = changes[name]
            row += [figure(other[name][metric]), figure(change["difference"]), figure(change["difference_ci"])]
            row.append(figure(change["p"]) + (" [red]forgotten[/]" if change["forgotten"] else ""))
        table.add_row(*row)
        for key, value in list(told.items())[3:]:
            if isinstance(value, int | float):
                table.add_row("", escape(key), figure(value))
    return table
