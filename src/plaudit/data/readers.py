"""JSONL files in TRL's dataset types (standard: strings; conversational: lists of messages) to items of the schema.

| verb            | type                | columns                                                             |
|-----------------|---------------------|---------------------------------------------------------------------|
| `train sft`     | language modelling  | `text` or `messages`                                                |
| `train sft`     | prompt-completion   | `prompt`, `completion`                                              |
| `train reward`  | preference          | `prompt`, `chosen`, `rejected`; or `chosen`, `rejected` (implicit)  |
| `train kto`     | unpaired preference | `prompt`, `completion`, `label`                                     |
| `train ppo`     | prompt-only         | `prompt` (of any file that has one)                                 |

A column or key that is null counts as not there, since Arrow invents nulls. Other columns are kept in `Prompt.meta`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from plaudit.data import columns
from plaudit.schema import JSON, Demonstration, Label, Prompt, Ranking, UserError, content_hash, to_json

Item = TypeVar("Item")

DEMONSTRATIONS = (("prompt", "completion"), ("messages",), ("text",))
RANKINGS = (("prompt", "chosen", "rejected"), ("chosen", "rejected"))
LABELS = (("prompt", "completion", "label"),)
PROMPTS = (("prompt",),)


def read_demonstrations(path: str | Path) -> list[Demonstration]:
    """What SFT learns from: `text`, `messages`, or `prompt` and `completion`. UserError names file, line and column."""
    return _read(path, DEMONSTRATIONS, "Supervised fine-tuning", columns.demonstration)


def read_rankings(path: str | Path) -> list[Ranking]:
    """Preference pairs, chosen first: `chosen` and `rejected`, with or without `prompt`. UserError as above."""
    return _read(path, RANKINGS, "A reward model", columns.ranking)


def read_labels(path: str | Path) -> list[Label]:
    """Single answers with a thumb: `prompt`, `completion`, `label`. UserError as above."""
    return _read(path, LABELS, "Learning from labels", columns.label)


def read_prompts(path: str | Path) -> list[Prompt]:
    """Prompts to generate from: the column `prompt` of any of the file types. UserError as above."""
    return _read(path, PROMPTS, "PPO", columns.asked)


def read_jsonl(path: str | Path) -> list[JSON]:
    """The objects of a JSONL file, in order; blank lines are passed over.

    UserError for a file that is missing, unreadable or empty, and, with the line's number, for a line that is not
    UTF-8, not JSON, or not an object.
    """
    return [row for _, row in _numbered(Path(path))]


def write_jsonl(path: str | Path, rows: Iterable[JSON]) -> None:
    """One object a line, UTF-8."""
    Path(path).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def dataset_digest(items: Sequence[Prompt | Demonstration | Ranking | Label]) -> str:
    """A dataset's name by its content: 16 hexadecimal digits. The order counts, since training reads in order."""
    return content_hash([content_hash(to_json(item)) for item in items])


def _read(path: str | Path, types: Sequence[tuple[str, ...]], verb: str, convert: Callable[[JSON, str], Item]) -> list[Item]:
    items = []
    for line, full in _numbered(Path(path)):
        row = without_nulls(full)
        where = f"{path}, line {line}"
        if not any(set(type_) <= set(row) for type_ in types):
            wanted = ", or ".join(" and ".join(type_) for type_ in types)
            there = ", ".join(row) or "none"
            raise UserError(f"{where}: {verb} needs the columns {wanted}; there are: {there}.")
        for column in columns.UNREADABLE:
            if row.get(column) not in (None, [], {}):
                raise UserError(f"{where}: the column {column!r} cannot be used yet; take it out to train without it.")
        items.append(convert(row, where))
    return items


def without_nulls(value: Any) -> Any:
    """`value` without the keys that are null, at every depth; lists keep their places."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _numbered(path: Path) -> list[tuple[int, JSON]]:
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    rows = [(line, _object(raw, f"{path}, line {line}")) for line, raw in enumerate(lines, 1) if raw.strip()]
    if not rows:
        raise UserError(f"{path} is empty; it needs one JSON object a line.")
    return rows


def _object(raw: bytes, where: str) -> JSON:
    try:
        row = json.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: byte {error.start + 1} is not UTF-8; save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at character {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{where}: broken JSON ({reason}); each line must be one whole JSON object.") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: must be a JSON object, not {columns.describe(row)}; write one object a line (JSONL).")
    return row
