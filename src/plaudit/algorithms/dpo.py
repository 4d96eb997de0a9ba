"""DPO: preference pairs straight into the policy; its log ratio to the reference is the reward.

    h(y) = log pi(y | x) - log pi_ref(y | x)          D = h(y_w) - h(y_l)

    sigmoid       l(beta D - margin), l(x) = - log sigmoid(x)                  Rafailov et al. 2023 (arXiv:2305.18290), eq. 7
    sigmoid_norm  the same with h divided by the answer's tokens               length-normalised
    hinge         max(0, 1 - beta D)                                           SLiC (arXiv:2305.10425)
    ipo           (D - 1 / (2 beta))^2, h divided by the answer's tokens       Azar et al. 2023 (arXiv:2310.12036), eq. 17
    robust        ((1 - eps) l(beta D) - eps l(-beta D)) / (1 - 2 eps)         Chowdhury et al. 2024 (arXiv:2403.00409)
    apo_zero      1 - sigmoid(beta h_w) + sigmoid(beta h_l)                    D'Oosterlinck 2024 (arXiv:2408.06266), eq. 7
    apo_down      sigmoid(beta h_w) + 1 - sigmoid(beta D)                      the same, eq. 8

A soft label p and `label_smoothing` mix both orders of sigmoid and sigmoid_norm. `rpo_alpha` adds the log-likelihood of the
better answer, per token (arXiv:2404.19733), against the fall of both log-probabilities that DPO is known for.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt

from plaudit.algorithms import pairs
from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked, preference
from plaudit.core.batch import Batch, Outputs

LossType = Literal["sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "apo_zero", "apo_down"]


@config
class DPOConfig:
    """Options of DPO, with TRL's names."""

    beta: Annotated[float, Gt(0)] = 0.1
    """How strongly the policy is held to the reference; ipo calls it tau."""
    loss_type: LossType = "sigmoid"
    """Which function of the two log ratios is minimised; see the head of the page."""
    label_smoothing: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    """Share of labels that are taken to be wrong (sigmoid, sigmoid_norm: cDPO; robust: its eps)."""
    rpo_alpha: Annotated[float, Ge(0)] = 0.0
    """Weight of the log-likelihood of the better answer (per token); 0 leaves it out."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 1e-6, "lora_learning_rate": 2e-5, "num_train_epochs": 1.0}
    )

    def __post_init__(self) -> None:
        if self.loss_type == "robust" and not self.label_smoothing:
            raise ValueError("loss_type robust needs label_smoothing, the share of labels that are wrong (0.1, say)")


def pair_loss(kind: LossType, ratio: Tensor, batch: Batch, beta: float, smoothing: float) -> Tensor:
    """The loss of each row as the better one of its pair, unreduced [R], from the log ratios h [R]."""
    other = pairs.opponent(batch)
    if kind in ("ipo", "sigmoid_norm"):
        ratio = ratio / pairs.lengths(batch)
    delta = ratio - ratio[other]
    if kind in ("sigmoid", "sigmoid_norm"):
        return preference.bradley_terry(beta * ratio, other, batch["margin"], pairs.smoothed(batch, smoothing))
    if kind == "hinge":
        return torch.relu(1 - beta * delta)
    if kind == "ipo":
        return (delta - 1 / (2 * beta)) ** 2
    if kind == "robust":
        right, wrong = -F.logsigmoid(beta * delta), -F.logsigmoid(-beta * delta)
        return ((1 - smoothing) * right - smoothing * wrong) / (1 - 2 * smoothing)
    if kind == "apo_zero":
        return 1 - torch.sigmoid(beta * ratio) + torch.sigmoid(beta * ratio[other])
    return torch.sigmoid(beta * ratio) + 1 - torch.sigmoid(beta * delta)


class DPO(Algorithm):
    Config = DPOConfig
    eats = "rankings"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"policy": frozenset({"logp"})})
    reads = frozenset({"ref"})
    grouped = True
    shown = ("loss", "rewards/accuracies", "rewards/margins")

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs the stream ref; adds the weights of the terms."""
        weight = pairs.winners(batch)
        return batch.with_(weight={"pair": weight, "nll": weight[:, None] * batch.mask})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        o, logp = self.options, outputs.logp
        assert logp is not None
        terms = {"pair": pair_loss(o.loss_type, self._ratio(outputs, batch), batch, o.beta, o.label_smoothing)}
        if o.rpo_alpha:
            terms["nll"] = -o.rpo_alpha * logp
        return terms

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        reward = self.options.beta * self._ratio(outputs, batch)
        return pairs.metrics(reward, pairs.answer_logp(outputs.logp, batch), batch)

    def _ratio(self, outputs: Outputs, batch: Batch) -> Tensor:
        return pairs.answer_logp(outputs.logp, batch) - pairs.answer_logp(batch["ref"], batch)
