"""A search for options on Optuna: trials over several seeds, pruning, finals with fresh seeds. Killed, it goes on the same.

Every trial's proposal follows from the seed, its number and the trials before it, and each training from its own seed; so a
search that was interrupted ends as one that was not (one worker; the storage is SQLite in the output folder).
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from plaudit.config import Resolved, diff
from plaudit.hints import plain
from plaudit.schema import JSON, UserError
from plaudit.training.files import hold, write_text
from plaudit.training.loop import Pruned
from plaudit.training.progress import Progress, shown
from plaudit.training.run import STOPPED, train
from plaudit.training.tuning import page
from plaudit.training.tuning.plan import EXTENDS, Plan, Space, spread

FRESH = 1_000_000
"""Where the seeds of the finals begin, away from those of the trials."""
HOPELESS = 3
"""A search ends where so many trials failed and none succeeded."""


class Stopped(Exception):
    """A run under the search was stopped by a signal."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class Search:
    """One search under way."""

    plan: Plan
    study: Any
    optuna: Any
    progress: Progress

    # -- trials -----------------------------------------------------------------------------------------------------

    def trials(self) -> None:
        """Every trial that is still to be done; the one that was under way when a process died is gone on with."""
        total = self.plan.tune.trials
        while True:
            running = [one for one in self.study.trials if one.state.name == "RUNNING"]
            number = running[0].number if running else len(self.study.trials)
            if number >= total:
                return
            self.study.sampler = self._sampler(number)
            trial = self.optuna.trial.Trial(self.study, running[0]._trial_id) if running else self.study.ask()
            self._trial(trial)

    def _sampler(self, number: int) -> Any:
        """A proposer for one trial alone, so that what it proposes does not depend on where the process began."""
        first = max(3, min(10, self.plan.tune.trials // 3))
        return self.optuna.samplers.TPESampler(seed=(self.plan.seed * 1_000_003 + number) % 2**32, n_startup_trials=first)

    def _trial(self, trial: Any) -> None:
        params = {space.name: _suggested(trial, space) for space in self.plan.space}
        said = ", ".join(f"{name} {_short(value)}" for name, value in params.items())
        self.progress.tell(f"\ntrial {trial.number + 1}/{self.plan.tune.trials}: {said}")
        values: list[float] = []
        state = self.optuna.trial.TrialState
        try:
            for place in range(self.plan.tune.seeds):
                seed = self.plan.seed + trial.number * self.plan.tune.seeds + place
                known = trial.user_attrs.get(f"seed {place}")
                value = self._run(params, seed, f"trials/{trial.number:04d}", trial, values) if known is None else known
                trial.set_user_attr(f"seed {place}", value)
                _drop_weights(self._folder(f"trials/{trial.number:04d}", seed))
                values.append(value)
        except Pruned:
            self.study.tell(trial, state=state.PRUNED)
            self.progress.tell("pruned: its evaluations fall behind those of the trials before")
        except (UserError, MemoryError) as mistake:
            self._failed(trial, mistake)
        else:
            mean, error = spread(values)
            self.study.tell(trial, self.plan.worth(values))
            self.progress.tell(
                f"{self.plan.metric} {mean:.4g} ± {error:.2g} (mean and standard error over {len(values)} seeds)"
            )

    def _failed(self, trial: Any, mistake: Exception) -> None:
        text = " ".join(str(mistake).split())
        trial.set_user_attr("failure", text)
        self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
        self.progress.tell(f"failed: {text}")
        states = [one.state.name for one in self.study.trials]
        if states.count("FAIL") >= HOPELESS and not {"COMPLETE", "PRUNED"} & set(states):
            raise UserError(f"the first {states.count('FAIL')} trials failed, so the search ends; the last one said: {text}")

    # -- one training -----------------------------------------------------------------------------------------------

    def _folder(self, place: str, seed: int) -> Path:
        return self.plan.folder / place / f"seed-{seed}"

    def _run(self, params: Mapping[str, Any], seed: int, place: str, trial: Any = None, before: Sequence[float] = ()) -> float:
        """Train with one seed; the metric of the model that would be kept. With `trial`, evaluations may prune it."""
        folder = self._folder(place, seed)
        options = self.plan.fixed.replace(**{**params, "seed": seed, "output_dir": str(folder)})
        earlier = len(_series(folder.parent, self.plan.metric, but=folder)) if trial is not None else 0

        def observe(step: int, metrics: Mapping[str, float]) -> None:
            if trial is None or self.plan.metric not in metrics:
                return
            seen = _lines(folder, self.plan.metric)
            best = min(seen) if self.plan.direction == "minimize" else max(seen)
            values = [*before, best]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a run that goes on reports some evaluations again
                trial.report(sum(values) / len(values), earlier + len(seen))
            if trial.should_prune():
                raise Pruned

        try:
            summary = train(self.plan.tune.verb, options, resume=folder.exists(), progress=self.progress, observe=observe)
        except BaseException as ended:
            if isinstance(ended, Pruned | UserError):
                _drop_weights(folder)
            raise
        stopped = summary["status"] if summary["status"] in STOPPED else summary.get("stopping")
        if stopped:
            raise Stopped(str(stopped))
        return self._value(folder, summary, options)

    def _value(self, folder: Path, summary: JSON, options: Resolved) -> float:
        """Of the evaluation whose weights are the run's model, where the metric was measured there; else the last one."""
        metric = self.plan.metric
        lines = [line for line in _json_lines(folder / "metrics.jsonl") if line.get(metric) is not None]
        if not lines:
            raise UserError(f"no line of {folder / 'metrics.jsonl'} has {metric}; name a metric that this run logs")
        kept = summary.get("best", {}).get("step") if options.flat()["load_best_model_at_end"] else None
        at = [line for line in lines if line["step"] == kept] or lines[-1:]
        return float(at[-1][metric])

    # -- the end ----------------------------------------------------------------------------------------------------

    def finals(self) -> list[JSON]:
        """The best trials again with fresh seeds, the best first. What was run already is not run again."""
        done = [one for one in self.study.trials if one.state.name == "COMPLETE"]
        if not done:
            raise UserError("no trial came to its end, so there is nothing to choose from; look at what the trials said")
        done.sort(key=lambda one: (one.value if self.plan.direction == "minimize" else -one.value, one.number))
        chosen: list[Any] = []
        for one in done:
            if all(one.params != other.params for other in chosen) and len(chosen) < self.plan.tune.finalists:
                chosen.append(one)
        file = self.plan.folder / "finals.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        found = []
        for one in chosen:
            self.progress.tell(f"\nfinals: trial {one.number + 1} with {self.plan.tune.final_seeds} fresh seeds")
            values = []
            for place in range(self.plan.tune.final_seeds):
                seed = self.plan.seed + FRESH + place
                key = f"{one.number} {seed}"
                if key not in known:
                    known[key] = self._run(one.params, seed, f"finals/{one.number:04d}")
                    write_text(file, json.dumps(known, indent=2) + "\n")
                    _drop_weights(self._folder(f"finals/{one.number:04d}", seed))
                values.append(known[key])
            mean, error = spread(values)
            row = {"trial": one.number + 1, "options": plain(one.params), "objective": self.plan.worth(values)}
            row |= {"mean": mean, "standard_error": error, "values": values}
            found.append({**row, "values_in_search": [one.user_attrs[f"seed {i}"] for i in range(self.plan.tune.seeds)]})
        return sorted(found, key=lambda row: row["objective"] if self.plan.direction == "minimize" else -row["objective"])


def search(plan: Plan, progress: Progress | None = None) -> JSON:
    """Run a search, or go on with it; returns what stands in its summary.json. UserError for what the user can mend."""
    if progress is None:
        with shown() as bar:
            return search(plan, bar)
    try:
        import optuna
    except ImportError:
        raise UserError("a search needs the package optuna; pip install 'plaudit[tune]'") from None
    started = time.perf_counter()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan.folder.mkdir(parents=True, exist_ok=True)
    with hold(plan.folder):
        _same_search(plan)
        study = optuna.create_study(
            storage=f"sqlite:///{(plan.folder / 'study.sqlite').resolve()}",
            study_name="tune",
            direction=plan.direction,
            pruner=_pruner(optuna, plan),
            load_if_exists=True,
        )
        under_way = Search(plan, study, optuna, progress)
        try:
            under_way.trials()
            finals = under_way.finals()
        except Stopped as stopped:
            progress.tell("stopped; the same command goes on")
            return {"verb": "tune", "status": stopped.status, "output_dir": str(plan.folder)}
        return _end(under_way, finals, time.perf_counter() - started)


def _end(under_way: Search, finals: list[JSON], seconds: float) -> JSON:
    plan, states = under_way.plan, [one.state.name for one in under_way.study.trials]
    best = finals[0]
    write_text(plan.folder / "best.yaml", _best_yaml(plan, best))
    summary = {
        "verb": "tune",
        "status": "finished",
        "algorithm": plan.tune.verb,
        "metric": plan.metric,
        "direction": plan.direction,
        "trials": {"complete": states.count("COMPLETE"), "pruned": states.count("PRUNED"), "failed": states.count("FAIL")},
        "best": best,
        "finals": finals,
        "output_dir": str(plan.folder),
        "best_config": str(plan.folder / "best.yaml"),
        "seconds": seconds,
    }
    write_text(plan.folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    page.write(plan, summary, under_way.study, under_way.optuna)
    return summary


def _best_yaml(plan: Plan, best: JSON) -> str:
    """The winner's options as a file for `plaudit train`."""
    given = {**plan.given, **best["options"], "output_dir": str(plan.folder / "best"), "seed": plan.seed}
    head = (
        f"# plaudit train {plan.tune.verb} {plan.folder / 'best.yaml'}\n"
        f"# Trial {best['trial']}: {plan.metric} {best['mean']:.6g}, standard error {best['standard_error']:.2g}, "
        f"over {len(best['values'])} seeds that the search had not seen.\n"
    )
    return head + yaml.safe_dump(given, sort_keys=False, allow_unicode=True)


def _pruner(optuna: Any, plan: Plan) -> Any:
    if plan.tune.pruner == "none":
        return optuna.pruners.NopPruner()
    if plan.tune.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=max(2, min(5, plan.tune.trials // 4)), n_warmup_steps=1)


def _same_search(plan: Plan) -> None:
    """Keep what the search is; UserError where the folder holds another one."""
    file, now = plan.folder / "tune.yaml", {name: plain(value) for name, value in plan.record().items()}
    if file.exists():
        changed = diff(yaml.safe_load(file.read_text(encoding="utf-8")), now, ignore=EXTENDS)
        if changed:
            raise UserError(
                f"{plan.folder} holds another search: {'; '.join(changed)}; put it back, or choose another output_dir"
            )
    write_text(file, yaml.safe_dump(now, sort_keys=False, allow_unicode=True))


def _suggested(trial: Any, space: Space) -> Any:
    if space.choices:
        return trial.suggest_categorical(space.name, list(space.choices))
    if space.whole:
        return trial.suggest_int(space.name, int(space.low), int(space.high), log=space.log)
    return trial.suggest_float(space.name, space.low, space.high, log=space.log)


def _drop_weights(folder: Path) -> None:
    """A search keeps figures, not weights: there would be hundreds."""
    for path in (folder / "model", *folder.glob("checkpoint-*")):
        shutil.rmtree(path, ignore_errors=True)


def _json_lines(path: Path) -> list[JSON]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _lines(folder: Path, metric: str) -> list[float]:
    """Every value of the metric in one run's log, in order."""
    return [float(line[metric]) for line in _json_lines(folder / "metrics.jsonl") if line.get(metric) is not None]


def _series(parent: Path, metric: str, but: Path) -> list[float]:
    """The same of the other runs of a trial."""
    return [value for run in sorted(parent.glob("seed-*")) if run != but for value in _lines(run, metric)]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
