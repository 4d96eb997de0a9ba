"""SimPO: the mean log-probability of an answer is its reward; no reference, and a margin that the better one must be ahead by.

    L = - log sigmoid(beta / |y_w| log pi(y_w | x) - beta / |y_l| log pi(y_l | x) - gamma)

Meng et al. 2024 (arXiv:2405.14734), eq. 6. `cpo_alpha` adds the log-likelihood of the better answer per token (CPO,
arXiv:2401.08417), which holds the policy where nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Lt

from plaudit.algorithms import pairs
from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked, preference
from plaudit.core.batch import Batch, Outputs


@config
class SimPOConfig:
    """Options of SimPO, with TRL's names."""

    beta: Annotated[float, Gt(0)] = 2.0
    """Scale of the mean log-probabilities; 2 to 10 in the paper."""
    simpo_gamma: Annotated[float, Ge(0)] = 1.0
    """gamma: how far ahead the better answer must be; around half of beta."""
    label_smoothing: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    """Share of labels that are taken to be wrong."""
    cpo_alpha: Annotated[float, Ge(0)] = 0.0
    """Weight of the log-likelihood of the better answer (per token); 0 leaves it out."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 1e-6, "lora_learning_rate": 2e-5, "num_train_epochs": 1.0}
    )


class SimPO(Algorithm):
    Config = SimPOConfig
    eats = "rankings"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"policy": frozenset({"logp"})})
    grouped = True
    shown = ("loss", "rewards/accuracies", "rewards/margins")

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        weight = pairs.winners(batch)
        return batch.with_(weight={"pair": weight, "nll": weight[:, None] * batch.mask})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        o, reward = self.options, self._reward(outputs, batch)
        assert outputs.logp is not None
        margin = batch["margin"] + o.simpo_gamma
        smoothed = pairs.smoothed(batch, o.label_smoothing)
        terms = {"pair": preference.bradley_terry(reward, pairs.opponent(batch), margin, smoothed)}
        if o.cpo_alpha:
            terms["nll"] = -o.cpo_alpha * outputs.logp
        return terms

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        return pairs.metrics(self._reward(outputs, batch), pairs.answer_logp(outputs.logp, batch), batch)

    def _reward(self, outputs: Outputs, batch: Batch) -> Tensor:
        return self.options.beta * pairs.answer_logp(outputs.logp, batch) / pairs.lengths(batch)
