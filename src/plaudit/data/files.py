"""Files as rows, whatever the format: JSONL, JSON, CSV, TSV, Parquet, plain text, each of the text ones also as .gz.

A row is an object with named columns, and `where` says file and line (or row) in every error. One path may also be a folder
or a glob: its files are then read in the order of their names.
"""

from __future__ import annotations

import glob
import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from plaudit.data import tables
from plaudit.data.columns import describe
from plaudit.data.layouts.base import Located
from plaudit.schema import JSON, UserError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
SPLIT = re.compile(r"(train|validation|valid|val|dev|test)(?=[^A-Za-z]|$)", re.IGNORECASE)
SAME_SPLIT = {"valid": "validation", "val": "validation", "dev": "validation"}
BOM = b"\xef\xbb\xbf"


def data_files(path: str | Path, split: str | None = None) -> list[Path]:
    """The files that `path` means: itself, those of a folder, or those that a glob finds, in the order of their names.

    `split` ("train") keeps the files whose name starts with it, as in `train-00000-of-00002.parquet`, or, where the folder
    has a folder of that name, that one's. UserError: nothing there; files of several splits and none of them named.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if split and (path / split).is_dir():
            return data_files(path / split)
        found = sorted(f for f in path.iterdir() if f.is_file() and kind(f) and not f.name.startswith((".", "dataset_info")))
        found = [f for f in found if kind(f) != ".txt"] or found  # beside data files a .txt is a note, not data
        if not found:
            raise UserError(f"{path} cannot be read: it is a folder without data files ({', '.join(SUFFIXES)}).")
        return _of_split(found, split, path)
    if path.is_file() or not glob.has_magic(str(path)):
        return [path]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not found:
        raise UserError(f"{path}: no file matches this pattern.")
    return _of_split(found, split, path) if split else found


def _of_split(found: list[Path], split: str | None, path: Path) -> list[Path]:
    of = {f: SAME_SPLIT.get(name, name) for f in found if (name := _split_name(f))}
    if split is None:
        if len(set(of.values())) > 1:
            there = ", ".join(sorted(set(of.values())))
            raise UserError(f"{path} holds several splits ({there}): name the file, or one of them with split.")
        return found
    wanted = SAME_SPLIT.get(split, split)
    kept = [f for f in found if of.get(f) == wanted or f.name.startswith(split)]
    if not kept:
        raise UserError(f"{path} has no files of the split {split!r}; there are: {', '.join(f.name for f in found[:8])}.")
    return kept


def _split_name(path: Path) -> str | None:
    found = SPLIT.match(path.name)
    return found[1].lower() if found else None


def kind(path: Path) -> str | None:
    """The format by the file's name: one of SUFFIXES; None where the name does not tell."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def rows(path: str | Path) -> Iterator[Located]:
    """The rows of one file, blank lines passed over, with `where`.

    UserError for a file that is missing, unreadable or empty, and, with the line's number, for a line that is not UTF-8, not
    JSON, or not an object; for a table whose rows do not have the header's cells.
    """
    path = Path(path).expanduser()
    found = READERS[format_of(path)](path)
    first = next(found, None)
    if first is None:
        raise UserError(f"{path} is empty; it needs one JSON object a line.")
    yield first
    yield from found


def all_rows(paths: Iterable[Path]) -> Iterator[Located]:
    """The rows of several files, one file after the other."""
    for path in paths:
        yield from rows(path)


def format_of(path: Path) -> str:
    """By name, or else by the first bytes."""
    head = beginning(path)
    if head.startswith(b"PAR1"):
        return ".parquet"
    named = kind(path)
    if named == ".json":
        return ".json" if head.removeprefix(BOM).lstrip()[:1] == b"[" or not _one_a_line(head) else ".jsonl"
    if named in (None, ".ndjson"):
        return ".json" if head.removeprefix(BOM).lstrip()[:1] == b"[" and named is None else ".jsonl"
    return named


def _one_a_line(head: bytes) -> bool:
    """True where the first line is a whole object and another line follows: JSONL under the name .json."""
    line, _, more = head.removeprefix(BOM).lstrip().partition(b"\n")
    if not more.strip():
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def beginning(path: Path, size: int = 1 << 16) -> bytes:
    """The first bytes, unpacked; UserError where the file cannot be read."""
    return reading(path, lambda: _open(path).read(size))


def reading(path: Path, read: Callable[[], Any]) -> Any:
    """What `read` gives; what the machine says in one sentence where it cannot."""
    try:
        return read()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"{path} cannot be unpacked: {error}.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None


def _open(path: Path) -> Any:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _jsonl(path: Path) -> Iterator[Located]:
    with reading(path, lambda: _open(path)) as file:
        number = 0
        while line := reading(path, file.readline):
            number += 1
            if number == 1:
                line = line.removeprefix(BOM)
            if line.strip():
                where = f"{path}, line {number}"
                yield where, json_object(line.rstrip(b"\r\n"), where)


def json_object(raw: bytes, where: str) -> JSON:
    """One line of JSONL; UserError in one sentence where it is not UTF-8, not JSON or not an object."""
    try:
        row = json.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: byte {error.start + 1} is not UTF-8; save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at character {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{where}: broken JSON ({reason}); each line must be one whole JSON object.") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: must be a JSON object, not {describe(row)}; write one object a line (JSONL).")
    return row


def _text(path: Path) -> str:
    raw: bytes = reading(path, lambda: _open(path).read()).removeprefix(BOM)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: byte {error.start + 1} of the file is not UTF-8; save it as UTF-8.") from None


def _json(path: Path) -> Iterator[Located]:
    """A list of objects, or an object with one list of objects in it."""
    text = _text(path)
    if not text.strip():
        return
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        at = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        reason = f"{error.msg} at character {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{path}{at}: broken JSON ({reason}).") from None
    if isinstance(whole, dict):
        lists = {key: value for key, value in whole.items() if isinstance(value, list) and value and isinstance(value[0], dict)}
        if len(lists) > 1 and not {"data", "rows", "train"} & set(lists):
            raise UserError(f"{path} has several lists of rows ({', '.join(lists)}): write each into a file of its own.")
        named = next((key for key in ("data", "rows", "train") if key in lists), next(iter(lists), None))
        # a single object whose own column is the only list of objects (such as `messages`) is one row
        whole = lists[named] if named and not {"role", "from"} & set(lists[named][0]) else [whole]
    if not isinstance(whole, list):
        raise UserError(f"{path} must be a list of objects, not {describe(whole)}.")
    for number, row in enumerate(whole, 1):
        where = f"{path}, row {number}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: must be a JSON object, not {describe(row)}.")
        yield where, row


def _csv(path: Path) -> Iterator[Located]:
    yield from tables.csv_rows(path, _text(path), "\t" if kind(path) == ".tsv" else ",")


def _whole_text(path: Path) -> Iterator[Located]:
    """A plain text file is one row, the document."""
    if (text := _text(path)).strip():
        yield f"{path}", {"text": text}


READERS: dict[str, Callable[[Path], Iterator[Located]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": tables.parquet_rows,
    ".txt": _whole_text,
}
