"""The guard: what makes an alarm, what it does, and that it changes no bit of a run that goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from plaudit.config import load
from plaudit.schema import UserError
from plaudit.training.guard import Guard, GuardConfig, gate
from plaudit.training.run import sections, train

INDEPENDENT = {"independent_reward_funcs": ("gold",)}


def story(golds, *, rising=True, seed=0):
    """(step, metrics, record) of evaluations: the proxy rises, the independent score has these means; 40 prompts."""
    random = np.random.default_rng(seed)
    own = random.normal(size=40)
    for number, gold in enumerate(golds):
        proxy = own + (0.5 * number if rising else 0.0)
        scores = own + gold + 0.2 * random.normal(size=40)
        record = {"reward": proxy.tolist(), "length": [10] * 40, "independent": scores.tolist()}
        yield 10 * number, {"eval_reward": float(proxy.mean()), "eval_independent/mean": float(scores.mean())}, record


def heard(guard, told):
    """What a guard says of evaluations: (step, rule, action)."""
    return [(one.step, one.rule, one.action) for step in told for one in guard.evaluated(*step)]


RISE_AND_FALL = (0.0, 0.3, 0.5, 0.3, 0.1)


def test_the_turn_is_heard_at_the_evaluation_after_it():
    assert heard(Guard(GuardConfig(guard="stop", **INDEPENDENT)), story(RISE_AND_FALL)) == [(30, "over_optimisation", "stop")]


def test_a_fall_within_the_noise_waits_for_a_second_one():
    found = heard(Guard(GuardConfig(guard="stop", **INDEPENDENT)), story((0.0, 0.3, 0.5, 0.42, 0.38)))
    assert found == [(40, "over_optimisation", "stop")]


@pytest.mark.parametrize(
    ("golds", "rising"), [((0.0, 0.3, 0.5, 0.6, 0.7), True), (RISE_AND_FALL, False), ((0.3, 0.3, 0.3, 0.3), True)]
)
def test_no_alarm_where_the_measure_follows_or_the_proxy_stands_still(golds, rising):
    assert heard(Guard(GuardConfig(guard="stop", **INDEPENDENT)), story(golds, rising=rising)) == []


def steps(guard, kl, count=6, first=1):
    return [(one.rule, one.action) for i in range(count) for one in guard.step(first + i, {"objective/kl": kl, "refused": 0.0})]


def test_a_large_kl_is_an_alarm_only_where_the_measure_does_not_follow():
    """Without an independent measure it is a warning; with one that rises, nothing; with one that falls, what was asked for."""
    assert steps(Guard(GuardConfig(guard="stop")), 40.0) == [("kl_budget", "warn")]
    for golds, wanted in (((0.0, 0.5), []), ((0.5, 0.3), [("kl_budget", "stop")])):
        guard = Guard(GuardConfig(guard="stop", **INDEPENDENT))
        assert heard(guard, story(golds)) == [] or golds[1] < golds[0]
        assert steps(guard, 40.0, first=11) == wanted
        assert gate(guard.evidence()) == bool(wanted)


def test_a_budget_that_was_asked_for_holds_by_itself():
    assert steps(Guard(GuardConfig(guard="pause", guard_kl_budget=3.0)), 3.1) == [("kl_budget", "pause")]
    assert steps(Guard(GuardConfig(guard="pause", guard_kl_budget=3.0)), 2.9) == []
    assert steps(Guard(GuardConfig(guard="off", guard_kl_budget=3.0)), 3.1) == []


def test_one_odd_step_is_none_three_of_five_are():
    guard = Guard(GuardConfig(guard="stop"))
    told = [one for i, odd in enumerate((0, 1, 0, 1, 0, 1)) for one in guard.step(i + 1, {"refused": float(odd), "loss": 0.1})]
    assert [(one.step, one.rule, one.action) for one in told] == [(6, "numbers", "stop")] and guard.stopped
    assert heard_nan() == [(3, "numbers", "warn")]


def heard_nan():
    guard = Guard(GuardConfig())
    return [(one.step, one.rule, one.action) for i in range(4) for one in guard.step(i + 1, {"loss": float("nan")})]


@pytest.mark.parametrize("cut", range(5))
def test_a_guard_that_was_put_back_says_what_the_other_says(cut):
    """Checkpoint and logs after `cut` evaluations, with steps in between that are not finite."""
    options = GuardConfig(guard="stop", **INDEPENDENT)
    told = list(story(RISE_AND_FALL))
    whole, first, second = Guard(options), Guard(options), Guard(options)
    rows, records = [], []
    for number, (step, metrics, record) in enumerate(told):
        whole.evaluated(step, metrics, record)
        whole.step(step + 5, {"objective/kl": 2.0, "loss": float("nan")})
        if number < cut:
            first.evaluated(step, metrics, record)
            first.step(step + 5, {"objective/kl": 2.0, "loss": float("nan")})
            rows += [{"step": step, **metrics}, {"step": step + 5, "objective/kl": 2.0}]
            records.append({"step": step, **record})
    second.restore(json.loads(json.dumps(first.state())), json.loads(json.dumps(rows)), json.loads(json.dumps(records)))
    for step, metrics, record in told[cut:]:
        second.evaluated(step, metrics, record)
        second.step(step + 5, {"objective/kl": 2.0, "loss": float("nan")})
    assert second.state() == whole.state() and second.heard


class Quiet:
    def __init__(self):
        self.said = []

    def task(self, title, total): ...

    def advance(self, done, figures=None): ...

    def tell(self, text):
        self.said.append(text)


RULES = """
def proxy(completion_ids, **_):
    return [sum(i % 7 for i in ids) / 10 for ids in completion_ids]

