"""One model's answers in figures, and two models side by side: rewards, win rate, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.evaluation.metrics import describe
from plaudit.rewards.mix import RewardConfig, RewardMix, metrics, mix
from plaudit.schema import Completion, Prompt
from plaudit.stats import Interval, bootstrap_mean, paired_bootstrap

if TYPE_CHECKING:
    from plaudit.models.network import Network

Table = list[list[float | None]]
"""Rewards as [prompts][samples]; None where no reward applied."""


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

    members = [
        reward_of(judge, member_name(n, len(judges)), options, batch_size=16, policy_tokenizer=policy_tokenizer)
        for n, judge in enumerate(judges, 1)
    ]
    return mix(options, together(options, members)) if members or options.reward_funcs else None


def figures(asked: Sequence[Prompt], answers: Sequence[Completion], rewards: RewardMix | None) -> tuple[dict[str, Any], Table]:
    """The figures of one model's answers (prompt-major), and the table of its rewards, empty without `rewards`."""
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
    pairs = [(a, b) for mine, theirs in zip(table, other, strict=True) if (a := _whole(mine)) and (b := _whole(theirs))]
    result: dict[str, Any] = {"compared_prompts": len(pairs), "unscored_prompts": len(table) - len(pairs)}
    if pairs:
        interval = paired_bootstrap([a for a, _ in pairs], [b for _, b in pairs])
        result["win_rate"], result["win_rate_ci"] = _ends(interval)
    return result


def _whole(row: Sequence[float | None]) -> list[float]:
    """A prompt's rewards; empty where one of them is missing."""
    scores = [score for score in row if score is not None]
    return scores if len(scores) == len(row) else []


def _ends(interval: Interval) -> tuple[float, list[float]]:
    return interval.mean, [interval.low, interval.high]
