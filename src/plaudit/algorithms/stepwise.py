"""Process reward model: each step of an answer is judged at its last token.

    p_i = sigmoid(r(x, y_1 .. y_i))
    L   = - s_i log p_i - (1 - s_i) log(1 - p_i)          averaged over all steps of the optimiser step

s_i is the step's label: 1 where it is right, or the share of rollouts from there that ended well. Lightman et al. 2023
(arXiv:2305.20050); Wang et al. 2023 (arXiv:2312.08935), eq. 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch.nn.functional as F

from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked
from plaudit.core.batch import Batch, Outputs


@config
class StepwiseConfig:
    """Options of training a process reward model."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 1e-5, "lora_learning_rate": 1e-4, "num_train_epochs": 1.0}
    )


class Stepwise(Algorithm):
    Config = StepwiseConfig
    eats = "steps"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"reward": frozenset({"steps"})})
    dropout = True
    shown = ("loss", "accuracy")

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs the streams step (1 on the last token of a step) and label (its label there); adds the weight."""
        weight = batch["step"] * batch["weight"][:, None] if "weight" in batch.sides else batch["step"]
        return batch.with_(weight={"step": weight})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert outputs.steps is not None
        label = batch["label"].to(outputs.steps.dtype)
        return {"step": F.binary_cross_entropy_with_logits(outputs.steps, label, reduction="none")}

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        """Of steps, and of answers: one is right where all its steps are."""
        assert outputs.steps is not None
        step = batch["step"] > 0
        said, right = outputs.steps > 0, batch["label"] > 0.5
        whole = ((said | ~step).all(-1) == (right | ~step).all(-1)).to(batch.mask.dtype)
        return {
            "accuracy": Moments.of((said == right).to(batch.mask.dtype), batch["step"]),
            "answer_accuracy": Moments.of(whole, step.any(-1).to(batch.mask.dtype)),
            "positive": Moments.of(right.to(batch.mask.dtype), batch["step"]),
        }
