"""Does one update move the policy so far that clipping throws most of it away?"""

from __future__ import annotations

import math

from plaudit.evaluation.doctor.evidence import Evidence, greatest, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown, worse

KL, CLIPPED, RATIO = (0.05, 0.1), (0.3, 0.5), (0.05, 0.5)


def examine(evidence: Evidence) -> Reading:
    """Approximate KL of an update, share of clipped tokens, and how far the mean ratio is from 1; the gravest counts."""
    kl, ends = greatest(evidence.points("approx_kl"))
    clipped, clipped_ends = greatest(evidence.points("clip_fraction"))
    ratio, _ = recent(evidence.points("ratio"))
    if math.isnan(kl) and math.isnan(clipped):
        return unknown("policy/approxkl_avg or policy/clipfrac_avg (actor/ppo_kl, actor/pg_clipfrac, ppo_kl, ppo_clip_ratio)")
    seen = [graded(kl, *KL), graded(clipped, *CLIPPED), graded(abs(ratio - 1), *RATIO)]
    status = worse(*(one for one in seen if one != "unknown"))
    causes = [f"{clipped:.0%} of the tokens are clipped"] if clipped > CLIPPED[0] else []
    causes += [f"the mean ratio is {ratio:.2f}"] if abs(ratio - 1) > RATIO[0] else []
    return Reading(status, *((clipped, clipped_ends) if math.isnan(kl) else (kl, ends)), tuple(causes))


RULE = Rule(
    name="update_size",
    number=11,
    about="Are single updates too large?",
    threshold="KL of one update in nats per token: watch above 0.05, act above 0.1; share of clipped tokens: 0.3 and 0.5; "
    "distance of the mean ratio from 1: 0.05 and 0.5 "
    "(highest median of 5 steps in a row; the ratio of the last 5)",
    source="N+ reproduction logs reach 0.008 and 0.07 (2403.17031), stabilityguard 0.1 and 0.5; the watch levels: house rule",
    causes=("the learning rate is too high", "too many passes over each batch", "advantages are not whitened"),
    next="halve learning_rate, or train with num_ppo_epochs=2 target_kl=0.02",
    examine=examine,
    metrics=("approx_kl", "clip_fraction"),
)
