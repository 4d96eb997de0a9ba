"""What a run will train on, as far as lengths and counts go: from its files, or assumed where they are not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from plaudit.algorithms.base import Algorithm
from plaudit.config import Resolved
from plaudit.core.batch import Batch
from plaudit.data import encode, readers
from plaudit.data.collate import collate_rollouts
from plaudit.data.encode import Encoded
from plaudit.data.layouts.base import Wants
from plaudit.data.options import ReadConfig
from plaudit.data.template import Row, encode_prompt
from plaudit.models.outline import Outline
from plaudit.schema import Completion, Prompt, Sampling, Scored, UserError
from plaudit.training.build import FILES
from plaudit.training.options import DataConfig, RolloutConfig

SAMPLE = 256
"""Items whose tokens are counted."""
STEPS = 8
"""Steps that are laid out to see how their passes come out."""


@dataclass(frozen=True)
class Lengths:
    """Rows of a run by their number of tokens.

    items    a sample of what is trained on: encoded rows, or the prompts' token counts
    total    items in all to train on; None where no file says
    held     items that are held out
    notes    what was assumed
    """

    items: Sequence[Any]
    total: int | None
    held: int
    notes: tuple[str, ...] = ()
    collate: Callable[[Sequence[Encoded]], Batch] | None = None


@dataclass(frozen=True)
class Meal:
    """What the steps of a run bring: the batches of a few of them, and how many items there are.

    answers  tokens of an answer that is sampled; 0 offline
    """

    batches: list[Batch]
    longest: Batch
    """One batch of the longest items: what memory must hold."""
    total: int | None
    portion: int
    held: int
    answers: int
    prompts: tuple[int, ...] = ()
    """Tokens of sampled prompts."""
    notes: tuple[str, ...] = field(default=())


def meal(kind: type[Algorithm], algorithm: Algorithm, options: Resolved, lengths: Lengths, portion: int, answer: int) -> Meal:
    """The batches of `STEPS` steps with so many items each, drawn from the sample; `answer` tokens are sampled online."""
    portion = min(portion, lengths.total or portion)
    order = np.random.Generator(np.random.Philox(key=[0, 0]))
    draws = [order.choice(len(lengths.items), portion, replace=portion > len(lengths.items)) for _ in range(STEPS)]
    if kind.eats == "prompts":
        n = options[RolloutConfig].num_generations
        longest = [max(lengths.items)] * portion
        make = [rollouts([lengths.items[i] for i in draw], n, answer) for draw in draws]
        counts = tuple(int(count) for count in lengths.items)
        return Meal(make, rollouts(longest, n, answer), lengths.total, portion, lengths.held, answer, counts, lengths.notes)
    assert lengths.collate is not None
    heavy = sorted(lengths.items, key=lambda item: -max(len(row) for row in item.rows))[:portion]
    heavy = (heavy * portion)[:portion]
    made = [lengths.collate([lengths.items[i] for i in draw]) for draw in draws]
    return Meal(made, lengths.collate(heavy), lengths.total, portion, lengths.held, 0, (), lengths.notes)


def rollouts(prompts: Sequence[int], n: int, answer: int) -> Batch:
    """A batch as if each prompt, of so many tokens, had `n` answers of `answer` tokens, each with another reward."""
    sampling = Sampling(max_new_tokens=answer)
    done = [
        Scored(
            Completion(
                str(number), "", (number % 7,) * tokens, (0,) * answer, (0.0,) * answer, "stop", index=i, sampling=sampling
            ),
            float(i),
        )
        for number, tokens in enumerate(prompts)
        for i in range(n)
    ]
    return collate_rollouts(done)


def read(kind: type[Algorithm], algorithm: Algorithm, options: Resolved, model: Outline) -> Lengths:
    """The lengths by the run's own files; where there is none (or no tokenizer) by what the options allow at most.

    UserError: the file is there and cannot be read.
    """
    data, wants = options[DataConfig], cast(Wants, kind.eats)
    if model.tokenizer is None:
        return assumed(kind, options, f"{model.name} has no tokenizer that can be read")
    if missing := _missing(data.train_file):
        return assumed(kind, options, f"train_file {missing} is not there")
    reading = options[ReadConfig]
    found = readers.read(reading.part(data.train_file), wants, **reading.keywords())
    total, held = len(found.items), 0
    if data.eval_file is not None and not _missing(data.eval_file):
        held = len(readers.read(reading.part(data.eval_file), wants, **{**reading.keywords(), "classes": found.classes}).items)
    elif data.eval_file is None:
        held = round(total * data.eval_fraction)
        total -= held
    if not found.items:
        raise UserError(f"train_file {data.train_file} holds no rows, so there is nothing to estimate")
    total = total // 2 if data.data_half != "none" else total
    chosen = [found.items[i] for i in np.linspace(0, len(found.items) - 1, min(SAMPLE, len(found.items))).astype(int)]
    algorithm.study(chosen, [], found.classes)
    return encoded(kind, options, model, chosen, max(1, total), held)


def encoded(kind: type[Algorithm], options: Resolved, model: Outline, items: Sequence[Any], total: int, held: int) -> Lengths:
    """Lengths of these items, with as many in all as are said."""
    data = options[DataConfig]
    if kind.eats == "prompts":
        limit = options[RolloutConfig].max_prompt_length
        kept, report = encode.fit_prompts(model.tokenizer, items, max_prompt_length=limit)
        counts = [len(encode_prompt(model.tokenizer, prompt)) for prompt in kept]
        return Lengths(counts, round(total * report.kept / report.total), held)
    how = FILES[kind.eats]
    rows, report = how.encode(model.tokenizer, items, max_length=data.max_length, truncation=data.truncation)
    return Lengths(rows, max(1, round(total * len(rows) / report.total)), held, (), _collate(kind))


def known(kind: type[Algorithm], source: Any, tokenizer: Any) -> Lengths:
    """Lengths of the rows that a run has already read."""
    if kind.eats == "prompts":
        prompts: Sequence[Prompt] = source.prompts
        counts = [len(encode_prompt(tokenizer, prompts[i])) for i in _spread(len(prompts), 32)]
        return Lengths(counts, len(prompts), len(source.held_out))
    rows = [source.rows[i] for i in _spread(len(source.rows), SAMPLE)]
    return Lengths(rows, len(source.rows), len(source.held_out), (), source.collate)


def assumed(kind: type[Algorithm], options: Resolved, why: str) -> Lengths:
    """The longest rows that the options allow, half prompt and half answer; how many there are is not known."""
    data = options[DataConfig]
    if kind.eats == "prompts":
        limit = options[RolloutConfig].max_prompt_length
        return Lengths([limit], None, 64, (f"{why}: every prompt is taken to have {limit} tokens (max_prompt_length)",))
    half = data.max_length // 2
    sides = 2 if kind.eats == "rankings" else 1
    row = [Row([1] * half + [2 + side] * half, [0] * half + [1] * half, half) for side in range(sides)]
    note = f"{why}: every row is taken to have {data.max_length} tokens (max_length), half of them trained"
    marks = ((2 * half - 1, 1.0),) if kind.eats == "steps" else ()
    return Lengths([Encoded(tuple(row), 0, marks=marks)], None, 0, (note,), _collate(kind))


def _collate(kind: type[Algorithm]) -> Callable[[Sequence[Encoded]], Batch]:
    made = FILES[kind.eats].collate
    return partial(made, mismatched=True) if kind.mismatched else made


def _missing(given: Any) -> str:
    """The first file of a data option that is not there; "" where all are."""
    paths = given if isinstance(given, list) else [given]
    for one in paths:
        path = one.get("path", "") if isinstance(one, dict) else str(one)
        if path and not any(mark in path for mark in "*?[") and not Path(path).expanduser().exists():
            return path
    return ""


def _spread(count: int, most: int) -> list[int]:
    return [int(i) for i in np.linspace(0, count - 1, min(most, count))]
