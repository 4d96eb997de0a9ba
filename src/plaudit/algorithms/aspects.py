"""Reward model of several aspects: one head with a number for each (helpful, correct, safe ...), from ratings of each.

    L = sum_a mean over the rows that rate a of (r_a(x, y) - (s_a - mean_a) / deviation_a)^2

mean and deviation are those of the training ratings of that aspect, so that every aspect weighs the same whatever its scale. A
row rates as many aspects as it likes; those that it does not rate have weight 0 there. As in Wang et al. 2023
(arXiv:2311.09528) and Wang et al. 2024 (arXiv:2406.12845); how aspects add up to a reward is decided where it is used
(`aspect_weights`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch

from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked
from plaudit.core.batch import Batch, Outputs
from plaudit.schema import Rated, UserError


@config
class AspectsConfig:
    """Options of training a reward model of several aspects."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 1e-5, "lora_learning_rate": 1e-4, "num_train_epochs": 1.0}
    )


class Aspects(Algorithm):
    Config = AspectsConfig
    eats = "aspects"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"reward": frozenset({"classes"})})
    dropout = True
    scale: Mapping[str, tuple[float, float]] = MappingProxyType({})
    """Aspect, in the order of the head -> mean and deviation of its training ratings."""

    def study(self, items: Sequence[Rated], held_out: Sequence[Rated], classes: Sequence[str] = ()) -> None:
        """Which aspects there are, and their scales. UserError for one whose ratings are all the same."""
        scale = {}
        for name in sorted({name for item in items for name in item.scores}):
            values = torch.tensor([item.scores[name] for item in items if name in item.scores], dtype=torch.float64)
            scale[name] = (float(values.mean()), float(values.std(correction=0)))
            if not scale[name][1]:
                raise UserError(
                    f"all {len(values)} training ratings of the aspect {name} are {scale[name][0]:g}, so there is nothing to "
                    "learn from; take it out of scores"
                )
        self.scale, self.width = scale, len(scale)

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs for each aspect the sides score/<aspect> and rated/<aspect> (1 where it is rated); adds the weights."""
        weight = batch["weight"] if "weight" in batch.sides else torch.ones_like(batch.mask[:, 0])
        return batch.with_(weight={f"aspect/{name}": weight * self._rated(batch, name) for name in self.scale})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert outputs.classes is not None
        return {
            f"aspect/{name}": (outputs.classes[:, place] - self._target(batch, name)) ** 2
            for place, name in enumerate(self.scale)
        }

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        """Of each aspect, over the rows that rate it, the sums from which error and correlation follow."""
        assert outputs.classes is not None
        found: dict[str, Moments] = {}
        for place, name in enumerate(self.scale):
            rated, target, said = self._rated(batch, name), self._target(batch, name), outputs.classes[:, place].detach()
            parts = {"error": (said - target) ** 2, "target": target, "said": said, "product": said * target}
            found |= {f"{part}/{name}": Moments.of(value, rated) for part, value in parts.items()}
        return found

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        """Aspects that no row of the step rates are left out."""
        found = {}
        for name, (_, deviation) in self.scale.items():
            error, target, said = (moments[f"{part}/{name}"] for part in ("error", "target", "said"))
            if not error.weight:
                continue
            both = moments[f"product/{name}"].mean - target.mean * said.mean
            spread = (target.variance * said.variance) ** 0.5
            found[f"rmse/{name}"] = deviation * error.mean**0.5
            found[f"pearson/{name}"] = max(-1.0, min(1.0, both / spread)) if spread > 1e-12 else 0.0
        return found

    def _rated(self, batch: Batch, name: str) -> Tensor:
        return batch[f"rated/{name}"] if f"rated/{name}" in batch.sides else torch.zeros_like(batch.mask[:, 0])

    def _target(self, batch: Batch, name: str) -> Tensor:
        """The standardised rating, [R]; whatever, where there is none."""
        mean, deviation = self.scale[name]
        side = f"score/{name}"
        return (batch[side] - mean) / deviation if side in batch.sides else torch.zeros_like(batch.mask[:, 0])
