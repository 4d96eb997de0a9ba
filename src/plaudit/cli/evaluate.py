"""`plaudit evaluate MODEL PROMPTS`: answers to held-out prompts in figures, alone or against another model's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plaudit.cli.show import AsJson, Words, emit, figure, progress
from plaudit.schema import Completion, Prompt

if TYPE_CHECKING:
    from plaudit.models.network import Network
    from plaudit.rewards.mix import RewardConfig, RewardMix
    from plaudit.stats import Interval

Table = list[list[float | None]]
"""Rewards as [prompts][samples]; None where no reward applied."""


def evaluate(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, a model folder, file or name, or URL#MODEL.")],
    prompts: Annotated[Path, typer.Argument(help="A JSONL file with a `prompt` column, held out from training.")],
    words: Words = None,
    against: Annotated[str | None, typer.Option(metavar="RUN|MODEL", help="Answer with this one too, and compare.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Answers to each prompt.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model: `plaudit evaluate RUN held-out.jsonl --against MODEL "reward_funcs=[rules.py:polite]"`."""
    from plaudit.config import load
    from plaudit.data.readers import read_prompts
    from plaudit.engines.opening import open_engine
    from plaudit.rewards.mix import RewardConfig
    from plaudit.schema import Sampling

    resolved = load([Sampling, RewardConfig], None, words or [])
    judges = judges_of(resolved[RewardConfig])
    asked = read_prompts(prompts)
    result: dict[str, Any] = {"prompts": len(asked), "samples": n}
    tables: list[Table] = []
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


def judges_of(options: RewardConfig) -> list[Network]:
    """The reward models that `options` name, loaded; adapters of one base share it."""
    import torch

    from plaudit.models.machine import device
    from plaudit.models.scorer import load_rewards

    return load_rewards([Path(path) for path in options.reward_models], dtype=torch.float32, device=device())


def rewards_of(options: RewardConfig, judges: Sequence[Network], policy_tokenizer: Any) -> RewardMix | None:
    """What scores the answers of one model; None where `options` name no reward."""
    from plaudit.rewards.aspects import reward_of
    from plaudit.rewards.ensemble import member_name, together
    from plaudit.rewards.mix import mix

    members = [
        reward_of(judge, member_name(n, len(judges)), options, batch_size=16, policy_tokenizer=policy_tokenizer)
        for n, judge in enumerate(judges, 1)
    ]
    return mix(options, together(options, members)) if members or options.reward_funcs else None


def figures(asked: Sequence[Prompt], answers: Sequence[Completion], rewards: RewardMix | None) -> tuple[dict[str, Any], Table]:
    """The figures of one model's answers (prompt-major), and the table of its rewards, empty without `rewards`."""
    from plaudit.evaluation.metrics import describe
    from plaudit.rewards.mix import metrics
    from plaudit.stats import bootstrap_mean

    found: dict[str, Any] = dict(describe(answers))
    if rewards is None:
        return found, []
    n = len(answers) // len(asked)
    scored = rewards.score([prompt for prompt in asked for _ in range(n)], answers)
    table = [[one.reward for one in scored[start : start + n]] for start in range(0, len(scored), n)]
    found |= metrics(scored)
    whole = [scores for row in table if (scores := _whole(row))]
    if whole:
        found["reward"], found["reward_ci"] = _ends(bootstrap_mean(whole))
    return found, table


def compared(table: Table, other: Table) -> dict[str, Any]:
    """Win rate with its paired interval, over the prompts whose answers all have a reward; the others are counted."""
    from plaudit.stats import paired_bootstrap

    pairs = [(a, b) for mine, theirs in zip(table, other, strict=True) if (a := _whole(mine)) and (b := _whole(theirs))]
    result: dict[str, Any] = {"compared_prompts": len(pairs), "unscored_prompts": len(table) - len(pairs)}
    if pairs:
        interval = paired_bootstrap([a for a, _ in pairs], [b for _, b in pairs])
        result["win_rate"], result["win_rate_ci"] = _ends(interval)
    return result


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


def _whole(row: Sequence[float | None]) -> list[float]:
    """A prompt's rewards; empty where one of them is missing."""
    scores = [score for score in row if score is not None]
    return scores if len(scores) == len(row) else []


def _ends(interval: Interval) -> tuple[float, list[float]]:
    return interval.mean, [interval.low, interval.high]
