"""The report on labels as a whole, for programs and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypedDict, Unpack

from plaudit.judgements.base import Ballot, current, identified
from plaudit.judgements.quality.advice import Ceiling, MoreLabels, ceiling_of, more_labels
from plaudit.judgements.quality.agreement import Agreement, agreements
from plaudit.judgements.quality.annotators import AnnotatorQuality, annotator_qualities
from plaudit.judgements.quality.aspects import AspectWorth, aspect_worths
from plaudit.judgements.quality.ballots import ballots_of, crowd
from plaudit.judgements.quality.people import DOMINANT, Coverage, JudgeQuality, coverages, judge_qualities
from plaudit.judgements.quality.suspects import LabelErrors, label_errors
from plaudit.schema import JSON, Completion, Feedback, to_json
from plaudit.stats import Interval, wilson


@dataclass(frozen=True)
class Quality:
    """The labels as a whole. Figures that nothing can be said about yet are None."""

    acts: int
    """Current acts that answer a question, adjudications left out."""
    superseded: int
    adjudications: int
    without_answers: int
    """Acts that agreement has no meaning for, such as corrections and texts."""
    sources: dict[str, int]
    questions: tuple[Agreement, ...]
    """One for each kind, aspect and criterion."""
    pairs: int
    """Pairs of answers that were judged."""
    pairs_judged_twice: int
    ties: int
    agreement: float | None
    """Share of agreement among two votes of different annotators on one pair, ties left out."""
    alpha: float | None
    """Krippendorff's alpha of the same question, nominal, over first, second and tie."""
    ceiling: float | None
    """Upper bound of a reward model's accuracy against one such label."""
    ceilings: Ceiling | None
    left: Interval | None
    annotators: tuple[AnnotatorQuality, ...]
    errors: LabelErrors
    judges: tuple[JudgeQuality, ...]
    people: tuple[Coverage, ...]
    more: MoreLabels | None
    aspects: tuple[AspectWorth, ...] = ()

    @property
    def side_bias(self) -> bool:
        """True where the 95 % interval of the left share does not hold one half."""
        return self.left is not None and not self.left.low <= 0.5 <= self.left.high

    def to_json(self) -> JSON:
        """Everything, intervals as {mean, low, high}."""
        return {name: _named(getattr(self, name), one) for name, one in to_json(self).items()}

    def lines(self, width: int = 10) -> list[str]:
        """The report for people; of the doubtful answers the first `width`."""
        counts = ", ".join(f"{count} {source}" for source, count in self.sources.items())
        also = [
            f"{count} {what}"
            for count, what in (
                (self.adjudications, "adjudications"),
                (self.superseded, "superseded"),
                (self.without_answers, "corrections and texts"),
            )
            if count
        ]
        found = [f"{self.acts} acts ({counts}){''.join(f', {one}' for one in also)}"]
        for one in self.questions:
            found += _question_lines(one)
        found += [
            f"{one.aspect}: {_share(one.goes_with)} of what is preferred goes with it, on {one.prompts} prompts; .5 is chance"
            for one in self.aspects
            if one.goes_with is not None
        ]
        if self.pairs:
            found += [f"left chosen {_share(self.left)}" + (": the side shown sways the choice" if self.side_bias else "")]
            found += self._reach()
        found += ["annotators:", *(_annotator_line(one) for one in self.annotators)]
        heavy = [one for one in self.annotators if one.share > DOMINANT and len(self.annotators) > 2]
        found += [f"  {one.name} gave {one.share:.0%} of all acts: these are largely one opinion" for one in heavy]
        found += [line for one in self.judges for line in _judge_lines(one)]
        found += self._errors(width)
        for coverage in self.people:
            found += _coverage_lines(coverage)
        return found

    def _reach(self) -> list[str]:
        if self.ceilings is None:
            return ["reward-model ceiling: not known yet (no pair was judged by two people)"]
        bound, measured = self.ceilings.bound, self.ceilings.measured
        found = [f"reward-model ceiling: at most {_share(bound)} against one such label"]
        if measured is not None:
            found[0] += f"; the majority of the others predicts {_share(measured)} of the votes"
        if self.more is not None:
            more = self.more
            basis = "measured" if more.measured else "by the growth published for other data"
            gain = "" if more.gain is None else f"{100 * more.gain.mean:.2f} points for 100 more pairs, {basis}; "
            found.append(f"more labels: {more.says}")
            found.append(
                f"  {gain}{more.pairs_for_two_points:,} held-out pairs tell the accuracy within 2 points; "
                f"one vote is right {more.single:.2f} of the time, the majority of three {more.three:.2f}"
            )
        return found

    def _errors(self, width: int) -> list[str]:
        errors = self.errors
        if errors.share is None:
            return ["label errors: not known yet (nothing to hold the answers against)"]
        scored = f", {errors.with_scores} with a reward model's scores" if errors.with_scores else ""
        head = f"label errors: about {errors.share:.1%} of {errors.examined} answers{scored}; {len(errors.suspects)} to look at"
        rows = [
            f"  {one.item} ({one.question}): {one.annotator} said {one.answer}, right with probability {one.probability:.2f}"
            for one in errors.suspects[:width]
        ]
        rest = len(errors.suspects) - width
        return [head, *rows, *([f"  and {rest} more (all of them with --json)"] if rest > 0 and width else [])]


