"""From the data options of a run to its training and held-out rows, read at once or as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plaudit.data.check import check
from plaudit.data.encode import EncodeReport, require_prompts
from plaudit.data.layouts.base import Wants
from plaudit.data.mixture import Mixture
from plaudit.data.options import ReadConfig
from plaudit.data.readers import Data, dataset_digest, read
from plaudit.data.split import half, home_key, homes, point
from plaudit.data.streaming import EncodeOne, Picked, encode_streamed, stream
from plaudit.models.folder import cache_folder
from plaudit.schema import UserError
from plaudit.training.folder import RunFolder
from plaudit.training.options import DataConfig
from plaudit.training.progress import Progress

Encode = Callable[[Sequence[Any]], tuple[list[Any], EncodeReport]]
"""Items to rows, those that are left out counted."""
Study = Callable[[Sequence[Any], Sequence[Any], Sequence[str]], None]
"""Looks at training and held-out items and the names of classes."""


@dataclass(frozen=True)
class Encoder:
    """How items become rows: all at once, or one after the other where they are streamed.

    one   rows of one item; fits   whether a prompt, which stays as it is, is kept. One of the two is there.
    """

    encode: Encode
    what: str
    max_length: int | None
    one: EncodeOne | None = None
    fits: Callable[[Any, int, EncodeReport], bool] | None = None
    look: Callable[[EncodeReport], None] = lambda report: None
    """Told the report before anything else happens; may raise UserError."""


@dataclass(frozen=True)
class Prepared:
    """Rows to train on and held-out ones, and the mixture that says how they are drawn (None: each once an epoch)."""

    rows: Sequence[Any]
    held_out: Sequence[Any]
    mixture: Mixture | None


class Preparation:
    """Reads, splits by prompt, checks and encodes; everything found or left out is told and kept in the run's log."""

    def __init__(self, data: DataConfig, reading: ReadConfig, folder: RunFolder, progress: Progress, seed: int) -> None:
        self.data, self.reading, self.folder, self.progress, self.seed = data, reading, folder, progress, seed

    def prepare(
        self, wants: Wants, encoder: Encoder, *, thumbs: bool = False, study: Study = lambda items, held_out, classes: None
    ) -> Prepared:
        """The rows of `train_file` and `eval_file`. UserError for what the user can mend.

        thumbs: labels must be 0 or 1. study: looks at training and held-out items, and the names of classes, before encoding.
        """
        found = self._read(self.data.train_file, wants, "train_file")
        train = np.arange(len(found.items))
        held: Data | None = None
        aside = train[:0]
        if self.data.eval_file is not None:
            held = self._read(self.data.eval_file, wants, "eval_file", found.classes)
        elif self.data.eval_fraction:
            home = homes(self._points(found), (1 - self.data.eval_fraction, self.data.eval_fraction, 0.0))
            train, aside = np.flatnonzero(home == 0), np.flatnonzero(home == 1)
        if self.data.data_half != "none":
            whole, places_of = len(train), half([found.items[i] for i in train], self.data.data_half)
            train = train[places_of]
            self.tell([f"data_half {self.data.data_half}: {len(train):,} of {whole:,} rows are trained on"])
        if thumbs:
            for data in filter(None, (found, held)):
                _require_thumbs(data)
        if self.data.streaming:
            self.tell(["streaming: duplicates and leakage are not looked for; `plaudit data check` does that"])
            items: Sequence[Any] = Picked(found.items, train)
            others: Sequence[Any] = held.items if held else Picked(found.items, aside)
        else:
            items = [found.items[i] for i in train]
            others = held.items if held else [found.items[i] for i in aside]
            self.tell(check({"train": items, "validation": others}).lines())
        study(items, others, found.classes)
        rows, places = self._encoded(items, encoder)
        held_out = self._encoded(others, encoder)[0] if len(others) else []
        return Prepared(rows, held_out, self._mixture(found, train[places]))

    def tell(self, lines: list[str]) -> None:
        """To the person and into the log."""
        for line in lines:
            self.folder.event(line)
            self.progress.tell(line)

    def _read(self, given: Any, wants: Wants, name: str, classes: Sequence[str] = ()) -> Data:
        options = {**self.reading.keywords(), "classes": classes}
        given = self.reading.part(given)
        if self.data.streaming:
            found: Data = stream(given, wants, seed=self.seed, cache=cache_folder() / "index", told=self._told(name), **options)
            digest = found.digest  # type: ignore[attr-defined]
        else:
            found = read(given, wants, **options)
            digest = dataset_digest(found.items)
        self.folder.inputs(**{name: digest})
        self.tell(found.lines())
        if found.classes:
            self.tell([f"classes: {', '.join(f'{i} {label}' for i, label in enumerate(found.classes))}"])
        return found

    def _told(self, name: str) -> Callable[[int, int], None]:
        begun: list[int] = []

        def told(done: int, total: int) -> None:
            if begun != [total]:
                begun[:] = [total]
                self.progress.task(name, total)
            self.progress.advance(done)

        return told

    def _points(self, found: Data) -> np.ndarray:
        points: np.ndarray | None = getattr(found, "points", None)
        return points if points is not None else np.array([point(home_key(item), self.seed) for item in found.items])

    def _encoded(self, items: Sequence[Any], encoder: Encoder) -> tuple[Sequence[Any], np.ndarray]:
        """Rows, and of each row the place of its item in `items`."""
        if self.data.streaming:
            return self._streamed(items, encoder)
        listed, report = encoder.encode(items)
        encoder.look(report)
        self.tell(report.lines())
        if listed and hasattr(listed[0], "source"):
            return listed, np.array([row.source for row in listed])
        return listed, np.setdiff1d(np.arange(len(items)), report.left_out)

    def _streamed(self, items: Sequence[Any], encoder: Encoder) -> tuple[Sequence[Any], np.ndarray]:
        told = self._told("encoding")
        if encoder.one is not None:
            rows, report = encode_streamed(items, encoder.what, encoder.one, max_length=encoder.max_length, told=told)
            self.tell(report.lines())
            return rows, rows.where[:, 0]
        assert encoder.fits is not None
        report = EncodeReport(encoder.what, encoder.max_length)
        places = np.array([i for i in range(len(items)) if encoder.fits(items[i], i, report)], dtype=np.int64)
        require_prompts(report)
        encoder.look(report)
        self.tell(report.lines())
        return Picked(items, places), places

    def _mixture(self, found: Data, items: np.ndarray) -> Mixture | None:
        """How rows are drawn where parts have weights; `items` holds of each row the place of its item in what was read."""
        weights = [part.weight for part in found.parts]
        if None in weights:
            return None
        origin = np.asarray(found.origins)[items]
        members = [np.flatnonzero(origin == i) for i in range(len(weights))]
        for part, rows in zip(found.parts, members, strict=True):
            if not len(rows):
                raise UserError(
                    f"{part.name}: no row of it is left to train on; take it out of the mixture or look at the file"
                )
        mixture = Mixture(members, [weight for weight in weights if weight is not None], self.seed)
        self.tell(mixture.lines([part.name for part in found.parts]))
        return mixture


def _require_thumbs(found: Data) -> None:
    odd = next((item.value for item in found.items if item.value not in (0.0, 1.0)), None)
    if found.classes or odd is not None:
        what = f"the classes {', '.join(found.classes[:5])}" if found.classes else f"labels such as {odd:g}"
        names = ", ".join(part.name for part in found.parts)
        raise UserError(f"{names}: has {what}, but only true and false (1 and 0) can be learned from here")
