"""Do the answers still differ? A policy that always says the same earns well and is of no use."""

from __future__ import annotations

import math

from plaudit.evaluation.doctor.evidence import Evidence, first, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, Status, graded, unknown, worse

FALL = (0.30, 0.60)
FLOOR, FAST, EARLY = 0.1, 0.80, 0.1
RISE = 2.0


def examine(evidence: Evidence) -> Reading:
    """Distinct 2-grams against the first evaluation; entropy against its floor, its start, and upwards."""
    distinct = evidence.points("distinct_2")
    entropy = evidence.points("entropy")
    if len(distinct) < 2 and not entropy:
        return unknown("eval_completions/distinct_2, or the entropy of the policy")
    causes = []
    status: Status = "ok"
    value, ends = math.nan, (math.nan, math.nan)
    if len(distinct) >= 2:
        start = first(distinct, most=1) or math.nan
        now, (low, high) = recent(distinct[1:], 3)
        value, ends = 1 - now / start, (1 - high / start, 1 - low / start)
        status = graded(value, *FALL)
    if entropy:
        now, start = recent(entropy)[0], first(entropy)
        early = [v for step, v in entropy if step <= entropy[0][0] + EARLY * (entropy[-1][0] - entropy[0][0])]
        if now < FLOOR or (len(early) > 1 and early[-1] < (1 - FAST) * start):
            status = "act"
            causes.append(f"the entropy is {now:.2g} nats per token, from {start:.2g}: nothing new is tried")
        elif now > RISE * start > 0:
            status = worse(status, "watch")
            causes.append(f"the entropy rose from {start:.2g} to {now:.2g} nats per token: the policy comes apart")
        if math.isnan(value):
            return Reading(status, now, recent(entropy)[1], tuple(causes))
    return Reading(status, value, ends, tuple(causes))


RULE = Rule(
    name="diversity",
    number=14,
    about="Do the answers still differ from each other?",
    threshold="fall of distinct-2 against the first evaluation: watch above 0.30, act above 0.60; entropy: act below 0.1 nats "
    "per token or an 80 % fall in the first tenth, watch where it doubled (the value where distinct-2 is missing)",
    source="Kirk et al. 2310.06452 (RLHF lowers diversity), verl #2738, #6382 (entropy rising); levels: house rule",
    causes=("the KL price is too low", "the learning rate is too high", "too few prompts", "one answer earns most everywhere"),
    next="train with entropy_coef=0.01 kl_coef=0.1, or epsilon_high=0.28 with grpo; ptx_coef with ptx_file keeps what was",
    examine=examine,
    metrics=("distinct_2", "entropy"),
)
