"""RLOO: REINFORCE with the mean of the siblings as the baseline; the whole answer is one action.

    R_i = r_i - beta sum_t log(pi_old(y_it) / pi_ref(y_it))          A_i = R_i - mean of the other R_j of the group
    minimise - mean_i min(rho_i A_i, clip(rho_i, 1 - eps, 1 + eps) A_i), rho_i = pi(y_i) / pi_old(y_i)

Ahmadian et al. 2024 (arXiv:2402.14740), eq. 8, after Kool et al. 2019; the clipped ratio is TRL's, for more than one pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt

from plaudit.algorithms import policy
from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import advantage, kl, masked, surrogate
from plaudit.core.batch import Batch, Outputs

SCALE_EPSILON = 1e-4


@config
class RLOOConfig:
    """Options of RLOO, with TRL's names."""

    beta: Annotated[float, Ge(0)] = 0.05
    """Price of one nat of KL to the reference, taken off the reward of the whole answer (k1)."""
    epsilon: Annotated[float, Gt(0)] = 0.2
    """How far the ratio of an answer may fall below 1 before the gradient is cut."""
    epsilon_high: Annotated[float, Gt(0)] | None = None
    """How far it may rise; none takes epsilon."""
    normalize_advantages: bool = False
    """Advantages with mean 0 and deviation 1 (n - 1) over the whole batch."""
    num_iterations: Annotated[int, Ge(1)] = 1
    """Passes over each batch of answers."""
    num_mini_batches: Annotated[int, Ge(1)] = 1
    """Optimiser steps in each pass: the batch is cut into this many parts."""
    mask_truncated_completions: bool = False
    """Answers that ran into the length limit are not trained on."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 1e-6, "lora_learning_rate": 5e-5, "num_generations": 2, "lr_scheduler_type": "linear"}
    )


class RLOO(Algorithm):
    Config = RLOOConfig
    eats = "prompts"
    siblings = 2
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"policy": frozenset({"logp", "entropy"})})
    reads = frozenset({"old", "ref"})
    best = ("eval_reward", True)
    shown = ("reward", "kl", "entropy")

    def __init__(self, options: RLOOConfig, temperature: float = 1.0) -> None:
        super().__init__(options, temperature)
        self.epochs, self.mini_batches = options.num_iterations, options.num_mini_batches
        self.high = options.epsilon if options.epsilon_high is None else options.epsilon_high

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs streams old and ref, sides reward and truncated; adds the sides kl and advantage, and the weights."""
        o, rows = self.options, batch["reward"].new_ones(len(batch))
        kl_sum = (kl.estimate(batch["old"], batch["ref"], "k1") * batch.mask).sum(-1)
        a = advantage.leave_one_out(batch["reward"] - o.beta * kl_sum, batch.group)
        if o.normalize_advantages:
            count = total(rows.sum())
            spread = masked.variance(a, rows, total) * count / (count - 1).clamp(min=1)
            a = (a - masked.mean(a, rows, total)) / (spread.sqrt() + SCALE_EPSILON)
        used = 1 - batch["truncated"] if o.mask_truncated_completions else rows
        return batch.with_(sides={"kl": kl_sum, "advantage": a}, weight={"policy": used})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        ratio = self._log_ratio(outputs, batch)
        return {"policy": surrogate.two_sided(ratio, batch["advantage"], self.options.epsilon, self.high)}

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        answer = self._log_ratio(outputs, batch)[:, None]
        return policy.ratio_metrics(outputs, batch, self.options.epsilon, self.high, batch["advantage"][:, None], answer)

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        return policy.summarise(moments)

    def describe(self, batch: Batch, total: masked.Total = masked.here) -> dict[str, float]:
        rows = batch["reward"].new_ones(len(batch))
        divergence = float(masked.mean(batch["kl"], rows, total))
        return {
            **policy.sampler_gap(batch, total),
            **policy.reward_metrics(batch, batch["advantage"], total),
            "kl": divergence,
            "objective/kl": divergence,
        }

    def _log_ratio(self, outputs: Outputs, batch: Batch) -> Tensor:
        assert outputs.logp is not None
        return ((outputs.logp - batch["old"]) * batch.mask).sum(-1)
