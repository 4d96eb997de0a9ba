"""Dropout before LoRA adapters, drawn row by row: how rows are padded, packed or split into micro-batches cannot change it.

torch's dropout draws from one stream for the whole tensor, so a row's mask depends on its neighbours and its padding. Here
the mask of a row follows from (seed, step, the row's key, the layer) alone and has the row's own length: law 1 holds with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from plaudit.core.batch import Batch

Tensor = torch.Tensor
EMBEDDINGS = -1
"""The layer of noise on embeddings."""


@dataclass(frozen=True)
class Draw:
    """What one forward pass draws from: `seed` is the run's, `step` the optimiser's; the rows' keys do the rest.

    `again` tells a second pass over the same rows from the first (R-Drop).
    """

    seed: int
    step: int
    again: int = 0

    def seed_of(self, key: int, layer: int) -> int:
        """The seed of one row in one layer."""
        return _hash(self.seed, self.step, key, layer, *([self.again] if self.again else []))


class Rows:
    """Where each row of the forward pass under way lies; one for all adapters of a base.

    Nothing is dropped while `draw` is None. All stays as it was until the next pass. Activation checkpointing runs layers
    again in the backward pass, where a later pass may have been under way: what `replay` gave puts things back.
    """

    def __init__(self) -> None:
        self.draw: Draw | None = None
        self.spans: list[tuple[int, int, int]] = []

    def enter(self, draw: Draw | None, batch: Batch, index: Tensor) -> None:
        """Take note of the pass: index [R, T] is the place of each token in the flattened layout, rows lying unbroken in it."""
        self.draw = draw
        if draw is not None:
            self.spans = list(zip(batch.key.tolist(), index[:, 0].tolist(), batch.length.tolist(), strict=True))

    def replay(self) -> Callable[[], None]:
        """A function that brings the present pass back."""
        now = self.draw, self.spans

        def back() -> None:
            self.draw, self.spans = now

        return back


class RowDropout(torch.nn.Module):
    """Inverted dropout (Srivastava et al. 2014): x * bernoulli(1 - rate) / (1 - rate), for x [R, T, D] or packed [1, N, D]."""

    def __init__(self, rate: float, layer: int, rows: Rows) -> None:
        super().__init__()
        self.rate, self.layer, self.rows = rate, layer, rows

    def forward(self, x: Tensor) -> Tensor:
        mask = self.mask(x)
        return x if mask is None else x * mask

    def mask(self, x: Tensor) -> Tensor | None:
        """What x is multiplied with in the pass under way: 0 or 1 / (1 - rate), of its shape and dtype; None is 1."""
        draw = self.rows.draw
        if draw is None:
            return None
        kept = torch.zeros(x.numel() // x.shape[-1], x.shape[-1], device=x.device)
        generator = torch.Generator(device=x.device)
        for key, start, length in self.rows.spans:
            generator.manual_seed(draw.seed_of(key, self.layer))
            kept[start : start + length].bernoulli_(1 - self.rate, generator=generator)
        return kept.view_as(x).to(x.dtype) / (1 - self.rate)


def put_dropout(model: Any, adapter: str, rate: float, rows: Rows) -> None:
    """Make one adapter of a peft model drop out by rows. Its layers are numbered in the model's order."""
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer) and adapter in module.lora_dropout]
    for number, module in enumerate(layers):
        module.lora_dropout[adapter] = RowDropout(rate, number, rows)


def row_noise(draw: Draw, batch: Batch, like: Tensor) -> Tensor:
    """Uniform numbers in [-1, 1] of the shape of `like` [R, T, E]: each row's own, 0 on padding."""
    noise = torch.zeros_like(like)
    generator = torch.Generator(device=like.device)
    for row, (key, length) in enumerate(zip(batch.key.tolist(), batch.length.tolist(), strict=True)):
        generator.manual_seed(draw.seed_of(key, EMBEDDINGS))
        noise[row, :length].uniform_(-1, 1, generator=generator)
    return noise


def _hash(*numbers: int) -> int:
    """32 bits: torch's CPU generator reads no more of a seed."""
    text = ",".join(map(str, numbers))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
