"""Two answers side by side, as a judge reads them: rows for training one, and the same rows with the sides swapped.

A judge that reads two answers at once can learn to like a place (Zheng et al. 2023, arXiv:2306.05685, section 3.3); with every
row there in both orders, a place says nothing. A reward model reads one answer at a time, and the Bradley-Terry loss of a pair
is the same in either order, so swapping chosen and rejected there is either nothing or a wrong label: it is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from plaudit.data.split import SPLIT_KEY, home_key
from plaudit.schema import JSON, Message, Ranking

LABELS = ("winner", "label", "completion")
"""Columns that say which side is better: of those that a row has, each must name a side."""
SWAPPED: Mapping[str, str] = {
    **{pair[0]: pair[1] for pair in ("ab", "ba", "AB", "BA")},
    **{f"{name}_{one}": f"{name}_{other}" for name in ("model", "response", "answer") for one, other in ("ab", "ba")},
    **{tie: tie for tie in ("tie", "tie (bothbad)", "both", "neither", "c", "C")},
}
"""Label -> label of the swapped row. No digits: 0 is a tie with some, and a side with others."""


def judge(item: Ranking) -> JSON:
    """A pair as a row for fine-tuning a judge: `prompt` with both answers, `completion` A or B; the sides by a hash.

    Its `split_key` is the request, so that all pairs of one request are on one side of a split.
    """
    row, better = _both(item)
    return {**row, "prompt": [{"role": "user", "content": _request(item, row)}], "completion": better}


def judge_classes(item: Ranking) -> JSON:
    """The same for a classifier: `text` and `label`."""
    row, better = _both(item)
    return {**row, "text": _request(item, row), "label": better}


def _both(item: Ranking) -> tuple[JSON, str]:
    """Columns of both answers and of what the row is split by; and which side is the better one."""
    texts = [said(answer) for answer in item.answers]
    first = hashlib.sha256("\x00".join([home_key(item), *texts]).encode()).digest()[0] % 2
    a, b = texts[first], texts[1 - first]
    figures = {name: value for name in ("weight", "probability") if (value := getattr(item, name)) != 1.0}
    return {**item.meta, **figures, "response_a": a, "response_b": b, SPLIT_KEY: home_key(item)}, "AB"[first]


def _request(item: Ranking, row: JSON) -> str:
    asked = said(item.prompt.messages) if item.prompt.text is None else item.prompt.text
    return (
        "Which of two answers to the request is better? Answer with A or B alone.\n\n"
        f"Request:\n{asked}\n\nAnswer A:\n{row['response_a']}\n\nAnswer B:\n{row['response_b']}"
    )


def said(content: str | tuple[Message, ...]) -> str:
    """Text as it is; a single turn its content; several turns with their roles."""
    if isinstance(content, str):
        return content
    if len(content) == 1:
        return content[0].content
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in content)


def swap(row: JSON, sides: tuple[str, str], labels: Mapping[str, str] | None) -> JSON | str:
    """The row with both answers exchanged, in their columns and wherever both stand in a text, and its label turned.

    A sentence where that cannot be done without doubt.
    """
    one, other = (row[side] for side in sides)
    if not isinstance(one, str) or not isinstance(other, str) or one.strip() == other.strip():
        return "both sides the same, or no text"
    table, named = SWAPPED if labels is None else labels, [name for name in LABELS if name in row]
    if not named or any(isinstance(row[name], bool) or str(row[name]) not in table for name in named):
        return f"{' or '.join(named) if named else 'no label'} names no side"
    new = {**row, sides[0]: other, sides[1]: one}
    new |= {name: _like(row[name], table[str(row[name])]) for name in named}
    for name in ("prompt", "text", "messages"):
        if name in row:
            texts = [_exchanged(text, one, other) for text in _texts(row[name])]
            if None in texts:
                return f"a side stands in {name} more than once"
            new[name] = _put(row[name], [text for text in texts if text is not None])
    return new


def _like(old: Any, new: str) -> Any:
    return type(old)(new) if isinstance(old, int | float) else new


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [turn["content"] for turn in value]


def _put(value: Any, texts: list[str]) -> Any:
    if isinstance(value, str):
        return texts[0]
    return [{**turn, "content": text} for turn, text in zip(value, texts, strict=True)]


def _exchanged(text: str, one: str, other: str) -> str | None:
    """The text with both answers in each other's place; as it is where neither is in it; None where it is not clear."""
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    if text.count(long) > 1:
        return None
    before, there, after = text.partition(long)
    if not there:
        return text if short not in text else None
    if before.count(short) + after.count(short) != 1:
        return None
    return before.replace(short, long) + short + after.replace(short, long)
