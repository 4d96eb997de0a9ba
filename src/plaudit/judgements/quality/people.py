"""Whom the labels stand for: judge models beside people, and who the annotators are beside whom the product serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, sqrt

from plaudit.judgements.base import Ballot
from plaudit.judgements.quality.ballots import by_annotator, crowd, plurality, same, units
from plaudit.schema import UserError
from plaudit.stats import Interval, cohen_kappa, wilson

DOMINANT = 0.4
"""Share of all acts above which the labels are one person's opinion."""


@dataclass(frozen=True)
class JudgeOn:
    """A judge model on one question: pairs, rankings (by their pairs), stars of one aspect."""

    question: str
    compared: int
    """Items that people answered too; of rankings their pairs."""
    agrees: Interval | None
    """Share of agreement with what most people say; stars agree where they are at most one apart."""
    people: Interval | None
    """The same share for people, each against the other people, on the same items: what there is to reach."""
    steady: Interval | None
    """Share of the same answer in both orders; None where there is one order."""


@dataclass(frozen=True)
class JudgeQuality:
    """A judge model, measured against people on the items that both judged."""

    name: str
    acts: int
    compared: int
    agrees: Interval | None
    """Share of agreement with what most people say."""
    kappa: float | None
    people: Interval | None
    """The same share for people, each against the other people, on the same items: what there is to reach."""
    left: Interval | None
    steady: Interval | None = None
    """Share of the pairs on which it said the same in both orders."""
    failed: int = 0
    """Questions to which no verdict came: it was not there, refused, or said none."""
    questions: tuple[JudgeOn, ...] = ()
    """The same for each question by itself."""


@dataclass(frozen=True)
class GroupShare:
    """One declared group: its annotators, its share of the acts, its share of those whom the product serves."""

    group: str
    annotators: int
    acts: int
    share: float
    served: float | None


@dataclass(frozen=True)
class Coverage:
    """One thing that annotators may declare of themselves, such as their language or trade."""

    dimension: str
    groups: tuple[GroupShare, ...]
    undeclared: int
    """Acts of people who said nothing of it."""
    coverage: float | None
    """Sum over groups of the smaller of the two shares: 1 where annotators are as those who are served."""
    missing: tuple[str, ...]
    """Groups that are served and gave no act."""


@dataclass
class _Shares:
    """What a judge and people said of the items that both judged. A pair out of a ranking of K answers weighs 2 / K."""

    both: list[tuple[object, object, float]] = field(default_factory=list)
    """(the judge, most people, weight)."""
    among: list[tuple[bool, float]] = field(default_factory=list)
    """(whether one of the people agrees with the others, weight)."""
    steady: list[tuple[bool, float]] = field(default_factory=list)

    def add(self, one: Ballot, people: Mapping[str, Ballot], weight: float) -> None:
        most = plurality(people.values())
        if most is not None:
            self.both.append((one.value, most, weight))
        for who, said in people.items():
            others = plurality(other for person, other in people.items() if person != who)
            if others is not None:
                self.among.append((same(said.value, others), weight))

    @property
    def agrees(self) -> Interval | None:
        return _share([(same(said, most), weight) for said, most, weight in self.both])


def _share(held: Sequence[tuple[bool, float]]) -> Interval | None:
    total = sum(weight for _, weight in held)
    return wilson(sum(weight for right, weight in held if right), total) if total else None


