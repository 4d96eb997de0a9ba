"""How far has the policy gone from the reference?"""

from __future__ import annotations

import math

from plaudit.evaluation.doctor.evidence import Evidence, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown

WATCH, ACT = 10.0, 25.0


def examine(evidence: Evidence) -> Reading:
    """Per answer; a KL per token is multiplied with the mean length. `guard_kl_budget` takes the place of the threshold."""
    budget = evidence.options.get("guard_kl_budget")
    watch, act = (0.5 * float(budget), float(budget)) if budget else (WATCH, ACT)
    value, ends = recent(evidence.points("kl_answer"))
    if math.isnan(value):
        each, ends = recent(evidence.points("kl_token"))
        length, _ = recent(evidence.points("length"))
        if math.isnan(each) or math.isnan(length):
            return unknown("the KL to the reference (objective/kl; or kl, actor/reward_kl_penalty with the answers' length)")
        value, ends = each * length, (ends[0] * length, ends[1] * length)
    return Reading(graded(value, watch, act), value, ends)


RULE = Rule(
    name="kl_budget",
    number=10,
    about="Has the policy gone too far from the reference?",
    threshold="KL to the reference in nats per answer, median of the last 5 steps (interval: their range): watch above 10, "
    "act above 25, or half and whole of guard_kl_budget",
    source="TRL #612 (0 to 10 is healthy), Ziegler et al. 1909.08593 (target 6); 52B models reach 100 (Bai et al. 2204.05862)",
    causes=("kl_coef is too low, or 0", "the learning rate is too high", "too many passes over each batch"),
    next="train again with kl_coef=0.1, or an adaptive one: kl_target=6; target_kl=0.02 ends an update that goes too far",
    examine=examine,
    metrics=("kl_answer", "kl_token"),
)
