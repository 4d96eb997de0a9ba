"""Feedback in the shapes of other tools, out of the store: pure functions from what the store holds to rows.

Shapes to train on (TRL, LLaMA-Factory, OpenAI) come from the converted data sets; Argilla and Label Studio hold the single acts
with their annotators. `plaudit` is our own shape and holds everything. Annotators are pseudonyms in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plaudit.data.convert import TARGETS, rows_as
from plaudit.judgements.base import annotator
from plaudit.judgements.conversion import convert_all
from plaudit.schema import JSON, Completion, Feedback, Message, Prompt, Ranking, to_json


@dataclass(frozen=True)
class Material:
    """What feedback consists of. Everything that an act names is there."""

    prompts: Sequence[Prompt] = ()
    completions: Sequence[Completion] = ()
    feedback: Sequence[Feedback] = ()

    def by_others(self, left_out: Collection[str]) -> Material:
        """The same without the acts of annotators (`source:name`) who do not count."""
        return replace(self, feedback=[act for act in self.feedback if annotator(act) not in left_out])

    def without(self, prompt_ids: Iterable[str]) -> Material:
        """The same without these prompts and all on them."""
        out = set(prompt_ids)
        return Material(
            [one for one in self.prompts if one.id not in out],
            [one for one in self.completions if one.prompt_id not in out],
            [one for one in self.feedback if one.assignment.prompt_id not in out],
        )


@dataclass(frozen=True)
class Export:
    """A file: its rows, and the acts behind them with the kind of data set, where it is one."""

    rows: list[JSON]
    kind: str = ""
    items: Sequence[Any] = ()
    feedback_ids: tuple[str, ...] = ()


def pseudonyms(feedback: Iterable[Feedback]) -> dict[str, str]:
    """Name -> `person-1`, `person-2`, ... in the order of their first acts; models that judge keep their names."""
    names: dict[str, str] = {}
    for act in feedback:
        if act.annotator not in names:
            people = sum(value.startswith("person-") for value in names.values())
            names[act.annotator] = f"person-{people + 1}" if act.source in ("human", "implicit") else act.annotator
    return names


def openai_preference(item: Ranking) -> JSON:
    """A row of OpenAI's preference fine-tuning."""
    better, worse = (_turns(answer) for answer in item.answers[:2])
    return {"input": {"messages": _asked(item.prompt)}, "preferred_output": better, "non_preferred_output": worse}


def _asked(prompt: Prompt) -> list[JSON]:
    return [to_json(turn) for turn in prompt.messages] or [{"role": "user", "content": prompt.text or ""}]


def _turns(answer: tuple[Message, ...] | str) -> list[JSON]:
    return [{"role": "assistant", "content": answer}] if isinstance(answer, str) else [to_json(turn) for turn in answer]


def _openai_chat(item: Any) -> JSON:
    return {"messages": _asked(item.prompt) + _turns(item.answer)}


CONVERTED: dict[str, tuple[str, str]] = {
    "trl-preference": ("rankings", "preference"),
    "trl-sft": ("demonstrations", "sft"),
    "trl-kto": ("labels", "kto"),
    "trl-stepwise": ("steps", "stepwise"),
    "trl-prompts": ("prompts", "prompts"),
    "llamafactory-sharegpt": ("demonstrations", "sharegpt"),
    "llamafactory-alpaca": ("demonstrations", "alpaca"),
    "llamafactory-preference": ("rankings", "sharegpt-preference"),
    "openai-preference": ("rankings", ""),
    "openai-chat": ("demonstrations", ""),
}
"""Format -> (data set, target of data.convert where it has one)."""


def export(name: str, material: Material) -> Export:
    """The rows of a format; none where nothing of the kind was said yet."""
    if name in ACTS:
        return Export(list(ACTS[name](material)))
    kind, target = CONVERTED[name]
    if kind == "prompts":
        return Export(list(rows_as("prompts", material.prompts)), "prompts", material.prompts)
    made = convert_all(material.feedback, material.completions, material.prompts).get(kind)
    if made is None:
        return Export([])
    items = made.rows
    if target:
        rows = list(rows_as(target, items))
    else:
        rows = [openai_preference(one) if kind == "rankings" else _openai_chat(one) for one in items]
    return Export(rows, kind, items, made.feedback_ids)


