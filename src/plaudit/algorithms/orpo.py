"""ORPO: fine-tuning on the better answer and a push away from the worse one in a single stage, without a reference.

    L = - mean_t log pi(y_w,t) - beta log sigmoid( log odds(y_w) - log odds(y_l) )
    odds(y) = p / (1 - p), p = exp(mean_t log pi(y_t))

Hong et al. 2024 (arXiv:2403.07691), eq. 6 and 7; their lambda is `beta` here, as in TRL. The log-likelihood is over the
answer's tokens (TRL counts the prompt's too).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from annotated_types import Gt

from plaudit.algorithms import pairs
from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked, preference
from plaudit.core.batch import Batch, Outputs


@config
class ORPOConfig:
    """Options of ORPO, with TRL's names."""

    beta: Annotated[float, Gt(0)] = 0.1
    """Weight of the odds ratio (the paper's lambda)."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 8e-6, "lora_learning_rate": 5e-5, "num_train_epochs": 1.0}
    )


class ORPO(Algorithm):
    Config = ORPOConfig
    eats = "rankings"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"policy": frozenset({"logp"})})
    grouped = True
    shown = ("loss", "rewards/accuracies", "log_odds_chosen")

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        weight = pairs.winners(batch)
        return batch.with_(weight={"nll": weight[:, None] * batch.mask, "odds": weight})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert outputs.logp is not None
        return {"nll": -outputs.logp, "odds": -self.options.beta * F.logsigmoid(self._log_odds(outputs, batch))}

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        assert outputs.logp is not None
        first, odds = (batch.place == 0).to(batch.mask.dtype), self._log_odds(outputs, batch)
        mean = pairs.answer_logp(outputs.logp, batch) / pairs.lengths(batch)
        return {
            **pairs.metrics(self.options.beta * mean, mean, batch),
            "nll_loss": Moments.of(-outputs.logp, first[:, None] * batch.mask),
            "log_odds_chosen": Moments.of(odds, first),
            "log_odds_ratio": Moments.of(F.logsigmoid(odds), first),
        }

    def _log_odds(self, outputs: Outputs, batch: Batch) -> Tensor:
        mean = pairs.answer_logp(outputs.logp, batch) / pairs.lengths(batch)
        return preference.log_odds_ratio(mean, mean[pairs.opponent(batch)])
