"""Which of two answers is better: the form, the votes, and preference pairs with a probability.

Left and right matter to the page only: an act says `a` or `b`, the first or second completion *shown*; every conversion
goes through `votes`, which undoes the sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from plaudit.judgements.base import Conversion, Kind, choice, current, identified, only, whole
from plaudit.schema import JSON, Assignment, Completion, Feedback, Prompt, Ranking, UserError, content_hash
from plaudit.stats import one_coin_dawid_skene

NAME = "pairwise"
CHOICES = ("a", "b", "tie")
STRENGTHS = ("unsure", "slightly better", "better", "much better")
"""What the strengths 0 to 3 mean."""


def read(form: Mapping[str, Any]) -> JSON:
    """`{"choice": "a" | "b" | "tie", "strength": 0..3}` from a form; strength is 1 where left out, and 0 for a tie.

    UserError names the field that is missing, unknown or out of range.
    """
    only(form, ("choice", "strength"), NAME)
    chosen = choice(form, "choice", CHOICES, NAME)
    strength = whole(form, "strength", 0, len(STRENGTHS) - 1, 0 if chosen == "tie" else 1, NAME)
    if chosen == "tie" and strength > 0:
        raise UserError(f"a tie has no strength, got {strength}: choose a or b, or leave strength out")
    return {"choice": chosen, "strength": strength}


@dataclass(frozen=True)
class Vote:
    """One act without its sides: `value` 1 says that the first of `pair` is better, 0 the second, 1/2 neither."""

    pair: tuple[str, str]
    """Completion ids in alphabetical order, whatever side they were shown on."""
    prompt_id: str
    annotator: str
    value: float
    strength: int
    act: Feedback
    id: str
    """Of the act."""


def votes(feedback: Iterable[Feedback]) -> list[Vote]:
    """The votes of all current pairwise acts. UserError for an act whose judgement or assignment is not that of a pair."""
    return _votes(current(identified(feedback)))


def _votes(acts: Mapping[str, Feedback]) -> list[Vote]:
    found = []
    for identity, act in acts.items():
        if act.assignment.kind != NAME:
            continue
        shown = act.assignment.completion_ids
        if len(shown) != 2 or shown[0] == shown[1]:
            raise UserError(f"feedback {identity}: a pairwise judgement is on two different completions, got {list(shown)}")
        try:
            judgement = read(act.judgement)
        except UserError as error:
            raise UserError(f"feedback {identity}: {error}") from None
        first = {"a": 1.0, "b": 0.0, "tie": 0.5}[judgement["choice"]]
        pair = (min(shown), max(shown))
        value = first if pair == shown else 1 - first
        who = f"{act.source}:{act.annotator}"  # a judge model may bear the name of a colleague
        found.append(Vote(pair, act.assignment.prompt_id, who, value, judgement["strength"], act, identity))
    return found


def convert(
    feedback: Sequence[Feedback],
    completions: Iterable[Completion],
    prompts: Iterable[Prompt],
    *,
    aggregate: Literal["posterior", "majority"] = "posterior",
) -> Conversion:
    """Preference pairs, one per pair of completions judged, in the order of `prompts`, then of completion ids.

    `posterior`: several annotators' votes become P(chosen better) by the one-coin model of Dawid and Skene with a Beta(20, 6.5)
    prior on their accuracy (see `stats.one_coin_dawid_skene`), kept as `Ranking.probability`. `majority`: the side with more
    votes, with probability 1. A tie is half a vote for each side, and several acts of one annotator on a pair are averaged.
    Which side was left and the order of `feedback` cannot change the result. Every act is counted: as used, as superseded, of
    another kind, on a pair that is tied or whose texts are equal, or on a prompt or completion not given (an erased one).
    """
    if aggregate not in ("posterior", "majority"):
        raise UserError(f"aggregate must be posterior or majority, got {aggregate!r}")
    answers = {completion.id: completion for completion in completions}
    questions = {prompt.id: prompt for prompt in prompts}
    acts = identified(feedback)
    live = current(acts)
    counts = dict.fromkeys(
        ("acts", "superseded", "other_kind", "missing", "equal_texts", "tied", "used", "repeats", "pairs"), 0
    )
    counts["acts"], counts["superseded"] = len(acts), len(acts) - len(live)
    counts["other_kind"] = sum(act.assignment.kind != NAME for act in live.values())
    groups = _by_pair(_votes(live), answers, questions, counts)
    rows, used = [], set()
    for group, probability in zip(groups, _probabilities(groups, aggregate), strict=True):
        counts["repeats"] += len(group) - len({vote.annotator for vote in group})
        if abs(probability - 0.5) < 1e-9:
            counts["tied"] += len(group)
            continue
        better, worse = group[0].pair if probability > 0.5 else group[0].pair[::-1]
        sure = max(probability, 1 - probability) if aggregate == "posterior" else 1.0
        rows.append(_ranking(questions[group[0].prompt_id], answers[better], answers[worse], sure, group))
        used |= {vote.id for vote in group}
    counts["used"], counts["pairs"] = len(used), len(rows)
    return Conversion(rows, tuple(identity for identity in acts if identity in used), counts)


def rankings(feedback: Sequence[Feedback], completions: Iterable[Completion], prompts: Iterable[Prompt]) -> list[Ranking]:
    """The rows of `convert`, where the counts are not wanted."""
    return convert(feedback, completions, prompts).rows


def _by_pair(
    cast: Iterable[Vote], answers: Mapping[str, Completion], questions: Mapping[str, Prompt], counts: dict[str, int]
) -> list[list[Vote]]:
    """The votes of each pair that can be used, in a fixed order; the others are counted."""
    groups: dict[tuple[str, str], list[Vote]] = {}
    for vote in cast:
        if vote.prompt_id not in questions or any(one not in answers for one in vote.pair):
            counts["missing"] += 1
            continue
        first, second = (answers[one] for one in vote.pair)
        if not first.prompt_id == second.prompt_id == vote.prompt_id:
            raise UserError(
                f"feedback {vote.id}: its completions do not answer its prompt {vote.prompt_id}: mend the assignment"
            )
        if first.text == second.text:
            counts["equal_texts"] += 1
            continue
        groups.setdefault(vote.pair, []).append(vote)
    place = {prompt_id: i for i, prompt_id in enumerate(questions)}
    ordered = sorted(groups.values(), key=lambda group: (place[group[0].prompt_id], group[0].pair))
    return [sorted(group, key=lambda vote: vote.id) for group in ordered]


def _probabilities(groups: Sequence[Sequence[Vote]], aggregate: str) -> list[float]:
    """P(first of the pair is better) for each pair: each annotator has one vote, the mean of the annotator's acts."""
    if not groups:
        return []
    cast: list[dict[str, float]] = []
    for group in groups:
        mine: dict[str, list[float]] = {}
        for vote in group:
            mine.setdefault(vote.annotator, []).append(vote.value)
        cast.append({who: sum(values) / len(values) for who, values in mine.items()})
    if aggregate == "majority":
        return [sum(each.values()) / len(each) for each in cast]
    number = {who: i for i, who in enumerate(sorted({who for each in cast for who in each}))}
    ballots = [(item, number[who], value) for item, each in enumerate(cast) for who, value in each.items()]
    return [float(p) for p in one_coin_dawid_skene(ballots).posterior]


