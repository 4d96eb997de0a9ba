"""What the rules look at: a run's figures under one set of names, its evaluations by prompt, its data, its reward model."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from plaudit.stats import Floats

if TYPE_CHECKING:
    from plaudit.data.check import DataReport
    from plaudit.judgements.quality import Quality

Points = tuple[tuple[float, float], ...]
"""(step, value) in the order of steps; a value may be NaN."""
RECENT = 5
"""The last figures that are looked at: their median is above a threshold exactly where three of five are."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation, prompt by prompt in an order that stays: `Evaluation(20, rewards, lengths, {"gold": scores})`."""

    step: int
    reward: Floats
    """[prompts], what is optimised."""
    length: Floats
    """[prompts], tokens."""
    independent: Floats | None = None
    """[prompts], a score that nothing is trained on; None where there is none."""


@dataclass(frozen=True)
class Dataset:
    """What is known of a file or store."""

    report: DataReport | None = None
    items: int = 0
    held_out: int = 0
    """Items of the held-out file; 0 where there is none."""
    longer: tuple[int, int] | None = None
    """Pairs whose preferred answer is the longer one, and pairs whose answers differ in length."""
    quality: Quality | None = None
    """Of labels by several annotators."""


@dataclass(frozen=True)
class ScoredPairs:
    """Held-out pairs under a reward model: [pairs] each."""

    chosen: Floats
    rejected: Floats
    chosen_length: Floats
    """Tokens or words; only differences and their signs count."""
    rejected_length: Floats


@dataclass(frozen=True)
class BestOfN:
    """Best-of-n by the proxy: [sizes] each, n rising."""

    n: Floats
    proxy: Floats
    """Expected proxy score of the answer that the proxy likes best of n."""
    independent: Floats
    """The same answer under a measure that did not choose it."""
    stderr: Floats
    """Standard error over prompts of `independent`."""


@dataclass(frozen=True)
class Evidence:
    """Everything that was found at one place. A part that is None or empty was not there."""

    path: str
    kind: str
    """run, dataset or model."""
    origin: str = "plaudit"
    """Who wrote the log: plaudit, trl, verl or openrlhf."""
    series: Mapping[str, Points] = field(default_factory=dict)
    """Our names (doctor/names.py) -> points."""
    evaluations: tuple[Evaluation, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    dataset: Dataset | None = None
    pairs: ScoredPairs | None = None
    best_of_n: BestOfN | None = None
    tasks: Mapping[str, tuple[Floats, Floats]] = field(default_factory=dict)
    """Task -> scores of its items before and after, more being better."""

    @property
    def rows(self) -> str:
        """The training file (or store) as a word of a command line; FILE where nothing names it."""
        return shlex.quote(self.path if self.kind == "dataset" else str(self.options.get("train_file") or "FILE"))

    def points(self, *names: str) -> Points:
        """The first of these series that has points; () where none has."""
        return next((self.series[name] for name in names if self.series.get(name)), ())

    def proxy_and_independent(self) -> tuple[Points, Points]:
        """Means of the evaluations: what is optimised, and what is not trained on."""
        proxy = tuple((float(one.step), float(one.reward.mean())) for one in self.evaluations)
        scores = [(one.step, one.independent) for one in self.evaluations if one.independent is not None]
        independent = tuple((float(step), float(score.mean())) for step, score in scores)
        return proxy or self.points("eval_reward"), independent or self.points("eval_independent")


def finite(points: Points) -> list[float]:
    """The values that are numbers."""
    return [value for _, value in points if math.isfinite(value)]


def recent(points: Points, size: int = RECENT) -> tuple[float, tuple[float, float]]:
    """Median of the last values, with their least and greatest: the 94 % interval of the median where there are five.

    NaN where there is none.
    """
    last = finite(points)[-size:]
    if not last:
        return math.nan, (math.nan, math.nan)
    return median(last), (min(last), max(last))


def greatest(points: Points, size: int = RECENT) -> tuple[float, tuple[float, float]]:
    """The highest median of so many values in a row, with the least and greatest of those: three of five were above it."""
    windows = [points[start : start + size] for start in range(max(1, len(points) - size + 1))]
    return max((recent(window, size) for window in windows), key=lambda one: -math.inf if math.isnan(one[0]) else one[0])


def first(points: Points, least: int = 1, most: int = RECENT) -> float:
    """Where a series began: median of its first tenth, of `least` to `most` values. NaN where there is none."""
    values = finite(points)
    return median(values[: min(most, max(least, len(values) // 10))]) if values else math.nan


def mean_interval(values: Floats) -> tuple[float, float, float]:
    """Mean, and its 95 % interval by the normal distribution; without width for fewer than two values."""
    mean = float(values.mean())
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return mean, mean - half, mean + half


def spread(values: Sequence[float]) -> float:
    """Standard deviation; 1 where there is none, so that it can divide."""
    found = float(np.std(np.asarray(values, dtype=np.float64))) if len(values) > 1 else 0.0
    return found or 1.0
