"""The words of the pages in each language: one catalogue file for each, with the same keys."""

from __future__ import annotations

import json
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


def preferred(accepted: str) -> str:
    """The language that a browser's Accept-Language asks for first, of those that are there."""
    for part in accepted.lower().split(","):
        language = part.split(";")[0].strip().split("-")[0]
        if language in LANGUAGES:
            return language
    return "en"
