"""The guard of runs that learn from a file: rows learnt by heart, answers that become unlikely, a loss that blows up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plaudit.config import load
from plaudit.training.guard import AlarmConfig, Guard
from plaudit.training.run import sections, train

BY_HEART = (1.0, 0.8, 0.82, 0.85, 0.9, 0.95)
"""Held-out losses: the third rise in a row is the evaluation at step 20."""


def story(held, *, falls=True):
    """(step, metrics of that step, metrics of the evaluation after it or None): one evaluation in five steps, one at 0."""
    yield 0, None, {"eval_loss": held[0]}
    for step in range(1, 5 * len(held) - 4):
        loss = 2.0 - 0.05 * step if falls else 1.0 + 0.02 * step
        evaluation = {"eval_loss": held[step // 5]} if step % 5 == 0 else None
        yield step, {"loss": loss, "refused": 0.0}, evaluation


def heard(guard, told):
    found = []
    for step, metrics, evaluation in told:
        if metrics is not None:
            found += guard.step(step, metrics)
        if evaluation is not None:
            found += guard.evaluated(step, evaluation, None)
    return [(one.step, one.rule, one.action) for one in found]


@pytest.mark.parametrize("action", ["warn", "pause", "stop"])
def test_rows_learnt_by_heart_are_heard_once_at_the_third_rise(action):
    guard = Guard(AlarmConfig(guard=action))
    assert heard(guard, story(BY_HEART)) == [(20, "overfitting", action)] and guard.stopped == (action == "stop")
    assert "early_stopping_patience" in guard.heard[0]["text"]


@pytest.mark.parametrize(
    ("held", "falls"),
    [((1.0, 0.8, 0.7, 0.65, 0.62, 0.6), True), (BY_HEART, False), ((1.0, 0.8, 0.82, 0.79, 0.82, 0.8), True)],
)
def test_no_alarm_where_the_held_out_loss_follows_or_the_training_loss_rises_too(held, falls):
    assert heard(Guard(AlarmConfig(guard="stop")), story(held, falls=falls)) == []
    assert heard(Guard(AlarmConfig(guard="off")), story(BY_HEART)) == []


def test_the_training_loss_is_remembered_from_when_the_held_out_loss_was_lowest():
    """At step 10 it was .5, neither among the first steps nor the last; since then it rose, so nothing is learnt by heart."""

    def told(later):
        for step, metrics, evaluation in story((1.0, 0.9, 0.8, 0.82, 0.85, 0.9)):
            loss = 2.0 if step < 6 else 0.5 if step < 11 else later
            yield step, metrics and {**metrics, "loss": loss}, evaluation

    assert heard(Guard(AlarmConfig(guard="stop")), told(later=0.6)) == []
    assert heard(Guard(AlarmConfig(guard="stop")), told(later=0.4)) == [(25, "overfitting", "stop")]


def pairs(chosen, right):
    for number, (logp, accuracy) in enumerate(zip(chosen, right, strict=True)):
        yield 10 * number, None, {"eval_loss": 0.6, "eval_logps/chosen": logp, "eval_rewards/accuracies": accuracy}


def test_better_answers_that_become_unlikely_count_where_the_accuracy_gains_nothing():
    chosen = (-20.0, -22, -25, -29)
    assert heard(Guard(AlarmConfig(guard="stop")), pairs(chosen, (0.8, 0.8, 0.79, 0.8))) == [(30, "displacement", "stop")]
    assert heard(Guard(AlarmConfig(guard="stop")), pairs(chosen, (0.5, 0.6, 0.7, 0.8))) == []


def losses(values):
    for step, value in enumerate(values, 1):
        yield step, {"loss": value, "refused": 0.0}, None


def test_a_loss_that_blows_up_and_one_that_is_no_number():
    """Of 5 last losses three are above 3 times the first median: at the third step after the jump."""
    told = heard(Guard(AlarmConfig(guard="stop")), losses([1.0] * 12 + [4.0] * 6))
    assert told == [(15, "numbers", "stop")]
    assert heard(Guard(AlarmConfig()), losses([1.0, float("nan"), float("nan"), float("nan")])) == [(4, "numbers", "warn")]
    assert heard(Guard(AlarmConfig()), losses([1.0] * 12 + [2.0] * 6)) == []


@pytest.mark.parametrize("cut", [3, 9, 14, 19])
def test_a_guard_that_was_put_back_says_what_the_other_says(cut):
    """Checkpoint and log after `cut` steps; logs hold every third step only, as with logging_steps=3."""
    options = AlarmConfig(guard="pause")
    told = list(story(BY_HEART))
    whole, first, second = Guard(options), Guard(options), Guard(options)
    heard(whole, told)
    before, after = [one for one in told if one[0] <= cut], [one for one in told if one[0] > cut]
    heard(first, before)
    rows = [{"step": step, **metrics} for step, metrics, _ in before if metrics is not None and step % 3 == 0]
    rows += [{"step": step, **found} for step, _, found in before if found is not None]
    second.restore(json.loads(json.dumps(first.state())), json.loads(json.dumps(rows)), [])
    assert heard(second, after) == [(20, "overfitting", "pause")] and second.state() == whole.state()


class Quiet:
    def task(self, title, total): ...

    def advance(self, done, figures=None): ...

    def tell(self, text): ...


def run(place, *more):
    words = [
        *("model_name_or_path=tiny", "bf16=false", "train_file=few.jsonl", "eval_file=others.jsonl", "learning_rate=0.02"),
        *("per_device_train_batch_size=8", "max_steps=40", "eval_steps=3", f"output_dir={place}"),
        *("lr_scheduler_type=constant", "warmup_steps=0"),
    ]
    classes, defaults = sections("sft")
    return train("sft", load(classes, None, [*words, *more], defaults), progress=Quiet())


def weights(place):
    return (Path(place) / "model" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_is_stopped_with_the_model_of_its_best_evaluation(tmp_path, monkeypatch):
    """Eight rows with one answer, and others that all have another: what is learnt holds for none of those. Unwatched, the run
    keeps the same bits."""
    monkeypatch.chdir(tmp_path)
    for name, answer, count in (("few", " sent", 8), ("others", " lost", 24)):
        rows = [json.dumps({"prompt": f"Where is {name} {i}?", "completion": answer}) for i in range(count)]
        Path(f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    stopped = run("stop", "guard=stop")
    assert stopped["status"] == "guarded" and stopped["steps"] < 40
    assert [one["rule"] for one in stopped["alarms"]] == ["overfitting"] and stopped["best"]["step"] < stopped["steps"]
    free = run("off", "guard=off", f"max_steps={stopped['steps']}")
    assert free["status"] == "finished" and "alarms" not in free
    assert free["best"] == stopped["best"] and weights("off") == weights("stop")
