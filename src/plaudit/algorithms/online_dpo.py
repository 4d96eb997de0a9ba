"""Online DPO: the policy's own answers, judged as they come; the best and the worst of each prompt are a pair for DPO.

    y_w = argmax_i r(y_i), y_l = argmin_i r(y_i) over the siblings sampled now; then DPO's loss.

Guo et al. 2024 (arXiv:2402.04792). A prompt whose answers earned the same has no pair: it weighs nothing, and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Lt

from plaudit.algorithms import pairs, policy
from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.algorithms.dpo import LossType, pair_loss
from plaudit.config import config
from plaudit.core import masked
from plaudit.core.batch import Batch, Outputs


@config
class OnlineDPOConfig:
    """Options of online DPO, with TRL's names."""

    beta: Annotated[float, Gt(0)] = 0.1
    """How strongly the policy is held to the reference."""
    loss_type: LossType = "sigmoid"
    """Which function of the two log ratios is minimised: those of DPO."""
    label_smoothing: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    """Share of judgements that are taken to be wrong."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 5e-7, "lora_learning_rate": 2e-5, "num_generations": 2, "lr_scheduler_type": "linear"}
    )

    def __post_init__(self) -> None:
        if self.loss_type == "robust" and not self.label_smoothing:
            raise ValueError("loss_type robust needs label_smoothing, the share of judgements that are wrong (0.1, say)")


class OnlineDPO(Algorithm):
    Config = OnlineDPOConfig
    eats = "prompts"
    siblings = 2
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"policy": frozenset({"logp", "entropy"})})
    reads = frozenset({"old", "ref"})
    grouped = True
    best = ("eval_reward", True)
    shown = ("reward", "rewards/accuracies", "objective/kl")

    def arrange(self, batch: Batch) -> Batch:
        """The best and the worst answer of each prompt, of equals the first, as places 0 and 1; a lone one is both: a tie."""
        kept: list[int] = []
        reward = batch["reward"]
        for rows in batch.groups():
            order = sorted(rows.tolist(), key=lambda row: (-float(reward[row]), int(batch.place[row])))
            kept += [order[0], order[-1]]
        chosen = batch.rows(kept)
        ones = torch.ones_like(chosen["reward"])
        place = torch.arange(len(chosen), device=chosen.ids.device) % 2
        return chosen.with_(sides={"margin": ones * 0, "probability": ones}).placed(place)

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs the stream ref and the side reward; adds the weight: 1 where the two answers earned differently."""
        reward = batch["reward"]
        return batch.with_(weight={"pair": pairs.winners(batch) * (reward > reward[pairs.opponent(batch)])})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        o = self.options
        return {"pair": pair_loss(o.loss_type, self._ratio(outputs.logp, batch), batch, o.beta, o.label_smoothing)}

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        assert outputs.entropy is not None
        reward = self.options.beta * self._ratio(outputs.logp, batch)
        found = pairs.metrics(reward, pairs.answer_logp(outputs.logp, batch), batch)
        return {**found, "entropy": Moments.of(outputs.entropy, batch.mask)}

    def describe(self, batch: Batch, total: masked.Total = masked.here) -> dict[str, float]:
        ones, first = batch["reward"].new_ones(len(batch)), (batch.place == 0).to(batch.mask.dtype)
        gap = batch["reward"] - batch["reward"][pairs.opponent(batch)]
        return {
            **policy.sampler_gap(batch, total),
            "objective/kl": float(masked.mean(self._ratio(batch["old"], batch), ones, total)),
            "objective/scores": float(masked.mean(batch["reward"], ones, total)),
            "objective/scores_margin": float(masked.mean(gap, first, total)),
            "pairs/tied": float(masked.mean((gap == 0).to(gap.dtype), first, total)),
        }

    def _ratio(self, logp: Tensor | None, batch: Batch) -> Tensor:
        return pairs.answer_logp(logp, batch) - pairs.answer_logp(batch["ref"], batch)
