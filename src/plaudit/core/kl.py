"""How far the policy has moved from the reference, token by token, and who holds it back.

With log_ratio = log pi(y_t) - log pi_ref(y_t) and y_t drawn from pi (Schulman 2020, "Approximating KL divergence"):
k1 = log_ratio (unbiased, can be negative), k2 = log_ratio^2 / 2 (low variance, biased), k3 = exp(-log_ratio) - 1 + log_ratio
(unbiased, never negative).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

Tensor = torch.Tensor
Estimator = Literal["k1", "k2", "k3"]


def estimate(logp: Tensor, ref: Tensor, estimator: Estimator = "k1") -> Tensor:
    """Per-token estimate of KL(pi || ref) in nats; logp and ref have one shape."""
    log_ratio = logp - ref
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return 0.5 * log_ratio**2
    if estimator == "k3":
        return torch.expm1(-log_ratio) + log_ratio
    raise ValueError(f"kl_estimator is k1, k2 or k3, not {estimator!r}")


@dataclass(frozen=True)
class Controller:
    """The KL coefficient: fixed when `target` is None, else adaptive.

    Ziegler et al. 2019 (arXiv:1909.08593, section 2.2): e = clip(KL / target - 1, -0.2, 0.2),
    coefficient *= 1 + e * rows / horizon. `target` is the KL of a whole answer in nats.
    """

    coefficient: float
    target: float | None = None
    horizon: float = 10_000.0

    def after(self, kl: float, rows: int) -> Controller:
        """The controller after a step that measured `kl` (nats per answer) on `rows` answers."""
        if self.target is None:
            return self
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        return replace(self, coefficient=self.coefficient * (1.0 + error * rows / self.horizon))