def none(completion_ids, **_):
    return [None for _ in completion_ids]

def gold(completion_ids, **_):
    return [-sum(i % 7 for i in ids) / 10 for ids in completion_ids]
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rules.py").write_text(RULES)
    rows = [json.dumps({"prompt": f"Where is order {i}?"}) for i in range(12)]
    Path("prompts.jsonl").write_text("\n".join(rows) + "\n")
    return tmp_path


def run(place, *more, resume=False):
    words = [
        *("model_name_or_path=tiny", "bf16=false", "train_file=prompts.jsonl", "eval_fraction=0.3", "learning_rate=0.02"),
        *("reward_funcs=[rules.py:proxy]", "max_completion_length=6", "max_steps=6", "eval_steps=2", "num_generations=2"),
        *("per_device_train_batch_size=4", f"output_dir={place}", "max_prompt_length=64", "num_eval_prompts=4"),
        "independent_reward_funcs=[rules.py:gold]",
    ]
    classes, defaults = sections("rloo")
    quiet = Quiet()
    return train("rloo", load(classes, None, [*words, *more], defaults), resume=resume, progress=quiet), quiet.said


def weights(place):
    return (Path(place) / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval_fraction=0"], "needs held-out prompts"),
        (["independent_reward_funcs=[rules.py:none]"], "no held-out answer has an independent score"),
        (["guard=loud"], "guard"),
        (["guard_kl_budget=0"], "guard_kl_budget"),
    ],
)
def test_mistakes_are_one_sentence(shop, words, said):
    with pytest.raises(UserError, match=said):
        run("wrong", *words)


@pytest.mark.slow
def test_a_pause_and_its_resume_change_no_bit(shop):
    quiet, _ = run("quiet", "guard=off")
    paused, said = run("paused", "guard=pause", "guard_kl_budget=1e-4")
    assert paused["status"] == "paused" and paused["steps"] < 6
    assert any("kl_budget" in text for text in said)
    done, _ = run("paused", "guard=pause", "guard_kl_budget=1e-4", resume=True)
    assert done["status"] == "finished" and weights("paused") == weights("quiet")
    assert [one["action"] for one in done["alarms"]] == ["pause"] and "alarms" not in quiet
    lines = [Path(place, "evaluations.jsonl").read_text() for place in ("quiet", "paused")]
    assert lines[0] == lines[1] and lines[0].count("\n") == 4


@pytest.mark.slow
def test_a_stop_keeps_the_model_that_the_independent_measure_liked_best(shop):
    done, _ = run("stopped", "guard=stop", "eval_steps=1")
    lines = [json.loads(line) for line in Path("stopped/metrics.jsonl").read_text().splitlines()]
    golds = {row["step"]: row["eval_independent/mean"] for row in lines if "eval_independent/mean" in row}
    assert done["best"]["step"] == max(golds, key=lambda step: golds[step])
    assert done["best"]["eval_independent/mean"] == max(golds.values())


@pytest.mark.slow
def test_a_budget_stops_the_run_and_the_summary_says_why(shop):
    done, _ = run("stopped", "guard=stop", "guard_kl_budget=1e-4")
    assert done["status"] == "guarded" and done["steps"] < 6 and done["alarms"][0]["rule"] == "kl_budget"
    assert "guard, stop: kl_budget" in Path("stopped/events.log").read_text()
