"""What one step of the learner adds up for the log."""

from __future__ import annotations

from collections.abc import Mapping

from plaudit.algorithms.base import Algorithm, Moments


def added(some: Mapping[str, Moments], more: Mapping[str, Moments]) -> dict[str, Moments]:
    """The moments of two sets of rows together, by name."""
    return {**some, **{name: some.get(name, Moments()) + moment for name, moment in more.items()}}


class StepLog:
    """Losses and gradient norms of the optimiser steps of one batch."""

    def __init__(self) -> None:
        self.losses: dict[str, list[float]] = {}
        self.norms: dict[str, list[float]] = {}
        self.values: dict[str, float] = {}
        self.refused = 0

    def add(self, losses: Mapping[str, float], norms: Mapping[str, float], finite: bool) -> None:
        self.refused += not finite
        for shelf, new in ((self.losses, losses), (self.norms, norms)):
            for name, value in new.items():
                shelf.setdefault(name, []).append(value)

    def averages(self, algorithm: Algorithm) -> dict[str, float]:
        means = {name: sum(values) / len(values) for name, values in self.losses.items()}
        named = {f"loss/{name}_avg": value for name, value in means.items()} if len(algorithm.networks) > 1 else {}
        norms = {f"grad_norm/{role}" if len(self.norms) > 1 else "grad_norm": sum(v) / len(v) for role, v in self.norms.items()}
        return {"loss": sum(means.values()), **named, **norms, **self.values}