def _named(value: object, plain: object) -> object:
    """`plain`, the JSON of `value`, with intervals by the names of their ends."""
    if isinstance(value, Interval):
        return dict(zip(Interval._fields, plain, strict=True)) if isinstance(plain, list) else plain
    if isinstance(value, tuple) and isinstance(plain, list):
        return [_named(one, other) for one, other in zip(value, plain, strict=True)]
    if hasattr(value, "__dataclass_fields__") and isinstance(plain, dict):
        return {name: _named(getattr(value, name), one) for name, one in plain.items()}
    return plain


def _share(found: Interval | None) -> str:
    return "never" if found is None else f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _say(value: Interval | float | None) -> str:
    return "not known yet" if value is None else _share(value) if isinstance(value, Interval) else f"{value:.3f}"


def _question_lines(one: Agreement) -> list[str]:
    answers = ", ".join(f"{value} {count}" for value, count in list(one.answers.items())[:8])
    head = f"{one.question}: {one.items} items, {one.items_judged_twice} judged by two or more of {one.annotators} annotators"
    head += f"; {answers}"
    if one.percent is None:
        return [head, f"  agreement not known yet: {one.says}"]
    decided = f" (ties left out {_say(one.decided)})" if one.decided is not None else ""
    return [
        head,
        f"  agreement {_say(one.percent)}{decided}, all of one mind on {_say(one.unanimity)} of the items",
        f"  alpha {_say(one.alpha)}, Fleiss' kappa {_say(one.fleiss)}, Cohen's kappa {_say(one.cohen)}, AC1 {_say(one.ac1)}",
        f"  {one.band}: {one.says}",
    ]


def _annotator_line(one: AnnotatorQuality) -> str:
    parts = [f"{one.acts} acts", f"accuracy about {one.accuracy:.2f}"]
    if one.agrees is not None:
        parts.append(f"agrees with the others {_share(one.agrees)}")
    if one.gold is not None:
        parts.append(f"gold {_share(one.gold)} of {one.gold_answers}: {one.gold_verdict}")
    if one.left is not None:
        parts.append(f"left {one.left.mean:.2f}")
    if one.streak > 1:
        parts.append(f"longest streak {one.streak}")
    if one.seconds is not None:
        parts.append(f"{one.seconds:.1f} s an act, {one.too_fast} too fast")
    if one.repeats is not None:
        parts.append(f"repeats itself {_share(one.repeats)}")
    if one.leniency is not None and one.spread is not None:
        parts.append(f"stars {one.leniency:+.2f} against others, spread {one.spread:.2f}")
    flags = f" -> check with them: {'; '.join(one.flags)}" if one.flags else ""
    marked = " (a judge model)" if one.source == "judge" else ""
    return f"  {one.name}{marked}: {', '.join(parts)}{flags}"


def _judge_lines(one: JudgeQuality) -> list[str]:
    steady = f"; the same in both orders {_share(one.steady)}" if one.steady is not None else ""
    failed = f"; no verdict on {one.failed} questions" if one.failed else ""
    if one.agrees is None:
        return [f"judge model {one.name}: {one.acts} acts, none on an item that people judged{steady}{failed}"]
    people = f"; people among themselves {_share(one.people)}" if one.people is not None else ""
    kappa = f", kappa {one.kappa:.2f}" if one.kappa is not None else ""
    agrees = f"agrees with people {_share(one.agrees)} on {one.compared} items{kappa}"
    found = [f"judge model {one.name}: {agrees}{people}{steady}{failed}"]
    for each in one.questions if len(one.questions) > 1 else ():
        people = f"; people among themselves {_share(each.people)}" if each.people is not None else ""
        if each.agrees is not None:
            found.append(f"  {each.question}: agrees with people {_share(each.agrees)} on {each.compared} items{people}")
    return found


