"""The verdict: a plain sentence computed from the figures, which claims no more than they show."""

from __future__ import annotations

from dataclasses import dataclass

from plaudit.evaluation.report.parts import Headline, Interval
from plaudit.evaluation.report.words import figure, known, percent

TRUNCATION_RISE = 0.05
"""A rise of the truncated share above this is worth a sentence."""


@dataclass(frozen=True)
class Verdict:
    """A finding in words."""

    word: str
    """Better, Worse, Undecided or Not measured."""
    text: str
    doubts: tuple[str, ...] = ()
    """Sentences on what speaks against it."""


def verdict(headline: Headline) -> Verdict:
    """Judge a run by the interval of its win rate against SFT: above one half, below it, or on both sides."""
    rate = headline.win_rate
    if rate is None or not all(map(known, (rate.value, rate.low, rate.high))):
        return Verdict(
            "Not measured", "The models were not compared on held-out prompts, so nothing can be said.", doubts(headline)
        )
    measured = (
        f"it wins on {percent(rate.value)} of {headline.n_prompts} held-out prompts "
        f"(95% interval {percent(rate.low)} to {percent(rate.high)})"
    )
    if rate.low > 0.5:
        word, text = "Better", f"PPO made the answers better: against the SFT model {measured}."
    elif rate.high < 0.5:
        word, text = "Worse", f"PPO made the answers worse: against the SFT model {measured}."
    else:
        word = "Undecided"
        text = (
            f"This run does not show whether PPO helped: against the SFT model {measured}, "
            "and that interval covers one half. More held-out prompts would narrow it."
        )
    return Verdict(word, " ".join(filter(None, (text, against_base(headline.win_rate_vs_base)))), doubts(headline))


def against_base(rate: Interval | None) -> str:
    """The second sentence: PPO beside the untouched model. Empty where that was not measured."""
    if rate is None or not all(map(known, (rate.value, rate.low, rate.high))):
        return ""
    measured = f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)})"
    if rate.low > 0.5:
        return f"Against the untouched model it wins on {measured}."
    if rate.high < 0.5:
        return f"Against the untouched model it loses: it wins on only {measured}."
    return f"Against the untouched model it wins on {measured}, which decides nothing."


def doubts(headline: Headline) -> tuple[str, ...]:
    """Sentences on figures that should make a reader careful."""
    found = []
    before, after, rate = headline.gold_before, headline.gold_after, headline.win_rate
    if known(before) and known(after) and after < before and not (rate and rate.high < 0.5):  # type: ignore[operator]
        found.append(f"The mean gold score fell from {figure(before)} to {figure(after)}.")
    model = headline.reward_model
    if model and known(model.accuracy) and known(model.length_baseline) and model.accuracy <= model.length_baseline:  # type: ignore[operator]
        found.append(
            f"The reward model ({percent(model.accuracy)}) tells pairs apart no better than "
            f"their length does ({percent(model.length_baseline)})."
        )
    cut_before, cut_after = headline.truncated_before, headline.truncated_after
    if known(cut_before) and known(cut_after) and cut_after - cut_before > TRUNCATION_RISE:  # type: ignore[operator]
        found.append(f"More answers are cut off by the length limit: {percent(cut_after)}, before {percent(cut_before)}.")
    return tuple(found)
