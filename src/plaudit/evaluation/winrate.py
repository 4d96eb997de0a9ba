"""Two models side by side: the win rate with its interval, at equal length, and how far it is from a decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from plaudit.evaluation.judging import Judged, PairJudgeConfig, judge_pairs
from plaudit.schema import Completion, Prompt
from plaudit.stats import Interval, bootstrap_mean, decision, length_controlled, sign_test, wilson
from plaudit.stats import wins as wins_of

Rates = Sequence[Sequence[float | None]]


def by_rewards(table: Rates, other: Rates, tolerance: float = 0.0) -> list[list[float | None]]:
    """Who wins by score: [prompts][samples] of 1, 0, 1/2, None where a score is missing. The order cannot matter."""
    return [
        [None if a is None or b is None else float(wins_of([a], [b], tolerance)[0]) for a, b in zip(mine, theirs, strict=True)]
        for mine, theirs in zip(table, other, strict=True)
    ]


def by_judge(
    options: PairJudgeConfig,
    prompts: Sequence[Prompt],
    one: Sequence[Completion],
    two: Sequence[Completion],
    told: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[list[float | None]], Judged]:
    """Who wins by the judge of `options`, as `by_rewards`; sample i of one model against sample i of the other."""
    from plaudit.engines.http import HttpEngine

    assert options.judge is not None
    url, _, model = options.judge.partition("#")
    engine = HttpEngine(
        url, model or None, timeout=options.judge_timeout, retries=options.judge_retries, concurrency=options.judge_concurrency
    )
    n = len(one) // len(prompts)
    asked = [prompt for prompt in prompts for _ in range(n)]
    judged = judge_pairs(engine, asked, [c.text for c in one], [c.text for c in two], options, told)
    return [judged.wins[i : i + n] for i in range(0, len(judged.wins), n)], judged


def comparison(wins: Rates, one: Sequence[Completion], two: Sequence[Completion]) -> dict[str, Any]:
    """Figures of one model against another, over the prompts of which all samples were compared; the others are counted.

    Lengths are words. `wins[p][s]` belongs to one[p n + s] and two[p n + s].
    """
    n = len(one) // len(wins) if wins else 0
    words = [len(a.text.split()) - len(b.text.split()) for a, b in zip(one, two, strict=True)]
    kept = [p for p, row in enumerate(wins) if row and None not in row]
    result: dict[str, Any] = {"compared_prompts": len(kept), "unscored_prompts": len(wins) - len(kept)}
    if not kept:
        return result
    each = np.array([[value for value in wins[p] if value is not None] for p in kept])
    rates, differences = each.mean(1), np.array([np.mean(words[p * n : (p + 1) * n]) for p in kept])
    result["win_rate"], result["win_rate_ci"] = ends(bootstrap_mean(each))
    controlled = length_controlled(rates, differences)
    result["win_rate_at_equal_length"], result["win_rate_at_equal_length_ci"] = ends(controlled.controlled)
    result["length_slope"], result["length_slope_ci"] = ends(controlled.slope)
    result["words_more"] = float(differences.mean())
    better, worse = int((rates > 0.5).sum()), int((rates < 0.5).sum())
    told = decision(rates)
    result |= {"better": better, "equal": len(rates) - better - worse, "worse": worse, "sign_test_p": sign_test(better, worse)}
    result |= {"verdict": {"a": "better", "b": "worse"}.get(told.verdict, told.verdict)}
    result |= {"prompts_to_decide": told.more, "detectable_win_rate": told.detectable}
    if controlled.misleading:
        result["note"] = "length explains more than 10 points of the win rate: read the one at equal length"
    return result


def judge_figures(judged: Judged) -> dict[str, Any]:
    """What is to be known of a judge: verdicts that are missing and why, how often it followed the place."""
    pairs = sum(win is not None for win in judged.wins)
    found: dict[str, Any] = {
        "judged_pairs": pairs,
        "missing_verdicts": sum(judged.failures.values()),
        "missing_because": dict(judged.failures),
    }
    if pairs:
        found["followed_the_place"], found["followed_the_place_ci"] = ends(wilson(judged.flips, pairs))
    if judged.named:
        found["first_place_wins"], found["first_place_wins_ci"] = ends(wilson(judged.first, judged.named))
    return found


def ends(interval: Interval) -> tuple[float, list[float]]:
    """An interval as a result shows it: the value, and [low, high]."""
    return interval.mean, [interval.low, interval.high]
