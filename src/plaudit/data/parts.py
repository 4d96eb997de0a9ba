"""What a user names as data: one path, several, or a mixture of parts with weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaudit.schema import UserError

KEYS = ("path", "weight", "split", "dataset", "dataset_format", "columns", "data_files", "name", "data_dir")


@dataclass(frozen=True)
class Part:
    """One source of rows.

    weight   its share of the rows that are drawn, relative to the others'; None: as many as it has
    dataset  the name in a folder's `dataset_info.json`
    columns  our name of a column -> the file's name of it
    """

    path: str
    weight: float | None = None
    split: str | None = None
    dataset: str | None = None
    dataset_format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What reports call it."""
        return ":".join(filter(None, (self.path, self.dataset, self.split)))


def parts(given: Any, *, dataset_format: str = "auto", columns: Mapping[str, str] | None = None) -> tuple[Part, ...]:
    """The parts of what a user gave: a path, a list of paths or mappings, a mapping of one part, or of path to weight.

    A mapping has `path` and any of weight, split, dataset, dataset_format, columns; TRL's `datasets:` entries are understood
    where they name local files (`path`, `data_files`, `data_dir`, `split`, `columns` as a list of those to keep is dropped).
    UserError for anything else, and for weights that not every part has.
    """
    if isinstance(given, Mapping):
        listed: Sequence[Any] = [given] if "path" in given else [{"path": path, "weight": w} for path, w in given.items()]
    else:
        listed = [given] if isinstance(given, (str, Path)) else list(given)
    if not listed:
        raise UserError("train_file names no data; give a file, a folder, or a list of them.")
    found = tuple(_part(item, dataset_format, columns or {}) for item in listed)
    weighted = [part for part in found if part.weight is not None]
    if weighted and len(weighted) < len(found):
        without = next(part.name for part in found if part.weight is None)
        raise UserError(
            f"{without}: has no weight, but other parts of the mixture have one; give every part a weight, or none."
        )
    return found


def _part(item: Any, dataset_format: str, columns: Mapping[str, str]) -> Part:
    if isinstance(item, (str, Path)):
        return Part(str(item), dataset_format=dataset_format, columns=columns)
    if not isinstance(item, Mapping):
        raise UserError(f"a part of train_file must be a path or a mapping with path, not {item!r}.")
    unknown = [str(key) for key in item if key not in KEYS]
    if unknown or not isinstance(item.get("path"), (str, Path)):
        wrong = f"the unknown key {unknown[0]!r}" if unknown else "no path"
        raise UserError(f"a part of train_file has {wrong}; its keys are {', '.join(KEYS[:6])}.")
    weight = item.get("weight")
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf):
        raise UserError(f"{item['path']}, weight: must be a number above 0, not {weight!r}.")
    path = str(item["path"])
    for key in ("data_dir", "data_files"):  # of TRL; a list of files has no place here
        if item.get(key) is not None:
            if not isinstance(item[key], str):
                raise UserError(f"{path}, {key}: must be one path or pattern; give each file as a part of its own.")
            path = str(Path(path) / item[key])
    renamed = item.get("columns") or {}
    if not isinstance(renamed, Mapping):
        renamed = {}  # TRL's list of the columns to keep: the others do no harm here
    return Part(
        path,
        None if weight is None else float(weight),
        item.get("split"),
        item.get("dataset", item.get("name")),
        item.get("dataset_format", dataset_format),
        {**columns, **renamed},
    )
