"""LLaMA-Factory's `dataset_info.json`: which file a dataset's name means, and what its columns and roles are called."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit.data.columns import describe
from plaudit.data.files import reading
from plaudit.data.layouts import layout
from plaudit.data.layouts.base import Layout, Tally, turn
from plaudit.schema import JSON, UserError

NAME = "dataset_info.json"
HUBS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
MEDIA = ("tools", "images", "videos", "audios")
ALPACA = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"}
"""LLaMA-Factory's name of a column -> the name that alpaca files give it."""
TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "system_tag": "system",
}
OPENAI_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "system_tag": "system",
}
ROLE_OF = {"user_tag": "user", "assistant_tag": "assistant", "observation_tag": "tool", "system_tag": "system"}


@dataclass(frozen=True)
class Entry:
    """One dataset: its file, how to read a row of it, and how many rows to take (None for all)."""

    name: str
    path: Path
    layout: Layout
    split: str | None
    num_samples: int | None


def has_info(path: Path) -> bool:
    """True for such a file, and for a folder that holds one."""
    return (path.name == NAME and path.is_file()) or (path / NAME).is_file()


def entry(path: Path, name: str | None) -> Entry:
    """The dataset called `name`. UserError: no such name (those there are are named), no local file, a broken description."""
    file = path if path.name == NAME else path / NAME
    found = _read(file)
    if name is None and len(found) == 1:
        name = next(iter(found))
    if name not in found:
        asked = "name one with dataset" if name is None else f"there is no dataset {name!r}"
        raise UserError(f"{file}: {asked}; there are: {', '.join(found) or 'none'}.")
    about = found[name]
    where = f"{file}, {name}"
    if not isinstance(about, dict):
        raise UserError(f"{where}: must be an object, not {describe(about)}.")
    if "file_name" not in about:
        hub = next((key for key in HUBS if key in about), None)
        reason = f"it lies on a hub ({hub}): download it and give its file_name" if hub else "it has no file_name"
        raise UserError(f"{where}: cannot be read, {reason}.")
    samples = about.get("num_samples")
    if samples is not None and (not isinstance(samples, int) or samples < 1):
        raise UserError(f"{where}, num_samples: must be a whole number of 1 or more, not {samples!r}.")
    return Entry(name, file.parent / about["file_name"], _layout(name, about, where), about.get("split_name"), samples)


def _read(file: Path) -> JSON:
    raw = reading(file, file.read_bytes)
    try:
        found = json.loads(raw.decode("utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{file}: broken JSON ({error}).") from None
    if not isinstance(found, dict):
        raise UserError(f"{file}: must be an object of datasets, not {describe(found)}.")
    return found


def _layout(name: str, about: JSON, where: str) -> Layout:
    """A layout of this dataset's own, made of alpaca or of a dialogue with its names in place."""
    formatting, columns = about.get("formatting", "alpaca"), about.get("columns") or {}
    makers: dict[str, Callable[..., Callable[[JSON, str], JSON]]] = {"alpaca": _alpaca, "sharegpt": _chat, "openai": _chat}
    if formatting not in makers:
        raise UserError(f"{where}, formatting: must be alpaca, sharegpt or openai, not {formatting!r}.")
    if not isinstance(columns, dict):
        raise UserError(f"{where}, columns: must be an object, not {describe(columns)}.")
    tags = (OPENAI_TAGS if formatting == "openai" else TAGS) | (about.get("tags") or {})
    rename = makers[formatting](columns, tags, bool(about.get("ranking")))
    target = layout("alpaca" if formatting == "alpaca" else "dialogue")

    def convert(row: JSON, at: str, wants: str, tally: Tally) -> Any:
        return target.convert(rename(row, at), at, wants, tally)

    return Layout(f"dataset_info:{name}", f"{name} of {NAME}", bool, convert)


def _judged(columns: Mapping[str, str], row: JSON, ranking: bool) -> JSON:
    """The columns that both formats share: sides of a ranking, the label, and what is refused later."""
    found = {name: row[columns[name]] for name in MEDIA if name in columns and row.get(columns[name]) not in (None, "", [])}
    if ranking:
        found |= {name: row[columns.get(name, name)] for name in ("chosen", "rejected") if columns.get(name, name) in row}
    tag = columns.get("kto_tag")
    return found | ({"label": row[tag]} if tag and tag in row else {})


def _alpaca(columns: Mapping[str, str], tags: Mapping[str, str], ranking: bool) -> Callable[[JSON, str], JSON]:
    def rename(row: JSON, where: str) -> JSON:
        names = {ours: columns.get(theirs, ours) for theirs, ours in ALPACA.items()}
        found = {ours: row[name] for ours, name in names.items() if name in row}
        if "instruction" not in found:
            raise UserError(
                f"{where}: {NAME} expects the column {names['instruction']}; there are: {', '.join(row) or 'none'}."
            )
        return found | _judged(columns, row, ranking)

    return rename


def _chat(columns: Mapping[str, str], tags: Mapping[str, str], ranking: bool) -> Callable[[JSON, str], JSON]:
    column = columns.get("messages", "conversations")
    roles = {tags[tag]: role for tag, role in ROLE_OF.items()}

    def message(value: Any, where: str) -> JSON:
        return turn(value, where, role=tags["role_tag"], content=tags["content_tag"], roles=roles)

    def rename(row: JSON, where: str) -> JSON:
        found = row.get(column)
        if not isinstance(found, list) or not found:
            there = ", ".join(row) or "none"
            raise UserError(f"{where}: {NAME} expects a list of turns in the column {column}; there are: {there}.")
        turns = [message(item, f"{where}, {column}, turn {i + 1}") for i, item in enumerate(found)]
        system = row.get(columns.get("system", ""))
        if isinstance(system, str) and system and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": system})
        judged = _judged(columns, row, ranking)
        for side in ("chosen", "rejected"):
            if isinstance(judged.get(side), Mapping):
                judged[side] = [message(judged[side], f"{where}, {side}")]
        return {"messages": turns, **judged}

    return rename
