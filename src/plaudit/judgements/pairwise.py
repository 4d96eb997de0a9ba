"""Which of two answers is better: the form, the votes, and preference pairs with a probability.

Left and right matter to the page only: an act says `a` or `b`, the first or second completion *shown*; every conversion
goes through `votes`, which undoes the sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plaudit.judgements.base import (
    ADJUDICATION,
    Ballot,
    Conversion,
    Kind,
    annotator,
    current,
    gather,
    identified,
    parsed,
    target,
)
from plaudit.judgements.forms import Payload, choice, only, remarks, table, whole
from plaudit.judgements.votes import Aggregate, Vote, pairs
from plaudit.schema import JSON, Assignment, Completion, Feedback, Prompt, Ranking, UserError, content_hash

NAME = "pairwise"
CHOICES = ("a", "b", "tie", "both_bad")
"""both_bad: neither is better, and neither will do."""
STRENGTHS = ("unsure", "slightly better", "better", "much better")
"""What the strengths 0 to 3 mean."""
VALUE = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True)
class Pair(Payload):
    """`choice` is a or b, the first or second answer shown, tie or both_bad; `aspects` the same for single aspects.

    `orders` is what a judge model said with the answers as shown and the other way round, both in terms of the order shown.
    """

    choice: str
    strength: int
    aspects: dict[str, str] = field(default_factory=dict)
    orders: tuple[str, ...] = ()


def parse(form: Mapping[str, Any]) -> Pair:
    """UserError names the field that is missing, unknown or out of range. Strength is 1 where left out, and 0 for a tie."""
    only(form, ("choice", "strength", "aspects", "orders", "reasons", "comment"), NAME)
    chosen = choice(form, "choice", CHOICES, NAME)
    undecided = VALUE[chosen] == 0.5
    strength = whole(form, "strength", 0, len(STRENGTHS) - 1, 0 if undecided else 1, NAME)
    if undecided and strength > 0:
        raise UserError(f"a tie has no strength, got {strength}: choose a or b, or leave strength out")
    by_aspect = table(form, "aspects", NAME)
    aspects = {name: choice(by_aspect, name, CHOICES[:3], NAME) for name in by_aspect}
    orders = tuple(form.get("orders", ())) if isinstance(form.get("orders", ()), list | tuple) else ("",)
    if orders and (len(orders) != 2 or any(one not in CHOICES[:3] for one in orders)):
        raise UserError(f"field 'orders' of a {NAME} judgement must be two of {', '.join(CHOICES[:3])}")
    return Pair(choice=chosen, strength=strength, aspects=aspects, orders=orders, **remarks(form, NAME))


def read(form: Mapping[str, Any]) -> JSON:
    """`{"choice": "a" | "b" | "tie" | "both_bad", "strength": 0..3}` from a form; `aspects`, `reasons`, `comment` if any."""
    return parse(form).to_json()


def votes(feedback: Iterable[Feedback], aspect: str | None = None) -> list[Vote]:
    """The votes of all current pairwise acts, overall or on one aspect; adjudications among them (`settles`).

    UserError for an act whose judgement or assignment is not that of a pair.
    """
    found = []
    for identity, act in current(identified(feedback)).items():
        if act.assignment.kind != NAME:
            continue
        shown = act.assignment.completion_ids
        if len(shown) != 2 or shown[0] == shown[1]:
            raise UserError(f"feedback {identity}: a pairwise judgement is on 2 different completions, got {list(shown)}")
        vote = _vote(act, identity, parsed(parse, act, identity), aspect)
        if vote is not None:
            found.append(vote)
    return found


def _vote(act: Feedback, identity: str, said: Pair, aspect: str | None = None) -> Vote | None:
    chosen = said.choice if aspect is None else said.aspects.get(aspect)
    if chosen is None:
        return None
    first, second = act.assignment.completion_ids
    pair = (min(first, second), max(first, second))
    value = VALUE[chosen] if pair == (first, second) else 1 - VALUE[chosen]
    settles = act.assignment.reason == ADJUDICATION
    return Vote(pair, annotator(act), value, identity, settles, act.assignment.prompt_id, said.strength, act)


def convert(
    feedback: Sequence[Feedback],
    completions: Iterable[Completion],
    prompts: Iterable[Prompt],
    *,
    into: str | None = None,
    accuracies: Mapping[str, float] | None = None,
    aggregate: Aggregate = "posterior",
    aspect: str | None = None,
) -> Conversion:
    """Preference pairs, one per pair of completions judged, in the order of `prompts`, then of completion ids.

    `posterior`: several annotators' votes become P(chosen better) by the one-coin model of Dawid and Skene with a Beta(20, 6.5)
    prior on their accuracy (see `stats.one_coin_dawid_skene`), kept as `Ranking.probability`; `accuracies` are taken instead of
    estimated ones where given. `majority`: the side with more votes, with probability 1. A tie is half a vote for each side,
    several acts of one annotator on a pair are averaged, an adjudication decides alone. Which side was left and the order of
    `feedback` cannot change the result. Every act is counted: as used, as superseded, as overruled by an adjudication, of
    another kind, on a pair that is tied or whose texts are equal, or on a prompt or completion not given (an erased one).
    """
    target(into, KIND)
    judged, counts = gather(NAME, KIND.shows, parse, feedback, completions, prompts)
    cast = [vote for one in judged if (vote := _vote(one.act, one.id, one.said, aspect)) is not None]
    counts |= {"without_the_aspect": len(judged) - len(cast)} if aspect is not None else {}
    return pairs(cast, judged, counts, feedback, aggregate, accuracies)


def rankings(feedback: Sequence[Feedback], completions: Iterable[Completion], prompts: Iterable[Prompt]) -> list[Ranking]:
    """The rows of `convert`, where the counts are not wanted."""
    return convert(feedback, completions, prompts).rows


def ballots(act: Feedback, identity: str, texts: Mapping[str, str]) -> list[Ballot]:
    """One on the whole, and one for each aspect."""
    said: Pair = parsed(parse, act, identity)
    found = []
    for aspect in (None, *said.aspects):
        vote = _vote(act, identity, said, aspect)
        assert vote is not None, "the aspect is one of the act's own"
        chosen = said.choice if aspect is None else said.aspects[aspect]
        found.append(
            Ballot(
                question=NAME if aspect is None else f"{NAME}: {aspect}",
                item="|".join(vote.pair),
                annotator=vote.annotator,
                value={1.0: "first", 0.0: "second", 0.5: "tie"}[vote.value],
                preference=True,
                settles=vote.settles,
                left={"a": True, "b": False}.get(chosen) if aspect is None else None,
                steady=said.orders[0] == said.orders[1] if said.orders and aspect is None else None,
                seconds=act.seconds if aspect is None else None,
                words=sum(len(texts[one].split()) for one in vote.pair) if all(one in texts for one in vote.pair) else None,
                act=identity,
                prompt_id=vote.prompt_id,
            )
        )
    return found


def assignments(completions: Iterable[Completion], *, per_prompt: int, seed: int = 0) -> list[Assignment]:
    """Up to `per_prompt` different random pairs of each prompt's answers, sides at random, repeatable from `seed`.

    Pairs of equal texts are not asked, so a prompt whose answers are all equal has none.
    """
    groups: dict[str, list[Completion]] = {}
    for completion in completions:
        groups.setdefault(completion.prompt_id, []).append(completion)
    found = []
    for prompt_id, group in groups.items():
        couples = [(a.id, b.id) for a, b in itertools.combinations(sorted(group, key=lambda c: c.id), 2) if a.text != b.text]
        couples.sort(key=lambda pair: content_hash([seed, "order", *pair]))
        for pair in couples[:per_prompt]:
            swap = int(content_hash([seed, "side", *pair]), 16) % 2
            found.append(Assignment(prompt_id, pair[::-1] if swap else pair, NAME, "random"))
    return found


KIND = Kind(NAME, "rankings", read, convert, shows=(2, 2), texts=("comment",), ballots=ballots)