def judge_qualities(ballots: Sequence[Ballot], failed: Mapping[str, int] | None = None) -> tuple[JudgeQuality, ...]:
    """Every judge model. `failed`: name of the seat -> questions to which no verdict came."""
    failed = {f"judge:{name}": count for name, count in (failed or {}).items()}
    raw = [one for one in ballots if not one.settles]
    human = {one.annotator for one in crowd(ballots) if one.source != "judge"}
    answered = units(raw)
    pairs_of = Counter((one.act, one.question) for one in raw if one.act and one.source == "judge" and one.preference)
    weight_of = {one: 2 / ((1 + sqrt(1 + 8 * pairs)) / 2) for one, pairs in pairs_of.items()}
    found = []
    seats = by_annotator(one for one in raw if one.source == "judge")
    for name, mine in {**{seat: [] for seat in sorted(failed)}, **seats}.items():
        whole, each = _Shares(), {one.question: _Shares() for one in mine}
        for unit in answered.values():
            one = unit.get(name)
            if one is not None:
                people = {who: said for who, said in unit.items() if who in human}
                for shares in (whole, each[one.question]):
                    shares.add(one, people, weight_of.get((one.act, one.question), 1.0))
        for one in mine:
            if one.steady is not None:
                for shares in (whole, each[one.question]):
                    shares.steady.append((one.steady, weight_of.get((one.act, one.question), 1.0)))
        names = [(said, most) for said, most, _ in whole.both if isinstance(said, str)]
        kappa = cohen_kappa([said for said, _ in names], [most for _, most in names]) if names else float("nan")
        sides = [one.left for one in mine if one.left is not None]
        found.append(
            JudgeQuality(
                name=name,
                acts=len({one.act or one.item for one in mine}),
                compared=len(whole.both),
                agrees=whole.agrees,
                kappa=kappa if isfinite(kappa) else None,
                people=_share(whole.among),
                left=wilson(sum(sides), len(sides)) if sides else None,
                steady=_share(whole.steady),
                failed=failed.get(name, 0),
                questions=tuple(
                    JudgeOn(question, len(one.both), one.agrees, _share(one.among), _share(one.steady))
                    for question, one in each.items()
                ),
            )
        )
    return tuple(found)


def coverages(
    ballots: Sequence[Ballot],
    groups: Mapping[str, Mapping[str, str]],
    served: Mapping[str, Mapping[str, float]] | None = None,
) -> tuple[Coverage, ...]:
    """`groups`: annotator's name -> dimension -> group, as they declared; `served`: dimension -> group -> share.

    Only people count, not judge models. UserError where shares of `served` are negative or add up to nothing.
    """
    acts: Counter[str] = Counter()
    for name, mine in by_annotator(
        one for one in ballots if not one.settles and one.source not in ("judge", "implicit")
    ).items():
        acts[name] += len({one.act or (one.question, one.item) for one in mine})
    served = served or {}
    dimensions = dict.fromkeys([*served, *(dimension for said in groups.values() for dimension in said)])
    return tuple(_coverage(dimension, acts, groups, served.get(dimension)) for dimension in dimensions)


def _coverage(
    dimension: str, acts: Mapping[str, int], groups: Mapping[str, Mapping[str, str]], served: Mapping[str, float] | None
) -> Coverage:
    if served is not None and (any(share < 0 for share in served.values()) or sum(served.values()) <= 0):
        raise UserError(f"the shares of whom the product serves by {dimension} must be 0 or more, and not all 0")
    total = sum(served.values()) if served else 0.0
    said = {who: _declared(who, groups).get(dimension) for who in acts}
    declared = sum(count for who, count in acts.items() if said[who] is not None)
    names = sorted({group for group in said.values() if group is not None} | set(served or {}))
    rows = []
    for group in names:
        mine = [who for who in acts if said[who] == group]
        count = sum(acts[who] for who in mine)
        share = served.get(group, 0.0) / total if served else None
        rows.append(GroupShare(group, len(mine), count, count / declared if declared else 0.0, share))
    return Coverage(
        dimension=dimension,
        groups=tuple(rows),
        undeclared=sum(acts.values()) - declared,
        coverage=sum(min(row.share, row.served or 0.0) for row in rows) if served and declared else None,
        missing=tuple(row.group for row in rows if row.served and not row.acts),
    )


def _declared(who: str, groups: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    """By `source:name`, or by the plain name."""
    return groups.get(who) or groups.get(who.split(":", 1)[-1]) or {}
