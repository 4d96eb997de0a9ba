"""The same request in worse spelling: does an answer, or a right answer, survive it? Made from the text alone, by its hash."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from plaudit.schema import Message, Prompt, UserError, content_hash


def _typos(text: str, chance: random.Random) -> str:
    """Two neighbouring letters change places in a third of the words of five letters or more, never the first."""
    words = text.split(" ")
    for place, word in enumerate(words):
        if len(word) > 4 and word.isalpha() and chance.random() < 1 / 3:
            i = chance.randrange(1, len(word) - 2)
            words[place] = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return " ".join(words)


def _lower(text: str, _: random.Random) -> str:
    """No capitals, no full stop or question mark at the end."""
    return text.lower().rstrip(".?! ")


def _shouted(text: str, _: random.Random) -> str:
    return text.upper()


def _spaced(text: str, chance: random.Random) -> str:
    """Two blanks for one in a third of all places, and a line end behind it."""
    return "".join(sign * 2 if sign == " " and chance.random() < 1 / 3 else sign for sign in text) + "\n"


def _polite(text: str, _: random.Random) -> str:
    return f"Hello! I hope you are well. {text} Thank you very much in advance."


PERTURBATIONS: dict[str, Callable[[str, random.Random], str]] = {
    "typos": _typos,
    "lower": _lower,
    "shouted": _shouted,
    "spaced": _spaced,
    "polite": _polite,
}


def perturbed(text: str, name: str) -> str:
    """The text changed; the same one every time. UserError for a name that there is not."""
    if name not in PERTURBATIONS:
        raise UserError(f"there is no perturbation {name}; there are {', '.join(PERTURBATIONS)}")
    return PERTURBATIONS[name](text, random.Random(content_hash([name, text])))


def perturbed_prompt(prompt: Prompt, name: str) -> Prompt:
    """A prompt whose last user turn (or whole text) is changed."""
    if prompt.text is not None:
        return replace(prompt, text=perturbed(prompt.text, name))
    places = [i for i, turn in enumerate(prompt.messages) if turn.role == "user"]
    if not places:
        return prompt
    turns = list(prompt.messages)
    turns[places[-1]] = Message("user", perturbed(turns[places[-1]].content, name))
    return replace(prompt, messages=tuple(turns))
