"""Stars for an answer as a whole and for several aspects: labels, answers rated by aspect, preference pairs with a margin."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plaudit.judgements.base import ADJUDICATION, Ballot, Conversion, Judged, Kind, annotator, converted, gather, parsed, target
from plaudit.judgements.forms import Payload, only, remarks, table, whole
from plaudit.schema import JSON, Completion, Feedback, Label, Prompt, Ranking, Rated, UserError
from plaudit.stats import rating_consensus

NAME = "rating"
LOW, HIGH = 1, 5
OVERALL = "overall"
"""The aspect that `stars` are of."""
MARGIN = 0.5
"""Stars by which two answers must differ before they make a pair."""


@dataclass(frozen=True)
class Stars(Payload):
    """1 to 5 stars for the whole (0 where it was not rated), and for each aspect."""

    stars: int = 0
    aspects: dict[str, int] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, int]:
        """All of it by aspect."""
        return ({OVERALL: self.stars} if self.stars else {}) | self.aspects


def parse(form: Mapping[str, Any]) -> Stars:
    """UserError where neither the whole nor an aspect is rated, or a rating is no whole number from 1 to 5."""
    only(form, ("stars", "aspects", "reasons", "comment"), NAME)
    by_aspect = table(form, "aspects", NAME)
    if OVERALL in by_aspect:
        raise UserError(f"aspect '{OVERALL}' of a {NAME} judgement is what 'stars' says: leave it out of the aspects")
    aspects = {name: whole(by_aspect, name, LOW, HIGH, None, NAME) for name in by_aspect}
    stars = whole(form, "stars", LOW, HIGH, None, NAME) if "stars" in form or not aspects else 0
    return Stars(stars=stars, aspects=aspects, **remarks(form, NAME))


def read(form: Mapping[str, Any]) -> JSON:
    """`{"stars": 4, "aspects": {"helpful": 5}}` from a form, with `reasons` and `comment` if any."""
    return parse(form).to_json()


@dataclass(frozen=True)
class Score:
    """What several people's stars for one answer and aspect come to."""

    value: float
    deviation: float
    """Standard error of `value`."""
    ids: tuple[str, ...]


def scores(judged: Sequence[Judged], aspect: str, counts: dict[str, int]) -> dict[str, Score]:
    """Completion id -> score on one aspect: leniency taken off, exact raters weighing more (`stats.rating_consensus`).

    An adjudication decides alone; what it overrules is counted.
    """
    said = [(one, one.said.scores[aspect]) for one in judged if aspect in one.said.scores]
    final = {one.answers[0].id: (one, stars) for one, stars in sorted(said, key=_time) if one.settles}
    raw = [(one, stars) for one, stars in said if not one.settles and one.answers[0].id not in final]
    counts["overruled"] = counts.get("overruled", 0) + len(said) - len(raw) - len(final)
    found = {identity: Score(float(stars), 0.0, (one.id,)) for identity, (one, stars) in final.items()}
    if not raw:
        return found
    items = {identity: i for i, identity in enumerate(dict.fromkeys(one.answers[0].id for one, _ in raw))}
    people = {who: i for i, who in enumerate(sorted({one.annotator for one, _ in raw}))}
    model = rating_consensus([(items[one.answers[0].id], people[one.annotator], float(stars)) for one, stars in raw])
    for identity, i in items.items():
        mine = [one for one, _ in raw if one.answers[0].id == identity]
        sure = sum(1 / model.deviation[people[one.annotator]] ** 2 for one in mine)
        value = min(float(HIGH), max(float(LOW), float(model.score[i])))
        found[identity] = Score(value, float(sure**-0.5), tuple(one.id for one in mine))
    return found


def _time(item: tuple[Judged, int]) -> tuple[str, str]:
    return item[0].act.created_at, item[0].id


