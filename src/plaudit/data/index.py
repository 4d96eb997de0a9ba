"""Where the rows of a file start, so that any one can be read without the others: JSONL, CSV and TSV by bytes, Parquet by
row groups. An index is made by one pass and kept in a cache folder under the file's path, size and time of change.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plaudit.data import files, tables
from plaudit.schema import JSON, UserError

Told = Callable[[int, int], None]
EVERY = 1 << 14
"""Rows between two calls of `told`."""


class RowFile:
    """One file whose rows are read one at a time. `len(file)` rows; `file.row(i)` gives where and row, as `files.rows` does."""

    def __init__(self, path: Path, cache: Path | None = None, told: Told = lambda done, total: None) -> None:
        self.path, self.kind = path, files.format_of(path)
        if path.suffix == ".gz" or self.kind not in (".jsonl", ".csv", ".tsv", ".parquet"):
            raise UserError(f"{path}: streaming needs .jsonl, .csv, .tsv or .parquet, not packed; unpack or convert it first.")
        self.header: list[str] = []
        self._open: Any = None
        self._group: tuple[int, list[JSON]] = (-1, [])
        if self.kind == ".parquet":
            self._open = tables.open_parquet(path)
            sizes = [self._open.metadata.row_group(g).num_rows for g in range(self._open.num_row_groups)]
            self.ends = np.cumsum(sizes, dtype=np.int64)
            self.count = int(sum(sizes))
        else:
            self.places = self._places(cache, told)
            self.count = len(self.places)
        if not self.count:
            raise UserError(f"{path} is empty; it needs one JSON object a line.")

    def __len__(self) -> int:
        return self.count

    def row(self, number: int) -> files.Located:
        """The row `number` (from 0). UserError as `files.rows`."""
        if self.kind == ".parquet":
            return f"{self.path}, row {number + 1}", self._of_group(number)
        start, end, line = (int(value) for value in self.places[number])
        raw = self._read(start, end)
        where = f"{self.path}, line {line}"
        if self.kind == ".jsonl":
            return where, files.json_object(raw.rstrip(b"\r\n"), where)
        return where, self._cells(raw, where)

    def _read(self, start: int, end: int) -> bytes:
        if self._open is None:
            self._open = files.reading(self.path, lambda: self.path.open("rb"))
        self._open.seek(start)
        return bytes(self._open.read(end - start))

    def _cells(self, raw: bytes, where: str) -> JSON:
        delimiter = "\t" if self.kind == ".tsv" else ","
        if not self.header:
            with self.path.open("rb") as file:
                line, cells = next((line, cells) for _, _, line, cells in _csv_rows(self.path, file, delimiter) if cells)
            self.header = tables.header_of(cells, f"{self.path}, line {line}")
        text = io.StringIO(_decoded(raw, where), newline="")
        return tables.row_of(self.header, next(csv.reader(text, delimiter=delimiter, strict=True)), where)

    def _of_group(self, number: int) -> JSON:
        group = int(np.searchsorted(self.ends, number, side="right"))
        if self._group[0] != group:
            self._group = (group, tables.group_rows(self.path, self._open, group))
        first = int(self.ends[group - 1]) if group else 0
        return self._group[1][number - first]

    def _places(self, cache: Path | None, told: Told) -> np.ndarray:
        """[rows, 3]: first byte, byte behind the last, line of each row; from the cache where the file is as it was."""
        stat = files.reading(self.path, lambda: os.stat(self.path))
        kept = None
        if cache is not None:
            name = hashlib.sha256(f"2 {self.path.resolve()} {stat.st_size} {stat.st_mtime_ns} {self.kind}".encode()).hexdigest()
            kept = cache / f"{name[:24]}.npy"
            if (found := _load(kept)) is not None:
                return found
        starts = self._lines if self.kind == ".jsonl" else self._records
        buffer = np.empty((1 << 12, 3), dtype=np.int64)
        count = 0
        for start, end, line in starts():
            if count == len(buffer):
                buffer = np.concatenate([buffer, np.empty_like(buffer)])
            buffer[count] = start, end, line
            count += 1
            if count % EVERY == 0:
                told(end, stat.st_size)
        places = buffer[:count].copy()
        if kept is not None:
            _save(kept, places)
        return places

    def _lines(self) -> Iterator[tuple[int, int, int]]:
        with files.reading(self.path, lambda: self.path.open("rb")) as file:
            at = 0
            for number, line in enumerate(file, 1):
                start, at = at, at + len(line)
                if number == 1 and line.startswith(files.BOM):
                    start += len(files.BOM)
                if line[start - at + len(line) :].strip():
                    yield start, at, number

    def _records(self) -> Iterator[tuple[int, int, int]]:
        with files.reading(self.path, lambda: self.path.open("rb")) as file:
            first = True
            for start, end, line, cells in _csv_rows(self.path, file, "\t" if self.kind == ".tsv" else ","):
                if cells and not first:
                    yield start, end, line
                first = first and not cells


def _csv_rows(path: Path, file: Any, delimiter: str) -> Iterator[tuple[int, int, int, list[str]]]:
    """First byte, byte behind, line and cells of each row, blank ones included; the reader takes no line before it needs it."""
    csv.field_size_limit(sys.maxsize)
    at = 0

    def lines() -> Iterator[str]:
        nonlocal at
        for raw in file:
            text = _decoded(raw.removeprefix(files.BOM) if at == 0 else raw, f"{path}")
            at += len(raw)
            yield text

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        start, line = at, reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{path}, line {line}: broken CSV ({error}); quote cells that hold commas, quotes or line breaks."
            ) from None
        if cells is None:
            return
        yield start, at, line, cells


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: byte {error.start + 1} of a line is not UTF-8; save the file as UTF-8.") from None


def _load(kept: Path) -> np.ndarray | None:
    """The stored index, mapped and not read; None where there is none or it is damaged."""
    try:
        found = np.load(kept, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 and found.shape[1] == 3 and found.dtype == np.int64 else None


def _save(kept: Path, places: np.ndarray) -> None:
    """Beside, then moved into place; a cache that cannot be written is done without."""
    half = kept.with_name(f".{kept.name}.{os.getpid()}.part.npy")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(half, places, allow_pickle=False)
        half.replace(kept)
    except OSError:
        half.unlink(missing_ok=True)


class RowFiles:
    """Several files as one sequence of rows, in order, cut to `limit` rows."""

    def __init__(
        self, paths: Sequence[Path], limit: int | None, cache: Path | None, told: Told = lambda done, total: None
    ) -> None:
        self.files = [RowFile(path, cache, told) for path in paths]
        self.ends = np.cumsum([len(file) for file in self.files])
        self.count = min(int(self.ends[-1]), limit) if limit is not None else int(self.ends[-1])

    def __len__(self) -> int:
        return self.count

    def row(self, number: int) -> files.Located:
        """The row `number` of all files (from 0)."""
        file = int(np.searchsorted(self.ends, number, side="right"))
        return self.files[file].row(number - (int(self.ends[file - 1]) if file else 0))
