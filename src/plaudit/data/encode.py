"""Items to rows of tokens, once, before training; over-long rows are handled by a stated rule and counted.

| what           | rule where a row is longer than `max_length`                                                        |
|----------------|-----------------------------------------------------------------------------------------------------|
| demonstrations | `keep_start` (default): the end of the answer is cut off; `drop`: the row is left out               |
| rankings       | `drop` (default): the whole ranking is left out; `keep_start`: the long answers are cut              |
| prompts        | `drop` (default): left out; `error`: UserError                                                       |

In every case a row in which no answer token would be left is left out, and so is a ranking that has two answers with the
same tokens. Nothing left at all is a UserError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from plaudit.data.template import Row, Tokenizer, encode_answer, encode_demonstration, encode_prompt
from plaudit.schema import Demonstration, Label, Prompt, Ranking, UserError

Truncation = Literal["keep_start", "drop"]
Overlong = Literal["drop", "error"]


@dataclass(frozen=True)
class Encoded:
    """One item as rows: a demonstration has one, a ranking one for each answer, best first.

    `source` is the item's place in the data that was given, so that a row can be traced back to its text.
    """

    rows: tuple[Row, ...]
    source: int
    weight: float = 1.0
    margin: float = 0.0
    probability: float = 1.0
    label: float = 0.0

    @property
    def length(self) -> int:
        """Tokens of all rows together."""
        return sum(len(row) for row in self.rows)


@dataclass
class EncodeReport:
    """What became of the items: every one is kept or counted under the reason why it is not."""

    what: str
    max_length: int | None
    total: int = 0
    kept: int = 0
    truncated: int = 0
    """Items kept of which an answer lost its end."""
    too_long: int = 0
    """Left out: longer than `max_length`."""
    no_answer: int = 0
    """Left out: no answer token would be left."""
    same_tokens: int = 0
    """Left out: two answers of a ranking have the same tokens."""
    tokens: int = 0
    """Of the kept items, prompts included."""
    trained_tokens: int = 0
    longest: int = 0
    """Tokens of the longest row that was given."""
    left_out: list[int] = field(default_factory=list)
    """Places of the items left out in the data that was given."""

    def lines(self) -> list[str]:
        """What a person should read: always the kept, and each other count where it is not zero."""
        out = [f"{self.kept:,} of {self.total:,} {self.what} kept, {self.tokens:,} tokens ({self.trained_tokens:,} trained)"]
        for count, reason in (
            (self.truncated, f"kept but cut to {self.max_length} tokens: the answers' ends are lost"),
            (self.too_long, f"left out: longer than {self.max_length} tokens (the longest row has {self.longest:,})"),
            (self.no_answer, f"left out: no answer token within {self.max_length} tokens"),
            (self.same_tokens, "left out: two answers have the same tokens"),
        ):
            if count:
                out.append(f"{count:,} {reason}")
        return out

    def require_some(self) -> None:
        """UserError where nothing is kept: why, and what to do."""
        if self.kept == 0:
            why = "; ".join(self.lines()[1:]) or "none were given"
            raise UserError(f"No {self.what} are left to train on ({why}); raise max_length or look at the data.")


def encode_demonstrations(
    tokenizer: Tokenizer,
    demos: Sequence[Demonstration],
    *,
    max_length: int | None = None,
    truncation: Truncation = "keep_start",
) -> tuple[list[Encoded], EncodeReport]:
    """One row for each demonstration, by the rule at the top; `max_length` counts tokens of prompt and answer."""
    report = EncodeReport("demonstrations", max_length)
    kept = []
    for place, demo in enumerate(demos):
        rows = _fitted((encode_demonstration(tokenizer, demo),), place, report, truncation)
        if rows:
            kept.append(Encoded(rows, place, weight=demo.weight))
    report.require_some()
    return kept, report


def encode_labels(
    tokenizer: Tokenizer, labels: Sequence[Label], *, max_length: int | None = None, truncation: Truncation = "keep_start"
) -> tuple[list[Encoded], EncodeReport]:
    """One row for each labelled answer, by the rule of demonstrations; `label` is its value."""
    report = EncodeReport("labelled answers", max_length)
    kept = []
    for place, item in enumerate(labels):
        rows = _fitted((encode_answer(tokenizer, item.prompt, item.answer),), place, report, truncation)
        if rows:
            kept.append(Encoded(rows, place, weight=item.weight, label=item.value))
    report.require_some()
    return kept, report


def encode_rankings(
    tokenizer: Tokenizer, rankings: Sequence[Ranking], *, max_length: int | None = None, truncation: Truncation = "drop"
) -> tuple[list[Encoded], EncodeReport]:
    """One row for each answer, best first, by the rule at the top; `max_length` counts tokens of prompt and answer."""
    report = EncodeReport("rankings", max_length)
    kept = []
    for place, item in enumerate(rankings):
        rows = tuple(encode_answer(tokenizer, item.prompt, answer) for answer in item.answers)
        rows = _fitted(rows, place, report, truncation)
        if rows:
            kept.append(Encoded(rows, place, weight=item.weight, margin=item.margin, probability=item.probability))
    report.require_some()
    return kept, report


def fit_prompts(
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    *,
    max_prompt_length: int | None = None,
    overlong_prompts: Overlong = "drop",
) -> tuple[list[Prompt], EncodeReport]:
    """The prompts of at most `max_prompt_length` tokens, generation prompt included; the others by the rule at the top.

    UserError too for a prompt without any token, since the model needs one to start from.
    """
    report = EncodeReport("prompts", max_prompt_length, total=len(prompts))
    kept = []
    for place, prompt in enumerate(prompts):
        length = len(encode_prompt(tokenizer, prompt))
        if length == 0:
            raise UserError(f"Prompt {place + 1} ({prompt.id}) has no tokens, so there is nothing to answer.")
        report.longest = max(report.longest, length)
        if max_prompt_length is None or length <= max_prompt_length:
            kept.append(prompt)
            report.tokens += length
            continue
        if overlong_prompts == "error":
            raise UserError(
                f"Prompt {place + 1} ({prompt.id}) has {length} tokens, more than max_prompt_length={max_prompt_length}; "
                "raise it, shorten the prompt, or set overlong_prompts=drop."
            )
        report.too_long += 1
        report.left_out.append(place)
    report.kept = len(kept)
    if not kept:
        why = (
            f"all {len(prompts)} are longer than max_prompt_length={max_prompt_length}, the longest has {report.longest} tokens"
        )
        raise UserError(f"No prompts are left ({why if prompts else 'none were given'}).")
    return kept, report


def _fitted(rows: tuple[Row, ...], place: int, report: EncodeReport, truncation: Truncation) -> tuple[Row, ...]:
    """The rows within the report's `max_length`, or () where the item is left out; either way it is counted."""
    limit = report.max_length
    report.total += 1
    report.longest = max(report.longest, *(len(row) for row in rows))
    long = limit is not None and any(len(row) > limit for row in rows)
    fitted = tuple(row if limit is None or len(row) <= limit else keep_start(row, limit) for row in rows)
    if long and truncation == "drop":
        report.too_long += 1
    elif not all(any(row.mask) for row in fitted):
        report.no_answer += 1
    elif len({tuple(row.ids) for row in fitted}) < len(fitted):
        report.same_tokens += 1
    else:
        report.kept += 1
        report.truncated += long
        report.tokens += sum(len(row) for row in fitted)
        report.trained_tokens += sum(sum(row.mask) for row in fitted)
        return fitted
    report.left_out.append(place)
    return ()


def keep_start(row: Row, length: int) -> Row:
    """The first `length` tokens of the row, marked as truncated."""
    return replace(
        row, ids=row.ids[:length], mask=row.mask[:length], prompt_length=min(row.prompt_length, length), truncated=True
    )
