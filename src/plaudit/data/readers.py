"""Files of any format and layout to items of the schema: what SFT, reward models, PPO and the others read.

`read` finds the files (data/files.py), tells their layout by the first rows (data/layouts/), and makes the items that are
wanted (data/items.py), with a conversion where that is natural: of a pair, the chosen side for SFT, two labels for KTO. What
was converted or left out is counted in `Data.tally`. A column or key that is null counts as not there, since Arrow invents
nulls. Other columns are kept in `Prompt.meta`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, cast

from plaudit.data import files, tables
from plaudit.data.dataset_info import entry, has_info
from plaudit.data.items import Item, Making
from plaudit.data.layouts import FIRST, Layout, recognise
from plaudit.data.layouts.base import Tally, Wants
from plaudit.data.parts import Part, parts
from plaudit.schema import JSON, Demonstration, Label, Prompt, Ranking, Steps, UserError, content_hash, to_json


@dataclass
class Data:
    """What was read: the items in order, and where they come from."""

    wants: Wants
    parts: tuple[Part, ...]
    items: list[Any] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    """Of each item, the index of its part."""
    layouts: list[str] = field(default_factory=list)
    """Of each part."""
    rows: int = 0
    """Rows of the files."""
    tally: Tally = field(default_factory=Counter)
    """What was left out or converted, in words -> how often."""
    classes: tuple[str, ...] = ()
    """Names of the classes of labels, by number."""
    refused: list[str] = field(default_factory=list)
    """Why rows could not be read, where such rows are skipped."""

    def lines(self) -> list[str]:
        """What a person should read: each part's rows and layout, and every conversion."""
        count = Counter(self.origins)
        shown = zip(self.parts, self.layouts, strict=True)
        out = [f"{part.name}: {count[i]:,} {self.wants} ({name})" for i, (part, name) in enumerate(shown)]
        if not self.tally and len(out) == 1 and self.layouts == ["trl"]:
            out = []  # an ordinary file needs no words
        if self.refused:
            out.append(f"{len(self.refused):,} rows left out that cannot be read; the first: {self.refused[0]}")
        return out + [f"{number:,} {what}" for what, number in sorted(self.tally.items())]


class Pipeline:
    """From the rows of one part to items: its files, its layout, and the wants."""

    def __init__(self, part: Part, wants: Wants) -> None:
        self.part, self.wants = part, wants
        path = Path(part.path).expanduser()
        split, self.limit = part.split, None
        self.layout: Layout | None = None
        if has_info(path):
            found = entry(path, part.dataset)
            path, split, self.layout, self.limit = found.path, part.split or found.split, found.layout, found.num_samples
        elif part.dataset is not None:
            raise UserError(f"{part.path}: has no dataset_info.json, so dataset={part.dataset!r} names nothing.")
        self.files = files.data_files(path, split)
        if self.layout is None:
            first = [self.renamed(row) for _, row in islice(files.rows(self.files[0]), FIRST)]
            self.layout = recognise(first, part.dataset_format)

    def rows(self) -> Iterator[files.Located]:
        """Where and row, in order."""
        found = islice(files.all_rows(self.files), self.limit)
        return self.layout.gather(found) if self.layout is not None and self.layout.gather else found

    def renamed(self, row: JSON) -> JSON:
        """The row without nulls, its columns under our names."""
        row = cast(JSON, without_nulls(row))
        if not self.part.columns:
            return row
        taken = set(self.part.columns.values())
        kept = {name: value for name, value in row.items() if name not in taken and name not in self.part.columns}
        return kept | {ours: row[theirs] for ours, theirs in self.part.columns.items() if theirs in row}

    def converted(self, row: JSON, where: str, tally: Tally) -> Sequence[JSON]:
        """The row in TRL's columns: none, one or several."""
        assert self.layout is not None
        return self.layout.convert(self.renamed(row), where, self.wants, tally)

    def items(self, row: JSON, where: str, tally: Tally, making: Making) -> list[Item]:
        """The items of one row of the file."""
        there = [name for name, value in row.items() if value is not None]
        return [item for one in self.converted(row, where, tally) for item in making.items(one, where, tally, there)]


