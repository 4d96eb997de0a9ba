"""How the rows of a batch lie in the tensors that a model's layers see, and where each token of them is found again."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from plaudit.core.batch import Batch
from plaudit.models.attention import MASKED, Grid, stepped
from plaudit.models.sharing import Lines, lines_of

Tensor = torch.Tensor


class Layout:
    """How the rows of a batch lie in the tensors that the layers see: padded [R, T], packed [1, N], shared [L, W], or shared
    lines end to end [1, N], for layers that ask for a `grid`.

    inserted  virtual tokens that stand before each row (or line) and pass through the layers (prompt tuning)
    before    virtual tokens that are there as keys and values only, the same for all rows (prefix tuning)
    Rows begin at position `inserted + before` then; `index` [R, T] leads to the rows' own tokens alone.
    """

    def __init__(self, batch: Batch, packed: bool, shared: bool = False, *, inserted: int = 0, before: int = 0) -> None:
        device, length = batch.ids.device, batch.length + inserted
        self.inserted, self.before = inserted, before
        self.real = torch.arange(batch.ids.shape[1], device=device)[None] < batch.length[:, None]
        self.masks: dict[int | None, Tensor] = {}
        self.grids: dict[tuple[int | None, bool], Grid] = {}
        self._owner: Tensor | None = None
        self._lines: Lines | None = None
        if shared:
            self._lines = lines = lines_of(batch).behind(inserted)
            self.ids, self.places, self.index = lines.ids, lines.positions, lines.index
            if packed:
                self._join(lines)
            return
        ids = torch.nn.functional.pad(batch.ids, (inserted, 0))
        rows, width = ids.shape
        places = torch.arange(width, device=device)[None]
        self.ids, self.places, index = ids, places, torch.arange(rows * width, device=device).view(rows, width)
        if packed:
            real = places < length[:, None]
            self.ids, self.places = ids[real][None], places.expand(rows, width)[real][None]
            self._owner = torch.repeat_interleave(torch.arange(rows, device=device), length)
            index = torch.zeros_like(ids)
            index[real] = torch.arange(self.ids.shape[1], device=device)
        self.index = index[:, inserted:]

    def _join(self, lines: Lines) -> None:
        """Put the lines end to end, without their padding. No layers that ask for this know virtual tokens (`grid`)."""
        real = torch.zeros(lines.ids.numel(), dtype=torch.bool, device=lines.ids.device)
        real[lines.index[self.real]] = True
        place = real.long().cumsum(0).sub_(1)
        self.ids, self.places = lines.ids.flatten()[real][None], lines.positions.flatten()[real][None]
        self.index = place[lines.index.flatten()].view_as(lines.index)
        self._line_places = torch.where(real, place, -1).view(lines.ids.shape)

    @property
    def positions(self) -> Tensor:
        """Position of each token in its row, virtual tokens counted."""
        return self.places + self.before

    @property
    def padded(self) -> bool:
        """Rows as they are, one below the other."""
        return self._lines is None and self._owner is None

    @cached_property
    def seen(self) -> Tensor | None:
        """True where a token's row holds another before it, [1 or L, 1, T, T]; None where that is all before it."""
        if self._lines is not None:
            return self._lines.mask()
        owner = self._owner
        return None if owner is None else (owner[:, None] == owner[None, :]).tril()[None, None]

    def grid(self, window: int | None = None, fused: bool = False) -> Grid:
        """Where the tokens stand for attention that takes row by row (or line by line), and what they see of it.

        Shared beginnings stand in each of their rows again where lines would take longer: then only products with weights
        are saved. They do so in any case where causal attention is `fused`: it takes no query of them twice, so that rows have
        the fewest pairs. All give the same numbers.
        """
        if window is not None and window > int(self.places.max()):
            window = None
        key = window, fused and window is None
        if key not in self.grids:
            places, allowed = self._standing(key[1])
            if window is not None:
                positions = self.places.flatten()[places.clamp(min=0)]
                before = positions[:, :, None] - positions[:, None, :]
                allowed = (before < window) & (torch.ones_like(before, dtype=torch.bool).tril() if allowed is None else allowed)
            self.grids[key] = Grid(places, allowed)
        return self.grids[key]

    def _standing(self, fused: bool) -> tuple[Tensor, Tensor | None]:
        """The token at each place of a grid, [L, W], -1 for none; and who sees whom, None where it is causal."""
        if self.inserted:
            raise ValueError("layers that ask for a grid know no virtual tokens")
        rows = torch.where(self.real, self.index, -1)[:, : int(self.real.sum(1).max())]
        if self._lines is None or fused or _area(rows) <= MASKED * _area(self._lines.ids):
            return rows, None
        return self._line_places, self._lines.mask()[:, 0]

    def mask(self, window: int | None = None) -> Tensor | None:
        """`seen`, and of that the last `window` tokens of the row, the token itself included; None is causal.

        [1 or L, 1, T, before + T]: what stands before all rows is seen by all, as far as the window reaches.
        """
        if window is not None and window >= self.ids.shape[1] + self.before:
            window = None
        if window is None and self.seen is None:
            return None
        if window not in self.masks:
            positions = self.positions
            front = torch.arange(self.before, device=positions.device).expand(len(positions), -1)
            distance = positions[:, None, :, None] - torch.cat([front, positions], 1)[:, None, None, :]
            seen = distance >= 0
            if self.seen is not None:
                seen = torch.nn.functional.pad(self.seen, (self.before, 0), value=True)
            self.masks[window] = seen if window is None else seen & (distance < window)
        return self.masks[window]

    def flat(self, hidden: Tensor, row: Tensor, token: Tensor) -> Tensor:
        """Hidden states [N, D] of the given tokens."""
        return hidden.reshape(-1, hidden.shape[-1])[self.index[row, token]]

    def embedded(self, table: Any, virtual: Tensor | None, shift: Tensor | None = None) -> Tensor:
        """Embeddings of the tokens, those of the virtual ones from `virtual` [V, D]; `shift` [R, T, D] moves the rows' own."""
        found = table(self.ids)
        if shift is not None:
            moved = found.reshape(-1, found.shape[-1]).index_add(0, self.index[self.real], shift[self.real].to(found.dtype))
            found = moved.view_as(found)
        if not self.inserted:
            return found
        assert virtual is not None
        own = virtual.to(found.dtype)[self.places.clamp(max=self.inserted - 1)]
        return torch.where((self.places < self.inserted)[..., None], own, found)


def _area(places: Tensor) -> int:
    """Pairs of places of a grid [L, W], its width made a multiple as `Grid` does."""
    return len(places) * stepped(places.shape[1]) ** 2
