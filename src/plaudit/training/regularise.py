"""Regularisation of a training pass: noise on embeddings, an adversarial second pass, agreement of two dropout passes.

All of it is defined row by row and keyed by row, so that micro-batches, padding and packing change nothing (law 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated

import torch
from annotated_types import Ge

from plaudit.algorithms.base import Algorithm
from plaudit.config import config
from plaudit.core import divergence, preference
from plaudit.core.batch import Batch, Outputs
from plaudit.models.dropout import Draw, row_noise
from plaudit.models.network import Network
from plaudit.schema import UserError

Tensor = torch.Tensor
Forward = Callable[[Draw | None, Tensor | None], Outputs]
"""One forward pass: dropout's draw, and what is added to the embeddings [R, T, E]."""


@config
class RegularisationConfig:
    """What keeps fine-tuning from learning its rows by heart; for demonstrations and for reward models."""

    neftune_noise_alpha: Annotated[float, Ge(0)] = 0.0
    """Uniform noise of size alpha / sqrt(length x width) on the embeddings while training (NEFTune); 5 is usual, 0 is off."""
    adversarial_epsilon: Annotated[float, Ge(0)] = 0.0
    """A second pass with the embeddings of each row moved by this share of their norm in the direction that hurts most (FGM);
    0.01 is a start, 0 is off. Twice the work."""
    r_drop_alpha: Annotated[float, Ge(0)] = 0.0
    """Weight of the disagreement between two passes with other dropout (R-Drop); 1 is a start, 0 is off. Twice the work."""

    @property
    def moves_embeddings(self) -> bool:
        """Whether the lowest layers see something else than the rows: then nothing below the adapters can be shared."""
        return bool(self.neftune_noise_alpha or self.adversarial_epsilon)

    def check(self, dropout: float) -> None:
        """UserError where two passes would be the same."""
        if self.r_drop_alpha and not (dropout or self.neftune_noise_alpha):
            raise UserError(
                "r_drop_alpha compares two passes with other dropout, and there is none; set lora_dropout (0.1, say) or "
                "neftune_noise_alpha, or leave r_drop_alpha out"
            )


def backward(
    o: RegularisationConfig, algorithm: Algorithm, network: Network, micro: Batch, draw: Draw | None, forward: Forward
) -> tuple[Outputs, dict[str, float]]:
    """Forward and backward passes of one micro-batch, its weights already normalised: (outputs, losses by term).

    R-Drop      mean of the losses of two passes + alpha D of their predictions, with D the symmetric KL (`core.divergence`):
                of the tokens' distributions, or of a pair's preference. Half of Liang et al.'s sum, so that alpha is theirs and
                the loss keeps its size.
    FGM         L(e) + L(e + r), r_row = epsilon |e_row| g_row / |g_row| with g the gradient of L by the embeddings (Miyato et
                al. 2017, arXiv 1605.07725, eq. 6; they normalise embeddings where this scales with their norm). Direction and
                length are the row's own and do not depend on how the loss is weighted: the same in any micro-batch.
    NEFTune     e + alpha / sqrt(length width) u, u uniform in [-1, 1] (Jain et al. 2023, arXiv 2310.05914)
    """
    noise = _noise(o, network, micro, draw)
    moved = noise
    if o.adversarial_epsilon:
        moved = torch.zeros_like(network.embeddings(micro)) if noise is None else noise.clone()
        moved.requires_grad_()
    outputs = forward(draw, moved)
    losses = _weighted(algorithm.loss(outputs, micro), micro)
    if o.r_drop_alpha:
        assert draw is not None
        again = replace(draw, again=1)
        other = _noise(o, network, micro, again)
        shift = moved if other is None else other if moved is None or noise is None else moved - noise + other
        two = forward(again, shift)
        second = _weighted(algorithm.loss(two, micro), micro)
        losses = {name: 0.5 * (value + second[name]) for name, value in losses.items()}
        losses["r_drop"] = o.r_drop_alpha * _disagreement(network, algorithm, outputs, two, micro)
    torch.stack(list(losses.values())).sum().backward()
    found = {name: float(value.detach()) for name, value in losses.items()}
    if o.adversarial_epsilon:
        assert moved is not None and moved.grad is not None
        worst = _worst(o.adversarial_epsilon, network.embeddings(micro), moved.grad)
        hurt = _weighted(algorithm.loss(forward(draw, worst if noise is None else noise + worst), micro), micro)
        loss = torch.stack(list(hurt.values())).sum()
        loss.backward()
        found["adversarial"] = float(loss.detach())
    return outputs, found


def _weighted(terms: Mapping[str, Tensor], micro: Batch) -> dict[str, Tensor]:
    return {name: (term * micro.weight[name]).sum() for name, term in terms.items()}


def _noise(o: RegularisationConfig, network: Network, micro: Batch, draw: Draw | None) -> Tensor | None:
    """NEFTune's noise [R, T, E]; None where it is off."""
    if not o.neftune_noise_alpha or draw is None:
        return None
    embeddings = network.embeddings(micro)
    size = o.neftune_noise_alpha / (micro.length * embeddings.shape[-1]).sqrt()
    return row_noise(draw, micro, embeddings) * size[:, None, None]


def _worst(epsilon: float, embeddings: Tensor, gradient: Tensor) -> Tensor:
    """FGM's perturbation of each row: epsilon |e| g / |g|, norms over all of the row; 0 where the gradient is."""
    norm = gradient.norm(dim=(1, 2), keepdim=True)
    size = epsilon * embeddings.norm(dim=(1, 2), keepdim=True)
    return gradient * torch.where(norm > 0, size / norm.clamp(min=torch.finfo(norm.dtype).tiny), 0.0)


def _disagreement(network: Network, algorithm: Algorithm, one: Outputs, two: Outputs, micro: Batch) -> Tensor:
    """R-Drop's D, weighted as the first term of the loss is."""
    weight = next(iter(micro.weight.values()))
    if one.score is not None and two.score is not None:
        other = preference.opponent(micro.group, micro.place)
        return (divergence.bernoulli(one.score - one.score[other], two.score - two.score[other]) * weight).sum()
    assert one.hidden is not None and two.hidden is not None
    row, token = micro.mask.nonzero(as_tuple=True)
    return (network.divergence(one.hidden, two.hidden, algorithm.temperature) * weight[row, token]).sum()
