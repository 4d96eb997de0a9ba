"""Files of other tools into the store: our own shape, Argilla, Label Studio, and every layout that `plaudit train` reads."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaudit.feedback.formats import Material
from plaudit.feedback.questions import check_places
from plaudit.registry import find
from plaudit.schema import (
    JSON,
    ROLES,
    Assignment,
    Completion,
    Feedback,
    Message,
    Prompt,
    Ranking,
    Sampling,
    UserError,
    content_hash,
    json_lines,
)

IMPORTED = "imported"
ENDINGS = (".jsonl", ".json", ".csv", ".tsv")


@dataclass
class Imported:
    """What a file held, and a count of everything in words."""

    prompts: dict[str, Prompt] = field(default_factory=dict)
    completions: dict[str, Completion] = field(default_factory=dict)
    feedback: dict[str, Feedback] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def prompt(self, one: Prompt) -> str:
        identity = one.id
        json.dumps(one.meta, ensure_ascii=False, allow_nan=False).encode()  # what cannot be stored ends here
        self.prompts.setdefault(identity, one)
        return identity

    def answer(self, prompt_id: str, text: str, policy: str = IMPORTED) -> str:
        """An answer that has no token ids; equal answers to one prompt are one."""
        seed = int(content_hash(text), 16) % 2**31
        one = Completion(prompt_id, text, (), (), (), "stop", policy, 0, seed)
        identity = one.id
        self.completions.setdefault(identity, one)
        return identity

    def act(self, one: Feedback) -> None:
        """UserError for a judgement that its kind refuses: one such act in the store would stop every conversion."""
        shown = one.assignment
        kind = find("judgements", shown.kind)
        judgement = kind.read(one.judgement)
        fewest, most = kind.shows
        if not fewest <= len(set(shown.completion_ids)) == len(shown.completion_ids) <= most:
            raise UserError(f"a {shown.kind} judgement is on {fewest} to {most} different answers")
        if one.source not in ("human", "judge", "simulated", "implicit") or not one.annotator:
            raise UserError("an act needs an annotator, and a source: human, judge, simulated or implicit")
        if all(answer in self.completions for answer in shown.completion_ids):
            check_places(judgement, [self.completions[answer].text for answer in shown.completion_ids])
        self.feedback.setdefault(one.id, one)

    @property
    def material(self) -> Material:
        return Material(list(self.prompts.values()), list(self.completions.values()), list(self.feedback.values()))

    def lines(self) -> list[str]:
        """What a person should read."""
        held = {"prompts": len(self.prompts), "answers": len(self.completions), "acts of feedback": len(self.feedback)}
        return [f"{number:,} {name}" for name, number in held.items()] + [
            f"left out: {n:,} {why}" for why, n in self.left_out.items()
        ]


def read_upload(name: str, body: bytes) -> Imported:
    """What a file holds. UserError, with the row, for one that cannot be read."""
    ending = Path(name).suffix.lower()
    if ending not in ENDINGS:
        raise UserError(f"a file to import ends in {', '.join(ENDINGS)}; this one is called {name[:80]!r}")
    rows = _objects(body) if ending in (".jsonl", ".json") else []
    for recognises, read in SHAPES:
        if rows and recognises(rows[0]):
            found = Imported()
            for number, row in enumerate(rows, 1):
                try:
                    read(row, found)
                except UserError as error:
                    raise UserError(f"row {number}: {error}") from None
                except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                    raise UserError(f"row {number} is not as its tool writes it ({type(error).__name__}: {error})") from None
            return found
    return _other(ending, body)


def _objects(body: bytes) -> list[JSON]:
    """The rows of a JSON list or of lines of JSON; [] where that is not what it is, for the other readers to say why."""
    try:
        text = body.decode("utf-8-sig")
        whole = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in json_lines(text)]
    except (ValueError, RecursionError):
        return []
    return whole if isinstance(whole, list) and all(isinstance(row, dict) for row in whole) else []


def _plaudit(row: JSON, found: Imported) -> None:
    what = row["plaudit"]
    if what == "prompt":
        found.prompt(Prompt(row["text"], tuple(Message(**turn) for turn in row["messages"]), row["meta"]))
    elif what == "completion":
        values = {name: value for name, value in row.items() if name != "plaudit"}
        arrays = {name: tuple(values[name]) for name in ("prompt_tokens", "tokens", "logprobs")}
        settings: JSON = {name: tuple(v) if isinstance(v, list) else v for name, v in values["sampling"].items()}
        one = Completion(**{**values, **arrays, "sampling": Sampling(**settings)})
        found.completions.setdefault(one.id, one)
    elif what == "feedback":
        values = {name: value for name, value in row.items() if name != "plaudit"}
        shown = Assignment(**{**values["assignment"], "completion_ids": tuple(values["assignment"]["completion_ids"])})
        found.act(Feedback(**{**values, "assignment": shown}))
    else:
        raise UserError(f"there is no kind of row {what!r}")


def _prompt(value: Any) -> Prompt:
    if isinstance(value, str):
        return Prompt(messages=(Message("user", value),))
    turns = tuple(Message(str(turn["role"]), str(turn["content"])) for turn in value)
    if not turns or any(turn.role not in ROLES for turn in turns):
        raise UserError(f"a prompt's turns have the roles {', '.join(ROLES)}")
    return Prompt(messages=turns)


def _vote(found: Imported, prompt_id: str, ids: Sequence[str], choice: str, who: str, comment: str, **more: Any) -> None:
    judgement: JSON = {"choice": choice, "strength": 1 if choice in "ab" else 0}
    if comment:
        judgement["comment"] = comment
    shown = Assignment(prompt_id, tuple(ids), "pairwise", IMPORTED)
    found.act(Feedback(shown, judgement, who, "human", **more))


def _argilla(row: JSON, found: Imported) -> None:
    fields = row["fields"]
    prompt_id = found.prompt(_prompt(fields["prompt"]))
    about = row.get("metadata") or {}
    ids = [found.answer(prompt_id, str(fields[f"response{n}"]), str(about.get(f"policy{n}", IMPORTED))) for n in (1, 2)]
    said = {one["user_id"]: str(one["value"]) for one in row.get("responses", {}).get("comment", [])}
    for one in row.get("responses", {}).get("preference", []):
        if one.get("status", "submitted") != "submitted":
            found.left_out["responses that were not submitted"] += 1
            continue
        value = one["value"]
        choice = {"response1": "a", "response2": "b"}.get(value, value)
        _vote(found, prompt_id, ids, choice, str(one["user_id"]), said.get(one["user_id"], ""))


def _label_studio(row: JSON, found: Imported) -> None:
    prompt_id = found.prompt(_prompt(row["data"]["prompt"]))
    ids = [found.answer(prompt_id, str(row["data"][f"answer{n}"])) for n in (1, 2)]
    for one in row.get("annotations", []):
        if one.get("was_cancelled"):
            found.left_out["annotations that were cancelled"] += 1
            continue
        choice, comment = "", ""
        for part in one["result"]:
            value = part["value"]
            if part["type"] == "pairwise":
                choice = {"left": "a", "right": "b"}[value["selected"]]
            elif part["type"] == "choices":
                choice = value["choices"][0]
            elif part["type"] == "textarea":
                comment = "\n".join(value["text"])
        who = one["completed_by"]
        who = str(who.get("id", who.get("email"))) if isinstance(who, dict) else str(who)
        _vote(found, prompt_id, ids, choice, who, comment, seconds=one.get("lead_time"), created_at=one.get("created_at") or "")


SHAPES: tuple[tuple[Callable[[JSON], bool], Callable[[JSON, Imported], None]], ...] = (
    (lambda row: "plaudit" in row, _plaudit),
    (lambda row: isinstance(row.get("fields"), dict) and "response1" in row["fields"], _argilla),
    (lambda row: isinstance(row.get("data"), dict) and "answer1" in row["data"], _label_studio),
)


def _other(ending: str, body: bytes) -> Imported:
    """Through the readers of `plaudit train`: pairs become answers and an act each, single answers answers, prompts prompts."""
    from plaudit.data.readers import read

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{ending}"
        path.write_bytes(body)
        first: UserError | None = None
        for wants in ("rankings", "labels", "demonstrations", "prompts"):
            try:
                data = read(str(path), wants)  # type: ignore[arg-type]
            except UserError as error:
                first = first or error
                continue
            found = Imported()
            try:
                for item in data.items:
                    _item(item, found)
            except ValueError:
                raise UserError("the file holds text that is no Unicode, or a number that is none") from None
            found.left_out.update(data.tally)
            return found
    raise UserError(str(first).replace(str(path), "the file"))


def _item(item: Any, found: Imported) -> None:
    prompt = item if isinstance(item, Prompt) else item.prompt
    prompt_id = found.prompt(prompt)
    if isinstance(item, Ranking):
        texts = list(_texts(item.answers))
        ids = [found.answer(prompt_id, text) for text in texts]
        if len(ids) == 2 and ids[0] != ids[1]:
            shown = Assignment(prompt_id, tuple(ids), "pairwise", IMPORTED)
            found.act(Feedback(shown, {"choice": "a", "strength": 1}, IMPORTED, "human"))
        elif len(set(ids)) == len(ids):
            shown = Assignment(prompt_id, tuple(ids), "ranking", IMPORTED)
            found.act(Feedback(shown, {"order": [[place] for place in range(len(ids))]}, IMPORTED, "human"))
        else:
            found.left_out["rankings with equal answers"] += 1
        return
    if not isinstance(item, Prompt):
        answer = found.answer(prompt_id, next(_texts([item.answer])))
        value = getattr(item, "value", None)
        if value in (0.0, 1.0):
            found.act(Feedback(Assignment(prompt_id, (answer,), "thumb", IMPORTED), {"value": int(value)}, IMPORTED, "human"))


def _texts(answers: Iterable[Any]) -> Iterator[str]:
    for answer in answers:
        yield answer if isinstance(answer, str) else answer[-1].content
