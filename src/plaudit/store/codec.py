"""Between the types of the schema and what the database holds: JSON text, and packed little-endian arrays. Never pickle."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

from plaudit.schema import JSON, Completion, Demonstration, Label, Message, Prompt, Ranking, Rated, Sampling, Steps


def dump(value: Any) -> str:
    """Compact JSON; text stays readable in the database."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def digest(value: Any) -> str:
    """SHA-256 of the value as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def pack_ids(ids: Sequence[int]) -> bytes:
    """Token ids as 4 bytes each."""
    return struct.pack(f"<{len(ids)}i", *ids)


def unpack_ids(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}i", data)


def pack_floats(values: Sequence[float]) -> bytes:
    """Log-probabilities as float64, so that they come back bit for bit."""
    return struct.pack(f"<{len(values)}d", *values)


def unpack_floats(data: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(data) // 8}d", data)


def prompt(row: JSON) -> Prompt:
    return Prompt(row["text"], tuple(Message(**turn) for turn in row["messages"]), row["meta"])


def sampling(row: JSON) -> Sampling:
    values: JSON = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Sampling(**values)


def completion(columns: Sequence[Any]) -> Completion:
    """From (prompt_id, text, prompt_tokens, tokens, logprobs, finish_reason, policy, place, seed, sampling)."""
    prompt_id, text, read, written, logprobs, finish, policy, place, seed, settings = columns
    ids = unpack_ids(read), unpack_ids(written)
    return Completion(
        prompt_id, text, *ids, unpack_floats(logprobs), finish, policy, place, seed, sampling(json.loads(settings))
    )


def _answer(value: Any) -> tuple[Message, ...] | str:
    return value if isinstance(value, str) else tuple(Message(**turn) for turn in value)


def _ranking(row: JSON) -> Ranking:
    return Ranking(**{**row, "prompt": prompt(row["prompt"]), "answers": tuple(_answer(a) for a in row["answers"])})


def _answered(kind: type[Demonstration] | type[Label]) -> Callable[[JSON], Any]:
    return lambda row: kind(**{**row, "prompt": prompt(row["prompt"]), "answer": _answer(row["answer"])})


def _steps(row: JSON) -> Steps:
    return Steps(prompt(row["prompt"]), tuple(row["steps"]), tuple(row["labels"]), row["weight"])


ROWS: dict[str, Callable[[JSON], Any]] = {
    "rankings": _ranking,
    "demonstrations": _answered(Demonstration),
    "labels": _answered(Label),
    "prompts": prompt,
    "steps": _steps,
    "aspects": _answered(Rated),
}
"""Kind of data set -> how one of its rows is read back; it is written with `to_json`."""


def row_prompt(row: Any) -> Prompt:
    """The prompt that a row of any data set belongs to."""
    return row if isinstance(row, Prompt) else row.prompt
