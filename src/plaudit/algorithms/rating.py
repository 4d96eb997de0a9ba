"""Reward model from ratings: single answers with a number, no comparisons.

    squared_error  L = (r(x, y) - (s - mean) / deviation)^2                    mean and deviation of the training ratings
    bernoulli      L = - p log sigmoid(r) - (1 - p) log(1 - sigmoid(r))        p = (s - lowest) / (highest - lowest)
    cumulative_logit  L = - log P(s),  P(s <= level k) = sigmoid(theta_k - r)  theta_1 < ... < theta_{K-1}, trained too

With squared error the score is the rating in deviations from the mean. The cross-entropy is the likelihood of a rating as the
share of a yes (for two values, logistic regression): the score has no ends, though ratings have, so it does not crowd at them.
The cumulative logit (McCullagh 1980, proportional odds) takes of ratings their order alone: how far two stars are from three
is learnt, in the thresholds. They begin where a score of 0 gives each level its share of the training rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F

from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked, ordinal
from plaudit.core.batch import Batch, Outputs
from plaudit.schema import Label, UserError

MOST_LEVELS = 20
"""More different ratings than this are no levels: each would have few rows."""


@config
class RatingConfig:
    """Options of training a reward model on ratings."""

    loss_type: Literal["squared_error", "bernoulli", "cumulative_logit"] = "squared_error"
    """squared_error regresses the standardised rating; bernoulli is the cross-entropy of its place from lowest to highest;
    cumulative_logit is ordinal regression: of the levels only the order counts."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 1e-5, "lora_learning_rate": 1e-4, "num_train_epochs": 1.0}
    )


class Rating(Algorithm):
    Config = RatingConfig
    eats = "labels"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"reward": frozenset({"score"})})
    dropout = True
    shown = ("loss", "rmse", "pearson")
    mean, deviation, low, high = 0.0, 1.0, 0.0, 1.0
    """Of the training ratings."""
    levels: Tensor = torch.zeros(0, dtype=torch.float64)
    """The different training ratings, rising: [K]. Of cumulative_logit only."""

    def study(self, items: Sequence[Label], held_out: Sequence[Label], classes: Sequence[str] = ()) -> None:
        """The scale of the training ratings. UserError where they are no numbers, or all the same."""
        if classes:
            raise UserError(
                f"rating needs labels that are numbers; there is the label {classes[0]} (train classify takes names)"
            )
        values = torch.tensor([item.value for item in items], dtype=torch.float64)
        self.low, self.high = float(values.min()), float(values.max())
        if self.low == self.high:
            raise UserError(f"every training row has the same rating ({self.low:g}), so there is nothing to learn from")
        self.mean, self.deviation = float(values.mean()), float(values.std(correction=0))
        if self.options.loss_type == "cumulative_logit":
            self.levels, counts = values.unique(return_counts=True)
            if len(self.levels) > MOST_LEVELS:
                raise UserError(
                    f"loss_type cumulative_logit is for levels, {MOST_LEVELS} at most; the training rows have "
                    f"{len(self.levels)} different ratings, so round them, or use squared_error or bernoulli"
                )
            self.thresholds = ordinal.marginal_thresholds(counts.tolist())

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs the side label, the rating; adds the weight."""
        weight = batch["weight"] if "weight" in batch.sides else torch.ones_like(batch["label"])
        return batch.with_(weight={"rating": weight})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        score, rating = outputs.score, batch["label"]
        assert score is not None
        if self.options.loss_type == "squared_error":
            return {"rating": (score - (rating - self.mean) / self.deviation) ** 2}
        if self.options.loss_type == "cumulative_logit":
            return {"rating": -self._level_logp(outputs).gather(1, self._level(rating)[:, None])[:, 0]}
        share = ((rating - self.low) / (self.high - self.low)).clamp(0, 1)  # a held-out rating may lie outside
        return {"rating": F.binary_cross_entropy_with_logits(score, share.to(score.dtype), reduction="none")}

    def predicted(self, outputs: Outputs) -> Tensor:
        """Scores as ratings [R], on the scale of the training rows; of levels the expected one."""
        assert outputs.score is not None
        if self.options.loss_type == "squared_error":
            return outputs.score * self.deviation + self.mean
        if self.options.loss_type == "cumulative_logit":
            return self._level_logp(outputs).exp() @ self.levels.to(outputs.score)
        return self.low + (self.high - self.low) * torch.sigmoid(outputs.score)

    def _level_logp(self, outputs: Outputs) -> Tensor:
        assert outputs.score is not None and outputs.thresholds is not None
        return ordinal.level_logp(outputs.score, outputs.thresholds)

    def _level(self, rating: Tensor) -> Tensor:
        """The index [R] of the nearest level: a held-out rating may be none of them."""
        return (rating[:, None] - self.levels.to(rating)).abs().argmin(1)

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        """Sums from which the error and the correlation follow."""
        assert outputs.score is not None
        said, rating = self.predicted(outputs).detach().double(), batch["label"].double()
        one = torch.ones_like(rating)
        standard = (rating - self.mean) / self.deviation, (said - self.mean) / self.deviation  # so that sums cancel little
        return {
            "error": Moments.of((said - rating) ** 2, one),
            "rating": Moments.of(standard[0], one),
            "said": Moments.of(standard[1], one),
            "product": Moments.of(standard[0] * standard[1], one),
            "reward": Moments.of(outputs.score, one),
        }

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        """The correlation of predictions that are all the same is 0."""
        rating, said, reward = moments["rating"], moments["said"], moments["reward"]
        both = moments["product"].mean - rating.mean * said.mean
        spread = (rating.variance * said.variance) ** 0.5
        return {
            "rmse": moments["error"].mean ** 0.5,
            "pearson": max(-1.0, min(1.0, both / spread)) if spread > 1e-12 else 0.0,
            "min_reward": reward.low,
            "mean_reward": reward.mean,
            "max_reward": reward.high,
        }
