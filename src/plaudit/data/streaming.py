"""Files larger than memory: rows are found by an index, and read and encoded when they are needed.

What stays in memory is some numbers for each item (its row, the point of its prompt, the length of its encoded rows). The
order, the split and every token are those of reading at once.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, overload

import numpy as np

from plaudit.data.encode import Encoded, EncodeReport
from plaudit.data.index import RowFiles, Told
from plaudit.data.items import Item, Making
from plaudit.data.parts import parts
from plaudit.data.readers import Data, Pipeline, Wants, class_names, nothing_left
from plaudit.data.split import home_key, point
from plaudit.schema import UserError, content_hash, to_json

EncodeOne = Callable[[Any, int, EncodeReport], list[Encoded]]
"""(item, its place, the report that counts it) -> its rows."""
EVERY = 1000


class StreamedItems(Sequence[Any]):
    """The items of files, each read when it is asked for."""

    def __init__(self, pipelines: Sequence[Pipeline], making: Making, cache: Path | None, told: Told) -> None:
        self.pipelines, self.making = pipelines, making
        self.rows = [RowFiles(pipeline.files, pipeline.limit, cache, told) for pipeline in pipelines]
        self.where: np.ndarray = np.empty((0, 3), dtype=np.int64)
        """[items, 3]: part, row of the part, place among the items of the row."""

    def __len__(self) -> int:
        return len(self.where)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        part, row, number = (int(value) for value in self.where[place])
        return self.of_row(part, row, Counter())[number]

    def of_row(self, part: int, row: int, tally: Counter[str]) -> list[Item]:
        """All items of one row of a part."""
        where, found = self.rows[part].row(row)
        return self.pipelines[part].items(found, where, tally, self.making)


class StreamedRows(Sequence[Encoded]):
    """Rows of tokens of some items, each encoded when it is asked for. `lengths` are known beforehand."""

    def __init__(
        self, items: Sequence[Any], where: np.ndarray, lengths: np.ndarray, encode: EncodeOne, limit: int | None
    ) -> None:
        self.items, self.where, self.lengths, self.encode, self.limit = items, where, lengths, encode, limit

    def __len__(self) -> int:
        return len(self.where)

    @overload
    def __getitem__(self, place: int) -> Encoded: ...
    @overload
    def __getitem__(self, place: slice) -> list[Encoded]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        item, source, piece = (int(value) for value in self.where[place])
        return self.encode(self.items[item], source, EncodeReport("", self.limit))[piece]


class Picked(Sequence[Any]):
    """Some items of a sequence, in this order, without copying them."""

    def __init__(self, items: Sequence[Any], places: np.ndarray) -> None:
        self.items, self.places = items, places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self.items[int(i)] for i in self.places[place]]
        return self.items[int(self.places[place])]


@dataclass
class StreamedData(Data):
    """As `Data`, with `items` that are read when they are asked for."""

    points: np.ndarray | None = None
    """Of each item, where its prompt falls in the split."""
    digest: str = ""


def stream(
    given: Any,
    wants: Wants,
    *,
    seed: int = 0,
    cache: Path | None = None,
    told: Told = lambda done, total: None,
    dataset_format: str = "auto",
    columns: dict[str, str] | None = None,
    score_margin: bool = False,
    classes: Sequence[str] = (),
    skip_refused: bool = False,
) -> StreamedData:
    """As `read`, in one pass over the files that keeps no item. UserError as there, and for files without an index."""
    found = StreamedData(wants, parts(given, dataset_format=dataset_format, columns=columns))
    pipelines = [Pipeline(part, wants) for part in found.parts]
    found.layouts = [pipeline.layout.name for pipeline in pipelines if pipeline.layout]
    for pipeline in pipelines:
        if pipeline.layout is not None and pipeline.layout.gather:
            raise UserError(f"{pipeline.part.name}: rows of {pipeline.layout.name} belong together and cannot be streamed.")
    found.classes = tuple(classes) or (class_names(pipelines) if wants == "labels" else ())
    items = StreamedItems(pipelines, Making(wants, found.classes, score_margin), cache, told)
    where, points = array("q"), array("d")
    digest = sha256(b"[")
    for part, row in _every_row(items, told):
        found.rows += 1
        try:
            made = items.of_row(part, row, found.tally)
        except UserError as error:
            if not skip_refused:
                raise
            found.refused.append(str(error))
            continue
        for number, item in enumerate(made):
            digest.update(f'{"," if points else ""}"{content_hash(to_json(item))}"'.encode())
            where.extend((part, row, number))
            points.append(point(home_key(item), seed))
    if not points:
        raise UserError(nothing_left(found))
    digest.update(b"]")
    items.where = np.frombuffer(where, dtype=np.int64).reshape(-1, 3)
    found.items, found.origins = items, items.where[:, 0]  # type: ignore[assignment]
    found.points, found.digest = np.frombuffer(points), digest.hexdigest()[:16]
    return found


def _every_row(items: StreamedItems, told: Told) -> Iterator[tuple[int, int]]:
    total, done = sum(map(len, items.rows)), 0
    for part, rows in enumerate(items.rows):
        for row in range(len(rows)):
            yield part, row
            done += 1
            if done % EVERY == 0 or done == total:
                told(done, total)


def encode_streamed(
    items: Sequence[Any],
    what: str,
    encode: EncodeOne,
    *,
    max_length: int | None,
    told: Told = lambda done, total: None,
) -> tuple[StreamedRows, EncodeReport]:
    """The rows of `items` by one pass that keeps their lengths only, and what became of the items."""
    report = EncodeReport(what, max_length)
    where, lengths = array("q"), array("q")
    for place in range(len(items)):
        for piece, row in enumerate(encode(items[place], place, report)):
            where.extend((place, place, piece))
            lengths.append(row.length)
        if (place + 1) % EVERY == 0 or place + 1 == len(items):
            told(place + 1, len(items))
    report.require_some()
    found = np.frombuffer(where, dtype=np.int64).reshape(-1, 3)
    return StreamedRows(items, found, np.frombuffer(lengths, dtype=np.int64), encode, max_length), report