def _ranking(prompt: Prompt, chosen: Completion, rejected: Completion, probability: float, group: Sequence[Vote]) -> Ranking:
    meta = {
        "chosen_id": chosen.id,
        "rejected_id": rejected.id,
        "truncated": [chosen.truncated, rejected.truncated],
        "votes": len(group),
        "strength": sum(vote.strength for vote in group) / len(group),
        "sources": sorted({vote.act.source for vote in group}),
        "feedback": [vote.id for vote in group],
    }
    return Ranking(prompt, (chosen.text, rejected.text), probability=probability, meta=meta)


def assignments(completions: Iterable[Completion], *, per_prompt: int, seed: int = 0) -> list[Assignment]:
    """Up to `per_prompt` different random pairs of each prompt's answers, sides at random, repeatable from `seed`.

    Pairs of equal texts are not asked, so a prompt whose answers are all equal has none.
    """
    groups: dict[str, list[Completion]] = {}
    for completion in completions:
        groups.setdefault(completion.prompt_id, []).append(completion)
    found = []
    for prompt_id, group in groups.items():
        pairs = [(a.id, b.id) for a, b in itertools.combinations(sorted(group, key=lambda c: c.id), 2) if a.text != b.text]
        pairs.sort(key=lambda pair: content_hash([seed, "order", *pair]))
        for pair in pairs[:per_prompt]:
            swap = int(content_hash([seed, "side", *pair]), 16) % 2
            found.append(Assignment(prompt_id, pair[::-1] if swap else pair, NAME, "random"))
    return found


KIND = Kind(NAME, "rankings", read, convert)
