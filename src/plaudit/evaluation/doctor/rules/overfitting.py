"""The training loss falls: does the loss of held-out rows fall with it? Where it rises instead, rows are learnt by heart."""

from __future__ import annotations

import math
from itertools import pairwise

from plaudit.evaluation.doctor.evidence import Evidence, Points, finite, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, Status, unknown

WATCH, ACT, FAR = 0.02, 0.05, 0.2
"""Rise of the held-out loss from its lowest, as a share of that: two evaluations later, after three rises in a row, without."""
LEAST = 4
"""Evaluations."""
FLOOR = 0.1
"""A loss below this counts as this, so that a rise of next to nothing is none."""
METRICS = ("eval_accuracy", "eval_f1")
"""Where one of them is at its best, the rows are still told apart better: the loss rises because the model is too sure."""


def examine(evidence: Evidence) -> Reading:
    """The rise of the held-out loss from its lowest. It counts only where the training loss fell in the same time."""
    held = tuple(point for point in evidence.points("eval_loss") if math.isfinite(point[1]))
    trained = evidence.points("loss")
    if evidence.points("reward") or len(held) < LEAST or not finite(trained):
        return unknown(f"of a run that learns from files {LEAST} evaluations (eval_fraction or eval_file, and eval_steps)")
    best = min(range(len(held)), key=lambda place: held[place][1])
    (step, lowest), last = held[best], held[-1][1]
    risen = (last - lowest) / max(abs(lowest), FLOOR)
    then, now = _at(trained, step), recent(trained)[0]
    status = _status(held[best:], risen) if now < then else "ok"
    if status == "ok":
        return Reading("ok", risen)
    losses = f"the held-out loss went from {lowest:.3g} to {last:.3g}, that of training from {then:.3g} to {now:.3g}"
    causes = [f"since step {step:.0f} {losses}"]
    better = next((name for name in METRICS if _at_its_best(evidence.points(name))), None)
    if status == "act" and better is not None:
        status = "watch"
        causes.append(f"{better} is at its best all the same: the model is too sure, not yet worse")
    return Reading(status, risen, None, tuple(causes))


def _status(held: Points, risen: float) -> Status:
    """Of the evaluations from the lowest on."""
    rises = 0
    for before, after in reversed(list(pairwise(value for _, value in held))):
        if after <= before:
            break
        rises += 1
    if (rises >= 3 and risen > ACT) or (len(held) > 3 and risen > FAR):
        return "act"
    return "watch" if len(held) > 2 and risen > WATCH else "ok"


def _at(points: Points, step: float) -> float:
    """The training loss at an evaluation: the median of the last five steps until then, or of the first five."""
    until = tuple(point for point in points if point[0] <= step)
    return recent(until if finite(until) else points[:5])[0]


def _at_its_best(points: Points) -> bool:
    values = finite(points)
    return len(values) > 1 and values[-1] > max(values[:-1])


RULE = Rule(
    name="overfitting",
    number=21,
    about="Does the loss of held-out rows fall with that of training?",
    threshold="rise of the held-out loss from its lowest, as a share of that, where the training loss fell since: act above "
    "0.05 after three rises in a row, or above 0.2; watch above 0.02 two evaluations later, and instead of act where the "
    "held-out accuracy is at its best",
    source="house rule, after Prechelt 1998 (Early stopping: but when? Stop after s rises in a row)",
    causes=("too many epochs for so few rows", "rows that come twice (see duplicates)", "the learning rate is too high"),
    next="train again with early_stopping_patience=3 load_best_model_at_end=true, which keeps the model of the lowest loss; "
    "then num_train_epochs=1, more rows, or lora_dropout=0.05",
    examine=examine,
    metrics=("eval_loss", "loss"),
)
