"""Do answers to one prompt earn different rewards? Where they do not, there is nothing to learn."""

from __future__ import annotations

import math

from plaudit.evaluation.doctor.evidence import Evidence, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown

WATCH, ACT = 0.5, 0.8
FLAT = 1e-6


def examine(evidence: Evidence) -> Reading:
    """Share of prompts whose answers all earn the same; without siblings, whether rewards differ at all."""
    value, ends = recent(evidence.points("zero_signal"))
    if not math.isnan(value):
        return Reading(graded(value, WATCH, ACT), value, ends)
    deviation, ends = recent(evidence.points("reward_std"))
    if math.isnan(deviation):
        return unknown("frac_reward_zero_std (several answers to a prompt), or reward_std")
    said = (f"the deviation of the rewards is {deviation:.2g}, and no prompt has several answers",)
    return Reading("act" if deviation < FLAT else "ok", float(deviation < FLAT), None, said)


RULE = Rule(
    name="no_signal",
    number=16,
    about="Do answers to one prompt earn different rewards?",
    threshold="share of prompts whose answers all earn the same, median of the last 5 steps (interval: their range): watch "
    "above 0.5, act above 0.8; without siblings 1 where all rewards are equal: act",
    source="house rule; DAPO (2503.14476) and eight libraries filter such prompts",
    causes=("prompts are too easy or too hard", "the reward has too few levels", "answers are all alike (see diversity)"),
    next="train with filter_groups=true (grpo), more num_generations, harder prompts, or a finer reward",
    examine=examine,
    metrics=("zero_signal", "reward_std"),
)
