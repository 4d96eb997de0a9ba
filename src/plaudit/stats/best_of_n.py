"""What the best of n samples is worth, from N samples of each prompt, without drawing n of them again and again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from plaudit.stats.arrays import Floats, Interval, pair


def kl_of_best_of_n(n: int) -> float:
    """KL of best-of-n from its policy in nats, an upper bound that is reached where no two scores are equal:
    ln n - (n - 1) / n (Stiennon et al. 2020; Beirami et al. 2024, arXiv:2401.01879)."""
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return math.log(n) - (n - 1) / n


def pass_at_k(samples: int, right: int, k: int) -> float:
    """P(one of k samples is right), unbiased, from c `right` of N `samples`: 1 - C(N - c, k) / C(N, k) (Chen et al. 2021)."""
    if not 0 <= right <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@k needs 0 <= right <= samples and 1 <= k <= samples, got {right}, {samples}, k {k}")
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)


def best_of_n(proxy: ArrayLike, values: ArrayLike, n: int) -> Floats:
    """[prompts]: the expected value of the sample that `proxy` likes best among n of the N samples, over all choices of n.

    E_n = sum_{i >= n} C(i - 1, n - 1) / C(N, n) v_(i), v sorted by rising proxy. Both arguments are [prompts, N]. Samples
    of equal proxy score share their mean value: which of them is taken is chance.
    """
    scores, worth = pair(proxy, values)
    if scores.ndim != 2:
        raise ValueError(f"best of n needs [prompts, samples], got {scores.shape}")
    total = scores.shape[1]
    if not 1 <= n <= total:
        raise ValueError(f"n must lie within 1 and the {total} samples, got {n}")
    i = np.arange(n, total + 1)
    log = np.array([_log_choose(k - 1, n - 1) for k in i]) - _log_choose(total, n)
    weights = np.concatenate([np.zeros(n - 1), np.exp(log)])
    return np.array([_shared(row, value) @ weights for row, value in zip(scores, worth, strict=True)])


def _shared(scores: Floats, values: Floats) -> Floats:
    """Values in the order of rising scores, averaged where scores are equal."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean = np.bincount(place, values) / count
    return np.asarray(mean[np.sort(place)])


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


class GaoFit(NamedTuple):
    """Gao et al. 2022 (arXiv:2210.10760), d = sqrt(KL): best of n is d (alpha - beta d), kind "rl" d (alpha - beta ln d)."""

    alpha: float
    beta: float
    r2: float
    """Share of the variance that the curve explains."""
    kind: str = "best_of_n"

    @property
    def peak(self) -> float | None:
        """d at which the curve turns: alpha / (2 beta), or exp(alpha / beta - 1); None where it does not."""
        if self.beta <= 1e-12 or self.alpha <= 0:
            return None
        return self.alpha / (2 * self.beta) if self.kind == "best_of_n" else math.exp(self.alpha / self.beta - 1)

    def __call__(self, d: float) -> float:
        if d <= 0:
            return 0.0
        return d * (self.alpha - self.beta * (d if self.kind == "best_of_n" else math.log(d)))


def fit_gao(distances: Sequence[float], gains: Sequence[float], kind: str = "best_of_n") -> GaoFit:
    """Least squares of gains over their value at d = 0, at two distances above 0 at least; d is the root of the KL in nats."""
    d, y = pair(distances, gains)
    keep = d > 0
    d, y = d[keep], y[keep]
    if len(np.unique(d)) < 2:
        raise ValueError("the fit needs two distances above 0 at least")
    second = d * d if kind == "best_of_n" else d * np.log(d)
    (alpha, beta), *_ = np.linalg.lstsq(np.stack([d, -second], 1), y, rcond=None)
    rest = y - (alpha * d - beta * second)
    spread = float(((y - y.mean()) ** 2).sum())
    return GaoFit(float(alpha), float(beta), 1 - float((rest**2).sum()) / spread if spread > 0 else float("nan"), kind)


class TurningPoint(NamedTuple):
    """Where the independent score turns as the proxy is optimised."""

    kl: Interval
    """In nats per answer; the mean is nan where the curve does not turn, the ends are infinite where resamples do not."""
    turns: float
    """Share of resamples in which the curve turns within the distances that were measured."""


def turning_point(
    proxy: ArrayLike, values: ArrayLike, sizes: Sequence[int], *, resamples: int = 500, seed: int = 0, level: float = 0.95
) -> tuple[GaoFit, TurningPoint]:
    """Gao's best-of-n curve through the gains of `values` [prompts, N] at the numbers `sizes`; whole prompts are resampled."""
    table = np.stack([best_of_n(proxy, values, n) for n in sizes]) - best_of_n(proxy, values, 1)
    d = [math.sqrt(kl_of_best_of_n(n)) for n in sizes]
    rng, prompts = np.random.default_rng(seed), table.shape[1]
    peaks = []
    for rows in (rng.integers(prompts, size=prompts) for _ in range(resamples)):
        peak = fit_gao(d, table[:, rows].mean(1).tolist()).peak
        peaks.append(math.inf if peak is None else peak**2)
    fit = fit_gao(d, table.mean(1).tolist())
    # Infinite values have no quantile by interpolation: the nearest one below or above is as good.
    low = float(np.quantile(peaks, (1 - level) / 2, method="lower"))
    high = float(np.quantile(peaks, (1 + level) / 2, method="higher"))
    kl = Interval(float("nan") if fit.peak is None else fit.peak**2, low, high)
    return fit, TurningPoint(kl, float(np.mean([peak <= max(d) ** 2 for peak in peaks])))
