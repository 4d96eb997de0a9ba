"""Rows written anew: which part of a row is rewritten, what a new text must be to become a row, and what marks the new row.

A new row keeps every column of its source but the part that was rewritten, and gets two more: `augmented` says where it comes
from, and `split_key` is the normalised prompt of its source, by which it is split (data/split.py). So a new row is always on
the side of its source, however different its prompt is. That would not help where a new prompt is the prompt of another row,
which may lie on the other side: such texts are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from plaudit.config import config
from plaudit.data.convert import natural_row
from plaudit.data.inspect import natural
from plaudit.data.items import Item, Making, kind_of
from plaudit.data.language import UNKNOWN, guess
from plaudit.data.layouts.base import Tally
from plaudit.data.near import WORD, jaccard, shingles
from plaudit.data.parts import parts
from plaudit.data.readers import Pipeline, class_names
from plaudit.data.split import SPLIT_KEY, home_key, normal, prompt_key
from plaudit.schema import JSON, Ranking, UserError

AUGMENTED = "augmented"
"""The column that says where a new row comes from."""
JUDGED = ("label", "rating", "score", "scores", "chosen", "answers", "completions")
"""Columns that make a row's answers judged ones: the judgement was of that very wording."""


@config
class AugmentConfig:
    """How rows are written anew."""

    num_augmentations: Annotated[int, Ge(1)] = 1
    """New rows for each row, at most."""
    rewrite: Literal["prompt", "completion"] = "prompt"
    """The part that is rewritten: the prompt (its last user turn; of rows of text, the text), or an unjudged completion."""
    paraphrase_prompt: str = (
        "Rewrite the following text in other words. Keep its meaning, its language, and all names and numbers. "
        "Answer with the rewritten text alone.\n\n{text}"
    )
    """What the model is asked for a paraphrase."""
    translate_prompt: str = "Translate the following text into {language}. Answer with the translation alone.\n\n{text}"
    """What it is asked for a translation, both there and back."""
    source_language: str = "English"
    """The language of the rows, which is translated back into."""
    pivot_languages: tuple[str, ...] = ("French", "German")
    """Languages to translate through, one after the other."""
    max_similarity: Annotated[float, Gt(0), Le(1)] = 0.8
    """A text that shares this much of its word triples with its source, or with an earlier one of it, is left out."""
    keep_numbers: bool = True
    """A text that lost or invented a number is left out."""
    keep_language: bool = True
    """A text whose language is another one, so far as both can be guessed, is left out."""
    min_shared_words: Annotated[float, Ge(0), Le(1)] = 0.25
    """A text is left out where fewer of its words, or of its source's if that has fewer, stand in the other: it says something
    else."""
    sides: tuple[str, str] = ("response_a", "response_b")
    """swap_sides: the columns that hold the two answers."""
    side_labels: dict[str, str] | None = None
    """swap_sides: label -> label of the swapped row; none knows a, A, model_a, response_a, answer_a, their like, and ties."""

    def __post_init__(self) -> None:
        for name, wanted in (
            ("paraphrase_prompt", "{text}"),
            ("translate_prompt", "{text}"),
            ("translate_prompt", "{language}"),
        ):
            if wanted not in getattr(self, name):
                raise ValueError(f"{name} must hold {wanted}, where it is to stand")
        if not self.pivot_languages:
            raise ValueError("pivot_languages is empty; name a language to translate through")


@dataclass(frozen=True)
class Source:
    """One row that is rewritten: its number in the file (from 1), its columns, and the text at `column` (and message)."""

    number: int
    row: JSON
    key: str
    """What it is split by."""
    column: str = ""
    message: int | None = None
    text: str = ""

    def with_text(self, text: str) -> JSON:
        """The row with another text in the place of its own."""
        if self.message is None:
            return {**self.row, self.column: text}
        turns = [dict(turn) for turn in self.row[self.column]]
        turns[self.message]["content"] = text
        return {**self.row, self.column: turns}


def marked(row: JSON, source: Source, method: str, **how: Any) -> JSON:
    """A new row with where it comes from, and what it is split by."""
    return {**row, AUGMENTED: {"method": method, "row": source.number, **how}, SPLIT_KEY: source.key}


@dataclass
class Rows:
    """The rows of a file, in order, with what they are read as."""

    making: Making
    sources: list[Source] = field(default_factory=list)
    prompts: dict[str, str] = field(default_factory=dict)
    """Normalised prompt -> what its rows are split by."""
    tally: Tally = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)


