"""Items to rows of tokens, once, before training; over-long rows are handled by a stated rule and counted.

| what           | rule where a row is longer than `max_length`                                                        |
|----------------|-----------------------------------------------------------------------------------------------------|
| demonstrations | `keep_start` (default): the end of the answer is cut off; `drop`: the row is left out               |
| texts          | also `split`: a long text becomes several rows, each of whole `max_length` but the last              |
| labels, steps  | as demonstrations; of steps, those behind the cut are lost with their labels                        |
| rankings       | `drop` (default): the whole ranking is left out; `keep_start`: the long answers are cut              |
| prompts        | `drop` (default): left out; `error`: UserError                                                       |

In every case a row in which no answer token would be left is left out, and so is a ranking that has two answers with the
same tokens. Nothing left at all is a UserError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from plaudit.data.template import Row, Tokenizer, encode_answer, encode_demonstration, encode_prompt, encode_steps
from plaudit.schema import Demonstration, Label, Prompt, Ranking, Steps, UserError

Truncation = Literal["keep_start", "drop", "split"]
Overlong = Literal["drop", "error"]
STEP_SEPARATOR = "\n"
"""What ends a step (TRL's)."""


@dataclass(frozen=True)
class Encoded:
    """One item as rows: a demonstration, a label or steps have one, a ranking one for each answer, best first.

    `source` is the item's place in the data that was given, so that a row can be traced back to its text. `label` is a
    label's value. `marks` are the last tokens of steps, each with its label.
    """

    rows: tuple[Row, ...]
    source: int
    weight: float = 1.0
    margin: float = 0.0
    probability: float = 1.0
    label: float = 0.0
    marks: tuple[tuple[int, float], ...] = ()

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
    split: int = 0
    """Further rows that long texts were split into."""
    longest: int = 0
    """Tokens of the longest row that was given."""
    left_out: list[int] = field(default_factory=list)
    """Places of the items left out in the data that was given."""

    def lines(self) -> list[str]:
        """What a person should read: always the kept, and each other count where it is not zero."""
        out = [f"{self.kept:,} of {self.total:,} {self.what} kept, {self.tokens:,} tokens ({self.trained_tokens:,} trained)"]
        for count, reason in (
            (self.truncated, f"kept but cut to {self.max_length} tokens: the answers' ends are lost"),
            (self.split, f"further rows, of texts longer than {self.max_length} tokens that were split"),
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
    kept = [row for place, demo in enumerate(demos) for row in demonstration_rows(tokenizer, demo, place, report, truncation)]
    report.require_some()
    return kept, report


def encode_rankings(
    tokenizer: Tokenizer, rankings: Sequence[Ranking], *, max_length: int | None = None, truncation: Truncation = "drop"
) -> tuple[list[Encoded], EncodeReport]:
    """One row for each answer, best first, by the rule at the top; `max_length` counts tokens of prompt and answer."""
    report = EncodeReport("rankings", max_length)
    kept = [row for place, item in enumerate(rankings) for row in ranking_rows(tokenizer, item, place, report, truncation)]
    report.require_some()
    return kept, report


def encode_labels(
    tokenizer: Tokenizer, labels: Sequence[Label], *, max_length: int | None = None, truncation: Truncation = "keep_start"
) -> tuple[list[Encoded], EncodeReport]:
    """One row for each labelled answer, by the rule of demonstrations; `label` is its value."""
    report = EncodeReport("labelled answers", max_length)
    kept = [row for place, item in enumerate(labels) for row in label_rows(tokenizer, item, place, report, truncation)]
    report.require_some()
    return kept, report


def encode_stepwise(
    tokenizer: Tokenizer,
    items: Sequence[Steps],
    *,
    max_length: int | None = None,
    truncation: Truncation = "keep_start",
    step_separator: str = STEP_SEPARATOR,
) -> tuple[list[Encoded], EncodeReport]:
    """One row for each answer in steps; `marks` are the last tokens of its steps with their labels."""
    report = EncodeReport("answers in steps", max_length)
    kept = [
        row
        for place, item in enumerate(items)
        for row in steps_rows(tokenizer, item, place, report, truncation, step_separator)
    ]
    report.require_some()
    return kept, report


def demonstration_rows(
    tokenizer: Tokenizer, demo: Demonstration, place: int, report: EncodeReport, truncation: Truncation
) -> list[Encoded]:
    """The rows of one demonstration, counted in `report`: one, none, or several where a text is split."""
    row = encode_demonstration(tokenizer, demo)
    limit = report.max_length
    if truncation == "split" and limit is not None and len(row) > limit and demo.prompt.text == "":
        return _split(row, demo, place, report, limit)
    rows = _fitted((row,), place, report, "keep_start" if truncation == "split" else truncation)
    return [Encoded(rows, place, weight=demo.weight)] if rows else []


def ranking_rows(
    tokenizer: Tokenizer, item: Ranking, place: int, report: EncodeReport, truncation: Truncation
) -> list[Encoded]:
    """The one ranking of rows, best first, counted in `report`; none where it is left out."""
    rows = tuple(encode_answer(tokenizer, item.prompt, answer) for answer in item.answers)
    rows = _fitted(rows, place, report, "drop" if truncation == "split" else truncation)
    return [Encoded(rows, place, item.weight, item.margin, item.probability)] if rows else []


def label_rows(tokenizer: Tokenizer, item: Label, place: int, report: EncodeReport, truncation: Truncation) -> list[Encoded]:
    """The one row of a labelled answer, counted in `report`; none where it is left out."""
    row = encode_answer(tokenizer, item.prompt, item.answer)
    rows = _fitted((row,), place, report, "keep_start" if truncation == "split" else truncation)
    return [Encoded(rows, place, weight=item.weight, label=item.value)] if rows else []


def steps_rows(
    tokenizer: Tokenizer,
    item: Steps,
    place: int,
    report: EncodeReport,
    truncation: Truncation,
    step_separator: str = STEP_SEPARATOR,
) -> list[Encoded]:
    """The one row of an answer in steps, counted in `report`; none where it is left out or no whole step is left."""
    row, ends = encode_steps(tokenizer, item.prompt, item.steps, step_separator)
    limit = report.max_length if report.max_length is not None else len(row)
    marks = tuple((end, label) for end, label in zip(ends, item.labels, strict=True) if end < limit)
    if not marks and truncation != "drop":
        row = replace(row, mask=[0] * len(row))  # so that it is left out as a row without an answer
    rows = _fitted((row,), place, report, "keep_start" if truncation == "split" else truncation)
    return [Encoded(rows, place, weight=item.weight, marks=marks)] if rows else []


def _split(row: Row, demo: Demonstration, place: int, report: EncodeReport, limit: int) -> list[Encoded]:
    """A long text as rows of `limit` tokens. Nothing comes before a row's first token, so nothing predicts it there."""
    pieces = []
    for start in range(0, len(row), limit):
        ids, mask = row.ids[start : start + limit], [0, *row.mask[start + 1 : start + limit]]
        if any(mask):
            pieces.append(Encoded((Row(ids, mask, 0, truncated=start + limit < len(row)),), place, weight=demo.weight))
    report.total += 1
    report.kept += 1
    report.longest = max(report.longest, len(row))
    report.split += len(pieces) - 1
    report.tokens += sum(piece.length for piece in pieces)
    report.trained_tokens += sum(sum(piece.rows[0].mask) for piece in pieces)
    return pieces


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
    report = EncodeReport("prompts", max_prompt_length)
    kept = [prompt for place, prompt in enumerate(prompts) if prompt_fits(tokenizer, prompt, place, report, overlong_prompts)]
    require_prompts(report)
    return kept, report


def prompt_fits(tokenizer: Tokenizer, prompt: Prompt, place: int, report: EncodeReport, overlong: Overlong = "drop") -> bool:
    """Whether a prompt has at most the report's `max_length` tokens, counted there. UserError as `fit_prompts`."""
    length, limit = len(encode_prompt(tokenizer, prompt)), report.max_length
    report.total += 1
    if length == 0:
        raise UserError(f"Prompt {place + 1} ({prompt.id}) has no tokens, so there is nothing to answer.")
    report.longest = max(report.longest, length)
    if limit is None or length <= limit:
        report.kept += 1
        report.tokens += length
        return True
    if overlong == "error":
        raise UserError(
            f"Prompt {place + 1} ({prompt.id}) has {length} tokens, more than max_prompt_length={limit}; "
            "raise it, shorten the prompt, or set overlong_prompts=drop."
        )
    report.too_long += 1
    report.left_out.append(place)
    return False


def require_prompts(report: EncodeReport) -> None:
    """UserError where no prompt is kept: why."""
    if not report.kept:
        limit = f"max_prompt_length={report.max_length}, the longest has {report.longest} tokens"
        why = f"all {report.total} are longer than {limit}" if report.total else "none were given"
        raise UserError(f"No prompts are left ({why}).")


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
