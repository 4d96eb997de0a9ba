"""Best of n: sample several answers, keep the best, fine-tune on it, sample again from what came out.

    L = - sum_t log pi(y*_t) / number of tokens,   y* the siblings with the highest rewards

Rejection sampling (Touvron et al. 2023, arXiv:2307.09288, section 3.2.3), RAFT (Dong et al. 2023, arXiv:2304.06767), expert
iteration. With `min_reward`, answers below it are not learnt from however good they are among their siblings.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from plaudit.algorithms import policy
from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked
from plaudit.core.batch import Batch, Outputs


@config
class BestOfNConfig:
    """Options of best of n; n is num_generations."""

    num_best: Annotated[int, Ge(1)] = 1
    """Answers of each prompt that are kept."""
    min_reward: float | None = None
    """Answers with less are not learnt from; none takes the best whatever it earned."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 2e-5, "lora_learning_rate": 2e-4, "num_generations": 4, "lr_scheduler_type": "constant"}
    )


class BestOfN(Algorithm):
    Config = BestOfNConfig
    eats = "prompts"
    siblings = 2
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"policy": frozenset({"logp", "entropy"})})
    best = ("eval_reward", True)
    shown = ("reward", "best/reward", "entropy")

    def arrange(self, batch: Batch) -> Batch:
        """The best rows of each group; of equals the first."""
        kept: list[int] = []
        for rows in batch.groups():
            order = sorted(rows.tolist(), key=lambda row: (-float(batch["reward"][row]), int(batch.place[row])))
            kept += order[: self.options.num_best]
        return batch.rows(sorted(kept))

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs the side reward; adds the weight."""
        low = self.options.min_reward
        good = batch["reward"] >= low if low is not None else batch["reward"] == batch["reward"]
        return batch.with_(weight={"nll": batch.mask * good[:, None]})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert outputs.logp is not None
        return {"nll": -outputs.logp}

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        assert outputs.logp is not None and outputs.entropy is not None
        found = {"nll": Moments.of(-outputs.logp, batch.mask), "entropy": Moments.of(outputs.entropy, batch.mask)}
        return {**found, **policy.sampler_gap_now(outputs, batch)}

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        return policy.summarise(moments)

    def describe(self, batch: Batch, total: masked.Total = masked.here) -> dict[str, float]:
        ones, used = batch["reward"].new_ones(len(batch)), (batch.weight["nll"].sum(-1) > 0).to(batch.mask.dtype)
        return {
            "best/reward": float(masked.mean(batch["reward"], ones, total)),
            "best/used": float(masked.mean(used, ones, total)),
        }
