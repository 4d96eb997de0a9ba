"""What the rubric takes off: each function returns a share in 0..1 of the sum that is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence

from plaudit.pipeline.support import patterns
from plaudit.pipeline.support.pools import CITIES, ITEMS
from plaudit.pipeline.support.reading import Answer, ramp, words_of
from plaudit.schema import Prompt

_TURNED = dict.fromkeys(("i", "you", "we"), "P") | dict.fromkeys(("my", "your", "our", "the", "a", "an"), "D")
_TURNED |= dict.fromkeys(("am", "are", "is", "was", "were", "been"), "B") | dict.fromkeys(("me", "us"), "O")
_ALL_ITEMS = sorted((thing for side in ITEMS.values() for thing in side), key=len, reverse=True)
_THING = re.compile(rf"\b(?:{'|'.join(map(re.escape, _ALL_ITEMS))})\b")
_PLACES = tuple(city.lower() for side in CITIES.values() for city in side)


def all_of(prompt: Prompt, text: Answer, *, truncated: bool) -> dict[str, float]:
    """Every deduction above zero, by its name in the report."""
    question = prompt.messages[-1].content
    shares = {
        "invented details": invented(question, text),
        "repetition": repetition(text.words),
        "copies the question": copied(question, text.words),
        "keywords in place of sentences": stuffed(text),
        "padding": padded(text),
        "very short": 0.6 * ramp(18 - len(text.words), 0, 15),
        "asks for what was given": 0.25 if patterns.ASKING.search(text.lower) else 0.0,
        "speaks as the customer": 0.6 if any(patterns.CUSTOMER.search(s) for s in text.sentences) else 0.0,
        "sends the customer elsewhere": 0.2 if patterns.ELSEWHERE.search(text.lower) else 0.0,
        "blanks left open": 0.2 if patterns.PLACEHOLDER.search(text.text) else 0.0,
        "no proper end": 0.0 if truncated else unfinished(text),
        "truncated": 0.3 if truncated else 0.0,
    }
    return {name: share for name, share in shares.items() if share > 0.0}


def invented(question: str, text: Answer) -> float:
    """.2 for each detail that the question lacks, .6 at most.

    Details are numbers of four or more digits, order numbers, amounts, e-mail addresses, links, known items and cities.
    """
    asked = question.lower()
    known = set(re.findall(r"\d+", asked))
    numbers = {"".join(re.findall(r"\d", found)) for found in patterns.LONG_NUMBER.findall(patterns.EMAIL.sub(" ", text.lower))}
    wrong = {n for n in numbers if len(n) >= 4 and n not in known and not _is_amount(n, asked)}
    wrong |= {n for n in patterns.ORDER_MENTION.findall(text.lower) if n not in known}
    wrong |= {a for a in patterns.AMOUNT.findall(text.lower) if re.sub(r"[^\d]", "", a) not in _amounts(asked)}
    wrong |= {m for m in patterns.EMAIL.findall(text.lower) if m not in asked} | set(patterns.LINK.findall(text.lower))
    wrong |= {thing for thing in _THING.findall(text.lower) if thing not in asked}
    wrong |= {place for place in _PLACES if place in text.words and place not in asked}
    return min(0.6, 0.2 * len(wrong))


def _amounts(asked: str) -> set[str]:
    """Digits of the amounts in the question, with and without cents: 34.90 gives 3490 and 34."""
    found = re.findall(r"\b(\d+)[.,](\d{2})\b", asked)
    return {whole + cents for whole, cents in found} | {whole for whole, _ in found}


def _is_amount(digits: str, asked: str) -> bool:
    return digits in _amounts(asked)


def repetition(words: Sequence[str]) -> float:
    """Share of three-word runs that were there before, from 4 % (free) to 35 % (.8)."""
    runs = list(zip(words, words[1:], words[2:], strict=False))
    again = 1.0 - len(set(runs)) / len(runs) if runs else 0.0
    return 0.8 * ramp(again, 0.04, 0.35)


def copied(question: str, words: Sequence[str]) -> float:
    """Share of the answer's five-word runs that stand in the question: 15 % is free, 55 % costs .85.

    I and you, my and your, am and is count as equal, so turning the question round is copying too.
    """
    theirs, ours = _turned(words_of(question)), _turned(words)
    known = set(zip(*(theirs[k:] for k in range(5)), strict=False))
    runs = list(zip(*(ours[k:] for k in range(5)), strict=False))
    return 0.85 * ramp(sum(run in known for run in runs) / len(runs), 0.15, 0.55) if runs else 0.0


def _turned(words: Sequence[str]) -> list[str]:
    return [_TURNED.get(word, word) for word in words]


def stuffed(text: Answer) -> float:
    """Little that reads as sentences, or mostly scraps of up to three words between commas and end marks: up to .85."""
    scraps = [len(words_of(piece)) for piece in re.split(r"[,;:\n]|[.!?](?:\s|$)", text.text)]
    share = sum(n for n in scraps if n <= 3) / max(1, len(text.words))
    return 1.0 - (1.0 - 0.85 * ramp(1.0 - text.fluency, 0.3, 0.7)) * (1.0 - 0.8 * ramp(share, 0.25, 0.6))


def padded(text: Answer) -> float:
    """Words beyond 65 (.95 at 150), and phrases that say nothing (.05 each)."""
    filler = 0.05 * len(patterns.FILLER.findall(text.lower))
    return min(0.95, 0.95 * ramp(len(text.words), 65, 150) + filler)


def unfinished(text: Answer) -> float:
    """.5 where no end mark stands anywhere, .15 where the last sentence has none; a short signature needs none."""
    if text.text.rstrip("\"') ").endswith((".", "!", "?")):
        return 0.0
    last = text.sentences[-1] if text.sentences else ""
    if len(text.sentences) > 1 and len(last.split()) <= 5:
        return 0.0
    return 0.15 if re.search(r"[.!?](?:\s|$)", text.text) else 0.5