def read(
    given: Any,
    wants: Wants,
    *,
    dataset_format: str = "auto",
    columns: dict[str, str] | None = None,
    score_margin: bool = False,
    classes: Sequence[str] = (),
    skip_refused: bool = False,
) -> Data:
    """Read a path, a list of paths, or a mixture (data/parts.py) as `wants`.

    `classes` are those of another file, so that a name keeps its number. With `skip_refused`, rows that cannot be read are
    left out and their errors kept in `refused`; otherwise the first ends everything. UserError names file, line and column.
    """
    found = Data(wants, parts(given, dataset_format=dataset_format, columns=columns))
    pipelines = [Pipeline(part, wants) for part in found.parts]
    found.layouts = [pipeline.layout.name for pipeline in pipelines if pipeline.layout]
    found.classes = tuple(classes) or (class_names(pipelines) if wants == "labels" else ())
    making = Making(wants, found.classes, score_margin)
    for number, pipeline in enumerate(pipelines):
        for where, row in pipeline.rows():
            found.rows += 1
            try:
                items = pipeline.items(row, where, found.tally, making)
            except UserError as error:
                if not skip_refused:
                    raise
                found.refused.append(str(error))
                continue
            found.items += items
            found.origins += [number] * len(items)
    if not found.items:
        raise UserError(nothing_left(found))
    return found


def nothing_left(found: Data) -> str:
    """Why no items are there though the files have rows."""
    names = ", ".join(part.name for part in found.parts)
    why = "; ".join(f"{number:,} {what}" for what, number in found.tally.items())
    why = why or f"{len(found.refused):,} cannot be read, the first: {found.refused[0]}"
    return f"{names}: no {found.wants} are left of {found.rows:,} rows ({why})."


def class_names(pipelines: Iterable[Pipeline]) -> tuple[str, ...]:
    """The different labels that are names, sorted; () where labels are numbers."""
    names: set[str] = set()
    for pipeline in pipelines:
        first = next(iter(pipeline.rows()), None)
        if first is None or not any(
            isinstance(row.get("label"), str) for row in pipeline.converted(first[1], first[0], Counter())
        ):
            continue
        for where, row in pipeline.rows():
            names |= {one["label"] for one in pipeline.converted(row, where, Counter()) if isinstance(one.get("label"), str)}
    return tuple(sorted(names))


def read_demonstrations(path: Any, **options: Any) -> list[Demonstration]:
    """What SFT learns from: `text`, `messages`, or `prompt` and `completion`. UserError names file, line and column."""
    return read(path, "demonstrations", **options).items


def read_rankings(path: Any, **options: Any) -> list[Ranking]:
    """Preference pairs, chosen first, and rankings of more answers. UserError as above."""
    return read(path, "rankings", **options).items


def read_prompts(path: Any, **options: Any) -> list[Prompt]:
    """Prompts to generate from: the column `prompt` of any of the file types. UserError as above."""
    return read(path, "prompts", **options).items


def read_labels(path: Any, **options: Any) -> list[Label]:
    """Single answers with a thumb, a rating or a class. UserError as above."""
    return read(path, "labels", **options).items


def read_steps(path: Any, **options: Any) -> list[Steps]:
    """Answers in steps with a label for each. UserError as above."""
    return read(path, "steps", **options).items


def read_jsonl(path: str | Path) -> list[JSON]:
    """The objects of a JSONL file, in order; blank lines are passed over.

    UserError for a file that is missing, unreadable or empty, and, with the line's number, for a line that is not
    UTF-8, not JSON, or not an object.
    """
    return [row for _, row in files.rows(path)]


def write_jsonl(path: str | Path, rows: Iterable[JSON]) -> None:
    """One object a line, UTF-8."""
    Path(path).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_rows(path: str | Path, rows: Iterable[JSON]) -> None:
    """Rows in the format of the path's suffix: .jsonl, .json (a list), .csv, .tsv or .parquet. UserError for another one."""
    path = Path(path)
    suffix = files.kind(path) if path.suffix != ".gz" else None
    if suffix in (".jsonl", ".ndjson"):
        write_jsonl(path, rows)
    elif suffix == ".json":
        path.write_text(json.dumps(list(rows), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    elif suffix in (".csv", ".tsv"):
        path.write_text(tables.csv_text(rows, "\t" if suffix == ".tsv" else ","), encoding="utf-8", newline="")
    elif suffix == ".parquet":
        tables.write_parquet(path, rows)
    else:
        raise UserError(f"{path} cannot be written: its name must end with .jsonl, .json, .csv, .tsv or .parquet.")


def dataset_digest(items: Iterable[Prompt | Demonstration | Ranking | Label | Steps]) -> str:
    """A dataset's name by its content: 16 hexadecimal digits. The order counts, since training reads in order.

    The `content_hash` of the list of the items' hashes, one item in memory at a time.
    """
    digest = sha256(b"[")
    for number, item in enumerate(items):
        digest.update(f'{"," if number else ""}"{content_hash(to_json(item))}"'.encode())
    digest.update(b"]")
    return digest.hexdigest()[:16]


def without_nulls(value: Any) -> Any:
    """`value` without the keys that are null, at every depth; lists keep their places."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