def read_rows(
    given: Any, rewrite: str | None, *, skip_refused: bool = False, score_margin: bool = False, **options: Any
) -> Rows:
    """The rows of a file in TRL's columns. `rewrite` says which part is looked for, None for none.

    UserError for a file of no known type, and for a row that cannot be read (unless such rows are skipped) or rewritten.
    """
    known = natural(given, **options)
    if known is None:
        raise UserError(f"{given}: is of no known type, so its rows cannot be written anew; `plaudit data inspect` says more")
    wants = known[0]
    pipelines = [Pipeline(part, wants) for part in parts(given, **options)]
    making = Making(wants, class_names(pipelines) if wants == "labels" else (), score_margin)
    found, number = Rows(making), 0
    for pipeline in pipelines:
        for where, raw in pipeline.rows():
            number += 1
            try:
                made = [
                    (row, items[0])
                    for row in pipeline.converted(raw, where, found.tally)
                    if (items := making.items(row, where, found.tally, [name for name in raw if raw[name] is not None]))
                ]
            except UserError as mistake:
                if not skip_refused:
                    raise
                found.refused.append(str(mistake))
                continue
            for row, item in made:
                source = Source(number, row, home_key(item))
                found.prompts.setdefault(prompt_key(item), source.key)
                found.sources.append(source if rewrite is None else _located(source, item, rewrite, where))
    return found


def _located(source: Source, item: Item, rewrite: str, where: str) -> Source:
    """The source with the place of the text that is rewritten."""
    row = source.row
    if isinstance(item, Ranking) and "prompt" not in row:
        row = natural_row(item)  # what both sides begin with becomes the prompt
    if rewrite == "completion":
        if "completion" not in row or any(name in row for name in JUDGED):
            kind = kind_of(row)
            raise UserError(
                f"{where}: rewrite=completion is for rows of prompt and completion that nobody judged, since a judgement is of "
                f"one wording; this one is {kind.name if kind else 'another type'}"
            )
        return _placed(source, row, "completion", "assistant", where)
    if "prompt" in row:
        return _placed(source, row, "prompt", "user", where)
    return _placed(source, row, "messages" if "messages" in row else "text", "user", where)


def _placed(source: Source, row: JSON, column: str, role: str, where: str) -> Source:
    value = row[column]
    if isinstance(value, str):
        return Source(source.number, row, source.key, column, None, value)
    end = len(value)
    if column == "messages":  # the prompt is what comes before the first answer
        end = next(i for i, turn in enumerate(value) if turn["role"] == "assistant")
    place = next((i for i in reversed(range(end)) if value[i]["role"] == role), None)
    if place is None:
        raise UserError(f"{where}, {column}: has no {role} turn that could be rewritten")
    return Source(source.number, row, source.key, column, place, value[place]["content"])


class Sieve:
    """Which new texts become rows. What is refused is refused for a reason, and reasons are counted."""

    def __init__(self, rows: Rows, options: AugmentConfig) -> None:
        self.rows, self.options = rows, options
        self.prompts = dict(rows.prompts)
        self.earlier: dict[int, list[np.ndarray]] = {}
        """Place of a source -> the shingles of its own text and of what was taken for it."""

    def refusal(self, place: int, text: str, truncated: bool) -> str | None:
        """Why the text is no new row for the source at this place; None where it is one, which is then remembered."""
        source, options = self.rows.sources[place], self.options
        if truncated:
            return "cut off at max_new_tokens"
        if not text.strip():
            return "empty"
        if options.keep_numbers and numbers(text) != numbers(source.text):
            return "a number lost or invented"
        if options.keep_language and UNKNOWN not in (languages := {guess(text), guess(source.text)}) and len(languages) > 1:
            return "another language"
        if shared_words(text, source.text) < options.min_shared_words:
            return "too few words of its source"
        mine = shingles(text)
        known = self.earlier.get(place) or [shingles(source.text)]
        if normal(text) == normal(source.text) or jaccard(known[0], mine) >= options.max_similarity:
            return "nearly its source"
        if any(jaccard(other, mine) >= options.max_similarity for other in known[1:]):
            return "nearly an earlier one of the same row"
        (item,) = self.rows.making.items(source.with_text(text), "a new row", Counter())[:1]
        if self.prompts.setdefault(prompt_key(item), source.key) != source.key:
            return "the prompt of another row"
        self.earlier[place] = [*known, mine]
        return None


def numbers(text: str) -> Counter[str]:
    """The numbers in a text, and how often each stands there."""
    return Counter(re.findall(r"\d+", text))


def shared_words(one: str, other: str) -> float:
    """The overlap coefficient of the sets of words of two texts: shared words over those of the text with fewer."""
    a, b = (set(WORD.findall(text.casefold())) for text in (one, other))
    return len(a & b) / min(len(a), len(b)) if a and b else 0.0


def cleaned(answer: str, source: str) -> str:
    """A model's answer without blanks around it, and without quotation marks around it that the source does not have."""
    text = answer.strip()
    for opening, closing in ('""', "“”", "«»", "''", "「」"):
        if len(text) > 1 and text[0] == opening and text[-1] == closing and not source.strip().startswith(opening):
            return text[1:-1].strip()
    return text


def filled(template: str, text: str, language: str = "") -> str:
    """A request, with the text put in last: what it holds is never taken for a place."""
    return template.replace("{language}", language).replace("{text}", text)


def pivot(options: AugmentConfig, number: int) -> str:
    """The language that the rewriting of this number goes through."""
    return options.pivot_languages[number % len(options.pivot_languages)]
