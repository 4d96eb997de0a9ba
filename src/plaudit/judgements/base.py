"""What every kind of judgement shares: the acts that count, what they were on, the result of a conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plaudit.schema import JSON, Completion, Feedback, Prompt, UserError

ADJUDICATION = "adjudication"
"""The reason of an assignment whose act settles what others said of the same answers."""
Unit = tuple[str, str, tuple[str, ...]]
"""What was judged, whatever the order shown: kind, prompt, completion ids in alphabetical order."""


@dataclass(frozen=True)
class Conversion:
    """Training data made from acts of feedback, and what became of every act.

    `feedback_ids` are the acts that the rows were made from, in the order given: what `Store.snapshot` wants, with `kind`.
    """

    rows: list[Any]
    feedback_ids: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)
    kind: str = "rankings"
    """Of the data set: rankings, demonstrations, labels, aspects, steps or prompts."""
    lineage: tuple[tuple[str, ...], ...] = ()
    """For each row the ids of the acts that it was made from."""

    def lines(self) -> list[str]:
        """The counts for people, zeros left out."""
        return [f"{name.replace('_', ' ')}: {count}" for name, count in self.counts.items() if count]


@dataclass(frozen=True)
class Ballot:
    """One answer to one question on one item, without its sides: what agreement and quality are measured on."""

    question: str
    """What was asked: the kind, with its aspect or criterion, as in `rating: helpful`."""
    item: str
    annotator: str
    """`source:name`: a judge model may bear the name of a colleague."""
    value: Any
    """Text for names, a number where an order counts. Of pairs `first`, `second` or `tie`, in alphabetical order of the ids."""
    level: str = "nominal"
    """nominal, ordinal or interval."""
    preference: bool = False
    """True where the value says which of two answers is better."""
    settles: bool = False
    """True where the act is an adjudication: the truth for the others, no vote beside them."""
    left: bool | None = None
    """True where the answer shown first was chosen, False where the second; None where there are no sides."""
    steady: bool | None = None
    """Of a judge model: whether it said the same in both orders; None where it was asked in one."""
    seconds: float | None = None
    words: int | None = None
    """Of the answers shown; None where the texts are not known."""
    act: str = ""
    """Id of the act; one act may cast several ballots."""
    prompt_id: str = ""

    @property
    def source(self) -> str:
        return self.annotator.split(":", 1)[0]


@dataclass(frozen=True)
class Kind:
    """A kind of judgement, as the registry group `judgements` hands it out."""

    name: str
    makes: str
    """What `convert` makes where nothing else is asked for: rankings, demonstrations, labels ..."""
    read: Callable[[Mapping[str, Any]], JSON]
    """A form as a page or a file sends it -> the judgement that is stored; UserError for a form that is wrong."""
    convert: Callable[..., Conversion]
    """(feedback, completions, prompts, *, into, accuracies) -> rows."""
    into: tuple[str, ...] = ()
    """All that `convert` can make; empty: `makes` alone."""
    shows: tuple[int, int] = (1, 1)
    """The fewest and the most completions of an assignment."""
    texts: tuple[str, ...] = ()
    """Fields of the judgement that hold people's own words, which can be erased; a conversion does without them."""
    ballots: Callable[[Feedback, str, Mapping[str, str]], list[Ballot]] | None = None
    """(act, its id, texts by completion id) -> ballots; None where agreement has no meaning."""

    @property
    def targets(self) -> tuple[str, ...]:
        return self.into or (self.makes,)


@dataclass(frozen=True)
class Judged:
    """One act that counts, with what it was on."""

    id: str
    act: Feedback
    prompt: Prompt
    answers: tuple[Completion, ...]
    """In the order shown."""
    said: Any
    """The judgement as its kind's payload."""

    @property
    def annotator(self) -> str:
        return annotator(self.act)

    @property
    def settles(self) -> bool:
        return self.act.assignment.reason == ADJUDICATION


def annotator(act: Feedback) -> str:
    """`source:name`: a judge model may bear the name of a colleague."""
    return f"{act.source}:{act.annotator}"


def unit(act: Feedback) -> Unit:
    """What the act is on."""
    return act.assignment.kind, act.assignment.prompt_id, tuple(sorted(act.assignment.completion_ids))


def identified(feedback: Iterable[Feedback]) -> dict[str, Feedback]:
    """Id -> act, each act once. An id hashes the whole act, so it is worth keeping."""
    return {act.id: act for act in feedback}


