"""FLOPs of a run, by phase and part: every pass that a step, an evaluation and the end of a run make."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from statistics import mean

from plaudit.algorithms.base import Algorithm
from plaudit.config import Resolved
from plaudit.models import flops
from plaudit.models.flops import Shape
from plaudit.training.asked import STREAMS
from plaudit.training.estimate.fleet import Fleet, Judge, Role
from plaudit.training.estimate.parts import Counts, Work
from plaudit.training.estimate.passes import Cut, Pass, cut, rows_apart
from plaudit.training.estimate.rows import Meal, rollouts
from plaudit.training.options import RolloutConfig, TrainingConfig
from plaudit.training.regularise import RegularisationConfig

LOGITS = {"logp", "entropy"}


def counts(options: Resolved, eaten: Meal) -> Counts:
    """How many steps, evaluations and checkpoints the run has (see `training.loop`)."""
    t = options[TrainingConfig]
    steps = t.max_steps
    if steps is None and eaten.total is not None:
        steps = max(1, math.ceil(eaten.total * t.num_train_epochs / eaten.portion - 1e-9))
    many = steps or 1
    evaluations = 0
    if eaten.held:
        inside = many // t.eval_steps if t.eval_steps else 0
        evaluations = t.eval_on_start + inside + (1 if not t.eval_steps or many % t.eval_steps else 0)
    every = t.save_steps or t.eval_steps or 100
    saves = {*range(every, many + 1, every), many, *(range(0, many + 1, t.eval_steps) if eaten.held and t.eval_steps else ())}
    return Counts(steps, evaluations, len(saves | ({0} if eaten.held and t.eval_on_start else set())))


class Counter:
    """Counts the passes of one run's networks."""

    def __init__(self, algorithm: Algorithm, options: Resolved, ships: Fleet, how: Cut) -> None:
        self.algorithm, self.options, self.fleet, self.how = algorithm, options, ships, how
        self.shape = ships.model.shape
        self.above = self.shape.layers - ships.start
        self.again = options[TrainingConfig].gradient_checkpointing

    def step(self, eaten: Meal) -> list[Work]:
        """One step: the mean of the batches that were laid out."""
        found: list[Work] = []
        share = 1 / len(eaten.batches)
        for batch in eaten.batches:
            minis = cut(self.algorithm, batch, self.how)
            passes = [one for mini in minis for one in mini]
            made = [*self._scoring(passes), *self._update(passes, len(minis))]
            if eaten.answers:
                made += self._rollout(eaten, eaten.portion) + self._rewards(
                    rows_apart(self.algorithm, batch, self._judged, self.how)
                )
            found += [work.times(share) for work in made]
        return gathered(found)

    def evaluation(self, eaten: Meal) -> list[Work]:
        """One evaluation of all held-out rows."""
        t = self.options[TrainingConfig]
        if not eaten.held:
            return []
        if eaten.answers:
            asked = min(eaten.held, self.options[RolloutConfig].num_eval_prompts)
            prompts = [eaten.prompts[i % len(eaten.prompts)] for i in range(asked)]
            answered = rollouts(prompts, 1, eaten.answers)
            passes = rows_apart(self.algorithm, answered, self._judged, self.how)
            found = self._rollout(eaten, asked, 1) + self._rewards(passes)
            if self.fleet.independent is not None:
                found.append(self._judge(self.fleet.independent, passes, "independent reward model"))
        else:
            size = t.per_device_eval_batch_size
            batch = eaten.batches[0]
            each = len(batch) / eaten.portion  # rows of one item
            plain = replace(self.how, micro_batch=size)
            passes = rows_apart(self.algorithm, batch, max(1, round(size * each)), plain)
            scale = eaten.held * each / len(batch)
            found = [work.times(scale) for work in [*self._scoring(passes), *self._plain(passes, "forward")]]
        return [replace(work, phase="evaluation") for work in found]

    @property
    def _judged(self) -> int:
        return self.options[TrainingConfig].per_device_eval_batch_size

    # -- phases -----------------------------------------------------------------------------------------------------

    def _rollout(self, eaten: Meal, prompts: int, n: int | None = None) -> list[Work]:
        """Prompts are read once each; rows decode side by side, and as one ends the next enters."""
        o = self.options[RolloutConfig]
        rows = prompts * (n or o.num_generations)
        side, answer, asked = min(o.rollout_slots, rows), eaten.answers, mean(eaten.prompts)
        read = [round(asked)] * prompts
        prefill = flops.forward(self.shape, sum(read), flops.square(read))
        steps = rows / side * max(0, answer - 1)
        pairs = rows * flops.decoded(round(asked), answer)
        decode = flops.forward(self.shape, rows * max(0, answer - 1), pairs)
        heads = 2.0 * self.shape.head * rows * max(0, answer - 1)
        return [
            Work("rollout", "prefill", "prefill", prefill, 2.0 * self.shape.head * prompts, math.ceil(sum(read) / 4096)),
            Work("rollout", "decode", "decode", decode, heads, steps, side, asked + answer / 2),
            Work("rollout", "weights to the engine", "forward", parameters=self.fleet.model.parameters),
        ]

    def _rewards(self, passes: Iterable[Pass]) -> list[Work]:
        passes = list(passes)
        return [self._judge(judge, passes) for judge in self.fleet.judges]

    def _judge(self, judge: Judge, passes: list[Pass], part: str = "reward model") -> Work:
        shape = judge.model.shape
        trunk = sum(_forward(shape, one) + flops.adapters(judge.adapter, one.tokens, training=False) for one in passes)
        return Work("reward", part, "forward", trunk, 0.0, len(passes), width=shape.layers if judge.own else 0)

    def _scoring(self, passes: list[Pass]) -> list[Work]:
        """Passes without gradient before the update: the shared lowest layers, old and value of each role, the reference."""
        reads, found = self.algorithm.reads, []
        if self.fleet.start:
            trunk = sum(_forward(self.shape, one, self.fleet.start) for one in passes)
            found.append(
                Work(
                    "scoring", "shared lowest layers", "forward", trunk, 0.0, len(passes) * self.fleet.start / self.shape.layers
                )
            )
        if not reads:
            return found
        for role in self.fleet.roles:
            asked = {want for want in role.wants if STREAMS.get(want) in reads}
            if asked:
                found.append(self._asked("scoring", f"{role.name} without gradient", role, passes, bool(asked & LOGITS)))
        if self.fleet.reference:
            bare = Role("reference", frozenset({"logp"}), 0, not self.fleet.lora)
            found.append(self._asked("scoring", "reference", bare, passes, True))
        return found

    def _asked(self, phase: str, part: str, role: Role, passes: list[Pass], logits: bool) -> Work:
        layers = self.shape.layers if role.whole else self.above
        trunk = sum(
            _forward(self.shape, one, layers) + flops.adapters(role.adapter, one.tokens, training=False) for one in passes
        )
        head = sum(2.0 * self.shape.head * one.logits for one in passes) if logits else 0.0
        return Work(phase, part, "forward", trunk, head, len(passes) * layers / self.shape.layers)

    def _plain(self, passes: list[Pass], phase: str) -> list[Work]:
        """A forward pass of each role: the loss of held-out rows."""
        return [self._asked(phase, role.name, role, passes, bool(role.wants & LOGITS)) for role in self.fleet.roles]

    def _update(self, passes: list[Pass], minis: int) -> list[Work]:
        a, found = self.algorithm, []
        more = self._more_passes()
        epochs = float(a.epochs)
        if a.gathers:  # the sums that the losses have in common: only rows that are there for them, or all
            extra = passes if not a.mismatched else passes[len(passes) // 2 :]
            found += [
                self._asked("update", f"{role.name} for statistics", role, extra, True).times(epochs)
                for role in self.fleet.roles
            ]
            passes = passes if not a.mismatched else passes[: max(1, len(passes) // 2)]
        for role in self.fleet.roles:
            forward, back = self._trained(role, passes)
            found += [forward.times(epochs * more), back.times(epochs * more)]
            found.append(Work("update", "optimiser", "train", parameters=role.trained * minis * epochs))
        return found

    def _trained(self, role: Role, passes: list[Pass]) -> tuple[Work, Work]:
        layers = self.shape.layers if role.whole else self.above
        forward = self._asked("update", f"{role.name} forward", role, passes, bool(role.wants & LOGITS))
        trunk = head = 0.0
        for one in passes:
            trunk += flops.backward(self.shape, one.tokens, one.pairs, weights=role.whole, layers=layers, again=self.again)
            trunk += 3 * flops.adapters(role.adapter, one.tokens, training=False)
            if role.wants & LOGITS:
                head += 2.0 * self.shape.head * one.logits * (3 if role.whole else 1)
        share = len(passes) * layers / self.shape.layers
        back = Work("update", f"{role.name} backward", "train", trunk, head, 0.0)
        return Work("update", forward.part, "train", forward.trunk, forward.head, share), back

    def _more_passes(self) -> float:
        """How many times the work of a plain pass regularisation makes."""
        if RegularisationConfig not in self.options:
            return 1.0
        o = self.options[RegularisationConfig]
        return 1.0 + bool(o.adversarial_epsilon) + bool(o.r_drop_alpha)


def _forward(shape: Shape, one: Pass, layers: int | None = None) -> float:
    return flops.forward(shape, one.tokens, one.pairs, layers=layers)


def gathered(works: Iterable[Work]) -> list[Work]:
    """Works of the same phase, part and kind as one, in the order in which they came."""
    found: dict[tuple[str, str, str], Work] = {}
    for work in works:
        key = (work.phase, work.part, work.kind)
        if key in found:
            old = found[key]
            work = Work(
                work.phase,
                work.part,
                work.kind,
                old.trunk + work.trunk,
                old.head + work.head,
                old.passes + work.passes,
                work.rows,
                work.places,
                old.parameters + work.parameters,
                work.width,
            )
        found[key] = work
    return list(found.values())
