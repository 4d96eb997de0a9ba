"""Can the new model still do what the old one could? Paired, task by task."""

from __future__ import annotations

import math

from plaudit.evaluation.doctor.evidence import Evidence
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown

WATCH, ACT = 2.0, 3.0
LEAST = 20


def examine(evidence: Evidence) -> Reading:
    """The largest fall of a task, in standard errors of the paired difference."""
    tasks = {name: pair for name, pair in evidence.tasks.items() if len(pair[0]) >= LEAST}
    if not tasks:
        return unknown(f"tasks.jsonl with {LEAST} rows or more of a task: task, before and after")
    falls = {}
    for name, (before, after) in tasks.items():
        lost = before - after
        error = float(lost.std(ddof=1)) / math.sqrt(len(lost))
        falls[name] = float(lost.mean()) / error if error else math.copysign(99.0, lost.mean()) if lost.mean() else 0.0
    worst = max(falls, key=lambda name: falls[name])
    size, (before, after) = falls[worst], tasks[worst]
    said = (f"{worst} fell from {before.mean():.3g} to {after.mean():.3g} on {len(before)} items",)
    return Reading(graded(size, WATCH, ACT), size, (size - 1.96, size + 1.96), said)


RULE = Rule(
    name="regression",
    number=18,
    about="Can the new model still do what the old one could?",
    threshold="largest fall of a task in standard errors of the paired difference: watch above 2, act above 3",
    source="house rule; the alignment tax of small models: Bai et al. 2204.05862, Ouyang et al. 2203.02155",
    causes=("nothing but the reward is trained on", "the policy went far from the reference (see kl_budget)"),
    next="train with ptx_coef=0.1 ptx_file=DEMONSTRATIONS, or a higher kl_coef",
    examine=examine,
)
