"""The one batch: flat rows of aligned token streams.

Letters: R rows, T tokens of the longest row. A *stream* is [R, T] and stream[r, t] speaks of token t of row r; a *side* is
[R] and speaks of the row. `group[r]` is the prompt's index and `place[r]` the row's place among its siblings (0 is first, or
best), so ragged groups, rankings of any length and lost samples need nothing special.
Three laws hold everywhere: 1 in a mask means "counts"; logp[t], value[t], entropy[t] belong to token t (the shift by one is
done in `models.forward` and nowhere else); ends are known from `length`, never from a token's id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

Tensor = torch.Tensor


@dataclass(frozen=True)
class Batch:
    """Rows right-padded to one length.

    ids     [R, T] int64   token ids, padding is 0
    mask    [R, T] float   1 on tokens that are trained (those the policy or the demonstrator wrote)
    length  [R]    int64   real tokens of each row, prompt included
    group   [R]    int64   index of the prompt; rows of one group stay together when an algorithm is `grouped`
    place   [R]    int64   place among the siblings
    key     [R]    int64   names the row for anything random that belongs to it (dropout)
    streams name -> [R, T] old, ref, value, advantage, returns ...
    sides   name -> [R]    reward, margin, probability ...
    weight  name of a loss term -> [R, T] or [R]; set by `prepare` from data alone
    denominator  name of a loss term -> [R]: what a row adds to the fixed number that this term is divided by (Dr. GRPO);
            a term that is not named here is divided by the sum of its weights
    """

    ids: Tensor
    mask: Tensor
    length: Tensor
    group: Tensor
    place: Tensor
    key: Tensor
    streams: Mapping[str, Tensor] = field(default_factory=dict)
    sides: Mapping[str, Tensor] = field(default_factory=dict)
    weight: Mapping[str, Tensor] = field(default_factory=dict)
    denominator: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.ids.shape[0]

    def __getitem__(self, name: str) -> Tensor:
        """A stream or side by name; KeyError says which there are."""
        for shelf in (self.streams, self.sides):
            if name in shelf:
                return shelf[name]
        raise KeyError(f"no stream or side {name!r}; there are {sorted([*self.streams, *self.sides])}")

    def with_(
        self,
        *,
        streams: Mapping[str, Tensor] | None = None,
        sides: Mapping[str, Tensor] | None = None,
        weight: Mapping[str, Tensor] | None = None,
        denominator: Mapping[str, Tensor] | None = None,
    ) -> Batch:
        """A batch with these streams, sides, weights and denominators added or replaced."""
        return replace(
            self,
            streams={**self.streams, **(streams or {})},
            sides={**self.sides, **(sides or {})},
            weight={**self.weight, **(weight or {})},
            denominator={**self.denominator, **(denominator or {})},
        )

    def placed(self, place: Tensor) -> Batch:
        """The same rows with other places among their siblings, [R]."""
        return replace(self, place=place)

    def rows(self, index: Tensor | Sequence[int]) -> Batch:
        """The rows at `index`, in that order, with the padding that they no longer need cut off."""
        index = torch.as_tensor(index, dtype=torch.long, device=self.ids.device)
        width = int(self.length[index].max()) if len(index) else 0

        def pick(x: Tensor) -> Tensor:
            return x[index][:, :width] if x.dim() == 2 else x[index]

        return self._map(pick)

    def pad_to(self, width: int) -> Batch:
        """The same rows with padding up to `width` tokens (used by the law tests: padding changes nothing)."""

        def pad(x: Tensor) -> Tensor:
            return torch.nn.functional.pad(x, (0, width - x.shape[1])) if x.dim() == 2 else x

        return self._map(pad)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Batch:
        """The same batch on `device`; floating streams in `dtype` where it is given."""
        return self._map(lambda x: x.to(device, dtype if dtype and x.is_floating_point() else None))

    def groups(self) -> list[Tensor]:
        """Row indices of each group, in order of first appearance."""
        found: dict[int, list[int]] = {}
        for row, name in enumerate(self.group.tolist()):
            found.setdefault(name, []).append(row)
        return [torch.tensor(rows, dtype=torch.long) for rows in found.values()]

    def sums(self) -> dict[str, Tensor]:
        """What each loss term is divided by, as far as these rows go: to be added up over the whole step and all ranks."""
        return {name: self.denominator.get(name, weight).sum() for name, weight in self.weight.items()}

    def normalised(self, total: Mapping[str, float]) -> Batch:
        """Weights divided by their sums over the whole step and all ranks: the only division of a loss in the house."""
        return replace(self, weight={name: w / total[name] if total[name] else w for name, w in self.weight.items()})

    def _map(self, f: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            f(self.ids),
            f(self.mask),
            f(self.length),
            f(self.group),
            f(self.place),
            f(self.key),
            {k: f(v) for k, v in self.streams.items()},
            {k: f(v) for k, v in self.sides.items()},
            {k: f(v) for k, v in self.weight.items()},
            {k: f(v) for k, v in self.denominator.items()},
        )


def joined(first: Batch, second: Batch) -> Batch:
    """The rows of both, one after the other, before `prepare`; groups stay apart, and what one of them lacks is 0 there."""
    width = max(first.ids.shape[1], second.ids.shape[1])
    a, b = first.pad_to(width), second.pad_to(width)

    def both(some: Mapping[str, Tensor], more: Mapping[str, Tensor], size: tuple[int, ...]) -> dict[str, Tensor]:
        names = dict.fromkeys([*some, *more])
        empty = [a.mask.new_zeros(len(part), *size) for part in (a, b)]
        return {name: torch.cat([some.get(name, empty[0]), more.get(name, empty[1])]) for name in names}

    apart = int(a.group.max()) + 1 if len(a) else 0
    return Batch(
        torch.cat([a.ids, b.ids]),
        torch.cat([a.mask, b.mask]),
        torch.cat([a.length, b.length]),
        torch.cat([a.group, b.group + apart]),
        torch.cat([a.place, b.place]),
        torch.cat([a.key, b.key]),
        streams=both(a.streams, b.streams, (width,)),
        sides=both(a.sides, b.sides, ()),
    )


@dataclass(frozen=True)
class Outputs:
    """What a forward pass says of the rows of a batch; only what was asked for is there.

    logp, entropy, value: [R, T], 0 where the mask is 0. score: [R], classes: [R, C], read at the row's last token. thresholds:
    [K - 1], of an ordinal head, the same for all rows.
    steps: [R, T], read at the tokens where the stream `step` is 1, 0 elsewhere. hidden: [N, D], the states that the N tokens
    with mask 1 are read from, row by row.
    """

    logp: Tensor | None = None
    entropy: Tensor | None = None
    value: Tensor | None = None
    score: Tensor | None = None
    thresholds: Tensor | None = None
    classes: Tensor | None = None
    steps: Tensor | None = None
    hidden: Tensor | None = None


def from_rows(
    ids: Sequence[Sequence[int]],
    mask: Sequence[Sequence[int]],
    *,
    group: Sequence[int] | None = None,
    place: Sequence[int] | None = None,
    key: Sequence[int] | None = None,
    streams: Mapping[str, Sequence[Sequence[float]]] | None = None,
    sides: Mapping[str, Sequence[float]] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Rows of Python lists, right-padded. `mask[r]` and every stream row are as long as `ids[r]`."""
    count = len(ids)
    width = max((len(row) for row in ids), default=0)

    def padded(rows: Sequence[Sequence[float]], kind: torch.dtype) -> Tensor:
        out = torch.zeros(count, width, dtype=kind)
        for r, row in enumerate(rows):
            out[r, : len(row)] = torch.as_tensor(row, dtype=kind)
        return out

    def side(values: Sequence[int] | None, default: Iterator[int]) -> Tensor:
        return torch.tensor(list(values) if values is not None else [next(default) for _ in range(count)], dtype=torch.long)

    return Batch(
        ids=padded(ids, torch.long),
        mask=padded(mask, dtype),
        length=torch.tensor([len(row) for row in ids], dtype=torch.long),
        group=side(group, iter(range(count))),
        place=side(place, iter([0] * count)),
        key=side(key, iter(range(count))),
        streams={name: padded(rows, dtype) for name, rows in (streams or {}).items()},
        sides={name: torch.as_tensor(values, dtype=dtype) for name, values in (sides or {}).items()},
    )
