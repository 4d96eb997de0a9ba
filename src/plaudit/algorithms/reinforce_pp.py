"""REINFORCE++: PPO's clipping and per-token KL without a critic; advantages are whitened over the whole batch.

    r_t = - beta kl_t + [t is the last token] score          A_t = sum_{l >= t} gamma^(l - t) r_l, then whitened over all tokens
    minimise - E_t[ min(rho_t A_t, clip(rho_t, 1 - eps, 1 + eps) A_t) ]

Hu et al. 2025 (arXiv:2501.03262), eq. 5 to 7. With `use_group_baseline` the score has the mean of its siblings taken off first
(their REINFORCE++-baseline), which is better where several answers to a prompt are sampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le

from plaudit.algorithms import policy
from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import advantage, kl, masked, surrogate
from plaudit.core.batch import Batch, Outputs


@config
class ReinforcePPConfig:
    """Options of REINFORCE++."""

    kl_coef: Annotated[float, Ge(0)] = 0.01
    """beta: price of one nat of KL to the reference, per token."""
    kl_estimator: kl.Estimator = "k1"
    """k1: log ratio; k2: half its square; k3: never negative (Schulman 2020)."""
    cliprange: Annotated[float, Gt(0)] = 0.2
    """eps: how far the ratio may move from 1 before the gradient is cut."""
    gamma: Annotated[float, Gt(0), Le(1)] = 1.0
    """Discount per token."""
    use_group_baseline: bool = False
    """Take the mean of the prompt's answers off each score first; needs num_generations of 2 or more."""
    num_iterations: Annotated[int, Ge(1)] = 1
    """Passes over each batch of answers."""
    num_mini_batches: Annotated[int, Ge(1)] = 1
    """Optimiser steps in each pass: the batch is cut into this many parts."""
    entropy_coef: Annotated[float, Ge(0)] = 0.0
    """Entropy bonus (nats per token); 0 leaves it out."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 1e-6, "lora_learning_rate": 5e-5, "lr_scheduler_type": "linear"}
    )


class ReinforcePP(Algorithm):
    Config = ReinforcePPConfig
    eats = "prompts"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"policy": frozenset({"logp", "entropy"})})
    reads = frozenset({"old", "ref"})
    best = ("eval_reward", True)
    shown = ("reward", "objective/kl", "entropy")

    def __init__(self, options: ReinforcePPConfig, temperature: float = 1.0) -> None:
        super().__init__(options, temperature)
        self.epochs, self.mini_batches = options.num_iterations, options.num_mini_batches

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs streams old and ref, and the side reward; adds streams kl, token_reward, advantage, and the weights.

        A stream `dense`, where there is one, holds the parts of the rewards that belong to tokens.
        """
        o, mask, score = self.options, batch.mask, batch["reward"]
        if o.use_group_baseline:
            score = score - advantage.group_mean(score, batch.group)
        kl_t = kl.estimate(batch["old"], batch["ref"], o.kl_estimator) * mask
        reward = advantage.token_rewards(score, kl_t, mask, o.kl_coef, batch.streams.get("dense"))
        adv = masked.whiten(advantage.rewards_to_go(reward, mask, o.gamma), mask, total=total)
        return batch.with_(
            streams={"kl": kl_t, "token_reward": reward, "advantage": adv}, weight={"policy": mask, "entropy": mask}
        )

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        o = self.options
        assert outputs.logp is not None and outputs.entropy is not None
        terms = {"policy": surrogate.clipped(outputs.logp, batch["old"], batch["advantage"], o.cliprange, o.cliprange)}
        if o.entropy_coef:
            terms["entropy"] = -o.entropy_coef * outputs.entropy
        return terms

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        return policy.ratio_metrics(outputs, batch, self.options.cliprange, self.options.cliprange, batch["advantage"])

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        return policy.summarise(moments)

    def describe(self, batch: Batch, total: masked.Total = masked.here) -> dict[str, float]:
        rows = batch["reward"].new_ones(len(batch))
        return {
            **policy.sampler_gap(batch, total),
            "objective/kl": float(masked.mean(batch["kl"].sum(-1), rows, total)),
            "objective/scores": float(masked.mean(batch["reward"], rows, total)),
        }
