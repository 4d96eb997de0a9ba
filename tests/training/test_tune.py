"""A search: lucky seeds lose, a killed search ends the same, and what it writes runs."""

from __future__ import annotations

import json
import math
import re
import signal
import statistics

import pytest
import yaml

from nursery import At
from plaudit.schema import UserError
from plaudit.training.tuning.plan import Plan, Space, TuneConfig, load, spread
from training_runs import write_data

pytest.importorskip("optuna")

TUNE = """
verb: sft
model_name_or_path: tiny
train_file: ../demonstrations.jsonl
bf16: false
max_steps: 3
eval_steps: 1
per_device_train_batch_size: 4
output_dir: tuned
seed: 5
search:
  learning_rate: {low: 1e-5, high: 1e-2, log: true}
  lr_scheduler_type: [linear, constant]
  warmup_steps: {low: 0, high: 2}
trials: 5
seeds: 2
finalists: 2
final_seeds: 2
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("tune"))


@pytest.fixture
def place(root, request):
    folder = root / re.sub(r"\W", "_", request.node.name)
    folder.mkdir()
    (folder / "tune.yaml").write_text(TUNE)
    return folder


@pytest.fixture(scope="module")
def whole(root, nursery):
    """A search that nothing interrupted: its folder and its summary."""
    folder = root / "whole"
    folder.mkdir()
    (folder / "tune.yaml").write_text(TUNE)
    done = nursery.run("tune", "tune.yaml", "--json", cwd=folder)
    assert done.code == 0, done.err
    return folder, json.loads(done.out)


def plan(text: str, tmp_path) -> Plan:
    (tmp_path / "tune.yaml").write_text(text)
    return load(tmp_path / "tune.yaml")


def test_mean_and_standard_error_by_hand():
    assert spread([1.0, 2.0, 3.0, 6.0]) == (3.0, pytest.approx(math.sqrt(14 / 3) / 2))
    assert spread([4.0]) == (4.0, 0.0)


@pytest.mark.parametrize(
    ("objective", "direction", "worth"),
    [("bound", "minimize", 3.5), ("bound", "maximize", 2.5), ("mean", "minimize", 3.0), ("median", "maximize", 3.0)],
)
def test_the_bound_is_one_standard_error_to_the_worse_side(tmp_path, objective, direction, worth):
    made = plan(TUNE + f"objective: {objective}\nmetric: eval_loss\ndirection: {direction}\n", tmp_path)
    assert made.worth([2.5, 3.5]) == pytest.approx(worth)


def test_the_algorithms_own_metric_is_taken_where_none_is_named(tmp_path):
    assert (plan(TUNE, tmp_path).metric, plan(TUNE, tmp_path).direction) == ("eval_loss", "minimize")
    online = TUNE.replace("verb: sft", "verb: grpo").replace("demonstrations", "prompts")
    assert (plan(online, tmp_path).metric, plan(online, tmp_path).direction) == ("eval_reward", "maximize")
    with pytest.raises(UserError, match="direction is needed with metric: eval_entropy"):
        plan(TUNE + "metric: eval_entropy\n", tmp_path)


def test_ranges_know_whether_they_are_of_whole_numbers(tmp_path):
    made = {space.name: space for space in plan(TUNE, tmp_path).space}
    assert made["warmup_steps"] == Space("warmup_steps", low=0, high=2, whole=True)
    assert made["learning_rate"] == Space("learning_rate", low=1e-5, high=1e-2, log=True)
    assert made["lr_scheduler_type"].choices == ("linear", "constant")


def test_every_mistake_is_told_before_anything_is_trained(place, nursery):
    text = TUNE.replace("warmup_steps: {low: 0", "warmup_stepz: {low: 0").replace("[linear, constant]", "[linear, cubic]")
    text = text.replace("low: 1e-5, high: 1e-2", "low: 0, high: 1e-2").replace("max_steps: 3", "max_steps: 0")
    (place / "tune.yaml").write_text(text)
    done = nursery.run("tune", "tune.yaml", cwd=place)
    assert done.code == 2 and not (place / "tuned").exists()
    assert done.err.startswith("plaudit: 4 mistakes in the search:")
    for words in (
        "there is no option warmup_stepz; did you mean warmup_steps?",
        "lr_scheduler_type must be one of constant, constant_with_warmup, linear, cosine",
        "learning_rate needs low below high, and above 0 where it is log",
        "max_steps must be an integer, 1 or more",
    ):
        assert words in done.err, words


@pytest.mark.slow
def test_the_winner_is_the_best_over_seeds_that_the_search_had_not_seen(whole):
    folder, summary = whole
    assert summary["trials"]["complete"] + summary["trials"]["pruned"] == 5 and summary["trials"]["failed"] == 0
    assert summary["best"] == summary["finals"][0] and len(summary["finals"]) == 2
    for row in summary["finals"]:
        assert row["mean"] == pytest.approx(statistics.fmean(row["values"]))
        assert row["objective"] == pytest.approx(row["mean"] + statistics.stdev(row["values"]) / math.sqrt(2))
    assert summary["finals"][0]["objective"] <= summary["finals"][1]["objective"]
    seeds = {int(path.name.removeprefix("seed-")) for path in (folder / "tuned/trials").glob("*/seed-*")}
    fresh = {int(path.name.removeprefix("seed-")) for path in (folder / "tuned/finals").glob("*/seed-*")}
    assert len(seeds) >= 9 and len(fresh) == 2 and not seeds & fresh
    assert not list((folder / "tuned").rglob("model.safetensors")), "figures are kept, weights are not"


def test_the_report_shows_the_search(whole):
    folder, _ = whole
    text = (folder / "tuned/report.html").read_text()
    for words in ("History", "learning_rate", "lr_scheduler_type", "Finals", "standard error", "<circle"):
        assert words in text
    assert "http:" not in text.replace("http://www.w3.org", "") and "https:" not in text


def test_best_yaml_trains(whole, nursery):
    folder, summary = whole
    done = nursery.run("train", "sft", "tuned/best.yaml", "--json", cwd=folder)
    assert done.code == 0, done.err
    config = yaml.safe_load((folder / "tuned/best/config.yaml").read_text())
    for name, value in summary["best"]["options"].items():
        assert config[name] == pytest.approx(value) if isinstance(value, float) else config[name] == value


@pytest.mark.slow
@pytest.mark.parametrize(("text", "nth"), [("trials/0002", 9), ("trials/0000", 50), ("finals.json", 3), ("trials/0001", 30)])
def test_a_killed_search_goes_on_and_ends_the_same(whole, place, nursery, text, nth):
    _, summary = whole
    assert nursery.run("tune", "tune.yaml", cwd=place, at=At(text, nth)).code == -signal.SIGKILL
    done = nursery.run("tune", "tune.yaml", "--json", cwd=place)
    assert done.code == 0, done.err
    again = json.loads(done.out)
    assert {**again, "seconds": 0} == {**summary, "seconds": 0}


@pytest.mark.slow
def test_ctrl_c_stops_it_and_the_same_command_goes_on(whole, place, nursery):
    _, summary = whole
    stopped = nursery.run("tune", "tune.yaml", cwd=place, at=At("checkpoint-2", signal=signal.SIGINT))
    assert stopped.code == 130 and "the same command goes on" in stopped.err
    done = nursery.run("tune", "tune.yaml", "--json", cwd=place)
    assert json.loads(done.out)["finals"] == summary["finals"]


@pytest.mark.slow
def test_another_search_is_refused_and_more_trials_are_not(whole, nursery):
    folder, _ = whole
    sentence = nursery.run("tune", "tune.yaml", "seeds=3", cwd=folder).refusal
    assert "tuned holds another search: seeds was 2 and is now 3" in sentence
    done = nursery.run("tune", "tune.yaml", "trials=6", "--json", cwd=folder)
    assert done.code == 0 and sum(json.loads(done.out)["trials"].values()) == 6


@pytest.mark.slow
def test_a_trial_that_fails_is_counted_and_one_that_always_fails_ends_the_search(place, nursery):
    words = ["search={learning_rate: [1e30], lr_scheduler_type: [constant]}", "max_steps=8", "seeds=1"]
    sentence = nursery.run("tune", "tune.yaml", *words, cwd=place).refusal
    assert sentence.startswith("the first 3 trials failed, so the search ends; the last one said: 3 steps in a row")


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_hopeless_trials_are_pruned(place, nursery, pruner):
    words = ["search={learning_rate: [1e-3, 1e-9]}", f"pruner={pruner}", "trials=8", "seeds=1", "max_steps=6", "final_seeds=1"]
    done = nursery.run("tune", "tune.yaml", *words, "--json", cwd=place)
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["trials"]["pruned"] >= 1 and summary["best"]["options"]["learning_rate"] == 1e-3


def test_the_defaults_are_what_the_page_says():
    made = TuneConfig(verb="sft", search={})
    assert (made.trials, made.seeds, made.objective, made.pruner, made.finalists, made.final_seeds) == (
        20,
        2,
        "bound",
        "median",
        3,
        3,
    )
