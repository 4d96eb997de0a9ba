"""Are the numbers numbers? NaN, jumps of the gradient, and a run that slows down."""

from __future__ import annotations

import math
from statistics import median

from plaudit.evaluation.doctor.evidence import Evidence, finite
from plaudit.evaluation.doctor.finding import Reading, Rule, Status, unknown, worse

WATCHED = ("loss", "reward", "kl_answer", "kl_token", "entropy", "value_loss", "grad_norm", "critic_grad_norm")
JUMP, SLOW = 20.0, 2.0
BEGUN = 10
"""Steps before a gradient can jump or a run slow down."""
GROWN, FAR = 3.0, 0.5
"""The loss of a run that learns from files is blown up where it is so many times what it began with, and so much more."""


def examine(evidence: Evidence) -> Reading:
    """Counted: figures that are not finite and steps that were refused; a loss that blew up is as bad. The rest is watched."""
    seen = {name: evidence.points(name) for name in WATCHED if evidence.points(name)}
    if not seen:
        return unknown("a loss, a reward or a gradient norm in the log")
    odd = {name: sum(not math.isfinite(value) for _, value in points) for name, points in seen.items()}
    refused = sum(finite(evidence.points("refused")))
    count = sum(odd.values()) + refused
    status: Status = "act" if count else "ok"
    causes = [f"{name} is not finite in {number} steps" for name, number in odd.items() if number]
    causes += [f"{refused:.0f} optimiser steps were refused"] if refused else []
    if (times := blown_up(evidence)) is not None:
        status = "act"
        causes.append(f"the loss is {times:.3g} times what it began with")
    for name in ("grad_norm", "critic_grad_norm"):
        jumps = _above(finite(evidence.points(name)), JUMP)
        if jumps > 1:
            status = worse(status, "watch")
            causes.append(f"{name} was above {JUMP:.0f} times its median in {jumps} steps")
    seconds = finite(evidence.points("step_seconds"))
    if len(seconds) >= 2 * BEGUN and median(seconds[-BEGUN:]) > SLOW * median(seconds[:BEGUN]):
        status = worse(status, "watch")
        causes.append(f"a step takes {median(seconds[-BEGUN:]):.3g} s, at the start {median(seconds[:BEGUN]):.3g} s")
    return Reading(status, float(count), None, tuple(causes))


def blown_up(evidence: Evidence) -> float | None:
    """How many times its first losses the last ones are (medians of five each), where that is far too much; else None.

    Of runs that learn from files only: where answers are sampled, the loss is around 0 and says little.
    """
    losses = finite(evidence.points("loss"))
    if evidence.points("reward") or len(losses) < BEGUN:
        return None
    begun, now = median(losses[:5]), median(losses[-5:])
    return now / begun if begun > 0 and now > max(GROWN * begun, begun + FAR) else None


def _above(values: list[float], times: float) -> int:
    """Values after the first ten that are so many times the median of what came before."""
    return sum(values[i] > times * median(values[:i]) > 0 for i in range(BEGUN, len(values)))


RULE = Rule(
    name="numbers",
    number=20,
    about="Are losses and gradients finite and steady?",
    threshold="figures that are not finite and steps that were refused: act above 0; a loss learnt from files that is 3 times "
    "what it began with: act; gradient norms above 20 times their median in two steps, or steps that take twice as long as at "
    "first: watch",
    source="house rule",
    causes=("the learning rate is too high", "a reward that is not finite or far out of scale", "bf16 where fp32 is needed"),
    next="train with a lower learning_rate, max_grad_norm=0.5, reward_clip_range=[-5, 5], or bf16=false",
    examine=examine,
    metrics=("grad_norm", "loss"),
)
