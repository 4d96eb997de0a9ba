"""How much of the win rate is length?"""

from __future__ import annotations

import math

import numpy as np

from plaudit.evaluation.doctor.evidence import Evidence, first, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown
from plaudit.evaluation.doctor.rules.over_optimisation import MOVED, proxy_moved
from plaudit.stats import Floats, wins

WATCH, ACT = 0.05, 0.10
GROWTH = (0.30, 0.75)
LEAST, RIDGE, DRAWS = 16, 1.0, 200


def examine(evidence: Evidence) -> Reading:
    """Win rate of the last evaluation over the first by the reward, less the same at equal length."""
    seen = evidence.evaluations
    if len(seen) > 1 and len(seen[0].reward) >= LEAST:
        won, longer = wins(seen[-1].reward, seen[0].reward), seen[-1].length - seen[0].length
        return _gap(won, longer, proxy_moved(evidence))
    length, reward = evidence.points("eval_length", "length"), evidence.points("eval_reward", "reward")
    growth = recent(length, 3)[0] / (first(length) or math.nan) - 1
    if math.isnan(growth) or len(reward) < 2:
        return unknown("evaluations.jsonl, or lengths and rewards over the run")
    rose = recent(reward, 3)[0] > first(reward)
    return Reading(
        graded(growth, *GROWTH) if rose else "ok", growth, None, (f"answers grew by {growth:.0%} while the reward rose",)
    )


def _gap(won: Floats, longer: Floats, moved: float) -> Reading:
    value = float(won.mean()) - controlled(won, longer)
    random = np.random.default_rng(0)
    drawn = (random.integers(len(won), size=len(won)) for _ in range(DRAWS))
    gaps = [float(won[rows].mean()) - controlled(won[rows], longer[rows]) for rows in drawn]
    low, high = (float(end) for end in np.quantile(gaps, (0.025, 0.975)))
    status = graded(value, WATCH, ACT) if moved > MOVED and low > 0 else "ok"
    at_equal = float(won.mean()) - value
    said = (
        f"the win rate is {won.mean():.2f}, at equal length {at_equal:.2f}; answers changed by {longer.mean():+.1f} tokens",
    )
    return Reading(status, value, (low, high), said)


def controlled(won: Floats, longer: Floats) -> float:
    """Win rate at equal length: logit P(win) = a + b x, x the difference of length over its root mean square; sigmoid(a).

    The logistic regression of AlpacaEval 2 (Dubois et al. 2404.04475) without its terms for the instruction; `b` has a ridge
    so that it is finite where length tells wins apart without error. `won` may hold ties as one half.
    """
    x = longer / (float(np.sqrt((longer**2).mean())) or 1.0)
    design = np.stack([np.ones_like(x), x], axis=1)
    weights = np.zeros(2)
    for _ in range(50):
        chance = 0.5 * (1 + np.tanh(0.5 * (design @ weights)))
        penalty = np.array([1e-3, RIDGE])
        gradient = design.T @ (chance - won) + penalty * weights
        curvature = (design.T * np.maximum(chance * (1 - chance), 1e-6)) @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - np.clip(step, -2.0, 2.0)
        if float(np.abs(step).max()) < 1e-8:
            break
    return float(0.5 * (1 + np.tanh(0.5 * weights[0])))


RULE = Rule(
    name="length_control",
    number=19,
    about="How much of the win rate is length?",
    threshold="win rate of the last evaluation over the first by the reward, less the same at equal length, where the reward "
    "rose: watch above 0.05, act above 0.10, with an interval above 0; of logs without prompts, growth of the length: 0.30 "
    "and 0.75",
    source="Singhal et al. 2310.03716: 70 to 90 % of PPO's gains are length; Dubois et al. 2404.04475; levels: house rule",
    causes=("the reward pays for length (see reward_length)", "nothing is taken off for long answers"),
    next="train with reward_funcs=[soft_overlong_punishment] or length_penalty, and compare at equal length",
    examine=examine,
    metrics=("eval_length", "length"),
)