def convert(
    feedback: Sequence[Feedback],
    completions: Iterable[Completion],
    prompts: Iterable[Prompt],
    *,
    into: str | None = None,
    accuracies: Mapping[str, float] | None = None,
    aspect: str = OVERALL,
    margin: float = MARGIN,
) -> Conversion:
    """`labels`: the stars of each answer on `aspect`. `aspects`: all of them. `rankings`: pairs that differ by `margin` stars.

    A pair's `margin` is the difference in stars, its `probability` that of the order: Phi(difference / its standard error).
    `accuracies` do not matter here: raters have a leniency and an exactness of their own.
    """
    wanted = target(into, KIND)
    judged, counts = gather(NAME, KIND.shows, parse, feedback, completions, prompts)
    on = {one.answers[0].id: one for one in judged}
    if wanted == "aspects":
        return _aspects(judged, on, counts, feedback)
    found = scores(judged, aspect, counts)
    counts["without_the_aspect"] = sum(aspect not in one.said.scores for one in judged)
    if wanted == "rankings":
        return _pairs(found, on, counts, feedback, margin)
    rows = [(Label(on[i].prompt, on[i].answers[0].text, found[i].value), found[i].ids) for i in on if i in found]
    return converted(rows, counts, "labels", feedback)


def _aspects(
    judged: Sequence[Judged], on: Mapping[str, Judged], counts: dict[str, int], order: Sequence[Feedback]
) -> Conversion:
    names = sorted({name for one in judged for name in one.said.scores})
    by_aspect = {name: scores(judged, name, counts) for name in names}
    rows = []
    for identity, one in on.items():
        mine = {name: found[identity] for name, found in by_aspect.items() if identity in found}
        row = Rated(one.prompt, one.answers[0].text, scores={name: score.value for name, score in mine.items()})
        rows.append((row, [act for score in mine.values() for act in score.ids]))
    return converted(rows, counts, "aspects", order)


def _pairs(
    found: Mapping[str, Score], on: Mapping[str, Judged], counts: dict[str, int], order: Sequence[Feedback], margin: float
) -> Conversion:
    """Pairs of answers to one prompt, the better one first."""
    counts |= {"too_close": 0, "equal_texts": 0}
    rows = []
    for _, group in itertools.groupby((i for i in on if i in found), key=lambda i: on[i].prompt.id):
        for one, other in itertools.combinations(group, 2):
            better, worse = (one, other) if found[one].value >= found[other].value else (other, one)
            gap = found[better].value - found[worse].value
            texts = on[better].answers[0].text, on[worse].answers[0].text
            if texts[0] == texts[1]:
                counts["equal_texts"] += 1
            elif gap < max(margin, 1e-9):
                counts["too_close"] += 1
            else:
                error = math.hypot(found[better].deviation, found[worse].deviation)
                sure = 0.5 * (1 + math.erf(gap / error / math.sqrt(2))) if error else 1.0
                ids = found[better].ids + found[worse].ids
                meta = {"chosen_id": better, "rejected_id": worse, "feedback": sorted(ids)}
                rows.append((Ranking(on[better].prompt, texts, margin=gap, probability=sure, meta=meta), ids))
    return converted(rows, counts, "rankings", order)


def ballots(act: Feedback, identity: str, texts: Mapping[str, str]) -> list[Ballot]:
    """One on each aspect; the time stands on the first."""
    (shown,) = act.assignment.completion_ids
    said: Stars = parsed(parse, act, identity)
    return [
        Ballot(
            NAME if name == OVERALL else f"{NAME}: {name}",
            shown,
            annotator(act),
            stars,
            "ordinal",
            settles=act.assignment.reason == ADJUDICATION,
            seconds=act.seconds if i == 0 else None,
            words=len(texts[shown].split()) if shown in texts and i == 0 else None,
            act=identity,
            prompt_id=act.assignment.prompt_id,
        )
        for i, (name, stars) in enumerate(said.scores.items())
    ]


KIND = Kind(NAME, "labels", read, convert, ("labels", "aspects", "rankings"), (1, 1), ("comment",), ballots)
