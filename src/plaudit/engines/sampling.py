"""Exact sampling by the inverse of the cumulative distribution: one uniform number for each row and step.

No multinomial and no noise for every token of the vocabulary: the weights exp(logit - max) are summed in blocks, the block in
which the uniform number falls is found by a cumulative sum over blocks, and the token by one inside that block. Filters come in
the order of transformers' warpers: temperature, top-k, top-p (each renormalises), min-p. Sums are held in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plaudit.schema import Sampling

BLOCK = 256
CANDIDATES = 256
"""How many of the likeliest tokens are sorted at first; a row whose kept set is larger is sorted in full."""


def uniforms(seed: int, count: int) -> np.ndarray:
    """The first `count` numbers of the row's own Philox stream, float64 in [0, 1); a longer stream has the same beginning."""
    return np.random.Generator(np.random.Philox(key=seed)).random(count)


def draw(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """One token for each row and its log-probability under the distribution it was drawn from.

    logits [B, V] of any float dtype; uniform [B] float64 in [0, 1) -> ids [B] int64, logprobs [B] float64.
    Greedy (temperature 0) draws from a point mass, so its log-probability is 0. Each row depends on itself alone.
    Raises FloatingPointError where a row's largest logit is not finite.
    """
    finite(bool(torch.isfinite(logits.amax(-1)).all()))
    return drawn(logits, uniform, sampling)


def sorts(sampling: Sampling) -> bool:
    """Whether a draw has to sort tokens: then what is computed depends on the numbers, and it cannot be recorded ahead."""
    return sampling.temperature != 0 and (sampling.top_k > 0 or sampling.top_p < 1)


def drawn(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """`draw` of logits that are known to be finite."""
    if logits.dtype != torch.float64:
        logits = logits.float()
    if sampling.temperature == 0:
        ids = logits.argmax(-1)
        return ids, torch.zeros(ids.shape, dtype=torch.float64, device=ids.device)
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if not sorts(sampling):
        return _draw_blocks(_above_min_p(logits, sampling.min_p), uniform)
    chosen = keep(logits, sampling)
    place, logprobs = _draw_sorted(chosen.weights, uniform)
    ids = chosen.ids.gather(1, place[:, None])[:, 0]
    for row, line in chosen.wide.items():
        place, logprob = _draw_sorted(line.weights, uniform[row : row + 1])
        ids[row], logprobs[row] = line.ids[0, place[0]], logprob[0]
    return ids, logprobs


def finite(found: bool) -> None:
    """FloatingPointError where the largest logits are not finite."""
    if not found:
        raise FloatingPointError("the model's logits are not finite: its weights hold NaN or infinity")


def _above_min_p(logits: Tensor, min_p: float) -> Tensor:
    """Logits with -inf where the probability is below `min_p` times the largest one (Nguyen et al. 2024, arXiv 2407.01082)."""
    if min_p == 0:
        return logits
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(min_p), -math.inf)


def _draw_blocks(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of the cumulative distribution over all tokens in the order of their ids, in two levels."""
    rows, size = logits.shape
    top = logits.amax(-1, keepdim=True)
    weights = (logits - top).exp_()
    whole = size // BLOCK
    sums = weights[:, : whole * BLOCK].view(rows, whole, BLOCK).sum(-1)
    if whole * BLOCK < size:
        sums = torch.cat([sums, weights[:, whole * BLOCK :].sum(-1, keepdim=True)], -1)
    edges = sums.double().cumsum(-1)
    total = edges[:, -1:]
    target = uniform[:, None] * total
    block = torch.searchsorted(edges, target, right=True)
    before = torch.where(block > 0, edges.gather(1, (block - 1).clamp_min(0)), 0.0)
    columns = block * BLOCK + torch.arange(BLOCK, device=logits.device)
    inside = weights.gather(1, columns.clamp_max(size - 1)).double().masked_fill_(columns >= size, 0.0).cumsum(-1)
    # The block's sum was rounded in the logits' precision: keep the rest strictly inside, so that a token with weight is found.
    rest = torch.minimum(target - before, torch.nextafter(inside[:, -1:], torch.zeros_like(before)))
    ids = block * BLOCK + torch.searchsorted(inside, rest, right=True)
    logprobs = logits.gather(1, ids).double() - top.double() - total.log()
    return ids[:, 0], logprobs[:, 0]


def _draw_sorted(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of the cumulative distribution over weights [B, C] float64: places [B] and log-probabilities [B]."""
    edges = weights.cumsum(-1)
    total = edges[:, -1:]
    place = torch.searchsorted(edges, uniform[:, None] * total, right=True)
    return place[:, 0], (weights.gather(1, place) / total).log()[:, 0]


@dataclass(frozen=True)
class Kept:
    """What the filters leave: ids [B, C] likeliest first, weights [B, C] float64, 0 where removed.

    `wide`: rows (by number) whose kept set is larger than C, each as a Kept of one row over the whole vocabulary; their line
    in `ids` and `weights` is not valid.
    """

    ids: Tensor
    weights: Tensor
    wide: dict[int, Kept]


def keep(logits: Tensor, sampling: Sampling, candidates: int = CANDIDATES) -> Kept:
    """The tokens that top-k, top-p and min-p leave of logits [B, V], which are already divided by the temperature.

    Top-k keeps ties with the k-th; top-p keeps a token where the mass above it is below p (Holtzman et al. 2019, arXiv
    1904.09751); both as transformers do. Only the likeliest `candidates` are sorted; where the last of them is kept too, the
    set may go on, and that row is sorted in full.
    """
    size = logits.shape[-1]
    count = min(size, max(candidates, sampling.top_k + 1))
    values, ids = logits.topk(count)
    weights = (values - values[:, :1]).double().exp_()
    if sampling.top_k:
        kept = values >= values[:, min(sampling.top_k, count) - 1, None]
        total = (weights * kept).sum(-1, keepdim=True)
        goes_on = kept[:, -1].clone()  # `kept` is narrowed below, in place
    else:
        kept = torch.ones_like(values, dtype=torch.bool)
        total = (logits - values[:, :1]).exp_().sum(-1, keepdim=True, dtype=torch.float64)
        goes_on = None
    if sampling.top_p < 1:
        kept &= weights.cumsum(-1) - weights < sampling.top_p * total
        kept[:, 0] = True
    if sampling.min_p > 0:
        kept &= values >= values[:, :1] + math.log(sampling.min_p)
    if goes_on is None:
        goes_on = kept[:, -1]
    wide = {}
    if count < size:
        wide = {row: keep(logits[row : row + 1], sampling, size) for row in goes_on.nonzero()[:, 0].tolist()}
    return Kept(ids, weights * kept, wide)
