"""The words of the pages in each language: one catalogue file for each, with the same keys."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

LANGUAGES = {"en": "English", "zh": "简体中文"}


@cache
def catalogue(language: str) -> dict[str, str]:
    """Key -> text of one language."""
    text = (files("plaudit.feedback") / "languages" / f"{language}.json").read_text("utf-8")
    found: dict[str, str] = json.loads(text)
    return found


def say(language: str, key: str, **values: object) -> str:
    """The text of a key with `{name}` filled in."""
    text = catalogue(language)[key]
    return text.format(**values) if values else text


LONGEST = 1000
"""Characters of a sentence that is looked up."""


@cache
def _sentences(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """English sentences with {} where something is filled in, as patterns, and the same in another language; longest first."""
    text = (files("plaudit.feedback") / "languages" / f"errors_{language}.json").read_text("utf-8")
    found: dict[str, str] = json.loads(text)
    patterns = ("(.+?)".join(map(re.escape, sentence.split("{}"))) for sentence in found)
    pairs = zip(patterns, found.items(), strict=True)
    longest_first = sorted(pairs, key=lambda pair: -len(pair[1][0]))
    return tuple((re.compile(pattern, re.DOTALL), said) for pattern, (_, said) in longest_first)


def translated(language: str, sentence: str) -> str:
    """A sentence about a mistake in another language; as it is where nobody has translated it. What is filled in is kept."""
    if language == "en" or len(sentence) > LONGEST:
        return sentence
    for pattern, said in _sentences(language):
        if match := pattern.fullmatch(sentence):
            return said.format(*(translated(language, part) for part in match.groups()))
    return sentence


def preferred(accepted: str) -> str:
    """The language that a browser's Accept-Language asks for first, of those that are there."""
    for part in accepted.lower().split(","):
        language = part.split(";")[0].strip().split("-")[0]
        if language in LANGUAGES:
            return language
    return "en"
