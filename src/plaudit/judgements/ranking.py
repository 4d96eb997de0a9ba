"""Several answers in order, best first: rows for Plackett-Luce, or preference pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaudit.judgements.base import (
    ADJUDICATION,
    Ballot,
    Conversion,
    Judged,
    Kind,
    annotator,
    converted,
    gather,
    parsed,
    settled,
    target,
)
from plaudit.judgements.forms import Payload, only, remarks
from plaudit.judgements.votes import Aggregate, Vote, pairs, weight
from plaudit.schema import JSON, Completion, Feedback, Prompt, Ranking, UserError

NAME = "ranking"
MOST = 26


@dataclass(frozen=True)
class Order(Payload):
    """`order` holds groups of places shown (from 0), best first; those of one group are as good as each other.

    A place that is in no group cannot be ranked (an empty answer, another language).
    """

    order: tuple[tuple[int, ...], ...]
    orders: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """Of a judge model that was asked with the answers in both orders: what it said each time, in the places of `order`."""


def parse(form: Mapping[str, Any]) -> Order:
    """A group may be one number. UserError: a place twice, fewer than two places, or what is no place."""
    only(form, ("order", "orders", "reasons", "comment"), NAME)
    order, orders = _order(form.get("order")), form.get("orders", ())
    if not isinstance(orders, list | tuple) or len(orders) not in (0, 2):
        raise UserError(f"field 'orders' of a {NAME} judgement holds two orders, as a judge model said them both ways round")
    both = tuple(_order(one) for one in orders)
    places = {place for group in order for place in group}
    if any({place for group in one for place in group} != places for one in both):
        raise UserError(f"both 'orders' of a {NAME} judgement must rank the places that its 'order' ranks")
    return Order(order=order, orders=both, **remarks(form, NAME))


def _order(given: Any) -> tuple[tuple[int, ...], ...]:
    if not isinstance(given, list | tuple) or not given:
        raise UserError(f"field 'order' of a {NAME} judgement must be a list of places, best first, such as [[1], [0, 2]]")
    groups = tuple(_group(group) for group in given)
    places = [place for group in groups for place in group]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise UserError(f"field 'order' of a {NAME} judgement names place {twice} twice: each answer has one rank")
    if len(places) < 2:
        raise UserError(f"field 'order' of a {NAME} judgement must rank two answers at least, got {len(places)}")
    return groups


def _group(given: Any) -> tuple[int, ...]:
    group = tuple(given) if isinstance(given, list | tuple) else (given,)
    numbers = tuple(int(one) if isinstance(one, str) and len(one) < 4 and one.isdecimal() else one for one in group)
    if not numbers or any(isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < MOST for one in numbers):
        raise UserError(f"field 'order' of a {NAME} judgement holds places from 0 to {MOST - 1}, got {str(given)[:60]!r}")
    return tuple(sorted(numbers))


def read(form: Mapping[str, Any]) -> JSON:
    """`{"order": [[1], [0, 2]]}` from a form, with `reasons` and `comment` if any."""
    return parse(form).to_json()


def _ranked(act: Feedback, identity: str, said: Order) -> list[list[str]]:
    """Groups of completion ids, best first. UserError for a place beyond the answers shown."""
    shown = act.assignment.completion_ids
    beyond = next((place for group in said.order for place in group if place >= len(shown)), None)
    if beyond is not None:
        raise UserError(f"feedback {identity}: it ranks place {beyond}, but {len(shown)} answers were shown")
    return [sorted(shown[place] for place in group) for group in said.order]


def _votes(act: Feedback, identity: str, said: Order) -> list[Vote]:
    """A ranking as votes on all its pairs, which together count as many as its answers less one."""
    groups = _ranked(act, identity, said)
    rank = {one: place for place, group in enumerate(groups) for one in group}
    found = []
    for first, second in itertools.combinations(sorted(rank), 2):
        value = 0.5 if rank[first] == rank[second] else float(rank[first] < rank[second])
        settles = act.assignment.reason == ADJUDICATION
        share = 2 / len(rank)
        found.append(Vote((first, second), annotator(act), value, identity, settles, act.assignment.prompt_id, 1, act, share))
    return found


def convert(
    feedback: Sequence[Feedback],
    completions: Iterable[Completion],
    prompts: Iterable[Prompt],
    *,
    into: str | None = None,
    accuracies: Mapping[str, float] | None = None,
    aggregate: Aggregate = "posterior",
) -> Conversion:
    """`rankings`: one row for each act, for Plackett-Luce, weighted by its annotator. `pairs`: every pair, all people together.

    A row of `rankings` holds no ties: of answers that are as good as each other, and of equal texts, the first by id is kept
    and the others are counted. `pairs` lose nothing: each act is a vote on each of its pairs, aggregated as in
    `pairwise.convert`; a pair out of K answers weighs 2 / K, so that a ranking of nine is not 36 judgements but eight.
    """
    wanted = target(into, KIND)
    judged, counts = gather(NAME, KIND.shows, parse, feedback, completions, prompts)
    if wanted == "pairs":
        cast = [vote for one in judged for vote in _votes(one.act, one.id, one.said)]
        return pairs(cast, judged, counts, feedback, aggregate, accuracies)
    kept = settled(judged, counts)
    counts |= {"as_good_as_another": 0, "equal_texts": 0, "tied": 0}
    rows = []
    for one in kept:
        row = _row(one, counts, weight(accuracies, one.annotator))
        if row is not None:
            rows.append((row, [one.id]))
    return converted(rows, counts, "rankings", feedback)


def _row(one: Judged, counts: dict[str, int], share: float) -> Ranking | None:
    texts = {answer.id: answer.text for answer in one.answers}
    chosen: list[str] = []
    for group in _ranked(one.act, one.id, one.said):
        fresh = [identity for identity in group if texts[identity] not in {texts[other] for other in chosen}]
        counts["equal_texts"] += len(group) - len(fresh)
        counts["as_good_as_another"] += max(0, len(fresh) - 1)
        chosen += fresh[:1]
    if len(chosen) < 2:
        counts["tied"] += 1
        return None
    meta = {"completion_ids": chosen, "sources": [one.act.source], "feedback": [one.id]}
    return Ranking(one.prompt, tuple(texts[identity] for identity in chosen), weight=share, meta=meta)


def ballots(act: Feedback, identity: str, texts: Mapping[str, str]) -> list[Ballot]:
    """One for each pair of answers ranked; the time stands on the first."""
    found = []
    said: Order = parsed(parse, act, identity)
    shown = act.assignment.completion_ids
    ranks = [{shown[place]: i for i, group in enumerate(one) for place in group} for one in said.orders]
    for i, vote in enumerate(_votes(act, identity, said)):
        known = all(one in texts for one in shown)
        found.append(
            Ballot(
                question=NAME,
                item="|".join(vote.pair),
                annotator=vote.annotator,
                value={1.0: "first", 0.0: "second", 0.5: "tie"}[vote.value],
                preference=True,
                settles=vote.settles,
                steady=_side(ranks[0], vote.pair) == _side(ranks[1], vote.pair) if ranks else None,
                seconds=act.seconds if i == 0 else None,
                words=sum(len(texts[one].split()) for one in shown) if known and i == 0 else None,
                act=identity,
                prompt_id=vote.prompt_id,
            )
        )
    return found


def _side(rank: Mapping[str, int], pair: tuple[str, str]) -> int:
    """1 where the first of the pair is ranked before the second, -1 after, 0 with it."""
    return (rank[pair[0]] < rank[pair[1]]) - (rank[pair[0]] > rank[pair[1]])


KIND = Kind(NAME, "rankings", read, convert, ("rankings", "pairs"), (2, MOST), ("comment",), ballots)
