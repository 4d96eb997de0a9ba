"""Keys and values of every slot, allocated once and written in place."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 64
"""Lengths are rounded up to this, so that a slightly longer call does not allocate again."""


class KVCache:
    """`keys` and `values` are [layers, slots, kv_heads, length, head_dim]; a row's slot is its place in the batch.

    The first rows x first positions of a layer are handed to attention as a view: no step copies the cache. Positions that a
    row has not written yet hold zeros or a former row's numbers; attention masks them, and they are always finite.
    """

    def __init__(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> None:
        self.shape = (layers, 0, kv_heads, 0, head_dim)
        self.keys = self.values = torch.zeros(self.shape, dtype=dtype, device=device)

    @property
    def slots(self) -> int:
        return self.shape[1]

    @property
    def length(self) -> int:
        return self.shape[3]

    def reserve(self, slots: int, length: int) -> None:
        """Have room for this many slots and positions. Growing drops what is inside, so it happens between calls only."""
        length = -(-length // BLOCK) * BLOCK
        if slots <= self.slots and length <= self.length:
            return
        layers, _, heads, _, dim = self.shape
        self.shape = (layers, max(slots, self.slots), heads, max(length, self.length), dim)
        dtype, device = self.keys.dtype, self.keys.device
        self.keys = self.values = torch.empty(0)  # give the old memory back before taking the new
        self.keys = torch.zeros(self.shape, dtype=dtype, device=device)
        self.values = torch.zeros(self.shape, dtype=dtype, device=device)

    def release(self) -> None:
        """Give the memory back; the next `reserve` allocates again."""
        layers, _, heads, _, dim = self.shape
        self.shape = (layers, 0, heads, 0, dim)
        self.keys = self.values = torch.zeros(self.shape, dtype=self.keys.dtype, device=self.keys.device)

    def put_prompts(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Write keys and values [B, kv_heads, T, head_dim] of B right-padded prompts at positions 0..T-1 of `slots` [B]."""
        width = keys.shape[2]
        self.keys[layer, :, :, :width].index_copy_(0, slots, keys)
        self.values[layer, :, :, :width].index_copy_(0, slots, values)

    def places(self, positions: Tensor) -> Tensor:
        """Where the next token of slots 0..B-1 goes, for `put_step`: [B * kv_heads], computed once for all layers."""
        heads, length = self.shape[2], self.shape[3]
        lines = torch.arange(positions.shape[0] * heads, device=positions.device) * length
        return lines + positions.repeat_interleave(heads)

    def put_step(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Write one token's keys and values [B, kv_heads, head_dim] at `places`."""
        dim = self.shape[4]
        self.keys[layer].view(-1, dim).index_copy_(0, places, keys.reshape(-1, dim))
        self.values[layer].view(-1, dim).index_copy_(0, places, values.reshape(-1, dim))

    def window(self, layer: int, rows: int, length: int) -> tuple[Tensor, Tensor]:
        """Views of keys and values of slots 0..rows-1, positions 0..length-1: [rows, kv_heads, length, head_dim]."""
        return self.keys[layer, :rows, :, :length], self.values[layer, :rows, :, :length]

    def copy(self, source: int, target: int, length: int) -> None:
        """Make positions 0..length-1 of slot `target` those of slot `source`, in all layers."""
        if source != target:
            self.keys[:, target, :, :length] = self.keys[:, source, :, :length]
            self.values[:, target, :, :length] = self.values[:, source, :, :length]