def plaudit_rows(material: Material) -> Iterator[JSON]:
    """Our own shape: a row for each prompt, completion and act, in an order that can be read in one go."""
    names = pseudonyms(material.feedback)
    for prompt in material.prompts:
        yield {"plaudit": "prompt", **to_json(prompt)}
    for completion in material.completions:
        yield {"plaudit": "completion", **to_json(completion)}
    renamed: dict[str, str] = {}
    for act in material.feedback:
        supersedes = renamed.get(act.supersedes, act.supersedes) if act.supersedes else None
        hidden = replace(act, annotator=names[act.annotator], supersedes=supersedes)
        renamed[act.id] = hidden.id
        yield {"plaudit": "feedback", **to_json(hidden)}


def _pairs(material: Material) -> Iterator[tuple[Prompt, list[Completion], list[Feedback]]]:
    """Each pair that was judged: the question, both answers in alphabetical order of their ids, and the acts that count."""
    questions = {one.id: one for one in material.prompts}
    answers = {one.id: one for one in material.completions}
    replaced = {act.supersedes for act in material.feedback}
    groups: dict[tuple[str, ...], list[Feedback]] = {}
    for act in material.feedback:
        shown = act.assignment
        known = shown.prompt_id in questions and all(one in answers for one in shown.completion_ids)
        if shown.kind == "pairwise" and known and act.id not in replaced:
            groups.setdefault(tuple(sorted(shown.completion_ids)), []).append(act)
    for ids, acts in groups.items():
        yield questions[acts[0].assignment.prompt_id], [answers[one] for one in ids], acts


def _side(act: Feedback, ids: Sequence[str]) -> int | None:
    """0 or 1: which of `ids` was chosen, whatever side it was shown on; None for a tie or both bad."""
    choice = act.judgement["choice"]
    return None if choice not in ("a", "b") else ids.index(act.assignment.completion_ids["ab".index(choice)])


def _one_text(prompt: Prompt) -> str | list[JSON]:
    return prompt.text if prompt.text is not None else [to_json(turn) for turn in prompt.messages]


def argilla_rows(material: Material) -> Iterator[JSON]:
    """Records as Argilla 2 writes them: fields, and for each question its responses with the user."""
    names = pseudonyms(material.feedback)
    for prompt, answers, acts in _pairs(material):
        ids = [one.id for one in answers]
        responses: dict[str, list[JSON]] = {"preference": [], "comment": []}
        for act in acts:
            side = _side(act, ids)
            value = ("response1", "response2")[side] if side is not None else act.judgement["choice"]
            user = {"user_id": names[act.annotator], "status": "submitted"}
            responses["preference"].append({"value": value, **user})
            if act.judgement.get("comment"):
                responses["comment"].append({"value": act.judgement["comment"], **user})
        yield {
            "id": f"{prompt.id}-{'-'.join(ids)}",
            "fields": {"prompt": _one_text(prompt), "response1": answers[0].text, "response2": answers[1].text},
            "metadata": {"policy1": answers[0].policy, "policy2": answers[1].policy},
            "responses": {name: given for name, given in responses.items() if given},
        }


def label_studio_rows(material: Material) -> Iterator[JSON]:
    """Tasks as Label Studio exports them for its template Pairwise."""
    names = pseudonyms(material.feedback)
    for prompt, answers, acts in _pairs(material):
        ids = [one.id for one in answers]
        annotations = []
        for act in acts:
            side = _side(act, ids)
            result = []
            if side is not None:
                chosen = {"selected": ("left", "right")[side]}
                result.append({"from_name": "pw", "to_name": "answer1,answer2", "type": "pairwise", "value": chosen})
            else:
                none = {"choices": [act.judgement["choice"]]}
                result.append({"from_name": "tie", "to_name": "answer1", "type": "choices", "value": none})
            if act.judgement.get("comment"):
                said = {"text": [act.judgement["comment"]]}
                result.append({"from_name": "comment", "to_name": "answer1", "type": "textarea", "value": said})
            annotations.append(
                {
                    "completed_by": names[act.annotator],
                    "created_at": act.created_at,
                    "lead_time": act.seconds,
                    "result": result,
                }
            )
        yield {
            "data": {"prompt": _one_text(prompt), "answer1": answers[0].text, "answer2": answers[1].text},
            "annotations": annotations,
        }


ACTS: dict[str, Callable[[Material], Iterator[JSON]]] = {
    "plaudit": plaudit_rows,
    "argilla": argilla_rows,
    "label-studio": label_studio_rows,
}
FORMATS = (*ACTS, *CONVERTED)
assert {target for _, target in CONVERTED.values()} - {""} <= set(TARGETS)
