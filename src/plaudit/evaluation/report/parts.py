"""What a report is made of: frozen dataclasses that hold figures and texts, and nothing of how they look.

Everything measured may be missing: `None` or NaN stands for "not measured" and is shown as a dash, never as zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Points = Sequence[tuple[float, float]]
"""(step, value) in the order of steps; a NaN or infinite value is a gap."""


@dataclass(frozen=True)
class Interval:
    """A measured share with its 95 % interval, all 0 to 1: `Interval(0.63, 0.57, 0.69)`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RewardModel:
    """Held-out pair accuracy of the reward model, 0 to 1, beside what length alone and a perfect judge would reach."""

    accuracy: float
    length_baseline: float | None = None
    """Accuracy of always choosing the longer answer (or the shorter one, where that is better)."""
    ceiling: float | None = None
    """Accuracy of a judge who knows the truth, against labels as noisy as these."""
    n: int = 0
    """Held-out pairs."""


@dataclass(frozen=True)
class Headline:
    """The figures a reader looks for first."""

    n_prompts: int
    """Held-out prompts on which the models were compared."""
    win_rate: Interval | None = None
    """PPO against SFT; a tie counts one half."""
    win_rate_vs_base: Interval | None = None
    """PPO against the untouched model."""
    gold_before: float | None = None
    """Mean gold score of the SFT model."""
    gold_after: float | None = None
    """Mean gold score after PPO."""
    gold_base: float | None = None
    """Mean gold score of the untouched model."""
    reward_model: RewardModel | None = None
    kl: float | None = None
    """KL to the reference at the end, nats per answer."""
    truncated_before: float | None = None
    """Share of answers cut off by the length limit, 0 to 1."""
    truncated_after: float | None = None


@dataclass(frozen=True)
class Curve:
    """One chart over steps: `Curve("KL to the reference", "nats per answer", [(0, 0.0), (1, 0.4)], band=(0, 10))`."""

    name: str
    unit: str
    points: Points
    band: tuple[float | None, float | None] | None = None
    """Healthy range (low, high); None for a side that has no limit."""
    help: str = ""
    """One sentence: what it is and which way is good."""
    label: str = ""
    """Name of `points` where other lines share the chart, for example "train"."""
    others: Mapping[str, Points] = field(default_factory=dict)
    """More lines on the same axes: label -> points, for example {"held-out": ...}."""


@dataclass(frozen=True)
class Answer:
    """One model's answer with what was thought of it."""

    text: str
    scores: Mapping[str, float | None] = field(default_factory=dict)
    """Rubric scores by name; a total goes first."""
    truncated: bool = False


@dataclass(frozen=True)
class Comparison:
    """The answers of several models to one held-out prompt."""

    prompt: str
    before: Answer
    """The SFT model's."""
    after: Answer
    """After PPO."""
    base: Answer | None = None
    """The untouched model's."""
    note: str = ""
    """Why it is shown, for example "chosen at random" or "largest loss"."""


@dataclass(frozen=True)
class TokenTrace:
    """One sampled answer with what training saw at each token.

    `tokens` are decoded pieces of text (with their leading spaces), `streams[name][t]` speaks of `tokens[t]`.
    ValueError where a stream has another length than the tokens.
    """

    tokens: Sequence[str]
    streams: Mapping[str, Sequence[float | None]]
    prompt: str = ""
    note: str = ""
    default: str = ""
    """The stream shown first; the advantage (else the first one) where empty."""

    def __post_init__(self) -> None:
        for name, values in self.streams.items():
            if len(values) != len(self.tokens):
                raise ValueError(f"stream {name!r} has {len(values)} values for {len(self.tokens)} tokens")
        if self.default and self.default not in self.streams:
            raise ValueError(f"default stream {self.default!r} is not among {list(self.streams)}")


@dataclass(frozen=True)
class Annotator:
    """One member of the panel."""

    name: str
    labels: int
    """Judgements given."""
    flipped: float | None = None
    """Share of them that go against the rubric without noise, 0 to 1; known for simulated annotators only."""
    about: str = ""


@dataclass(frozen=True)
class Data:
    """What the run learned from."""

    counts: Mapping[str, int]
    """Name -> number, in the order to be shown, for example {"prompts for training": 600, "pairs judged": 1200}."""
    annotators: Sequence[Annotator] = ()
    simulated: bool = True
    """True where the annotators are programs; the report then says so everywhere."""
    agreement: float | None = None
    agreement_name: str = "Krippendorff's alpha"
    flip_rate: float | None = None
    """Share of all labels that go against the rubric without noise, 0 to 1."""
    notes: Sequence[str] = ()
    """Sentences on what was left out and why, with counts."""


@dataclass(frozen=True)
class Definition:
    """What a figure means and which values are healthy."""

    name: str
    meaning: str
    healthy: str = ""


@dataclass(frozen=True)
class Report:
    """All of one run's report. Only the first six fields are needed; a part that is empty is left out of the page."""

    title: str
    run: str
    model: str
    seed: int
    machine: str
    """One line, for example "2 cores, Intel Xeon, 7 GB, float32, torch 2.13.0"."""
    headline: Headline
    created_at: str = ""
    curves: Sequence[Curve] = ()
    comparisons: Sequence[Comparison] = ()
    traces: Sequence[TokenTrace] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage -> wall-clock seconds, in the order they ran."""
    data: Data | None = None
    configuration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Section -> option -> value."""
    command: str = ""
    """What to type to get this run again."""
    commit: str = ""
    definitions: Sequence[Definition] | None = None
    """None: the definitions of `glossary.DEFINITIONS`."""
