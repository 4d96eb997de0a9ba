"""What a reward model can reach on these labels, and how many more of them are worth it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plaudit.judgements.base import Ballot
from plaudit.judgements.quality.ballots import crowd, units
from plaudit.stats import (
    POINTS_PER_DOUBLING,
    Interval,
    ceiling,
    half_width,
    learning_curve,
    majority_accuracy,
    pairs_for_half_width,
    wilson,
)

ASSUMED_ACCURACY = 0.70
HELD_OUT = 0.1
WIDTH = 0.02
BATCH = 100
WORTH = 0.003
"""Accuracy that 100 more pairs must be able to bring; below it asking more is hardly worth it."""


@dataclass(frozen=True)
class Ceiling:
    """What a perfect reward model would score against one of these labels."""

    bound: Interval
    """(1 + sqrt(2 A - 1)) / 2 from the agreement A: an upper bound, since items differ in difficulty."""
    measured: Interval | None
    """How often the majority of the others predicts one vote, on items with three votes or more; None where there are none."""


@dataclass(frozen=True)
class MoreLabels:
    """What more judgements would bring."""

    pairs: int
    accuracy: float
    """Of the reward model; where it is not known, .70 is assumed."""
    half_width: float
    """Of the interval of that accuracy, measured on a tenth of the pairs."""
    pairs_for_two_points: int
    """Held-out pairs with which it is known within 2 points."""
    gain: Interval | None
    """Accuracy that 100 more pairs bring, by the learning curve; without one, by the growth that is published."""
    measured: bool
    """True where `gain` comes from a learning curve of one's own."""
    single: float
    """How often one vote is right, by the annotators' estimated accuracy."""
    three: float
    """How often the majority of three is."""
    says: str


def ceiling_of(ballots: Sequence[Ballot], decided: Interval | None) -> Ceiling | None:
    """From the agreement on preferences without ties, and directly from items with three votes."""
    if decided is None:
        return None
    bound = Interval(*(ceiling(min(1.0, max(0.0, share))) for share in decided))
    right = votes = 0.0
    for unit in units(one for one in crowd(ballots) if one.preference).values():
        chosen = [one.value == "first" for one in unit.values() if one.value != "tie"]
        if len(chosen) < 3:
            continue
        for i, one in enumerate(chosen):
            others = chosen[:i] + chosen[i + 1 :]
            ahead = 2 * sum(others) - len(others)
            right += 0.5 if ahead == 0 else float((ahead > 0) == one)
            votes += 1
    return Ceiling(bound, wilson(right, votes) if votes else None)


def more_labels(
    pairs: int,
    annotator_accuracy: float,
    *,
    accuracy: float | None = None,
    curve: Sequence[tuple[float, float, float]] = (),
) -> MoreLabels | None:
    """Advice for `pairs` pairs. `curve`: (pairs trained on, held-out accuracy, pairs held out) for several sizes.

    None without pairs. With fewer than two sizes of `curve` the gain is what reward models gained per doubling elsewhere.
    """
    if pairs < 1:
        return None
    own = len({size for size, _, _ in curve}) > 1
    known = accuracy if accuracy is not None else curve[-1][1] if curve else ASSUMED_ACCURACY
    if own:
        gain = learning_curve(curve).gain(pairs, BATCH)
    else:
        points = learning_curve([(1.0, 0.5, 1.0), (2.0, 0.5 + POINTS_PER_DOUBLING, 1.0)])._replace(covariance=((0, 0), (0, 0)))
        gain = points.gain(pairs, BATCH)
    wide = half_width(known, max(1.0, HELD_OUT * pairs))
    enough = gain.high < WORTH
    three = majority_accuracy(annotator_accuracy, 3)
    if wide > 2 * WIDTH and not enough:
        says = f"more pairs are worth it: the accuracy of a reward model is known only within {100 * wide:.1f} points"
    elif enough:
        says = f"{BATCH} more pairs bring less than {100 * WORTH:.1f} points: better ones, or new prompts, bring more"
    else:
        says = f"{BATCH} more pairs bring about {100 * gain.mean:.1f} points"
    return MoreLabels(pairs, known, wide, pairs_for_half_width(known, WIDTH), gain, own, annotator_accuracy, three, says)
