"""The doctor while a run is going on: a few of its rules after each step and evaluation, which may warn, pause or stop.

An alarm is more than a finding. What may be reward hacking counts only where the proxy moved and an independent measure did
not follow; without such a measure it is a warning at most, unless the user set a budget. Rules about runs that learn from a
file hold that gate themselves: the training loss fell, and what was held out did not follow. Weights and random numbers are
never touched, and what the guard remembers is in the checkpoints and in logs that are cut back with them: a run that was
killed hears the same alarms at the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt

from plaudit.config import config
from plaudit.evaluation.doctor import Evidence, Finding, examine
from plaudit.evaluation.doctor.evidence import RECENT
from plaudit.evaluation.doctor.names import NAMES, series_of
from plaudit.evaluation.doctor.reading import evaluations_of
from plaudit.evaluation.doctor.rules.numbers import blown_up
from plaudit.evaluation.doctor.rules.over_optimisation import MOVED, proxy_moved
from plaudit.schema import JSON


@dataclass(frozen=True)
class Watched:
    """Rules that are asked after each step, and after each evaluation."""

    steps: tuple[str, ...]
    evaluations: tuple[str, ...]


SAMPLED = Watched(("kl_budget", "numbers"), ("kl_budget", "diversity", "over_optimisation", "numbers"))
"""Of runs that sample answers and learn from those."""
FROM_FILES = Watched(("numbers",), ("overfitting", "displacement"))
"""Of runs that learn from a file."""
HACKING = ("kl_budget", "diversity", "over_optimisation")
"""Rules whose alarm needs the gate."""
ODD_STEPS = 3
"""Refused or odd steps among the last five that make an alarm; fewer are told by the loop itself."""
KEPT = {name for ours in ("kl_answer", "kl_token", "length", "entropy", "refused", "loss", "reward") for name in NAMES[ours]}


@config
class AlarmConfig:
    """What an alarm of the guard does (docs/doctor.md)."""

    guard: Literal["off", "warn", "pause", "stop"] = "warn"
    """On an alarm: say so (warn); write a checkpoint and end, for --resume (pause); end with the best model (stop)."""


@config
class GuardConfig(AlarmConfig):
    """What is watched while answers are sampled and trained on (docs/doctor.md)."""

    guard_kl_budget: Annotated[float, Gt(0)] | None = None
    """KL to the reference, in nats per answer, above which there is an alarm whatever else is known; none takes 25, gated."""
    independent_reward_funcs: tuple[str, ...] = ()
    """Reward functions that score evaluations only: an independent measure. Nothing is trained on them."""
    independent_reward_model_path: str | None = None
    """A reward model that scores evaluations only, such as one trained on the other half of the pairs (data_half)."""

    @property
    def independent(self) -> bool:
        """Whether there is an independent measure."""
        return bool(self.independent_reward_funcs or self.independent_reward_model_path)


@dataclass(frozen=True)
class Alarm:
    """A finding that counts, and what is done about it."""

    step: int
    rule: str
    action: Literal["warn", "pause", "stop"]
    text: str


@dataclass
class Guard:
    """The memory of one run. `log_rows` are the lines of evaluations in the log, `head` and `tail` the first and last steps."""

    options: AlarmConfig
    """A GuardConfig where answers are sampled."""
    head: list[JSON] = field(default_factory=list)
    tail: list[JSON] = field(default_factory=list)
    log_rows: list[JSON] = field(default_factory=list)
    records: list[JSON] = field(default_factory=list)
    """The evaluations, prompt by prompt."""
    losses: list[JSON] = field(default_factory=list)
    """The last steps before each evaluation, of runs that learn from a file: what overfitting is measured against."""
    heard: list[JSON] = field(default_factory=list)
    """Alarms so far, as in summary.json."""
    stopped: bool = False

    @property
    def watched(self) -> Watched:
        """The rules of this kind of run."""
        return SAMPLED if isinstance(self.options, GuardConfig) else FROM_FILES

    def step(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Take note of a step; the new alarms."""
        if self.options.guard == "off":
            return []
        row = {"step": step} | {name: _plain(value) for name, value in metrics.items() if name in KEPT}
        if len(self.head) < RECENT:
            self.head.append(row)
        self.tail = [*self.tail, row][-RECENT:]
        if self.watched is SAMPLED:
            return self._alarms(step, SAMPLED.steps, self.evidence())
        series = series_of([*self.head, *_later(self.head, self.tail)])  # few rows, since such steps may take milliseconds
        return self._alarms(step, FROM_FILES.steps, Evidence("", "run", "plaudit", series))

    def evaluated(self, step: int, metrics: Mapping[str, float], record: Mapping[str, Any] | None) -> list[Alarm]:
        """Take note of an evaluation; the new alarms."""
        if self.options.guard == "off":
            return []
        self.log_rows.append({"step": step, **metrics})
        self.records += [{"step": step, **record}] if record else []
        if self.watched is FROM_FILES:
            self.losses += _later(self.losses, self.tail)
        return self._alarms(step, self.watched.evaluations, self.evidence())

    def evidence(self) -> Evidence:
        """What the rules look at: the first and the last steps, and every evaluation."""
        steps = list(self.head)
        for more in (self.losses, self.tail):
            steps += _later(steps, more)
        series = {**series_of(self.log_rows), **series_of(steps)}
        options = {"guard_kl_budget": self.options.guard_kl_budget} if isinstance(self.options, GuardConfig) else {}
        return Evidence("", "run", "plaudit", series, tuple(evaluations_of(self.records)), options)

    def _alarms(self, step: int, rules: Sequence[str], evidence: Evidence) -> list[Alarm]:
        found = [alarm for one in examine(evidence, rules) if (alarm := self._alarm(step, one, evidence))]
        self.heard += [{"step": one.step, "rule": one.rule, "action": one.action, "text": one.text} for one in found]
        self.stopped = self.stopped or any(one.action == "stop" for one in found)
        return found

    def _alarm(self, step: int, found: Finding, evidence: Evidence) -> Alarm | None:
        """The alarm that a finding gives, if any. A rule is heard once for each action."""
        if found.status != "act":
            return None
        if found.rule == "numbers" and (found.value or 0) < ODD_STEPS and blown_up(evidence) is None:
            return None
        action, why = self._action(found.rule, evidence)
        if action is None or any(one["rule"] == found.rule and one["action"] == action for one in self.heard):
            return None
        value = "" if found.value is None else f" {found.value:.4g}"
        cause = f": {found.causes[0]}" if found.causes else ""
        return Alarm(step, found.rule, action, f"guard, {action}: {found.rule}{value}{cause}{why}; {found.next}")

    def _action(self, rule: str, evidence: Evidence) -> tuple[Literal["warn", "pause", "stop"] | None, str]:
        """What to do, and why no more than that."""
        options, wanted = self.options, self.options.guard
        assert wanted != "off", "nothing is asked of a guard that is off"
        if rule not in HACKING or not isinstance(options, GuardConfig):
            return wanted, ""
        if rule == "kl_budget" and options.guard_kl_budget is not None:
            return wanted, ""
        if not options.independent:
            return "warn", "" if wanted == "warn" else " (no independent measure, so the run goes on)"
        return (wanted if gate(evidence) else None), ""

    def state(self) -> JSON:
        """For a checkpoint; evaluations are in the logs, which are cut back with it."""
        return {"head": self.head, "tail": self.tail, "losses": self.losses, "heard": self.heard, "stopped": self.stopped}

    def restore(self, state: Mapping[str, Any], log_rows: Sequence[JSON], records: Sequence[JSON]) -> None:
        """Take back what `state` gave; `log_rows` and `records` are the lines of metrics.jsonl and evaluations.jsonl."""
        self.head, self.tail = list(state.get("head", [])), list(state.get("tail", []))
        self.losses = list(state.get("losses", []))
        self.heard, self.stopped = list(state.get("heard", [])), bool(state.get("stopped", False))
        self.log_rows = [row for row in log_rows if any(name.startswith("eval_") for name in row)]
        self.records = list(records)


def gate(evidence: Evidence) -> bool:
    """True where the proxy rose by more than 0.05 deviations and the independent measure is not at its best.

    At its best: the last evaluation is the highest so far, and above the first by more than its paired standard error.
    """
    if not proxy_moved(evidence) > MOVED:
        return False
    seen = [one.independent for one in evidence.evaluations if one.independent is not None]
    if len(seen) < 2:
        return False
    means = [float(one.mean()) for one in seen]
    gained = seen[-1] - seen[0]
    error = float(gained.std(ddof=1)) / math.sqrt(len(gained)) if len(gained) > 1 else 0.0
    return not (means[-1] >= max(means) and float(gained.mean()) > error)


def _later(rows: Sequence[JSON], others: Sequence[JSON]) -> list[JSON]:
    """Those of `others` that come after the last of `rows`."""
    return [row for row in others if not rows or row["step"] > rows[-1]["step"]]


def _plain(value: Any) -> Any:
    """A figure as JSON holds it for good: what is not finite as text."""
    number = float(value)
    return number if np.isfinite(number) else str(number)
