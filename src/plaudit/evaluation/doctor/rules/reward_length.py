"""Does the reward go with length, among answers to the same prompt?"""

from __future__ import annotations

import math

import numpy as np

from plaudit.evaluation.doctor.evidence import Evidence, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown

WATCH, ACT = 0.3, 0.45
LEAST = 30


def examine(evidence: Evidence) -> Reading:
    """Of pairs: Pearson's correlation of both sides' differences, each pair taken from both sides. Of runs: as logged."""
    pairs = evidence.pairs
    if pairs is not None and len(pairs.chosen) >= LEAST:
        gap, longer = pairs.chosen - pairs.rejected, pairs.chosen_length - pairs.rejected_length
        root = math.sqrt(float((gap**2).sum() * (longer**2).sum()))
        value = float((gap * longer).sum()) / root if root else 0.0
        half = 1.96 / math.sqrt(max(1, len(gap) - 3))
        around = math.atanh(min(0.999999, max(-0.999999, value)))
        ends = (float(np.tanh(around - half)), float(np.tanh(around + half)))
        sure = not ends[0] <= 0 <= ends[1]
        return Reading(graded(abs(value), WATCH, ACT) if sure else "ok", value, ends)
    value, ends = recent(evidence.points("reward_length"))
    if math.isnan(value):
        return unknown(f"{LEAST} scored pairs, or reward_length_correlation in the log")
    return Reading(graded(abs(value), WATCH, ACT), value, ends)


RULE = Rule(
    name="reward_length",
    number=7,
    about="Does the reward pay for length?",
    threshold="correlation of reward and length among answers to one prompt, either sign: watch above 0.3, act above 0.45",
    source="ODIN's baseline reward model has 0.45, the debiased one -0.03 (Chen et al. 2402.07319); 0.3 is a house rule",
    causes=("the better answers of the pairs are longer (see length_preference)", "a reward function counts words"),
    next="train the reward model on pairs of like length; or put a price on length in RL: plaudit train ppo "
    "reward_funcs=[length_penalty]",
    examine=examine,
    metrics=("reward_length",),
    kinds=("run", "model"),
)
