"""Decoding steps on a GPU, recorded once and replayed: hundreds of small kernels start as one (a CUDA graph).

A step of B rows is recorded with rows to spare, up to the next of `room`, so few recordings serve all numbers of rows. The rows
to spare read token 0 and write at place 0 of slots that nobody uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from plaudit.engines.decoder import Decoder
from plaudit.engines.kv_cache import KVCache
from plaudit.engines.sampling import drawn, finite, sorts
from plaudit.schema import Sampling

GIVEN = 3
"""Lines of what a step is given: token, position, uniform number. float64 holds them all exactly."""
Step = tuple[list[int], list[float]]
"""Tokens and their log-probabilities, of slots 0..B-1."""


def room(rows: int) -> int:
    """Rows of the recording that serves so many: 1, 2, 4, 8, then multiples of 8, of 16 above 64, of 64 above 256."""
    if rows <= 8:
        return 1 << (rows - 1).bit_length()
    unit = 8 if rows <= 64 else 16 if rows <= 256 else 64
    return -(-rows // unit) * unit


class Recorded:
    """One step of a fixed number of rows, from tokens to logits and, where a draw need not sort, to the next tokens."""

    def __init__(self, decoder: Decoder, cache: KVCache, rows: int, sampling: Sampling) -> None:
        self.decoder, self.cache, self.sampling, self.draws = decoder, cache, sampling, not sorts(sampling)
        self.host = torch.zeros(GIVEN, rows, dtype=torch.float64, pin_memory=True)
        self.given, self.made = (torch.zeros(GIVEN, rows, dtype=torch.float64, device=decoder.device) for _ in range(2))
        self.logits = torch.empty(0)
        self.graph: Any = None

    def _run(self) -> None:
        self.logits = self.decoder.step(self.given[0].long(), self.given[1].long(), self.cache.length, self.cache)
        if self.draws:
            tokens, logprobs = drawn(self.logits, self.given[2], self.sampling)
            self.made.copy_(torch.stack([tokens.double(), logprobs, self.logits.amax(-1).double()]))

    def _record(self, pool: Any) -> None:
        """Needs what the step is given in place: the first run, in which kernels are compiled, is a real one."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._run()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self._run()

    def step(self, given: list[Sequence[float]], pool: Any) -> Step:
        """Record where that has not been done, replay, and read the result."""
        rows = len(given[0])
        self.host.zero_()
        self.host[:, :rows] = torch.tensor(given, dtype=torch.float64)
        self.given.copy_(self.host, non_blocking=True)
        if self.graph is None:
            self._record(pool)
        self.graph.replay()
        if self.draws:
            tokens, logprobs, highest = self.made[:, :rows].cpu()
            finite(bool(torch.isfinite(highest).all()))
            return tokens.long().tolist(), logprobs.tolist()
        found = self.decoder.kernels.draw(self.logits[:rows], self.given[2, :rows], self.sampling)
        return found[0].tolist(), found[1].tolist()


class Graphs:
    """The recordings of one decoder and cache. They hold addresses: all are dropped when one of these has moved."""

    def __init__(self, decoder: Decoder, cache: KVCache) -> None:
        self.decoder, self.cache = decoder, cache
        self.recorded: dict[tuple[Any, ...], Recorded] = {}
        self._stand: tuple[Any, ...] = ()
        self._pool: Any = None

    def serve(self) -> bool:
        """Whether steps can be recorded: on a GPU, with kernels whose launches do not depend on the longest row."""
        return self.decoder.device.type == "cuda" and self.decoder.kernels.fixed

    def step(self, ids: Sequence[int], positions: Sequence[int], uniform: Sequence[float], sampling: Sampling) -> Step:
        """The next tokens of slots 0..B-1: `Decoder.step` and the draw."""
        if (now := self._addresses()) != self._stand:
            self.recorded.clear()
            self._stand, self._pool = now, torch.cuda.graph_pool_handle()
        rows = min(room(len(ids)), self.cache.slots)
        key = rows, sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p
        if key not in self.recorded:
            self.recorded[key] = Recorded(self.decoder, self.cache, rows, sampling)
        return self.recorded[key].step([ids, positions, uniform], self._pool)

    def _addresses(self) -> tuple[Any, ...]:
        """Of the cache, the angles, and what an adapter adds."""
        decoder, cache = self.decoder, self.cache
        tensors = [cache.keys, cache.values, *decoder.extras.tensors.values()]
        tensors += [part for pair in decoder.angles.values() for part in pair]
        return decoder.kernels.name, cache.shape, *(tensor.data_ptr() for tensor in tensors)
