"""Figures of sampled answers, by TRL's names where it has them: lengths, variety, what the reward pays for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from plaudit.evaluation.metrics import distinct_n, repetition_share
from plaudit.schema import Scored
from plaudit.training.filter_groups import Group, flat


def lengths(scored: Sequence[Scored]) -> dict[str, float]:
    """Tokens of all answers, and of those that ended by themselves (left out where none did), by TRL's names."""
    found: dict[str, float] = {}
    for name, chosen in (
        ("length", scored),
        ("terminated_length", [item for item in scored if not item.completion.truncated]),
    ):
        counts = [len(item.completion.tokens) for item in chosen]
        if counts:
            found |= {
                f"completions/mean_{name}": sum(counts) / len(counts),
                f"completions/min_{name}": float(min(counts)),
                f"completions/max_{name}": float(max(counts)),
            }
    return found


DISTINCT_TOKENS = 64
"""Tokens of an answer that count for its variety, so that longer answers do not look less varied."""


def variety(scored: Sequence[Scored]) -> dict[str, float]:
    """Of evaluated answers: their length, how different they are from each other, how far they repeat themselves, blanks.

    `distinct_2` (over the first 64 tokens of each) is left out where no answer has two tokens.
    """
    answers = [item.completion.tokens for item in scored]
    found = {
        "mean_length": sum(map(len, answers)) / len(answers),
        "repetition": sum(map(repetition_share, answers)) / len(answers),
        "empty_ratio": sum(not item.completion.text.strip() for item in scored) / len(answers),
    }
    if any(len(tokens) > 1 for tokens in answers):
        found["distinct_2"] = distinct_n([tokens[:DISTINCT_TOKENS] for tokens in answers], 2)
    return found


def independent_moments(values: Sequence[float]) -> dict[str, float]:
    """Mean and deviation (n - 1) of the independent scores; nothing where there are none."""
    if not values:
        return {}
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"eval_independent/mean": statistics.fmean(values), "eval_independent/std": deviation}


def pays_length(groups: Sequence[Group]) -> dict[str, float]:
    """Pearson's correlation of reward and length, both less their mean over the prompt where it has several answers.

    Left out where rewards or lengths do not differ.
    """
    rewards, sizes = [], []
    for group in groups:
        answers = [(item.reward, float(len(item.completion.tokens))) for item in group if item.reward is not None]
        middle = [sum(column) / len(answers) for column in zip(*answers, strict=True)] if len(answers) > 1 else [0.0, 0.0]
        rewards += [reward - middle[0] for reward, _ in answers]
        sizes += [size - middle[1] for _, size in answers]
    count = max(1, len(rewards))
    mean, size = sum(rewards) / count, sum(sizes) / count
    both = sum((r - mean) * (s - size) for r, s in zip(rewards, sizes, strict=True))
    each = math.sqrt(sum((r - mean) ** 2 for r in rewards) * sum((s - size) ** 2 for s in sizes))
    return {"reward_length_correlation": max(-1.0, min(1.0, both / each))} if each > 1e-12 else {}


def spread(groups: Sequence[Group]) -> dict[str, float]:
    """Share of prompts whose answers all earned the same: they teach an algorithm that compares siblings nothing."""
    if len(groups[0]) < 2:
        return {}
    return {"frac_reward_zero_std": sum(map(flat, groups)) / len(groups)}
