"""Reward model from pairs (Bradley-Terry) and from longer rankings (Plackett-Luce).

    P(y_w over y_l | x) = sigmoid(r(x, y_w) - r(x, y_l))          Bradley and Terry 1952; Ouyang et al. 2022, eq. 1
    L = - log sigmoid(r_w - r_l - margin) + centre (r_w + r_l)^2

    P(y_1 over ... over y_K | x) = prod_k exp r_k / sum_{j >= k} exp r_j                 Plackett 1975; Luce 1959

`loss_type: bradley_terry` takes a ranking as its K (K - 1) / 2 pairs, each weighing the K (K - 1) / 2-th part of it, so that a
ranking counts once however long it is (Ouyang et al. 2022, arXiv:2203.02155, eq. 1). A soft label (`probability`, from several
annotators who disagree) mixes both orders of a pair. `center_rewards_coefficient` keeps the scores near 0 (Eisenstein et al.
2023, arXiv:2312.09244); of a longer ranking it is the square of twice the mean score, which for a pair is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge

from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import advantage, masked, preference
from plaudit.core.batch import Batch, Outputs
from plaudit.schema import UserError


@config
class RewardModelConfig:
    """Options of reward-model training."""

    loss_type: Literal["auto", "bradley_terry", "plackett_luce"] = "auto"
    """auto: pairs by Bradley-Terry, longer rankings by Plackett-Luce; or all by one (bradley_terry: all pairs of a ranking)."""
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
        """Sets the weights; both losses are divided by the rankings' own weights, so that each ranking counts once."""
        dtype, size = batch.mask.dtype, advantage.group_sizes(batch.group, batch.mask.dtype)
        own = batch["weight"] if "weight" in batch.sides else torch.ones_like(size)
        best = (batch.place == 0).to(dtype) * own
        split = self._split(batch, size)
        last = batch.place == size.long() - 1
        pairs = size * (size - 1) / 2
        weight = {
            "bradley_terry": torch.where(split & ~last, own / pairs.clamp(min=1), 0.0),
            "plackett_luce": torch.where(split, 0.0, own),
        }
        return batch.with_(weight={**weight, "centre": best}, denominator=dict.fromkeys(weight, best))

    def _split(self, batch: Batch, size: Tensor) -> Tensor:
        """[R] bool: whether a row's ranking is taken as pairs."""
        kind = self.options.loss_type
        if kind != "plackett_luce":
            return size == 2 if kind == "auto" else torch.ones_like(size, dtype=torch.bool)
        if bool((batch["margin"] != 0).any()) or bool((batch["probability"] != 1).any()):
            raise UserError(
                "loss_type plackett_luce has no place for margins and soft labels (the columns margin and probability); use "
                "loss_type=auto or bradley_terry, or take them out"
            )
        return torch.zeros_like(size, dtype=torch.bool)

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        score = outputs.score
        assert score is not None
        better, worse = preference.ordered_pairs(batch.group, batch.place)
        each = preference.pair_loss(score[better] - score[worse] - batch["margin"][better], batch["probability"][better])
        terms = {"bradley_terry": torch.zeros_like(score).index_add(0, better, each)}
        long = bool(batch.weight["plackett_luce"].any())
        terms["plackett_luce"] = preference.plackett_luce(score, batch.group, batch.place) if long else torch.zeros_like(score)
        if self.options.center_rewards_coefficient:
            mean = advantage.group_mean(score, batch.group)
            terms["centre"] = self.options.center_rewards_coefficient * (2 * mean) ** 2
        return terms

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        """Over all ordered pairs of all rankings; a tie counts half."""
        score = outputs.score
        assert score is not None
        better, worse = preference.ordered_pairs(batch.group, batch.place)
        gap = (score[better] - score[worse]).detach()
        right = (gap > 0).to(gap.dtype) + 0.5 * (gap == 0).to(gap.dtype)
        return {
            "accuracy": Moments.of(right, torch.ones_like(gap)),
            "margin": Moments.of(gap, torch.ones_like(gap)),
            "reward": Moments.of(score, torch.ones_like(score)),
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
