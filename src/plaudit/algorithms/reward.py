"""Reward model from preference pairs (Bradley-Terry).

    P(y_w over y_l | x) = sigmoid(r(x, y_w) - r(x, y_l))          Bradley and Terry 1952; Ouyang et al. 2022, eq. 1
    L = - log sigmoid(r_w - r_l - margin) + centre (r_w + r_l)^2

A pair counts once, however long its answers. A soft label (`probability`, from several annotators who disagree) mixes
both orders. `center_rewards_coefficient` keeps the scores near 0 (Eisenstein et al. 2023, arXiv:2312.09244).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked, preference
from plaudit.core.batch import Batch, Outputs


@config
class RewardModelConfig:
    """Options of reward-model training."""

    center_rewards_coefficient: Annotated[float, Ge(0)] = 0.0
    """Weight of (r_chosen + r_rejected)^2, which keeps scores around 0; 0.01 is usual, 0 leaves it out."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 1e-5, "lora_learning_rate": 1e-4, "num_train_epochs": 1.0}
    )


class RewardModel(Algorithm):
    Config = RewardModelConfig
    eats = "rankings"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"reward": frozenset({"score"})})
    grouped = True
    dropout = True
    shown = ("loss", "accuracy")

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        winner = (batch.place == 0).to(batch.mask.dtype)
        weight = winner * batch["weight"] if "weight" in batch.sides else winner
        return batch.with_(weight={"bradley_terry": weight, "centre": weight})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        score, other = outputs.score, preference.opponent(batch.group, batch.place)
        assert score is not None
        terms = {"bradley_terry": preference.bradley_terry(score, other, batch["margin"], batch["probability"])}
        if self.options.center_rewards_coefficient:
            terms["centre"] = self.options.center_rewards_coefficient * (score + score[other]) ** 2
        return terms

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        score, other = outputs.score, preference.opponent(batch.group, batch.place)
        assert score is not None
        winner = (batch.place == 0).to(score.dtype)
        gap = (score - score[other]).detach()
        right = (gap > 0).to(gap.dtype) + 0.5 * (gap == 0).to(gap.dtype)
        return {
            "accuracy": Moments.of(right, winner),
            "margin": Moments.of(gap, winner),
            "reward": Moments.of(score, score.new_ones(len(score))),
        }

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        reward = moments["reward"]
        return {
            "accuracy": moments["accuracy"].mean,
            "margin": moments["margin"].mean,
            "min_reward": reward.low,
            "mean_reward": reward.mean,
            "max_reward": reward.high,
        }
