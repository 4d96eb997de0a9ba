"""Reading prompts: end to end where the kernels can, else padded to the longest of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from plaudit.engines.kernels import Where, rotate
from plaudit.engines.kv_cache import KVCache

if TYPE_CHECKING:
    from plaudit.engines.decoder import Decoder

PADDED_TOKENS = 4096
"""Tokens, padding included, that are read in one pass: bounds memory, and is enough to fill the matrix units."""
PACKED_TOKENS = 1024
"""The same without padding, on a CPU: what layers hand on then stays in its caches."""
PACKED_LENGTH = 256
"""Longer prompts are read padded: their attention is worth matrix products, which the kernel for end to end does without."""


@dataclass(frozen=True)
class Packed:
    """Prompts that are read end to end."""

    prompts: list[list[int]]
    slots: list[int]

    def read(self, decoder: Decoder, cache: KVCache) -> Tensor:
        """Logits [B, V] after the prompts, which are written into their slots."""
        lengths = torch.tensor([len(prompt) for prompt in self.prompts])
        starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        ids = torch.tensor([token for prompt in self.prompts for token in prompt])
        positions = torch.arange(len(ids)) - starts[:-1].repeat_interleave(lengths)
        where = Where(positions, int(lengths.max()), torch.tensor(self.slots), starts)
        angles = decoder.angles_at(positions)

        def attend(layer: int, qkv: Tensor) -> Tensor:
            return decoder.kernels.attend(layer, qkv, angles.get(decoder.shape.ropes[layer]), where, cache)

        return decoder.logits(decoder.run(decoder.embedded(ids), positions, attend)[starts[1:] - 1])


@dataclass(frozen=True)
class Padded:
    """Prompts that are read below one another, right-padded.

    Padding stands behind every real token, so causal attention alone keeps it out. Virtual tokens stand at the first places of
    each slot.
    """

    prompts: list[list[int]]
    slots: list[int]

    def read(self, decoder: Decoder, cache: KVCache) -> Tensor:
        """Logits [B, V] after the prompts, which are written into their slots."""
        device, shape, extras = decoder.device, decoder.shape, decoder.extras
        ids = torch.zeros(len(self.prompts), max(map(len, self.prompts)), dtype=torch.long)
        for line, prompt in zip(ids, self.prompts, strict=True):
            line[: len(prompt)] = torch.tensor(prompt)
        x, virtual, before = decoder.embedded(ids.to(device)), extras.prompt, extras.virtual
        if virtual is not None:
            x, before = torch.cat([virtual.expand(len(ids), -1, -1).to(x.dtype), x], 1), 0
        rows, width = x.shape[:2]
        heads, group = shape.heads, shape.heads // shape.kv_heads
        places = torch.arange(before + width, device=device)
        slots = torch.tensor(self.slots, device=device)
        masks = {window: _mask(decoder, places, window, before) for window in {*shape.windows}}
        angles = decoder.angles_at(places[before:])

        def attend(layer: int, qkv: Tensor) -> Tensor:
            qk, v = qkv[..., : heads + shape.kv_heads, :], qkv[..., heads + shape.kv_heads :, :].transpose(1, 2)
            if angles:
                qk = rotate(qk, *(part[:, None] for part in angles[shape.ropes[layer]]))
            q, k = qk[..., :heads, :].transpose(1, 2), qk[..., heads:, :].transpose(1, 2)
            if front := extras.before(layer):
                k, v = (torch.cat([part.expand(rows, -1, -1, -1), own], 2) for part, own in zip(front, (k, v), strict=True))
            cache.put_prompts(layer, slots, k, v)
            # Repeated by hand: `enable_gqa` leaves the fast kernel on CPU.
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            mixed = decoder.kernels.mix(layer, q, k, v, masks[shape.windows[layer]])
            return mixed.transpose(1, 2).reshape(rows, width, -1)

        hidden = decoder.run(x, places[before:], attend)
        last = [len(prompt) - 1 + width - ids.shape[1] for prompt in self.prompts]
        return decoder.logits(hidden[torch.arange(rows, device=device), torch.tensor(last, device=device)])


def batches(decoder: Decoder, prompts: Sequence[list[int]], slots: Sequence[int]) -> Iterator[Packed | Padded]:
    """The prompts, longest first, in batches."""
    start = 0
    while start < len(prompts):
        width = len(prompts[start])
        packed = decoder.kernels.reads_runs and not decoder.extras.virtual and width <= PACKED_LENGTH
        end, tokens = start + 1, width
        limit = PACKED_TOKENS if packed else PADDED_TOKENS
        while end < len(prompts) and tokens + (more := len(prompts[end]) if packed else width) <= limit:
            end, tokens = end + 1, tokens + more
        yield (Packed if packed else Padded)(list(prompts[start:end]), list(slots[start:end]))
        start = end


def _mask(decoder: Decoder, places: Tensor, window: int | None, before: int) -> Tensor | None:
    """What each token of a prompt sees, [T, before + T]: 0 or -inf; None where the kernel's own causal rule does."""
    if window is not None and window >= len(places):
        window = None
    if window is None and decoder.shape.attention_softcap is None and not before:
        return None
    distance = places[before:, None] - places
    unseen = distance < 0
    if window is not None:
        unseen = unseen | (distance >= window)
    return torch.zeros(distance.shape, dtype=decoder.dtype, device=places.device).masked_fill_(unseen, float("-inf"))
