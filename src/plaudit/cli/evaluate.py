"""`plaudit evaluate MODEL PROMPTS`: answers to held-out prompts in figures, alone or against another model's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plaudit.cli.show import AsJson, Words, emit, figure, progress, prompts_of


def evaluate(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, a model folder, file or name, or URL#MODEL.")],
    prompts: Annotated[Path, typer.Argument(help="A file with prompts that were held out from training.")],
    words: Words = None,
    against: Annotated[str | None, typer.Option(metavar="RUN|MODEL", help="Answer with this one too, and compare.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Answers to each prompt.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model: `plaudit evaluate RUN held-out.jsonl --against MODEL "reward_funcs=[rules.py:polite]"`."""
    from plaudit.config import load
    from plaudit.data.options import ReadConfig
    from plaudit.engines.opening import open_engine
    from plaudit.evaluation.against import compared, figures, judges_of, rewards_of
    from plaudit.rewards.mix import RewardConfig
    from plaudit.schema import Sampling

    resolved = load([Sampling, RewardConfig, ReadConfig], None, words or [])
    judges = judges_of(resolved[RewardConfig])
    asked = prompts_of(prompts, resolved[ReadConfig])
    result: dict[str, Any] = {"prompts": len(asked), "samples": n}
    tables = []
    for role, name in {"model": model, "against": against}.items():
        if name is None:
            continue
        engine = open_engine(name)
        rewards = rewards_of(resolved[RewardConfig], judges, engine.tokenizer)
        with progress(f"answers of {name}") as told:
            answers = engine.generate(asked, n, resolved[Sampling], told)
        found, table = figures(asked, answers, rewards)
        result[role] = {"name": name, **found}
        tables.append(table)
    if against and all(tables):
        result |= compared(*tables)
    if as_json:
        emit(result, True)
    else:
        _side_by_side(result)


def _side_by_side(result: dict[str, Any]) -> None:
    """A table with a column for each model, then what compares them."""
    from rich.console import Console
    from rich.table import Table as Shown

    columns = [result.pop(role) for role in ("model", "against") if role in result]
    shown = Shown("", *(column.pop("name") for column in columns), box=None, header_style="bold")
    for name in columns[0]:
        shown.add_row(name, *(figure(column.get(name)) for column in columns))
    Console(highlight=False).print(shown, "")
    emit(result, False)
