"""Items to rows of a chosen layout, so that other tools read them; and rankings out of ratings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from plaudit.data import sides
from plaudit.data.columns import Content, plain, to_row
from plaudit.data.layouts.base import Wants
from plaudit.schema import JSON, Demonstration, Label, Message, Prompt, Ranking, Steps, UserError

FROM = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation", "developer": "system"}
HUMAN = {"user": "Human", "assistant": "Assistant"}


def pairs(ranking: Ranking) -> list[Ranking]:
    """Every pair of a ranking, the better one first (InstructGPT, Ouyang et al. 2022, section 3.5); a pair as it is."""
    if len(ranking.answers) == 2:
        return [ranking]
    return [replace(ranking, answers=both) for both in itertools.combinations(ranking.answers, 2)]


def pairs_of_labels(labels: Sequence[Label]) -> list[Ranking]:
    """Pairs of answers to one prompt with different values, the higher one first; `margin` is the difference.

    Prompts in the order in which they come up. UserError where no prompt has two answers of different value.
    """
    by_prompt: dict[str, list[Label]] = {}
    for item in labels:
        by_prompt.setdefault(item.prompt.id, []).append(item)
    found = []
    for answers in by_prompt.values():
        for one, other in itertools.combinations(answers, 2):
            better, worse = (one, other) if one.value >= other.value else (other, one)
            if better.value > worse.value and better.answer != worse.answer:
                found.append(
                    Ranking(
                        better.prompt, (better.answer, worse.answer), margin=better.value - worse.value, meta=better.prompt.meta
                    )
                )
    if not found:
        raise UserError("No prompt has two answers of different value, so that no pairs can be made.")
    return found


def sft(item: Demonstration) -> JSON:
    """`text`, `messages` where nothing comes before the answer, else `prompt` and `completion`."""
    if item.prompt.text == "":
        return {**item.prompt.meta, "text": item.answer} | ({"weight": item.weight} if item.weight != 1.0 else {})
    return to_row(item)


def messages(item: Demonstration) -> JSON:
    """`messages` of the whole dialogue. UserError for plain text, which has no turns."""
    return {**item.prompt.meta, "messages": plain(tuple(_dialogue(item.prompt, item.answer)))}


def kto(item: Label) -> JSON:
    """`prompt`, `completion`, `label`: true or false for 1 and 0, else the number."""
    value = bool(item.value) if item.value in (0.0, 1.0) else item.value
    if item.prompt.text == "" and isinstance(item.answer, str):
        return {**item.prompt.meta, "text": item.answer, "label": value}
    row = {**item.prompt.meta, **to_row(Prompt(item.prompt.text, item.prompt.messages)), "completion": plain(item.answer)}
    return row | {"label": value} | ({"weight": item.weight} if item.weight != 1.0 else {})


def ranking(item: Ranking) -> JSON:
    """`prompt` and `answers`, best first."""
    row = {**item.meta, **to_row(Prompt(item.prompt.text, item.prompt.messages)), "answers": [plain(a) for a in item.answers]}
    return row | ({"weight": item.weight} if item.weight != 1.0 else {})


def stepwise(item: Steps) -> JSON:
    """`prompt`, `completions`, `labels`: true or false for 1 and 0, else the share."""
    labels = [bool(label) if label in (0.0, 1.0) else label for label in item.labels]
    row = {**to_row(item.prompt), "completions": list(item.steps), "labels": labels}
    return row | ({"weight": item.weight} if item.weight != 1.0 else {})


def sharegpt(item: Demonstration) -> JSON:
    """`conversations` of the whole dialogue."""
    return {**item.prompt.meta, "conversations": _conversations(_dialogue(item.prompt, item.answer))}


def sharegpt_preference(item: Ranking) -> JSON:
    """`conversations` up to the answer, and both sides as turns."""
    better, worse = (_conversations([_one(answer, "sharegpt")])[0] for answer in item.answers)
    turns = _conversations(_dialogue(item.prompt, ()))
    return {**item.prompt.meta, "conversations": turns, "chosen": better, "rejected": worse}


def alpaca(item: Demonstration) -> JSON:
    """`instruction`, `input` (empty), `output`, and where there are any `system` and `history`."""
    return {**item.prompt.meta, **_asked(item.prompt), "output": _one(item.answer, "alpaca").content}


def alpaca_preference(item: Ranking) -> JSON:
    """The same with `chosen` and `rejected`."""
    better, worse = (_one(answer, "alpaca").content for answer in item.answers)
    return {**item.prompt.meta, **_asked(item.prompt), "chosen": better, "rejected": worse}


def hh_rlhf(item: Ranking) -> JSON:
    """Both whole dialogues as strings of Human and Assistant turns."""
    return {
        **item.prompt.meta,
        **{
            name: _strings(_dialogue(item.prompt, answer))
            for name, answer in zip(("chosen", "rejected"), item.answers, strict=True)
        },
    }


def _dialogue(prompt: Prompt, answer: Content) -> list[Message]:
    if prompt.text is not None:
        if not prompt.text or not isinstance(answer, str):
            raise UserError(
                f"Prompt {prompt.id} is plain text without turns, which this layout cannot hold; convert it to sft."
            )
        return [Message("user", prompt.text), Message("assistant", answer)]
    return [*prompt.messages, *((Message("assistant", answer),) if isinstance(answer, str) else answer)]


def _conversations(turns: Sequence[Message]) -> list[JSON]:
    return [{"from": FROM[turn.role], "value": turn.content} for turn in turns]


def _one(answer: Content, layout: str) -> Message:
    if isinstance(answer, str):
        return Message("assistant", answer)
    if len(answer) != 1:
        raise UserError(f"An answer of {len(answer)} turns cannot be written as {layout}, which holds one; convert it to sft.")
    return answer[0]


def _asked(prompt: Prompt) -> JSON:
    """A dialogue as system, history of pairs, and the last user turn. UserError for turns in another order."""
    if prompt.text is not None:
        return {"instruction": prompt.text, "input": ""}
    turns = list(prompt.messages)
    system = turns.pop(0).content if turns and turns[0].role == "system" else None
    expected = ["user", "assistant"] * (len(turns) // 2) + ["user"]
    if [turn.role for turn in turns] != expected:
        raise UserError(
            f"Prompt {prompt.id} has the turns {', '.join(t.role for t in prompt.messages)}, which alpaca cannot hold."
        )
    history = [[turns[i].content, turns[i + 1].content] for i in range(0, len(turns) - 1, 2)]
    row: JSON = {"instruction": turns[-1].content, "input": ""}
    return row | ({"system": system} if system else {}) | ({"history": history} if history else {})


def _strings(turns: Sequence[Message]) -> str:
    unfit = next((turn.role for turn in turns if turn.role not in HUMAN), None)
    if unfit is not None:
        raise UserError(f"A {unfit} turn cannot be written as hh_rlhf, which has Human and Assistant turns only.")
    return "".join(f"\n\n{HUMAN[turn.role]}: {turn.content}" for turn in turns)


def _each_pair(write: Callable[[Ranking], JSON]) -> Callable[[Ranking], list[JSON]]:
    return lambda item: [write(pair) for pair in pairs(item)]


TARGETS: Mapping[str, tuple[Wants, Callable[[Any], JSON | list[JSON]]]] = {
    "sft": ("demonstrations", sft),
    "messages": ("demonstrations", messages),
    "sharegpt": ("demonstrations", sharegpt),
    "alpaca": ("demonstrations", alpaca),
    "preference": ("rankings", _each_pair(to_row)),
    "sharegpt-preference": ("rankings", _each_pair(sharegpt_preference)),
    "alpaca-preference": ("rankings", _each_pair(alpaca_preference)),
    "hh_rlhf": ("rankings", _each_pair(hh_rlhf)),
    "ranking": ("rankings", ranking),
    "judge": ("rankings", _each_pair(sides.judge)),
    "judge-classes": ("rankings", _each_pair(sides.judge_classes)),
    "kto": ("labels", kto),
    "stepwise": ("steps", stepwise),
    "prompts": ("prompts", to_row),
}
"""What `plaudit data convert --to` knows: what the file is read as, and how an item is written."""


def rows_as(target: str, items: Iterable[Any]) -> Iterator[JSON]:
    """The rows of these items in the target's layout."""
    write = TARGETS[target][1]
    for item in items:
        found = write(item)
        yield from found if isinstance(found, list) else [found]


def natural_row(item: Any) -> JSON:
    """The row in TRL's columns that reads back as the item, whatever it is."""
    if isinstance(item, Label):
        return kto(item)
    if isinstance(item, Steps):
        return stepwise(item)
    if isinstance(item, Ranking):
        return to_row(item) if len(item.answers) == 2 else ranking(item)
    return sft(item) if isinstance(item, Demonstration) else to_row(item)
