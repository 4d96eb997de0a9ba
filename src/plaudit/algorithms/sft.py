"""Supervised fine-tuning: maximise the log-likelihood of the demonstrated answers.

    L = - sum_t mask_t log pi(y_t | x, y_<t) / sum_t mask_t

The mean is over all trained tokens of the optimiser step, whatever the micro-batches (TRL's `loss_type: nll`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked
from plaudit.core.batch import Batch, Outputs


@config
class SFTConfig:
    """Options of supervised fine-tuning."""

    entropy_coef: Annotated[float, Ge(0)] = 0.0
    """Entropy bonus (nats per token); 0 leaves it out."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 2e-5, "lora_learning_rate": 2e-4, "num_train_epochs": 1.0}
    )


class SFT(Algorithm):
    Config = SFTConfig
    eats = "demonstrations"
    dropout = True
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"policy": frozenset({"logp", "entropy"})})

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        weight = batch.mask * batch["weight"][:, None] if "weight" in batch.sides else batch.mask
        return batch.with_(weight={"nll": weight, "entropy": weight})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert outputs.logp is not None
        terms = {"nll": -outputs.logp}
        if self.options.entropy_coef:
            assert outputs.entropy is not None
            terms["entropy"] = -self.options.entropy_coef * outputs.entropy
        return terms

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        assert outputs.logp is not None and outputs.entropy is not None
        return {"nll": Moments.of(-outputs.logp, batch.mask), "entropy": Moments.of(outputs.entropy, batch.mask)}
