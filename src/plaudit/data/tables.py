"""Tables as rows: CSV and TSV by the standard library, Parquet by pyarrow, and the way back."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from plaudit.schema import JSON, UserError

NUMBERS = ("weight", "margin", "probability", "rating", "score", "score_chosen", "score_rejected", "rank")
"""Columns that hold numbers; of the others only `label` may."""
LISTS = ("labels", "completions", "answers", "ranks", "scores", "history", "turns", "summaries", "instances")
"""Columns that hold lists, as JSON in a cell; a list of messages is taken as such in any column."""


def csv_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[str, JSON]]:
    """Rows under the names of the header line; an empty cell is not there. `where` names the line a row starts in.

    A cell that holds a JSON list of messages is read as that, whatever its column; numbers and lists by their column's name.
    """
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        where = f"{path}, line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{where}: broken CSV ({error}); quote cells that hold commas, quotes or line breaks.") from None
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = header_of(cells, where)
            continue
        yield where, row_of(header, cells, where)


def row_of(header: Sequence[str], cells: Sequence[str], where: str) -> JSON:
    """The cells under the names of the header. UserError where they are more or fewer."""
    if len(cells) != len(header):
        raise UserError(f"{where}: has {len(cells)} cells, but the header has {len(header)} ({', '.join(header)}).")
    return {name: cell(name, value, where) for name, value in zip(header, cells, strict=True) if value != ""}


def header_of(cells: Sequence[str], where: str) -> list[str]:
    """The names of the columns. UserError where one comes twice or has no name."""
    names = [name.strip() for name in cells]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None or not all(names):
        raise UserError(f"{where}: the header has {f'{double!r} twice' if double else 'a column without a name'}.")
    return names


def cell(name: str, value: str, where: str) -> Any:
    """A cell as the value it stands for."""
    if name in NUMBERS or name == "label":
        return _number(name, value, where)
    if value[:1] not in "[{":
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        if name in LISTS:
            raise UserError(f"{where}, {name}: must be a JSON list.") from None
        return value
    members = found if isinstance(found, list) else [found]
    dialogue = bool(members) and all(isinstance(item, dict) and {"role", "from"} & set(item) for item in members)
    return found if dialogue or name in LISTS or (isinstance(found, dict) and name in ("info", "prompt")) else value


def _number(name: str, value: str, where: str) -> Any:
    if value.strip().lower() in ("true", "false") and name == "label":
        return value.strip().lower() == "true"
    try:
        return int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
    except ValueError:
        if name == "label":
            return value
        raise UserError(f"{where}, {name}: must be a number, not {value[:40]!r}.") from None


def pyarrow() -> Any:
    """pyarrow with its Parquet part; UserError where it is not installed."""
    try:
        import pyarrow as found
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise UserError("Parquet files need the package pyarrow: pip install 'plaudit[data]'.") from None
    return found


def open_parquet(path: Path) -> Any:
    """A pyarrow ParquetFile; UserError for a file that is missing or no Parquet."""
    arrow = pyarrow()
    try:
        return arrow.parquet.ParquetFile(path, memory_map=True)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except (arrow.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def parquet_rows(path: Path) -> Iterator[tuple[str, JSON]]:
    """Rows, one row group in memory at a time."""
    file = open_parquet(path)
    number = 0
    for group in range(file.num_row_groups):
        for row in group_rows(path, file, group):
            number += 1
            yield f"{path}, row {number}", row


def group_rows(path: Path, file: Any, group: int) -> list[JSON]:
    """The rows of one row group, their values as JSON has them."""
    arrow = pyarrow()
    try:
        rows = file.read_row_group(group).to_pylist()
    except (arrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: row group {group + 1} cannot be read: {str(error).splitlines()[0]}") from None
    return [{name: as_json(value) for name, value in row.items()} for row in rows]


def as_json(value: Any) -> Any:
    """A value of a table as JSON has it: times as ISO 8601, decimals as numbers, of bytes only how many they are."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return float(value) if isinstance(value, Decimal) else value.isoformat() if hasattr(value, "isoformat") else str(value)


def csv_text(rows: Iterable[JSON], delimiter: str = ",") -> str:
    """Rows as CSV that `csv_rows` reads back: what is no text is written as JSON."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell_text(row.get(name)) for name in names])
    return out.getvalue()


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_parquet(path: Path, rows: Iterable[JSON]) -> None:
    """Rows as one Parquet file. UserError where a column holds values of several types."""
    arrow = pyarrow()
    try:
        arrow.parquet.write_table(arrow.Table.from_pylist(list(rows)), path)
    except arrow.ArrowException as error:
        raise UserError(f"{path} cannot be written as Parquet: {str(error).splitlines()[0]}; write JSONL instead.") from None
