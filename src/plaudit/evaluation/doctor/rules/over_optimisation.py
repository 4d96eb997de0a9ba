"""The reward rises: does anything that was not trained on rise with it?"""

from __future__ import annotations

import math

import numpy as np

from plaudit.evaluation.doctor.evidence import Evidence, Points, spread
from plaudit.evaluation.doctor.finding import Reading, Rule, unknown

MOVED = 0.05
"""Deviations of the reward over prompts by which the proxy must have risen: without that, no alarm."""
SURE, ALONE = 2.5, 3.5
"""Standard errors below the best that the second evaluation in a row must be, and one alone. The best is the highest of
several, so chance alone puts the next ones below it by one or two."""
STEPS = 3
"""Evaluations that a slope is taken over."""


def examine(evidence: Evidence) -> Reading:
    """The fall of the independent score from its best evaluation, in standard errors over prompts (paired where known)."""
    proxy, gold = evidence.proxy_and_independent()
    if len(proxy) < 2 or len(gold) < 2:
        return unknown("two evaluations with an independent score (independent_reward_model_path or independent_reward_funcs)")
    best = max(range(len(gold)), key=lambda i: -math.inf if math.isnan(gold[i][1]) else gold[i][1])
    falls = [_fall(evidence, gold, best, i) for i in range(len(gold))]
    size = falls[-1]
    moved = proxy_moved(evidence)
    if moved <= MOVED:
        return Reading("ok", size, (size - 1.96, size + 1.96))
    said = (f"the reward rose by {moved:.2f} deviations and the independent score is best at step {gold[best][0]:.0f}",)
    if size >= ALONE or (best < len(gold) - 2 and falls[-2] >= 1 and size >= SURE):
        return Reading("act", size, (size - 1.96, size + 1.96), said)
    if best < len(gold) - 1 and _slope(gold[-STEPS:]) <= 0 and _slope(proxy[-STEPS:]) > 0 and size >= 1:
        return Reading("watch", size, (size - 1.96, size + 1.96), said)
    return Reading("ok", size, (size - 1.96, size + 1.96))


def proxy_moved(evidence: Evidence) -> float:
    """Rise of the proxy since the first evaluation, in deviations over prompts; of means alone, in deviations of those."""
    proxy, _ = evidence.proxy_and_independent()
    if len(proxy) < 2:
        return math.nan
    rows = evidence.evaluations
    scale = spread(rows[0].reward.tolist()) if rows else spread([value for _, value in proxy])
    return (proxy[-1][1] - proxy[0][1]) / scale


def _fall(evidence: Evidence, gold: Points, best: int, place: int) -> float:
    """Standard errors from the best evaluation down to this one."""
    seen = [one.independent for one in evidence.evaluations if one.independent is not None]
    if len(seen) == len(gold):
        lost = seen[best] - seen[place]
        error = float(lost.std(ddof=1)) / math.sqrt(len(lost)) if len(lost) > 1 else 0.0
        return float(lost.mean()) / error if error else (0.0 if lost.mean() == 0 else math.copysign(99.0, lost.mean()))
    steps = np.diff([value for _, value in gold])
    error = float(np.std(steps)) / math.sqrt(2) or 1e-12
    return (gold[best][1] - gold[place][1]) / error


def _slope(points: Points) -> float:
    steps, values = np.array(points).T
    return float(np.polyfit(steps - steps.mean(), values, 1)[0]) if len(points) > 1 else 0.0


RULE = Rule(
    name="over_optimisation",
    number=15,
    about="Does an independent measure rise with the reward?",
    threshold="fall of the independent score from its best evaluation in paired standard errors, where the reward rose by more "
    "than 0.05 deviations: act at 1 in one evaluation and 2.5 in the next, or at 3.5; watch at 1 with a falling slope",
    source="Gao et al. 2210.10760, Bai et al. 2204.05862 (two models on two halves); gate: CoursIA #9583, #9592",
    causes=("the reward can be had without what it stands for", "too few pairs behind the reward model", "a low KL price"),
    next="train again with guard=stop, which keeps the model of the turn; then reward_ensemble=lower_confidence_bound and "
    "kl_target=6",
    examine=examine,
    metrics=("eval_reward", "eval_independent"),
)
