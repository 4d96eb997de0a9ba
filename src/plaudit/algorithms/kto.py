"""KTO: single answers with a thumb up or down; no pairs.

    h(y) = log pi(y | x) - log pi_ref(y | x)          z = max(0, mean of h(y') over answers y' of other prompts)
    L = lambda_D (1 - sigmoid(beta (h(y) - z)))  for a desirable answer
        lambda_U (1 - sigmoid(beta (z - h(y))))  for an undesirable one

Ethayarajh et al. 2024 (arXiv:2402.01306), eq. 7 and 8. z estimates the KL of the policy to the reference and carries no
gradient: every answer of the step also stands behind the prompt of the next row (`auxiliary` rows). `apo_zero_unpaired` does
without z (arXiv:2408.06266).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt

from plaudit.algorithms import pairs
from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked
from plaudit.core.batch import Batch, Outputs


@config
class KTOConfig:
    """Options of KTO, with TRL's names."""

    beta: Annotated[float, Gt(0)] = 0.1
    """How strongly the policy is held to the reference."""
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """With the estimate of the KL as the point of comparison, or with 0."""
    desirable_weight: Annotated[float, Ge(0)] = 1.0
    """lambda_D. Where one kind of label is rarer, its weight should make up for it (the paper: between 1 and 4/3 in all)."""
    undesirable_weight: Annotated[float, Ge(0)] = 1.0
    """lambda_U."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 1e-6, "lora_learning_rate": 2e-5, "num_train_epochs": 1.0}
    )


class KTO(Algorithm):
    Config = KTOConfig
    eats = "labels"
    thumbs = True
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"policy": frozenset({"logp"})})
    reads = frozenset({"ref"})
    gathers = True
    mismatched = True
    shown = ("loss", "kl", "rewards/margins")

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs the stream ref, sides label (1 desirable, 0 not) and auxiliary; adds the weight."""
        weight = 1 - batch["auxiliary"]
        return batch.with_(weight={"kto": weight * batch["weight"] if "weight" in batch.sides else weight})

    def statistics(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        apart = batch["auxiliary"]
        return {"kl_sum": (self._ratio(outputs, batch) * apart).sum(), "kl_count": apart.sum()}

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        o, h, good = self.options, self._ratio(outputs, batch), batch["label"] > 0.5
        z = self._kl(batch) if o.loss_type == "kto" else torch.zeros_like(h)
        liked = o.desirable_weight * (1 - torch.sigmoid(o.beta * (h - z)))
        disliked = o.undesirable_weight * (1 - torch.sigmoid(o.beta * (z - h)))
        return {"kto": torch.where(good, liked, disliked)}

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        own = 1 - batch["auxiliary"]
        good = batch["label"] * own
        h, logp = self._ratio(outputs, batch), pairs.answer_logp(outputs.logp, batch)
        return {
            "rewards/chosen": Moments.of(self.options.beta * h, good),
            "rewards/rejected": Moments.of(self.options.beta * h, own - good),
            "logps/chosen": Moments.of(logp, good),
            "logps/rejected": Moments.of(logp, own - good),
            "kl": Moments.of(self._kl(batch), own),
        }

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        """Means; a kind of label that did not come up is left out. The margin is that between the two means."""
        means = {name: moment.mean for name, moment in moments.items() if moment.weight}
        if "rewards/chosen" in means and "rewards/rejected" in means:
            means["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
        return means

    def _ratio(self, outputs: Outputs, batch: Batch) -> Tensor:
        return pairs.answer_logp(outputs.logp, batch) - pairs.answer_logp(batch["ref"], batch)

    def _kl(self, batch: Batch) -> Tensor:
        """z for each row, [R]: the same number, from sums over the whole step."""
        return (batch["kl_sum"] / batch["kl_count"].clamp(min=1)).clamp(min=0)
