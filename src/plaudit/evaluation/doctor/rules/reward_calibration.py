"""Is the reward model as sure as it is right? Flipped labels hardly cost accuracy, but calibration at once."""

from __future__ import annotations

import numpy as np

from plaudit.evaluation.doctor.evidence import Evidence
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown
from plaudit.stats import Floats, expected_calibration_error

WATCH, ACT = 0.05, 0.10
LEAST, IN_BIN, DRAWS = 100, 20, 200
LONGER = "train it longer, or at a higher rate: plaudit train reward num_train_epochs=2; sweep the rate: plaudit find-lr reward"


def examine(evidence: Evidence) -> Reading:
    """The error, less what as few pairs show of a model that is perfectly calibrated (Roelofs et al. 2022, 2012.08668)."""
    if evidence.pairs is None:
        return unknown("scores of held-out pairs (held_out_scores.jsonl, or --held-out FILE)")
    gap = evidence.pairs.chosen - evidence.pairs.rejected
    if len(gap) < LEAST:
        return unknown(f"{LEAST} held-out pairs; there are {len(gap)}")
    sure = 0.5 * (1 + np.tanh(np.abs(gap) / 2))
    right = np.where(gap == 0, 0.5, (gap > 0).astype(np.float64))
    random = np.random.default_rng(0)
    chance = np.array([_error(sure, (random.random(len(sure)) < sure).astype(np.float64)) for _ in range(DRAWS)])
    drawn = (random.integers(len(sure), size=len(sure)) for _ in range(DRAWS))
    errors = np.array([_error(sure[rows], right[rows]) for rows in drawn])
    value = max(0.0, _error(sure, right) - float(chance.mean()))
    low, high = np.maximum(0.0, np.quantile(errors, (0.025, 0.975)) - 2 * chance.mean())
    off = float((sure - right).mean())
    said = (
        f"it is too {'sure' if off > 0 else 'unsure'}: on average it gives {sure.mean():.2f} and is right on {right.mean():.2f}"
    )
    return Reading(graded(value, WATCH, ACT), value, (min(low, value), max(high, value)), (said,), "" if off > 0 else LONGER)


def _error(sure: Floats, right: Floats) -> float:
    return expected_calibration_error(sure, right, bins=max(2, min(15, len(sure) // IN_BIN)))


RULE = Rule(
    name="reward_calibration",
    number=6,
    about="Is the reward model as sure as it is right?",
    threshold="expected calibration error on held-out pairs, less what chance gives: watch above 0.05, act above 0.10",
    source="reward models on UltraFeedback: 0.09 to 0.18; the bands are a house rule",
    causes=("labels were flipped at random", "trained for more than one epoch", "scores were rescaled"),
    next="train it for one epoch (plaudit train reward num_train_epochs=1), and say in a column probability how sure labels "
    "are; its ranking may be good all the same: plaudit card shows both",
    examine=examine,
    kinds=("run", "model"),
)
