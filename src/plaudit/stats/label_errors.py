"""Labels that are probably wrong: confident learning, and the temperature of a reward model's scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plaudit.stats.arrays import Floats, floats, pair, sigmoid


class LabelErrors(NamedTuple):
    """`suspect[i]` marks a label that is probably wrong; `joint[given, true]` is the estimated share of each combination."""

    suspect: NDArray[np.bool_]
    joint: Floats

    @property
    def share(self) -> float:
        """Estimated share of wrong labels."""
        return float(self.joint.sum() - np.trace(self.joint))


def confident_learning(labels: ArrayLike, probabilities: ArrayLike) -> LabelErrors:
    """Confident learning (Northcutt, Jiang and Chuang 2021): labels [n] of K classes, probabilities [n, K] from elsewhere.

    t_k is the mean probability of k where the label is k. A row counts as truly k where p_k >= t_k (the largest such p_k); the
    counts, spread over rows that count nowhere, are the joint. Suspect: counted as another class than its label.
    `probabilities` must not have seen the label: out-of-fold scores, or other people's votes.
    """
    y, p = np.asarray(labels, dtype=np.int64), floats(probabilities, "probabilities", 0, 1)
    if p.ndim != 2 or y.shape != (len(p),) or y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"labels must be [n] with classes below K, probabilities [n, K]: got {y.shape} and {p.shape}")
    given = np.eye(p.shape[1])[y]
    counts = given.sum(0)
    threshold = np.where(counts > 0, (p * given).sum(0) / np.maximum(counts, 1), 2.0)  # a class that nobody gave: out of reach
    reached = np.where(p >= threshold - 1e-12, p, -1.0)
    truly, counted = reached.argmax(1), reached.max(1) >= 0
    # Of equal probabilities the label that was given has the benefit of the doubt.
    truly = np.where(reached[np.arange(len(y)), y] >= reached.max(1) - 1e-12, y, truly)
    joint = np.zeros((p.shape[1], p.shape[1]))
    np.add.at(joint, (y[counted], truly[counted]), 1)
    rows = joint.sum(1, keepdims=True)
    joint = np.where(rows > 0, joint / np.maximum(rows, 1), np.eye(len(joint))) * counts[:, None] / len(y)
    return LabelErrors(np.asarray(counted & (truly != y)), joint)


def score_temperature(gaps: ArrayLike, outcomes: ArrayLike, ridge: float = 1.0) -> float:
    """The 1/T that makes sigmoid(gap / T) fit `outcomes` (1, 0, or between) best: reward models are sure too soon.

    Never negative: scores that point the wrong way get 0, and say nothing. `ridge` draws 1/T to 0 a little, in units of the
    gaps' spread, so that few separable pairs do not make it infinite.
    """
    x, y = pair(floats(gaps, "gaps"), floats(outcomes, "outcomes", 0, 1))
    spread = float(np.sqrt((x * x).mean()))
    if spread == 0:
        return 0.0
    x, slope = x / spread, 0.0
    for _ in range(100):
        chance = sigmoid(slope * x)
        step = (float((x * (y - chance)).sum()) - ridge * slope) / (float((x * x * chance * (1 - chance)).sum()) + ridge)
        slope = float(np.clip(slope + np.clip(step, -1, 1), 0, 50))
        if abs(step) < 1e-9:
            break
    return slope / spread