def current(acts: Mapping[str, Feedback]) -> dict[str, Feedback]:
    """Those of `acts` that no other of them supersedes."""
    replaced = {act.supersedes for act in acts.values()}
    return {identity: act for identity, act in acts.items() if identity not in replaced}


def adjudications(acts: Mapping[str, Feedback]) -> dict[Unit, str]:
    """Unit -> id of the act that settles it: of several adjudications the latest."""
    found = [(act.created_at, identity, unit(act)) for identity, act in acts.items() if act.assignment.reason == ADJUDICATION]
    return {of: identity for _, identity, of in sorted(found)}


def gather(
    kind: str,
    shows: tuple[int, int],
    parse: Callable[[Mapping[str, Any]], Any],
    feedback: Iterable[Feedback],
    completions: Iterable[Completion],
    prompts: Iterable[Prompt],
    *,
    needs: str | None = None,
) -> tuple[list[Judged], dict[str, int]]:
    """The current acts of a kind that can be used, by prompt, completions, time and id; and the counts of all acts.

    An act on a prompt or completion that is not given (an erased one), or without the text `needs` (erased as well), is counted
    as missing. UserError: a judgement that its kind refuses, completions of another prompt, the wrong number of them.
    """
    answers = {completion.id: completion for completion in completions}
    questions = {prompt.id: prompt for prompt in prompts}
    acts = identified(feedback)
    live = current(acts)
    counts = {"acts": len(acts), "superseded": len(acts) - len(live), "other_kind": 0, "missing": 0}
    found = []
    for identity, act in live.items():
        shown = act.assignment.completion_ids
        if act.assignment.kind != kind:
            counts["other_kind"] += 1
            continue
        if not shows[0] <= len(shown) <= shows[1] or len(set(shown)) < len(shown):
            wanted = f"{shows[0]}" if shows[0] == shows[1] else f"{shows[0]} to {shows[1]}"
            raise UserError(f"feedback {identity}: a {kind} judgement is on {wanted} different completions, got {list(shown)}")
        if act.assignment.prompt_id not in questions or any(one not in answers for one in shown):
            counts["missing"] += 1
            continue
        if needs is not None and needs not in act.judgement:
            counts["missing"] += 1
            continue
        on = tuple(answers[one] for one in shown)
        if any(one.prompt_id != act.assignment.prompt_id for one in on):
            raise UserError(
                f"feedback {identity}: its completions do not answer its prompt {act.assignment.prompt_id}: mend the assignment"
            )
        found.append(Judged(identity, act, questions[act.assignment.prompt_id], on, parsed(parse, act, identity)))
    place = {prompt_id: i for i, prompt_id in enumerate(questions)}
    found.sort(key=lambda one: (place[one.prompt.id], unit(one.act), one.act.created_at, one.id))
    return found, counts


def parsed(parse: Callable[[Mapping[str, Any]], Any], act: Feedback, identity: str) -> Any:
    """The act's judgement, read; a UserError names the act."""
    try:
        return parse(act.judgement)
    except UserError as error:
        raise UserError(f"feedback {identity}: {error}") from None


def settled(judged: Sequence[Judged], counts: dict[str, int]) -> list[Judged]:
    """`judged` without the acts that an adjudication of the same unit overrules; they are counted."""
    final = adjudications({one.id: one.act for one in judged})
    kept = [one for one in judged if final.get(unit(one.act), one.id) == one.id]
    counts["overruled"] = len(judged) - len(kept)
    return kept


def converted(
    rows: Sequence[tuple[Any, Iterable[str]]], counts: dict[str, int], kind: str, order: Iterable[Feedback]
) -> Conversion:
    """A conversion of (row, ids of its acts), with the counts of what was used; `order` is that of `feedback_ids`."""
    lineage = tuple(tuple(dict.fromkeys(ids)) for _, ids in rows)
    used = {identity for ids in lineage for identity in ids}
    counts["used"], counts[kind] = len(used), len(rows)
    ids = tuple(identity for identity in identified(order) if identity in used)
    return Conversion([row for row, _ in rows], ids, counts, kind, lineage)


def target(into: str | None, kind: Kind) -> str:
    """What to make: `into`, or the kind's own; UserError for what the kind cannot make."""
    wanted = into or kind.makes
    if wanted not in kind.targets:
        raise UserError(f"{kind.name} judgements make {', '.join(kind.targets)}, not {wanted}")
    return wanted
