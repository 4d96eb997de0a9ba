"""How much of the win rate is length?"""

from __future__ import annotations

import math

from plaudit.evaluation.doctor.evidence import Evidence, first, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown
from plaudit.evaluation.doctor.rules.over_optimisation import MOVED, proxy_moved
from plaudit.stats import Floats, length_controlled, wins

WATCH, ACT = 0.05, 0.10
GROWTH = (0.30, 0.75)
LEAST, DRAWS = 16, 200


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
    found = length_controlled(won, longer, resamples=DRAWS)
    value, low, high = found.length
    status = graded(value, WATCH, ACT) if moved > MOVED and low > 0 else "ok"
    said = (
        f"the win rate is {found.raw.mean:.2f}, at equal length {found.controlled.mean:.2f}; "
        f"answers changed by {longer.mean():+.1f} tokens",
    )
    return Reading(status, value, (low, high), said)


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
