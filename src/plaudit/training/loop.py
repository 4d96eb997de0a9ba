"""The loop: one line a room, left to right. It is the same for every algorithm and knows none."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch

from plaudit.schema import UserError
from plaudit.training import checkpoint
from plaudit.training.folder import RunFolder
from plaudit.training.learner import Learner
from plaudit.training.options import TrainingConfig
from plaudit.training.progress import Progress
from plaudit.training.sources import Source

CANARY = "sampling/sampling_logp_difference/mean"
CANARY_LIMIT = {False: 0.01, True: 0.25}
"""Mean |log-probability of sampler - of trainer| (nats) above which weights must be stale; by bf16. Measured on fresh
weights: 1e-6 in fp32, 0.04 in bf16."""


@dataclass
class Best:
    """The best evaluation so far, and how many have come since."""

    metric: str
    greater_is_better: bool
    step: int = 0
    value: float | None = None
    since: int = 0

    def see(self, step: int, value: float) -> bool:
        """Take note of an evaluation; True where it is the best."""
        better = self.value is None or (value > self.value if self.greater_is_better else value < self.value)
        if better:
            self.step, self.value, self.since = step, value, 0
        else:
            self.since += 1
        return better


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
    shown: tuple[str, ...] = ("loss",)
    """Metrics beside the progress bar."""
    step: int = 0
    refused: int = 0
    """Steps in a row that were not finite."""
    refused_total: int = 0
    evaluated: int = -1
    """Step of the last evaluation, so that a resumed run does not repeat it."""
    stopping: str | None = field(default=None, init=False)

    def run(self) -> str:
        """Train to the end, or until stopped; `finished`, `early` (no better evaluation came) or the name of a signal."""
        self.progress.task("training", self.total_steps)
        with self._signals():
            if self.evaluated < 0:
                self._evaluate()
            while self.step < self.total_steps:
                self._advance()
                if self.stopping:
                    self._save()
                    self.folder.event(f"{self.stopping}: stopped after step {self.step}")
                    return self.stopping
                patience = self.options.early_stopping_patience
                if patience and self.best.since >= patience:
                    self.folder.event(f"stopped early after step {self.step}: best {self.best.metric} at step {self.best.step}")
                    break
            if self.evaluated < self.step:
                self._evaluate()  # whatever eval_steps is: the weights at the end compete for the best too
        self._save()
        return "finished" if self.step >= self.total_steps else "early"

    def _advance(self) -> None:
        clock = time.perf_counter()
        portion = self.source.at(self.step, self.learner)
        batch = portion.batch.to(self.learner.device)
        metrics = {**portion.metrics, **self.learner.step(batch), "time/step": time.perf_counter() - clock}
        self.step += 1
        if self.step % self.options.logging_steps == 0 or self.step == self.total_steps:
            self.folder.log(self.step, metrics)
            for sample in portion.samples:
                self.folder.sample(self.step, sample)
        self.progress.advance(self.step, {name: metrics[name] for name in self.shown if name in metrics})
        self._guard(metrics)
        evaluated = bool(self.options.eval_steps) and self.step % (self.options.eval_steps or 1) == 0
        if evaluated:
            self._evaluate()
        every = self.options.save_steps or self.options.eval_steps or 100
        if self.step % every == 0 and not evaluated:
            self._save()

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

    def _evaluate(self) -> None:
        clock = time.perf_counter()
        metrics, samples = self.source.evaluate(self.step, self.learner)
        self.evaluated = self.step
        if not metrics:
            return
        self.folder.log(self.step, {**metrics, "time/evaluate": time.perf_counter() - clock})
        for sample in samples:
            self.folder.sample(self.step, sample)
        better = self.best.see(self.step, metrics[self.best.metric])
        if self.step or better:
            self._save()

    def _save(self) -> None:
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
        }
        checkpoint.save(self.folder.path, self.step, {**tensors, "random": random}, state)
        keep = {self.best.step} if self.best.value is not None else set()
        checkpoint.rotate(self.folder.path, self.options.save_total_limit, keep)

    def resume(self) -> None:
        """Go on from the newest whole checkpoint; from the start where there is none."""
        found = checkpoint.latest(self.folder.path, self._tell)
        if found is None:
            self.folder.cut_after(-1)
            self._tell("no checkpoint yet: starting from the beginning")
            return
        self._take(found)
        self.folder.cut_after(self.step)
        self._tell(f"going on after step {self.step} of {self.total_steps}")

    def take_best(self) -> None:
        """Put the weights of the best evaluation back, where there was one."""
        if self.best.value is not None and self.best.step != self.step:
            saved = checkpoint.load(self.folder.path / f"checkpoint-{self.best.step}")
            for role, network in self.learner.networks.items():
                network.restore(saved.tensors[role])

    def _take(self, found: checkpoint.Checkpoint) -> None:
        state = found.state
        self.learner.restore(found.tensors, state)
        self.step, self.refused, self.refused_total = state["step"], state["refused"], state["refused_total"]
        self.evaluated = state["evaluated"]
        self.best.step, self.best.value, self.best.since = (state["best"][k] for k in ("step", "value", "since"))
        torch.set_rng_state(found.tensors["random"]["torch"])
        if state["threads"] != torch.get_num_threads():
            self._tell(f"using {state['threads']} threads as before, so that sums come out the same to the last bit")
            torch.set_num_threads(state["threads"])

    def _tell(self, text: str) -> None:
        self.folder.event(text)
        self.progress.tell(text)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C end the run after the step that is under way; a second Ctrl-C ends it at once."""

        def stop(number: int, frame: FrameType | None) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.stopping = signal.Signals(number).name
            self.progress.tell(f"{self.stopping}: finishing step {self.step + 1}, then writing a checkpoint")

        before: dict[signal.Signals, Any] = {}
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                try:
                    before[number] = signal.signal(number, stop)
                except ValueError:  # not the main thread: whoever owns the process handles signals
                    break
            yield
        finally:
            for taken, handler in before.items():
                signal.signal(taken, handler)
