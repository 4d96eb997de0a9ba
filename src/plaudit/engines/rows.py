"""From prompts to rows that are written one token at a time, and from rows to completions: the same for every local engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from plaudit.data.template import encode_prompt
from plaudit.engines.base import row_seed
from plaudit.engines.sampling import uniforms
from plaudit.engines.stop import Ends, StopWatch, decode
from plaudit.schema import Completion, FinishReason, Prompt, Sampling, UserError


@dataclass(frozen=True)
class Asked:
    """One prompt of a call: its place in the call and the ids the model reads."""

    number: int
    id: str
    ids: list[int]
    virtual: int = 0
    """Places that virtual tokens take before the ids."""

    @property
    def places(self) -> int:
        """Places of the cache that the prompt takes."""
        return self.virtual + len(self.ids)


@dataclass
class Row:
    """One answer while it is being written."""

    prompt: Asked
    index: int
    seed: int
    limit: int
    uniform: np.ndarray
    watch: StopWatch
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    reason: FinishReason | None = None
    text: str | None = None

    def push(self, token: int, logprob: float, stop: Ends) -> None:
        """Take one token; sets `reason` where the answer ends with it, and `text` where a stop string cut it."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.text = self.watch.hit(self.tokens)
        if token in stop.ids or self.text is not None:
            self.reason = "stop"
        elif len(self.tokens) == self.limit:
            self.reason = "length"

    @property
    def position(self) -> int:
        """Where the newest token stands; it is the next that the model reads."""
        return self.prompt.places + len(self.tokens) - 1


def asked(tokenizer: Any, prompts: Sequence[Prompt], max_length: int, virtual: int = 0) -> list[Asked]:
    """The prompts as ids, behind so many virtual tokens. UserError where one is empty or leaves no room for an answer."""
    return [_asked(tokenizer, number, prompt, max_length, virtual) for number, prompt in enumerate(prompts)]


def _asked(tokenizer: Any, number: int, prompt: Prompt, max_length: int, virtual: int) -> Asked:
    ids = list(encode_prompt(tokenizer, prompt))
    if not ids:
        raise UserError(f"prompt {number} ({prompt.id}) has no tokens; give it some text.")
    if virtual + len(ids) >= max_length:
        beside = f" beside {virtual} virtual ones" if virtual else ""
        raise UserError(
            f"prompt {number} ({prompt.id}) has {len(ids)} tokens{beside}, which leaves no room for an answer within "
            f"max_length {max_length}: shorten it, filter it out, or raise max_length."
        )
    return Asked(number, prompt.id, ids, virtual)


def rows_of(
    prompts: Sequence[Asked],
    n: int,
    sampling: Sampling,
    stop: Ends,
    tokenizer: Any,
    max_length: int,
    limits: Sequence[int] | None = None,
) -> list[Row]:
    """`n` rows of each prompt, siblings together, longest prompts first: batches are then of similar length.

    limits: most new tokens of each prompt's answers, by its number.
    """
    order = sorted(prompts, key=lambda prompt: -len(prompt.ids))
    most = {p.number: sampling.max_new_tokens if limits is None else limits[p.number] for p in prompts}
    return [_row(p, index, most[p.number], sampling, stop, tokenizer, max_length) for p in order for index in range(n)]


def _row(prompt: Asked, index: int, most: int, sampling: Sampling, stop: Ends, tokenizer: Any, max_length: int) -> Row:
    limit = min(most, sampling.max_new_tokens, max_length - prompt.places)
    seed = row_seed(sampling.seed, prompt.id, index)
    return Row(prompt, index, seed, limit, uniforms(seed, limit), StopWatch(tokenizer, stop.strings))


def completions(rows: Sequence[Row], tokenizer: Any, sampling: Sampling, version: str) -> list[Completion]:
    """Rows that have ended as completions, in the order of the prompts, then of the siblings."""
    order = sorted(rows, key=lambda row: (row.prompt.number, row.index))
    return [_completion(row, tokenizer, sampling, version) for row in order]


def _completion(row: Row, tokenizer: Any, sampling: Sampling, version: str) -> Completion:
    assert row.reason is not None
    return Completion(
        prompt_id=row.prompt.id,
        text=decode(tokenizer, row.tokens) if row.text is None else row.text,
        prompt_tokens=tuple(row.prompt.ids),
        tokens=tuple(row.tokens),
        logprobs=tuple(row.logprobs),
        finish_reason=row.reason,
        policy=version,
        index=row.index,
        seed=row.seed,
        sampling=sampling,
    )
