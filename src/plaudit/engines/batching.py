"""Continuous batching: which row stands in which slot, and one step of all of them.

Slots 0..B-1 are always the B active rows. A row that ends leaves a hole: the next waiting row enters it, and where none waits
the last active row moves in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plaudit.engines.base import Progress
from plaudit.engines.decoder import Decoder
from plaudit.engines.graphs import Graphs
from plaudit.engines.kv_cache import KVCache
from plaudit.engines.rows import Asked, Row
from plaudit.engines.stop import Ends
from plaudit.schema import Sampling


@dataclass(frozen=True)
class Open:
    """A prompt that is in the cache while siblings of it still wait: where it stands, and the logits [V] after it."""

    prompt: Asked
    slot: int
    logits: Tensor


class Loop:
    """Writes the rows of one call. `slots` and the cache's length must have room for them (see `KVCache.reserve`)."""

    def __init__(
        self,
        decoder: Decoder,
        cache: KVCache,
        sampling: Sampling,
        stop: Ends,
        slots: int,
        progress: Progress | None,
        graphs: Graphs,
    ) -> None:
        self.decoder, self.cache, self.sampling, self.stop, self.progress = decoder, cache, sampling, stop, progress
        self.graphs = graphs
        self.active: list[Row | None] = [None] * slots
        self.waiting: deque[Row] = deque()
        self.open: Open | None = None
        self.done = self.total = 0

    def run(self, rows: Sequence[Row]) -> None:
        """Write all rows to their ends. Siblings of a prompt must stand together in `rows`."""
        self.waiting.extend(rows)
        self.total = len(rows)
        while True:
            self._admit()
            self._close_holes()
            if not self.active:
                return
            self._step()

    def _admit(self) -> None:
        """Waiting rows into free slots; again where some end with their very first token."""
        while self.waiting and None in self.active:
            holes = [slot for slot, row in enumerate(self.active) if row is None][: len(self.waiting)]
            self._enter([(slot, self.waiting.popleft()) for slot in holes])

    def _enter(self, entering: list[tuple[int, Row]]) -> None:
        """Read the prompts of these rows (each once), hand them to the siblings, and draw the first tokens."""
        groups: list[list[tuple[int, Row]]] = []
        for slot, row in entering:
            if not groups or groups[-1][0][1].prompt is not row.prompt:
                groups.append([])
            groups[-1].append((slot, row))
        logits: list[Tensor] = []
        # The open prompt goes first: the slot where it stands may be one that another prompt is about to fill.
        if self.open and groups[0][0][1].prompt is self.open.prompt:
            self._share(self.open.slot, groups[0])
            logits.append(self.open.logits)
        fresh = groups[len(logits) :]
        logits.extend(self._prefill([group[0] for group in fresh]) if fresh else [])
        for group in fresh:
            self._share(group[0][0], group[1:])
        slot, row = entering[-1]
        more = bool(self.waiting) and self.waiting[0].prompt is row.prompt
        self.open = Open(row.prompt, slot, logits[-1]) if more else None
        for slot, row in entering:
            self.active[slot] = row
        after = torch.stack([line for line, group in zip(logits, groups, strict=True) for _ in group])
        self._push(after, [slot for slot, _ in entering])

    def _share(self, source: int, siblings: list[tuple[int, Row]]) -> None:
        for slot, row in siblings:
            self.cache.copy(source, slot, row.prompt.places)

    def _prefill(self, rows: list[tuple[int, Row]]) -> list[Tensor]:
        """Logits [V] after each row's prompt, which is written into its slot. Rows come longest prompt first."""
        return list(self.decoder.prefill([row.prompt.ids for _, row in rows], [slot for slot, _ in rows], self.cache))

    def _step(self) -> None:
        """One token more for every active row; there are no holes here."""
        rows = [row for row in self.active if row]
        ids, positions = [row.tokens[-1] for row in rows], [row.position for row in rows]
        if self.graphs.serve():
            uniform = [float(row.uniform[len(row.tokens)]) for row in rows]
            self._take(range(len(rows)), *self.graphs.step(ids, positions, uniform, self.sampling))
            return
        device = self.decoder.device
        places = torch.tensor(positions, device=device)
        logits = self.decoder.step(torch.tensor(ids, device=device), places, max(positions) + 1, self.cache)
        self._push(logits, range(len(rows)))

    def _push(self, logits: Tensor, slots: Sequence[int]) -> None:
        """Draw the next token of the rows in `slots` from logits [len(slots), V]."""
        rows = [row for slot in slots if (row := self.active[slot])]
        uniform = torch.tensor([row.uniform[len(row.tokens)] for row in rows], dtype=torch.float64, device=logits.device)
        tokens, logprobs = self.decoder.kernels.draw(logits, uniform, self.sampling)
        self._take(slots, tokens.tolist(), logprobs.tolist())

    def _take(self, slots: Sequence[int], tokens: Sequence[int], logprobs: Sequence[float]) -> None:
        """The next tokens of the rows in `slots`; rows that end leave holes."""
        before = self.done
        for slot, token, logprob in zip(slots, tokens, logprobs, strict=True):
            row = self.active[slot]
            assert row is not None
            row.push(token, logprob, self.stop)
            if row.reason:
                self.active[slot] = None
                self.done += 1
        if self.progress and self.done > before:
            self.progress(self.done, self.total)

    def _close_holes(self) -> None:
        """Where none waits any more, move the last rows into the holes, so that the active ones stand together."""
        for slot in range(len(self.active)):
            while self.active and self.active[-1] is None:
                self.active.pop()
            if slot < len(self.active) and self.active[slot] is None and (row := self.active.pop()):
                self.active[slot] = row
                self.cache.copy(len(self.active), slot, row.position)
