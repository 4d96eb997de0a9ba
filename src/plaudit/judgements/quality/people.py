"""Whom the labels stand for: judge models beside people, and who the annotators are beside whom the product serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from plaudit.judgements.base import Ballot
from plaudit.judgements.quality.ballots import by_annotator, crowd, plurality, same, units
from plaudit.schema import UserError
from plaudit.stats import Interval, cohen_kappa, wilson

DOMINANT = 0.4
"""Share of all acts above which the labels are one person's opinion."""


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
    """Pairs of which no verdict came: it was not there, refused, or said none."""


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


def judge_qualities(ballots: Sequence[Ballot], failed: Mapping[str, int] | None = None) -> tuple[JudgeQuality, ...]:
    """Every judge model. `failed`: name of the seat -> pairs of which no verdict came."""
    failed = {f"judge:{name}": count for name, count in (failed or {}).items()}
    raw = [one for one in ballots if not one.settles]
    human = {one.annotator for one in crowd(ballots) if one.source != "judge"}
    answered = units(raw)
    found = []
    seats = by_annotator(one for one in raw if one.source == "judge")
    for name, mine in {**{seat: [] for seat in sorted(failed)}, **seats}.items():
        both, other_people = [], []
        for unit in answered.values():
            if name not in unit:
                continue
            people = {who: one for who, one in unit.items() if who in human}
            most = plurality(people.values())
            if most is not None:
                both.append((unit[name].value, most))
            for who, one in people.items():
                others = plurality(other for person, other in people.items() if person != who)
                if others is not None:
                    other_people.append(same(one.value, others))
        right = sum(same(said, most) for said, most in both)
        names = [(said, most) for said, most in both if isinstance(said, str)]
        kappa = cohen_kappa([said for said, _ in names], [most for _, most in names]) if names else float("nan")
        sides = [one.left for one in mine if one.left is not None]
        steady = [one.steady for one in mine if one.steady is not None]
        found.append(
            JudgeQuality(
                name=name,
                acts=len({one.act or one.item for one in mine}),
                compared=len(both),
                agrees=wilson(right, len(both)) if both else None,
                kappa=kappa if isfinite(kappa) else None,
                people=wilson(sum(other_people), len(other_people)) if other_people else None,
                left=wilson(sum(sides), len(sides)) if sides else None,
                steady=wilson(sum(steady), len(steady)) if steady else None,
                failed=failed.get(name, 0),
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