def _coverage_lines(one: Coverage) -> list[str]:
    groups = ", ".join(
        f"{row.group} {row.share:.0%}" + ("" if row.served is None else f" (serves {row.served:.0%})") for row in one.groups
    )
    found = [f"who judged, by {one.dimension}: {groups or 'nobody said'}; {one.undeclared} acts of people who did not say"]
    if one.coverage is not None:
        found.append(f"  coverage of those whom the product serves: {one.coverage:.2f}")
    if one.missing:
        found.append(f"  nobody of: {', '.join(one.missing)}")
    return found


class Known(TypedDict, total=False):
    """What is known beside the votes, and how finely intervals are drawn."""

    scores: Mapping[str, float] | None
    """A reward model's, by completion id."""
    groups: Mapping[str, Mapping[str, str]] | None
    """Who the annotators say they are; see `people.coverages`."""
    served: Mapping[str, Mapping[str, float]] | None
    """Whom the product serves; see `people.coverages`."""
    curve: Sequence[tuple[float, float, float]]
    """See `advice.more_labels`."""
    failed: Mapping[str, int] | None
    """Judge models' pairs of which no verdict came."""
    resamples: int
    """Of the bootstrap; 1,000 where not given."""
    seed: int


def assess(feedback: Sequence[Feedback], completions: Iterable[Completion] = (), **known: Unpack[Known]) -> Quality:
    """The quality of all current acts. Of an annotator's answers to one question on one item the first counts for agreement.

    `completions`: the answers judged, for the words read and for marks on their sentences.
    """
    acts = identified(feedback)
    live = current(acts)
    found = assess_ballots(ballots_of(live.values(), completions), **known)
    counted = {"superseded": len(acts) - len(live), "without_answers": len(live) - found.acts - found.adjudications}
    return Quality(**{**vars(found), **counted})


def assess_ballots(ballots: Sequence[Ballot], **known: Unpack[Known]) -> Quality:
    """The same for ballots, wherever they come from."""
    raw = [one for one in ballots if not one.settles]
    source = {one.act or (one.annotator, one.question, one.item): one.source for one in raw}
    questions = agreements(ballots, resamples=known.get("resamples", 1000), seed=known.get("seed", 0))
    asked = {one.question for one in raw if one.preference}
    main = next((one for one in questions if one.question in asked), None)
    sides = [one.left for one in raw if one.left is not None]
    annotators = annotator_qualities(ballots)
    people = {one.annotator for one in crowd(ballots)}
    ceilings = ceiling_of([one for one in ballots if main and one.question == main.question], main.decided if main else None)
    accuracy = [(one.accuracy, one.acts) for one in annotators if one.name in people]
    mean = sum(a * n for a, n in accuracy) / sum(n for _, n in accuracy) if accuracy else fmean((0.5, 1.0))
    return Quality(
        acts=len(source),
        superseded=0,
        adjudications=len({one.act or one.item for one in ballots if one.settles}),
        without_answers=0,
        sources=dict(sorted(Counter(source.values()).items())),
        questions=tuple(questions),
        pairs=main.items if main else 0,
        pairs_judged_twice=main.items_judged_twice if main else 0,
        ties=sum(one.value == "tie" for one in raw if main and one.question == main.question),
        agreement=main.decided.mean if main and main.decided else None,
        alpha=main.alpha.mean if main and main.alpha else None,
        ceiling=ceilings.bound.mean if ceilings else None,
        ceilings=ceilings,
        left=wilson(sum(sides), len(sides)) if sides else None,
        annotators=annotators,
        errors=label_errors(ballots, known.get("scores")),
        judges=judge_qualities(ballots, known.get("failed")),
        people=coverages(ballots, known.get("groups") or {}, known.get("served")),
        more=more_labels(main.items if main else 0, mean, curve=known.get("curve", ())),
        aspects=aspect_worths(ballots),
    )
