"""The loop: one line a room, left to right. It is the same for every algorithm and knows none."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch

from plaudit.models import passes
from plaudit.schema import UserError
from plaudit.training import checkpoint, usage
from plaudit.training.best import Best
from plaudit.training.control import OVER, PAUSED, RUNNING, Control
from plaudit.training.folder import RunFolder
from plaudit.training.guard import Alarm, Guard
from plaudit.training.learner import AVERAGE, Learner
from plaudit.training.options import TrainingConfig
from plaudit.training.progress import Progress
from plaudit.training.signals import stopping_signals
from plaudit.training.sources import Portion, Source

CANARY = "sampling/sampling_logp_difference/mean"
CANARY_LIMIT = {False: 0.01, True: 0.25}
"""Mean |log-probability of sampler - of trainer| (nats) above which weights must be stale; by bf16. Measured on fresh
weights: 1e-6 in fp32, 0.04 in bf16."""


Watch = Callable[[int, Mapping[str, float]], None]
"""Told of (step, metrics)."""


class Pruned(Exception):
    """What a watcher raises to end a run that is not worth going on with: a search does."""


@dataclass
class Loop:
    """One run: a learner, where its batches come from, and the folder it writes."""

    learner: Learner
    source: Source
    folder: RunFolder
    options: TrainingConfig
    best: Best
    total_steps: int
    bf16: bool
    progress: Progress
    guard: Guard
    """The doctor's rules while training."""
    shown: tuple[str, ...] = ("loss",)
    """Metrics beside the progress bar."""
    watch: Watch | None = None
    """Told of every line of metrics.jsonl, once it is written; what it raises ends the run (`Pruned`)."""
    control: Control | None = None
    """Where somebody may ask it to wait or to stop."""
    step: int = 0
    refused: int = 0
    """Steps in a row that were not finite."""
    refused_total: int = 0
    evaluated: int = -1
    """Step of the last evaluation, so that a resumed run does not repeat it."""
    saved: int = -1
    """Step of the last checkpoint."""
    stopping: str | None = field(default=None, init=False)

    def run(self) -> str:
        """Train to the end, or until stopped; `finished`, `early` (no better evaluation came), `guarded` or `paused` (the
        guard had an alarm), `stopped` (somebody asked for it) or the name of a signal.

        What is next follows from the state alone, so a run that died in between goes on with just that.
        """
        self.progress.task("training", self.total_steps)
        with stopping_signals(self._stop), self._told():
            while not self.stopping:
                if self.guard.stopped:
                    self._save()
                    return "guarded"
                if self._steered():
                    continue
                if self._evaluation_due():
                    self._evaluate()
                elif self.step >= self.total_steps or self._patience_is_over():
                    self._save()
                    return "finished" if self.step >= self.total_steps else "early"
                else:
                    self._advance()
            self._save()
        self.folder.event(f"{self.stopping}: stopped after step {self.step}")
        return self.stopping

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in state.json that the run goes on, and at the end that it is over."""
        if self.control is not None:
            self.control.say(RUNNING, self.step)
        try:
            yield
        finally:
            if self.control is not None:
                self.control.say(OVER, self.step)

    def _steered(self) -> bool:
        """Wait or stop where somebody asks for it; True where it did. A checkpoint first: a run may die while it waits."""
        wanted, by = ("go", "") if self.control is None else self.control.wanted()
        if self.control is None or wanted == "go":
            return False
        if wanted == "pause":
            self._save()
            self.control.say(PAUSED, self.step)
            self._tell(f"paused after step {self.step}, as {by or 'somebody'} asked")
            wanted = self.control.pause(lambda: self.stopping is not None)
            self.control.say(RUNNING, self.step)
        if wanted == "stop":
            self.stopping = "stopped"
        elif self.stopping is None:
            self._tell(f"going on after step {self.step}")
        return True

    def _evaluation_due(self) -> bool:
        """At the start if asked for, every eval_steps, and at the end, so that the last weights compete for the best too."""
        every = self.options.eval_steps
        if self.step == 0:
            return self.evaluated < 0 and self.options.eval_on_start
        on_time = self.step == self.total_steps or (every is not None and self.step % every == 0)
        return self.evaluated < self.step and on_time

    def _patience_is_over(self) -> bool:
        patience = self.options.early_stopping_patience
        if not patience or self.best.since < patience:
            return False
        self.folder.event(f"stopped early after step {self.step}: best {self.best.metric} at step {self.best.step}")
        return True

    def _advance(self) -> None:
        clock = time.perf_counter()
        portion = self._portion()
        batch = portion.batch.to(self.learner.device)
        stepped = self.learner.step(batch)
        metrics = {**portion.metrics, **stepped, **usage.lap(), "time/step": time.perf_counter() - clock}
        usage.tokens("trained_on", int(metrics.get("num_tokens", 0)))
        self.step += 1
        if self.step % self.options.logging_steps == 0 or self.step == self.total_steps:
            self._log(metrics)
            for sample in portion.samples:
                self.folder.sample(self.step, sample)
        self.progress.advance(self.step, {name: metrics[name] for name in self.shown if name in metrics})
        self._heed(self.guard.step(self.step, metrics))
        self._guard(metrics)
        every = self.options.save_steps or self.options.eval_steps or 100
        if self.step % every == 0 and not self._evaluation_due():
            self._save()

    def _portion(self) -> Portion:
        """The next batch. Where the user's part of it fails (a reward function), the steps so far are kept first."""
        try:
            return self.source.at(self.step, self.learner)
        except UserError:
            self._save()
            raise

    def _guard(self, metrics: dict[str, float]) -> None:
        """Stop where going on would be worthless: stale sampler weights, or steps that are not finite."""
        if metrics.get(CANARY, 0.0) > CANARY_LIMIT[self.bf16]:
            raise RuntimeError(f"{CANARY} is {metrics[CANARY]:.3f} nats: the sampler does not have the trainer's weights")
        refused = metrics["refused"] > 0
        self.refused = self.refused + 1 if refused else 0
        self.refused_total += refused
        if refused:
            self.folder.event(f"step {self.step} refused: its loss or gradient was not finite")
        if self.refused >= self.options.max_refused_steps:
            self._save()
            raise UserError(
                f"{self.refused} steps in a row had a loss or gradient that was not finite (the last is step {self.step}), so "
                "the run stopped with its weights as they were; lower learning_rate, set bf16: false, or look at the rewards"
            )

    @usage.counted("evaluation")
    def _evaluate(self) -> None:
        clock = time.perf_counter()
        with self.learner.averaged():
            metrics, samples, record = self.source.evaluate(self.step, self.learner)
        self.evaluated = self.step
        if not metrics:
            self._save()
            return
        self._log({**metrics, "time/evaluate": time.perf_counter() - clock})
        for sample in samples:
            self.folder.sample(self.step, sample)
        if record is not None:
            self.folder.evaluation(self.step, record)
        self._heed(self.guard.evaluated(self.step, metrics, record))
        better = self.best.see(self.step, metrics[self.best.metric])
        if self.step or better:
            self._save()

    def _heed(self, alarms: Sequence[Alarm]) -> None:
        """Tell of the guard's alarms; one that pauses ends the run as a signal does."""
        for alarm in alarms:
            self._tell(f"step {alarm.step}: {alarm.text}")
            if alarm.action == "pause" and not self.stopping:
                self.stopping = "paused"

    def _log(self, metrics: Mapping[str, float]) -> None:
        self.folder.log(self.step, metrics)
        if self.watch is not None:
            self.watch(self.step, metrics)

    @usage.counted("checkpoint")
    def _save(self) -> None:
        """Write a checkpoint of this step, unless there is one."""
        if self.saved == self.step:
            return
        tensors, state = self.learner.state()
        best = {"step": self.best.step, "value": self.best.value, "since": self.best.since}
        random = {"torch": torch.get_rng_state()}
        state |= {
            "step": self.step,
            "best": best,
            "refused": self.refused,
            "refused_total": self.refused_total,
            "evaluated": self.evaluated,
            "threads": torch.get_num_threads(),
            "kernels": {"sampling": self.source.kernels, "training": passes.in_use(self.learner.device)},
            "sizes": self.folder.sizes(),
            "guard": self.guard.state(),
        }
        checkpoint.save(self.folder.path, self.step, {**tensors, "random": random}, state)
        self.saved = self.step
        keep = {self.best.step} if self.best.value is not None else set()
        checkpoint.rotate(self.folder.path, self.options.save_total_limit, keep)
        usage.keep(self.folder.path)

    def resume(self) -> None:
        """Go on from the newest whole checkpoint; from the start where there is none."""
        found = checkpoint.latest(self.folder.path, self._tell)
        if found is None:
            self.folder.cut({})
            self._tell("no checkpoint yet: starting from the beginning")
            return
        self._take(found)
        self.folder.cut(found.state["sizes"])
        self.guard.restore(found.state.get("guard") or {}, self.folder.metrics(), self.folder.evaluations())
        self._tell(f"going on after step {self.step} of {self.total_steps}")

    def take_best(self) -> None:
        """Put the weights of the best evaluation back, where there was one."""
        if self.best.value is not None and self.best.step != self.step:
            try:
                saved = checkpoint.load(self.folder.path / f"checkpoint-{self.best.step}")
            except UserError as torn:
                raise UserError(f"{torn}; to keep the last weights, --resume with load_best_model_at_end=false") from torn
            for role, network in self.learner.networks.items():
                network.restore(saved.tensors.get(f"{role}.{AVERAGE}", saved.tensors[role]))
        else:
            self.take_last()

    def take_last(self) -> None:
        """Put the averages of the trained weights in their place, where there are any: they are what is saved."""
        if self.learner.average is not None:
            self.learner.average.put()

    def _take(self, found: checkpoint.Checkpoint) -> None:
        state = found.state
        self.learner.restore(found.tensors, state)
        self.step, self.refused, self.refused_total = state["step"], state["refused"], state["refused_total"]
        self.evaluated, self.saved = state["evaluated"], state["step"]
        self.best.step, self.best.value, self.best.since = (state["best"][k] for k in ("step", "value", "since"))
        torch.set_rng_state(found.tensors["random"]["torch"])
        if state["threads"] != torch.get_num_threads():
            self._tell(f"using {state['threads']} threads as before, so that sums come out the same to the last bit")
            torch.set_num_threads(state["threads"])
        sampling, training = state["kernels"]["sampling"], state["kernels"]["training"]
        if sampling not in (None, self.source.kernels):
            self._went_on("sampling", sampling, self.source.use(sampling))
        if training != passes.in_use(self.learner.device):
            self._went_on("training", training, passes.use(training))

    def _went_on(self, what: str, kernels: str, same: bool) -> None:
        if same:
            self._tell(f"{what} with {kernels} kernels as before, so that it comes out the same to the last bit")
        else:
            self._tell(f"{what} was done with {kernels} kernels, which cannot be had here: the last bits will differ")

    def _tell(self, text: str) -> None:
        self.folder.event(text)
        self.progress.tell(text)

    def _stop(self, number: int) -> None:
        """A signal: end after the step that is under way; a second one ends it at once."""
        if self.stopping:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.stopping = signal.Signals(number).name
        with suppress(RuntimeError):  # the signal may have come in the middle of writing to the same stream
            self.progress.tell(f"{self.stopping}: a checkpoint is written after what is under way")
