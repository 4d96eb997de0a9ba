"""The exponential moving average of trained weights (Polyak and Juditsky 1992; with decay as in Tarvainen and Valpola 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from plaudit.models.network import Network

Tensor = torch.Tensor


class Average:
    """a <- d a + (1 - d) w after every optimiser step t, with d = min(decay, (1 + t) / (10 + t)): early weights fade fast."""

    def __init__(self, networks: Mapping[str, Network], decay: float) -> None:
        self.networks, self.decay, self.steps = networks, decay, 0
        self.weights = {role: {n: p.clone() for n, p in network.state().items()} for role, network in networks.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take note of the weights after a step."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for role, network in self.networks.items():
            for name, now in network.state().items():
                self.weights[role][name].lerp_(now, 1 - keep)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The networks with their averages, for as long as the block lasts."""
        trained = {role: {n: p.clone() for n, p in network.state().items()} for role, network in self.networks.items()}
        self.put()
        try:
            yield
        finally:
            for role, network in self.networks.items():
                network.restore(trained[role])

    def put(self) -> None:
        """The averages in the place of the trained weights."""
        for role, network in self.networks.items():
            network.restore(self.weights[role])

    def restore(self, weights: Mapping[str, Mapping[str, Tensor]], steps: int) -> None:
        """Take back what stood in `weights` and `steps`."""
        self.steps = steps
        for role, mine in self.weights.items():
            for name, value in mine.items():
                value.copy_(weights[role][name])
