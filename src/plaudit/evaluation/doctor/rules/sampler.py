"""Do sampler and trainer compute the same log-probabilities? If not, every ratio and every KL is wrong."""

from __future__ import annotations

import math

from plaudit.evaluation.doctor.evidence import Evidence, finite, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown, worse

GAP = {False: (0.01, 0.1), True: (0.1, 0.25)}
"""Mean gap in nats per token, (watch, act), by bf16, whose rounding alone is 0.04."""
AT_START = {False: 1e-3, True: 0.1}
"""KL to the reference per token at the first step, above which policy and reference are not the same model."""
BELOW = -0.01
"""KL per token below which it counts as negative."""


def examine(evidence: Evidence) -> Reading:
    """The gap where it is logged; else the sign of the KL, which is negative where answers are not the policy's own."""
    bf16 = evidence.options.get("bf16") is True or evidence.origin != "plaudit"
    gap = finite(evidence.points("sampler_gap"))
    kl, per = finite(evidence.points("kl_answer")), recent(evidence.points("length"))[0]
    kl = [value / (1.0 if math.isnan(per) else per or 1.0) for value in kl] or finite(evidence.points("kl_token"))
    if not gap and not kl:
        return unknown("sampling/sampling_logp_difference/mean, or the KL to the reference")
    causes = []
    negative, _ = recent(tuple(enumerate(kl)))
    worst = recent(tuple(enumerate(gap)))[0] if gap else 0.0
    status = graded(worst, *GAP[bf16])
    if gap and (biggest := max(gap)) > GAP[bf16][1]:
        status = "act" if sum(value > GAP[bf16][1] for value in gap) > 1 else worse(status, "watch")
        causes.append(f"the gap was {biggest:.3g} nats at its greatest")
        worst = max(worst, biggest)
    if negative < BELOW:
        status = worse(status, "act" if negative < 10 * BELOW else "watch")
        causes.append(f"the KL is negative ({negative:.3g} nats per token): answers are not drawn from the policy")
    if kl and evidence.origin == "plaudit" and abs(kl[0]) > AT_START[bf16] and _first_step(evidence):
        status = worse(status, "watch")
        causes.append(f"the KL at the first step is {kl[0]:.3g} nats per token, not 0")
    return Reading(status, worst if gap else negative, None, tuple(causes))


def _first_step(evidence: Evidence) -> bool:
    points = evidence.points("kl_answer", "kl_token")
    return bool(points) and points[0][0] <= 1


RULE = Rule(
    name="sampler",
    number=9,
    about="Do sampler and trainer agree?",
    threshold="mean |log-probability of sampler - of trainer| in nats per token: watch above 0.01 (0.1 with bf16), act above "
    "0.1 (0.25); without it the KL per token: watch below -0.01, act below -0.1; at step 1 it must be 0 within 0.001",
    source="verl rollout_corr and tinker (below 0.01); negative KL: trl #256, #417, #615, #1005",
    causes=(
        "top_k, top_p, min_p or temperature of the sampler differ from the trainer's",
        "the sampler holds old weights",
        "another template or tokenizer, or pad tokens that count as ends",
    ),
    next="train with top_k=0 top_p=1.0 min_p=0 temperature=1.0; with a sampler of other arithmetic importance_sampling_cap=2",
    examine=examine,
    metrics=("sampler_gap",),
)
