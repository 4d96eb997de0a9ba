"""`train(verb, config)`: from options to a trained model in a folder. Every verb takes the same road."""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from plaudit.algorithms.aspects import Aspects
from plaudit.algorithms.classify import Classify
from plaudit.config import Resolved
from plaudit.config import options as known
from plaudit.data.encode import STEP_SEPARATOR
from plaudit.data.options import ReadConfig
from plaudit.models import adapters
from plaudit.models.adapter_folder import save_adapter, save_merged
from plaudit.models.adapters import AdapterConfig
from plaudit.models.classifier import save_classifier
from plaudit.models.heads import OrdinalHead
from plaudit.models.scorer import Scorer, save_reward
from plaudit.rewards.mix import RewardConfig
from plaudit.schema import JSON, UserError
from plaudit.training import optimizers, place, usage
from plaudit.training.assemble import ModelConfig, precision
from plaudit.training.build import LORA_RATE, RATE, algorithm_class, build
from plaudit.training.control import Control
from plaudit.training.estimate.estimate import foresee
from plaudit.training.files import write_text
from plaudit.training.folder import RunFolder
from plaudit.training.guard import AlarmConfig, GuardConfig
from plaudit.training.loop import Loop, Watch
from plaudit.training.options import DataConfig, OptimizerConfig, RolloutConfig, TrainingConfig
from plaudit.training.progress import Progress, shown
from plaudit.training.regularise import RegularisationConfig
from plaudit.training.reports import held_out_report, held_out_scores
from plaudit.training.sources import Rollouts, Rows
from plaudit.training.trace import traces
from plaudit.training.trackers.base import Trackers, trackers

SHARED: tuple[type, ...] = (ModelConfig, AdapterConfig, DataConfig, ReadConfig, TrainingConfig, OptimizerConfig)
ONLINE: tuple[type, ...] = (RolloutConfig, RewardConfig, GuardConfig)
NORMALISED_ROWS = 256
"""Training answers whose scores say where a reward model's scores lie: their mean is then known to 1/16 of their deviation."""
STOPPED = {"SIGINT": 130, "SIGTERM": 143, "stopped": 143, "paused": 3}
"""Status of a run that was stopped -> the exit code: what a shell gives that signal; `stopped` is asked for elsewhere;
3 where the guard paused it."""


def sections(name: str) -> tuple[list[type], dict[str, Any]]:
    """The option classes of an algorithm, its own last, and its own defaults.

    UserError: there is no such algorithm, or its options do not go together with those that every run has.
    """
    kind = algorithm_class(name)
    extra = (*(ONLINE if kind.eats == "prompts" else (AlarmConfig,)), *((RegularisationConfig,) if kind.dropout else ()))
    chosen = [*SHARED, *extra, kind.Config]
    defaults = {k: v for k, v in kind.Config.defaults.items() if k not in (RATE, LORA_RATE)}
    try:
        known(chosen, defaults)
    except TypeError as clash:
        raise UserError(f"{name} is not a whole algorithm: {clash}") from None
    return chosen, defaults


def train(
    verb: str,
    resolved: Resolved,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    observe: Watch | None = None,
) -> JSON:
    """Train and save; returns what stands in the run's summary.json. UserError for whatever the user can mend.

    A signal that came when the run was as good as finished is told as `stopping`, for those who would go on to another run.
    `observe(step, metrics)` is told of every logged line; it may raise `Pruned`, which ends the run and comes through.
    """
    if progress is None:
        with shown() as bar:
            return train(verb, resolved, resume=resume, progress=bar, observe=observe)
    started = time.perf_counter()
    options = resolved[TrainingConfig]
    place.check(options.place)
    path = Path(options.output_dir)
    resolved = settled(verb, resolved, path if resume else None)
    before = usage.read(path) if resume else None
    with RunFolder(path, resolved.flat(), resume=resume) as folder, usage.counting(usage.Usage(before)):
        done = folder.finished() if resume else None
        if done is not None:
            progress.tell(f"{path} is finished: there is nothing to go on with")
            return done
        followers = trackers(options.report_to, lambda text: _warn(folder, progress, text))
        with usage.phase("start"):
            loop = build(verb, resolved, folder, progress)
            loop.control = Control(path, verb)
            if resume:
                loop.resume()
            else:
                foresee(verb, resolved, loop)
        with _followed(loop, followers, resolved, observe) as ended, _left_alone():
            status = loop.run()
            ended["status"] = status
        summary = {"verb": verb, "status": status, "steps": loop.step, "refused_steps": loop.refused_total}
        summary["output_dir"] = str(path)
        if status in STOPPED:
            usage.keep(path)
            progress.tell(f"stopped after step {loop.step}; go on with --resume")
            return {**summary, "seconds": time.perf_counter() - started}
        with usage.phase("saving"):
            summary |= _kept(loop, path, best=options.load_best_model_at_end)
        if loop.guard.heard:
            summary["alarms"] = loop.guard.heard
        summary["seconds"] = time.perf_counter() - started
        usage.keep(path)
        folder.finish(summary)
        return {**summary, "stopping": loop.stopping} if loop.stopping else summary


