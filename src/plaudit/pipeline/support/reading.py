"""An answer taken apart for the rubric: sentences, words, how much each sentence is one, and which details it takes up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from plaudit.pipeline.support import patterns
from plaudit.pipeline.support.pools import NUMBER_WORDS

_BREAK = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]*[A-Z0-9€])|\n+")
_WORD = re.compile(r"[\w€@]+(?:[.'@,/-]\w+)*")
LONGEST_SENTENCE = 34
"""Words; beyond it a sentence counts less and less as one."""


@dataclass(frozen=True)
class Answer:
    """`sentences` are lower case; `qualities[i]` in 0..1: how much `sentences[i]` is one; `fluency`: their mean over words."""

    text: str
    lower: str
    words: tuple[str, ...]
    sentences: tuple[str, ...]
    qualities: tuple[float, ...]
    fluency: float


def ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on, straight in between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def words_of(text: str) -> list[str]:
    """Lower-case words; 34.90, clara.lang@postnet.com and don't are one each."""
    return _WORD.findall(text.lower().replace("’", "'"))


def read(text: str) -> Answer:
    """Split an answer. A break is an end mark with space and a capital or digit after it, or a new line."""
    clean = text.strip().replace("’", "'")
    pieces = [piece for piece in _BREAK.split(re.sub(r"\bno\. (?=\d)", "number ", clean)) if words_of(piece)]
    qualities = tuple(sentence_quality(piece) for piece in pieces)
    sizes = [len(words_of(piece)) for piece in pieces]
    fluency = sum(q * n for q, n in zip(qualities, sizes, strict=True)) / max(1, sum(sizes))
    lower = clean.lower()
    return Answer(clean, lower, tuple(words_of(clean)), tuple(p.strip().lower() for p in pieces), qualities, fluency)


def sentence_quality(sentence: str) -> float:
    """1 for an ordinary sentence; less without a finite verb, with few function words, run on, or without an end mark."""
    words = words_of(sentence)
    share = sum(word in patterns.FUNCTION_WORDS for word in words) / max(1, len(words))
    verb = 1.0 if patterns.FINITE.search(sentence.lower()) else 0.3
    run_on = 1.0 - 0.7 * ramp(len(words), LONGEST_SENTENCE, 2 * LONGEST_SENTENCE)
    end = 1.0 if sentence.rstrip("\"') \t").endswith((".", "!", "?")) else 0.6
    return ramp(share, 0.08, 0.22) * ramp(len(words), 1, 4) * verb * run_on * end


def details_taken_up(text: Answer, intent: str, details: dict[str, str]) -> dict[str, float]:
    """For order, item and fact: the quality of the best sentence that names it (an item's last word alone earns .6)."""
    item = details["item"]
    patterns_of = {
        "order": [(rf"(?<![\d]){details['order']}(?!\d)", 1.0)],
        "item": [(rf"\b{re.escape(item)}s?\b", 1.0), (rf"\b{re.escape(item.split()[-1])}s?\b", 0.6)],
        "fact": [(fact_pattern(intent, details["fact"]), 1.0)],
    }
    return {name: max(_best(text, pattern) * worth for pattern, worth in tried) for name, tried in patterns_of.items()}


def fact_pattern(intent: str, fact: str) -> str:
    """A regular expression for the fact in its usual spellings: nine days, 9-day; March 12th; €34.90."""
    if intent == "late":
        word = fact.split()[0]
        number = int(word) if word.isdigit() else NUMBER_WORDS.index(word)
        return rf"\b(?:{number}|{NUMBER_WORDS[number]})[ -](?:full |long |whole )?days?\b"
    if intent == "refund":
        day, month = fact.lower().split()
        return rf"\b{day}(?:st|nd|rd|th)?(?: of)? {month}\b|\b{month} (?:the )?{day}(?:st|nd|rd|th)?\b"
    if intent == "charged":
        whole, cents = fact.split()[0].split(".")
        return rf"(?<!\d){whole}[.,]{cents}(?!\d)"
    return rf"(?<!\w){re.escape(fact.lower())}(?!\w)"


def _best(text: Answer, pattern: str) -> float:
    return max((q for s, q in zip(text.sentences, text.qualities, strict=True) if re.search(pattern, s)), default=0.0)
