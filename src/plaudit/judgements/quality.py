"""How good the labels are: agreement, each annotator's estimated accuracy, side bias, counts. See docs of `stats`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from statistics import median

from plaudit.judgements.pairwise import Vote, votes
from plaudit.schema import JSON, Feedback, to_json
from plaudit.stats import Interval, ceiling, krippendorff_alpha, one_coin_dawid_skene, wilson


@dataclass(frozen=True)
class AnnotatorQuality:
    """One annotator: `source:name`, acts, how many of them were ties, the estimated accuracy, the share of left choices."""

    name: str
    acts: int
    ties: int
    accuracy: float
    """Of the one-coin model, prior included: the prior mean .755 where nobody else judged the same pairs."""
    left: Interval | None
    """Share of left among the choices that were no ties, with its Wilson interval."""
    seconds: float | None
    """Median time for one act, where it was measured."""


@dataclass(frozen=True)
class Quality:
    """The labels as a whole. Figures that nothing can be said about yet are None."""

    acts: int
    pairs: int
    pairs_judged_twice: int
    """Pairs on which at least two annotators voted: what the agreement is measured on."""
    ties: int
    sources: dict[str, int]
    agreement: float | None
    """Share of agreement among two votes of different annotators on one pair, ties left out."""
    ceiling: float | None
    """Upper bound of a reward model's accuracy against one such label (see `stats.ceiling`)."""
    alpha: float | None
    """Krippendorff's alpha, nominal, over first, second and tie."""
    left: Interval | None
    annotators: tuple[AnnotatorQuality, ...]

    @property
    def side_bias(self) -> bool:
        """True where the 95 % interval of the left share does not hold one half."""
        return self.left is not None and not self.left.low <= 0.5 <= self.left.high

    def to_json(self) -> JSON:
        return to_json(self)

    def lines(self) -> list[str]:
        """The report for people."""

        def say(value: float | None) -> str:
            return "not known yet" if value is None else f"{value:.3f}"

        counts = ", ".join(f"{count} {source}" for source, count in self.sources.items())
        head = [
            f"{self.acts} acts ({counts}) on {self.pairs} pairs, {self.pairs_judged_twice} by two or more; {self.ties} ties",
            f"agreement {say(self.agreement)}, alpha {say(self.alpha)}, reward-model ceiling at most {say(self.ceiling)}",
            f"left chosen {_share(self.left)}" + (": the side shown sways the choice" if self.side_bias else ""),
        ]
        rows = [
            f"  {one.name}: {one.acts} acts, accuracy about {one.accuracy:.2f}, left {_share(one.left)}"
            for one in self.annotators
        ]
        return head + rows


def _share(interval: Interval | None) -> str:
    return "never" if interval is None else f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def assess(feedback: Sequence[Feedback]) -> Quality:
    """The quality of all current pairwise acts. Of an annotator's acts on one pair the first counts for agreement."""
    cast = votes(feedback)
    units: dict[tuple[str, str], dict[str, float]] = {}
    for vote in cast:
        units.setdefault(vote.pair, {}).setdefault(vote.annotator, vote.value)
    same = [x == y for unit in units.values() for x, y in itertools.combinations(unit.values(), 2) if x != 0.5 and y != 0.5]
    agreement = sum(same) / len(same) if same else None
    alpha = krippendorff_alpha([list(unit.values()) for unit in units.values()])
    return Quality(
        acts=len(cast),
        pairs=len(units),
        pairs_judged_twice=sum(len(unit) > 1 for unit in units.values()),
        ties=sum(vote.value == 0.5 for vote in cast),
        sources=dict(sorted(Counter(vote.act.source for vote in cast).items())),
        agreement=agreement,
        ceiling=None if agreement is None else ceiling(agreement),
        alpha=None if isnan(alpha) else alpha,
        left=_left(cast),
        annotators=_annotators(cast, units),
    )


def _left(cast: Sequence[Vote]) -> Interval | None:
    chosen = Counter(vote.act.judgement["choice"] for vote in cast)
    choices = chosen["a"] + chosen["b"]
    return wilson(chosen["a"], choices) if choices else None


def _annotators(cast: Sequence[Vote], units: dict[tuple[str, str], dict[str, float]]) -> tuple[AnnotatorQuality, ...]:
    names = sorted({vote.annotator for vote in cast})
    if not names:
        return ()
    number = {name: i for i, name in enumerate(names)}
    model = one_coin_dawid_skene(
        [(i, number[who], value) for i, pair in enumerate(sorted(units)) for who, value in sorted(units[pair].items())]
    )
    found = []
    for name in names:
        mine = [vote for vote in cast if vote.annotator == name]
        times = [vote.act.seconds for vote in mine if vote.act.seconds is not None]
        ties = sum(vote.value == 0.5 for vote in mine)
        accuracy = float(model.accuracy[number[name]])
        found.append(AnnotatorQuality(name, len(mine), ties, accuracy, _left(mine), median(times) if times else None))
    return tuple(found)