@contextmanager
def _left_alone() -> Iterator[None]:
    """What exists now is not looked through for garbage within the block: a model's objects are many, and stay.

    What is garbage by now goes first: it would stay as well.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _followed(loop: Loop, followers: Trackers, resolved: Resolved, observe: Watch | None) -> Iterator[JSON]:
    """Hand the loop's figures on to the trackers and to `observe`; the block says in what it yields how the run ended."""

    def watch(step: int, metrics: Mapping[str, float]) -> None:
        followers.log(step, metrics)
        if observe is not None:
            observe(step, metrics)

    ended: JSON = {"status": "failed"}
    loop.watch = watch
    followers.start(resolved.flat(), loop.saved)
    try:
        yield ended
    finally:
        best = {} if loop.best.value is None else {"best_step": loop.best.step, f"best_{loop.best.metric}": loop.best.value}
        followers.finish({**ended, "steps": loop.step, "refused_steps": loop.refused_total, **best})


def _warn(folder: RunFolder, progress: Progress, text: str) -> None:
    folder.event(text)
    progress.tell(text)


def _kept(loop: Loop, path: Path, *, best: bool) -> JSON:
    """Write the trained model, and of algorithms that sample the per-token view; what the summary says of them."""
    loop.take_best() if best else loop.take_last()
    if isinstance(loop.source, Rollouts):
        write_text(path / "trace.json", json.dumps(traces(loop.source, loop.learner, loop.step), ensure_ascii=False))
    report = held_out_report(loop)
    if report is not None:
        write_text(path / "held_out.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    if scores := held_out_scores(loop):
        write_text(path / "held_out_scores.jsonl", "".join(json.dumps(row) + "\n" for row in scores))
    for half in (*path.glob(".model.*.part"), *path.glob(".adapter.*.part")):  # of a process that died while it wrote
        shutil.rmtree(half, ignore_errors=True)
    model = {"model": str(_save_model(loop, path / "model"))}
    if loop.best.value is None:
        return model
    return {"best": {"step": loop.best.step, loop.best.metric: loop.best.value}, **model}


def settled(verb: str, resolved: Resolved, resumed: Path | None) -> Resolved:
    """Options with everything that was left to us written out: learning rate by the kind of tuning, bf16 by the machine.

    A resumed run takes what was found then, so that it computes the same on a machine that would choose otherwise.
    """
    saved: dict[str, Any] = {}
    if resumed is not None and (resumed / "config.yaml").exists():
        saved = yaml.safe_load((resumed / "config.yaml").read_text(encoding="utf-8"))
    changes: dict[str, Any] = {}
    defaults = algorithm_class(verb).Config.defaults
    if resolved[OptimizerConfig].learning_rate is None:
        adapter = resolved[AdapterConfig]
        rate = defaults[LORA_RATE if adapter.use_peft else RATE]
        optim = resolved[OptimizerConfig].optim
        changes[RATE] = rate * adapters.RATE.get(adapter.peft_type, 1.0) * optimizers.RATE.get(optim, 1.0)
    if resolved[TrainingConfig].bf16 == "auto":
        changes["bf16"] = saved.get("bf16", precision(resolved[TrainingConfig]).bf16)
    return resolved.replace(**changes)


def _save_model(loop: Loop, folder: Path) -> Path:
    """The trained model as a folder that others can read; written beside and moved into place.

    It is that of the algorithm's first role: a classifier where it gives classes, a reward model where it gives scores, else a
    language model. A language model's adapter that can be merged is saved so, and stands by itself in `adapter` beside it;
    another kind is `model` itself.
    """
    role, wants = next(iter(loop.learner.algorithm.networks.items()))
    network = loop.learner.networks[role]
    algorithm = loop.learner.algorithm
    if isinstance(algorithm, Aspects):
        assert isinstance(loop.source, Rows)
        rows = [loop.source.rows[i].rows[0].ids for i in range(min(NORMALISED_ROWS, len(loop.source.rows)))]
        each = torch.tensor(Scorer(network).each(rows), dtype=torch.float64)
        lie = zip(each.mean(0).tolist(), each.std(0, correction=0).tolist(), strict=True)
        scales = {name: (mean, max(1e-6, width)) for name, (mean, width) in zip(algorithm.scale, lie, strict=True)}
        save_reward(folder, network, aspects=scales)
        return folder
    if isinstance(algorithm, Classify):
        save_classifier(folder, network, algorithm.classes)
        return folder
    if "steps" in wants:
        save_reward(folder, network, step_separator=STEP_SEPARATOR)
        return folder
    if "score" in wants:
        assert isinstance(loop.source, Rows)
        if isinstance(network.head, OrdinalHead):
            network.head = network.head.scalar()
        rows = [row.ids for item in loop.source.rows[:NORMALISED_ROWS] for row in item.rows]
        scores = Scorer(network)(rows[:NORMALISED_ROWS])
        spread = torch.tensor(scores, dtype=torch.float64)
        save_reward(folder, network, mean=float(spread.mean()), deviation=max(1e-6, float(spread.std(correction=0))))
        return folder
    if network.adapter is not None:
        mergeable = network.base.options_of(network.adapter).mergeable
        save_adapter(folder.with_name("adapter") if mergeable else folder, network.base, network.adapter)
        if not mergeable:
            return folder
    save_merged(folder, network.base, network.adapter)
    return folder
