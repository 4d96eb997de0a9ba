"""May a pipeline go on with this reward model? Reasons with their number, threshold and where the threshold comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le

from plaudit.config import config
from plaudit.evaluation.doctor.finding import ORDER, Status
from plaudit.evaluation.doctor.rules import reward_accuracy, reward_calibration, reward_length
from plaudit.schema import JSON

HOUSE = "house rule"


@config
class CardConfig:
    """The card's gate, and what it needs to be told. Its levels are those of the doctor's rules unless set otherwise."""

    minimum_accuracy: Annotated[float, Ge(0), Le(1)] = reward_accuracy.USELESS
    """Below it, or where the interval reaches one half, the gate shuts: a reward model near chance teaches noise."""
    minimum_lead: float = reward_accuracy.AHEAD
    """Accuracy above the rule "the longer (or shorter) answer wins" that is asked for."""
    maximum_calibration_error: Annotated[float, Ge(0)] = reward_calibration.ACT
    """ECE above which the gate shuts; half of it is to be watched."""
    maximum_length_correlation: Annotated[float, Ge(0), Le(1)] = reward_length.ACT
    """Rank correlation of the gaps in score and in length, given the label, above which the gate shuts; two thirds: watch."""
    label_agreement: Annotated[float, Ge(0.5), Le(1)] | None = None
    """Share of agreeing pairs of labels, for the ceiling; `plaudit data quality` measures it."""
    probe_answers: Annotated[int, Ge(1)] = 200
    """Good answers that each probe changes."""


@dataclass(frozen=True)
class Reason:
    """One rule of the gate."""

    rule: str
    state: Status
    value: float | None
    interval: tuple[float, float] | None
    threshold: float | None
    source: str
    says: str


def gate(card: Mapping[str, Any], options: CardConfig) -> list[Reason]:
    """Every rule, worst first. The gate is shut where one says act."""
    rules = [
        _accuracy(card["accuracy"], options),
        _lead(card, options),
        _words(card),
        _ceiling(card),
        _calibration(card["calibration"], options),
        _length(card["length_correlation"], options),
        _strength(card["slices"].get("label strength", [])),
        *(_probe(one) for one in card["probes"]),
    ]
    return sorted((rule for rule in rules if rule is not None), key=lambda rule: ORDER.index(rule.state))


def _pair(one: Mapping[str, Any]) -> tuple[float, float]:
    low, high = one["ci"]
    return float(low), float(high)


def _accuracy(one: JSON, options: CardConfig) -> Reason:
    value, (low, high), limit = one["accuracy"], _pair(one), options.minimum_accuracy
    state: Status = "act" if value < limit or low <= 0.5 else "watch" if low < limit else "ok"
    says = f"it is right on {value:.1%} of {one['pairs']} held-out pairs [{low:.1%}, {high:.1%}]"
    says += "; that may be chance, so measure it on more pairs" if value >= limit and low <= 0.5 else ""
    return Reason("accuracy", state, value, (low, high), limit, HOUSE, says)


def _lead(card: Mapping[str, Any], options: CardConfig) -> Reason:
    lead, rule = card["lead_over_length"], card["baselines"]["length"]["rule"]
    value, (low, high), limit = lead["accuracy"], _pair(lead), options.minimum_lead
    state: Status = "act" if value < limit and low <= 0 else "watch" if low < limit else "ok"
    says = f"it is {100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] better than choosing the {rule} answer"
    return Reason("lead over length", state, value, (low, high), limit, HOUSE, says)


def _words(card: Mapping[str, Any]) -> Reason | None:
    best = [(one["accuracy"], name) for name in ("form", "tfidf") if (one := card["baselines"].get(name))]
    if not best:
        return Reason(
            "lead over words", "unknown", None, None, 0.0, HOUSE, "too few prompts to fit the baselines of words and form"
        )
    accuracy, name = max(best)
    value = card["accuracy"]["accuracy"] - accuracy
    what = "TF-IDF words" if name == "tfidf" else "five figures of form"
    says = f"a linear model of {what} is right on {accuracy:.1%}, it on {card['accuracy']['accuracy']:.1%}"
    return Reason("lead over words", "ok" if value > 0 else "watch", value, None, 0.0, HOUSE, says)


def _ceiling(card: Mapping[str, Any]) -> Reason:
    bound, one = card["ceiling"], card["accuracy"]
    if bound is None:
        says = "the labels' agreement is not known, so there is no ceiling: set label_agreement"
        return Reason("ceiling", "unknown", None, None, None, "(1 + sqrt(2A - 1)) / 2", says)
    low, _ = interval = _pair(one)
    state: Status = "act" if low > bound else "watch" if one["accuracy"] > bound else "ok"
    says = f"labels that agree like these allow {bound:.1%}; it reaches {one['accuracy']:.1%}"
    says += "; more than that is a leak, or a shortcut that the labellers took too" if state != "ok" else ""
    return Reason("ceiling", state, one["accuracy"], interval, bound, "(1 + sqrt(2A - 1)) / 2, an upper bound", says)


def _calibration(one: JSON, options: CardConfig) -> Reason:
    value, (low, high), limit = one["ece"], tuple(one["ece_ci"]), options.maximum_calibration_error
    state: Status = "act" if value > limit and low > limit / 2 else "watch" if value > limit / 2 else "ok"
    heat = "no temperature mends scores that say nothing"
    if one["temperature"] is not None:
        heat = f"temperature {one['temperature']:.2g} fits"
    says = f"its probabilities are off by {value:.3f} [{low:.3f}, {high:.3f}]; {heat}"
    return Reason("calibration", state, value, (low, high), limit, "UltraFeedback reward models: .09 to .18", says)


def _length(one: JSON, options: CardConfig) -> Reason:
    value, limit = one["spearman"], options.maximum_length_correlation
    source = "ODIN's baseline .451 (arXiv:2402.07319)"
    if value is None:
        return Reason(
            "length correlation", "unknown", None, None, limit, source, "all pairs have equal lengths or equal scores"
        )
    low, high = one["ci"]
    state: Status = "act" if abs(value) > limit else "watch" if abs(value) > limit * 2 / 3 else "ok"
    says = (
        f"beyond the label, its gaps follow the difference in length: rank correlation {value:+.2f} [{low:+.2f}, {high:+.2f}]"
    )
    return Reason("length correlation", state, value, (low, high), limit, source, says)


def _strength(parts: list[JSON]) -> Reason | None:
    if len(parts) < 2:
        return None
    weak, strong = parts[0]["accuracy"], parts[-1]["accuracy"]
    value = strong - weak
    says = f"right on {strong:.1%} of the strong labels and {weak:.1%} of the weak"
    source = "Huang et al. 2024: .58 weak, .77 to .80 strong"
    return Reason("label strength", "ok" if value >= 0.10 else "watch", value, None, 0.10, source, says)


def _probe(one: JSON) -> Reason:
    value, (low, high) = one["prefers"], one["prefers_ci"]
    name = f"probe: {one['probe']}"
    says = f"{one['about']}: preferred to the good answer in {value:.0%} [{low:.0%}, {high:.0%}] of {one['answers']}"
    if one["broken"]:
        state: Status = "act" if low > 0.5 else "watch" if value > 0.25 else "ok"
        return Reason(name, state, value, (low, high), 0.25, "Stiennon et al. 2020: 3 to 21 %", says)
    state = "watch" if low > 0.6 else "ok"
    return Reason(name, state, value, (low, high), 0.6, "arXiv:2506.05339", says)
