"""The file of a search: options of one verb, some of them with what they may be, and how the search goes."""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from plaudit.config import Resolved, checked, config, options
from plaudit.flatyaml import Given, read, word_value
from plaudit.hints import plain, words
from plaudit.schema import UserError
from plaudit.training.build import algorithm_class
from plaudit.training.options import TrainingConfig
from plaudit.training.run import sections


@config
class TuneConfig:
    """How a search goes; all other lines of its file are options of the verb."""

    verb: str
    """The algorithm whose options are searched."""
    search: dict[str, Any]
    """Option -> a list of choices, or {low, high} with `log: true` for a logarithmic scale."""
    metric: str | None = None
    """What is to be good, a name of metrics.jsonl; none takes what the algorithm itself calls best."""
    direction: Literal["minimize", "maximize"] | None = None
    """Whether less or more of it is better; none goes with the algorithm's own metric."""
    trials: Annotated[int, Ge(1)] = 20
    """Combinations of options that are tried; raise it later to go on."""
    seeds: Annotated[int, Ge(1)] = 2
    """Runs of each trial, each with a seed of its own."""
    objective: Literal["bound", "mean", "median"] = "bound"
    """What a trial is worth: the mean over its seeds one standard error to the worse side (bound), the mean, the median."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """Which trials are ended early by what their evaluations say."""
    finalists: Annotated[int, Ge(1)] = 3
    """So many of the best trials are run again with fresh seeds; the best of those runs wins."""
    final_seeds: Annotated[int, Ge(1)] = 3
    """Fresh seeds of each finalist, the same for all of them."""


EXTENDS = frozenset({"trials", "finalists", "final_seeds"})
"""Options that may change when a search goes on."""


@dataclass(frozen=True)
class Space:
    """What one option may be: `choices`, or a range of numbers."""

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    whole: bool = False
    """Whole numbers only."""

    @property
    def ends(self) -> tuple[Any, ...]:
        """Every choice, or both ends: what has to be a value of the option."""
        return self.choices or (self.low, self.high)


@dataclass(frozen=True)
class Plan:
    """A checked search."""

    tune: TuneConfig
    fixed: Resolved
    """The verb's options with the first choice, or the low end, of what is searched."""
    given: Mapping[str, Any]
    """The options as they were given, without what is searched."""
    space: tuple[Space, ...]
    metric: str
    direction: Literal["minimize", "maximize"]

    @property
    def folder(self) -> Path:
        return Path(self.fixed[TrainingConfig].output_dir)

    @property
    def seed(self) -> int:
        return self.fixed[TrainingConfig].seed

    def record(self) -> dict[str, Any]:
        """What the folder keeps, so that a search that goes on is the same search."""
        return {**self.tune.__dict__, **self.fixed.flat(), "metric": self.metric, "direction": self.direction}

    def worth(self, values: Sequence[float]) -> float:
        """The objective of a trial from the metric's value under each seed."""
        if self.tune.objective == "median":
            return statistics.median(values)
        mean, error = spread(values)
        worse = error if self.direction == "minimize" else -error
        return mean + worse if self.tune.objective == "bound" else mean

    def better(self, value: float, other: float) -> bool:
        return value < other if self.direction == "minimize" else value > other


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and its standard error s / sqrt(n) with the n - 1 of s; 0 for a single value, which says nothing of it."""
    mean = statistics.fmean(values)
    return mean, statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def load(path: Path | None, overrides: Sequence[str] = ()) -> Plan:
    """Read and check a search. One UserError tells every mistake, also of values that only a later trial would meet."""
    given = read(path) if path is not None else {}
    for word in overrides:
        name, equals, raw = word.partition("=")
        if not equals:
            raise UserError(f"{word!r} is not of the form key=value")
        given[name] = Given(word_value(raw), raw, "")
    own = options([TuneConfig])
    resolved, mistakes = checked([TuneConfig], {name: one for name, one in given.items() if name in own})
    if resolved is None:
        raise UserError("\n".join(mistakes))
    tune = resolved[TuneConfig]
    classes, defaults = sections(tune.verb)
    known = options(classes, defaults)
    rest = {name: one for name, one in given.items() if name not in own}
    where = given["search"].where
    space = [one for name, wanted in tune.search.items() if (one := _space(name, wanted, where, known, rest, mistakes))]
    if not tune.search:
        mistakes.append(f"{where}search names no option; give at least one, such as learning_rate: {{low: 1e-6, high: 1e-4}}")
    first = {one.name: Given(one.ends[0], None, where) for one in space}
    fixed, found = checked(classes, rest | first, defaults)
    mistakes += found
    for one in space:
        for value in one.ends[1:]:
            _, found = checked(classes, rest | first | {one.name: Given(value, None, where)}, defaults)
            mistakes += [mistake for mistake in found if mistake not in mistakes]
    best, greater = algorithm_class(tune.verb).best
    if tune.metric not in (None, best) and tune.direction is None:
        mistakes.append(f"direction is needed with metric: {tune.metric}: minimize or maximize")
    if mistakes or fixed is None:
        raise UserError(
            mistakes[0] if len(mistakes) == 1 else "\n".join([f"{len(mistakes)} mistakes in the search:", *mistakes])
        )
    direction = tune.direction or ("maximize" if greater else "minimize")
    plain_given = {name: plain(one.value) for name, one in rest.items()}
    return Plan(tune, fixed, plain_given, tuple(space), tune.metric or best, direction)


def _space(
    name: str, wanted: Any, where: str, known: Mapping[str, Any], rest: Mapping[str, Given], mistakes: list[str]
) -> Space | None:
    """What `search` says of one option; a mistake is noted."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        mistakes.append(f"{where}search: there is no option {name}" + (f"; did you mean {near[0]}?" if near else ""))
    elif name in rest or name in ("output_dir", "seed"):
        why = "it is given as a fixed option too" if name in rest else "the search sets it itself"
        mistakes.append(f"{where}search: {name} cannot be searched: {why}")
    elif isinstance(wanted, list) and wanted and all(isinstance(one, str | int | float | None) for one in wanted):
        return Space(name, choices=tuple(wanted))
    elif isinstance(wanted, Mapping) and {"low", "high"} <= set(wanted) <= {"low", "high", "log"}:
        low, high, log = wanted["low"], wanted["high"], wanted.get("log", False)
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (low, high))
        if numbers and low < high and (not log or low > 0):
            return Space(name, low=low, high=high, log=bool(log), whole="integer" in words(known[name].hint))
        mistakes.append(f"{where}search: {name} needs low below high" + (", and above 0 where it is log" if log else ""))
    else:
        mistakes.append(f"{where}search: {name} needs a list of choices, or low and high (and log: true), not {wanted!r}")
    return None
