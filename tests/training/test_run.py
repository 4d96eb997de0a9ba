"""Runs that are killed, stopped, repeated: the end is the same to the last bit, and no file is ever half."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nursery import At
from plaudit.models.load import load
from training_runs import FIRST, KINDS, Runs, same


@pytest.fixture(scope="module")
def runs(nursery, tmp_path_factory):
    return Runs(nursery, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def place(request):
    """A folder name of this test's own."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)


def finish(runs, place, words, whole):
    """Go on to the end, and compare it with the run that nothing interrupted."""
    done = runs.start(place, *words, "--resume")
    assert done.code == 0, done.err
    same(runs.root / place / "run", whole)
    left = {path.name for path in (runs.root / place / "run").rglob(".*")}
    assert left <= {".lock"}, "nothing half-written stays behind"
    return done


# -- kill -9 ----------------------------------------------------------------------------------------------------------------

POINTS = (
    (At("metrics.jsonl", 3), At(".checkpoint-4.tmp", 7)),  # in the log of a step; between two moves of a checkpoint
    (At("metrics.jsonl", 1), At(".checkpoint-3.tmp", 3)),  # before the first checkpoint; while one is written
    (At(".gone", 2), At(".model.", 4)),  # while one is deleted; while the model is saved
)


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "peft", "points"), [(*kind, POINTS[i % 3]) for i, kind in enumerate(KINDS)])
def test_killed_twice_it_ends_the_same(runs, place, verb, peft, points):
    words, whole = runs.words(verb, peft), runs.whole(verb, peft)
    for point in points:
        done = runs.start(place, *words, "--resume", at=point)
        assert done.code == -signal.SIGKILL, done.err
        model = runs.root / place / "run" / "model"
        assert not model.exists(), "a model folder is there whole or not at all"
    finish(runs, place, words, whole)


@pytest.mark.slow
@pytest.mark.parametrize("verb", FIRST)
def test_killed_in_a_process_of_its_own_it_ends_the_same(runs, place, verb):
    """A fresh interpreter; the kill comes from outside, once the log has its third line."""
    words, folder = [sys.executable, "-m", "plaudit", *runs.words(verb)], runs.root / place
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        log = folder / "run" / "metrics.jsonl"
        while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= 3):
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    finish(runs, place, runs.words(verb), runs.whole(verb, False))


@pytest.mark.slow
def test_killed_between_model_and_summary(runs, place):
    words, whole = runs.words("sft"), runs.whole("sft", False)
    assert runs.start(place, *words, at=At("summary.json")).code == -signal.SIGKILL
    model = runs.root / place / "run" / "model"
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    finish(runs, place, words, whole)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_a_torn_newest_checkpoint_falls_back_and_ends_the_same(runs, place):
    words, whole = runs.words("sft"), runs.whole("sft", False)
    assert runs.start(place, *words, at=At(".checkpoint-4.tmp")).code == -signal.SIGKILL
    os.truncate(runs.root / place / "run" / "checkpoint-3" / "policy.safetensors", 1000)
    done = finish(runs, place, words, whole)
    assert "checkpoint-3 is torn (policy.safetensors is not what was written)" in done.err
    assert "going on after step 2 of 5" in done.err


# -- SIGTERM and Ctrl-C -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("verb", FIRST)
def test_a_signal_writes_a_checkpoint_and_exits(runs, place, verb, number):
    words, whole = runs.words(verb), runs.whole(verb, False)
    done = runs.start(place, *words, "save_steps=100", "--json", at=At("metrics.jsonl", 3, number))
    assert done.code == 128 + number
    last = [line for line in done.err.splitlines() if not line.startswith("training: ")][-2:]
    assert last[0] == f"{number.name}: a checkpoint is written after what is under way"
    assert last[1] == "stopped after step 1; go on with --resume" and "Traceback" not in done.err
    assert json.loads(done.out)["status"] == number.name
    assert (runs.root / place / "run" / "checkpoint-1" / "manifest.json").exists()
    assert not (runs.root / place / "run" / "model").exists()
    done = runs.start(place, *words, "save_steps=100", "--resume")
    assert done.code == 0 and "going on after step 1 of 5" in done.err
    same(runs.root / place / "run", whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(runs, place, number):
    words, whole = runs.words("sft"), runs.whole("sft", False)
    done = runs.start(place, *words, at=At("run/.checkpoint-3.tmp", 2, number, times=2))
    assert done.code == 128 + number and "Traceback" not in done.err
    assert ("Stopped." in done.err) == (number == signal.SIGINT)
    finish(runs, place, words, whole)


# -- resume -----------------------------------------------------------------------------------------------------------------


def test_resuming_a_finished_run_says_so_and_trains_nothing(runs):
    whole = runs.whole("sft", False)
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")}
    done = runs.start("sft-False", *runs.words("sft"), "--resume", "--json")
    assert done.code == 0 and done.err == "run is finished: there is nothing to go on with\n"
    assert json.loads(done.out) == json.loads((whole / "summary.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")} == before


def test_resume_where_nothing_was_begun_starts_from_the_beginning(runs, place):
    done = finish(runs, place, runs.words("sft"), runs.whole("sft", False))
    assert "no checkpoint yet: starting from the beginning" in done.err


# -- what training itself decides -------------------------------------------------------------------------------------------


def log_of(runs, place):
    return [json.loads(line) for line in (runs.root / place / "run" / "metrics.jsonl").read_text().splitlines()]


def test_the_best_checkpoint_is_the_model_that_is_saved(runs, place):
    """Weights that only get worse: the model is the one of step 0, which is the base."""
    done = runs.start(place, *runs.words("sft"), "learning_rate=2", "save_total_limit=1")
    assert done.code == 0, done.err
    run = runs.root / place / "run"
    losses = {line["step"]: line["eval_loss"] for line in log_of(runs, place) if "eval_loss" in line}
    assert list(losses) == [0, 2, 4, 5] and min(losses, key=losses.get) == 0
    assert json.loads((run / "summary.json").read_text())["best"] == {"step": 0, "eval_loss": losses[0]}
    base = load("tiny").model.state_dict()
    assert all(torch.equal(value, base[name]) for name, value in load_file(run / "model" / "model.safetensors").items())
    assert {path.name for path in run.glob("checkpoint-*")} == {"checkpoint-0", "checkpoint-5"}


def test_the_last_weights_are_saved_where_that_is_asked_for(runs, place):
    runs.start(place, *runs.words("sft"), "learning_rate=0.5", "load_best_model_at_end=false")
    run = runs.root / place / "run"
    saved, last = load_file(run / "model" / "model.safetensors"), load_file(run / "checkpoint-5" / "policy.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in last.items() if name in saved)


@pytest.mark.slow
def test_early_stopping_stops_and_stays_stopped(runs, place):
    words = [*runs.words("sft"), "learning_rate=0.5", "early_stopping_patience=1", "max_steps=20"]
    killed = runs.start(place, *words, at=At(".model."))
    assert killed.code == -signal.SIGKILL
    assert [line["step"] for line in log_of(runs, place)] == [0, 1, 2, 2]
    done = runs.start(place, *words, "--resume", "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["status"], summary["steps"], summary["best"]["step"]) == ("early", 2, 0)
    assert [line["step"] for line in log_of(runs, place)] == [0, 1, 2, 2]


def test_evaluation_happens_at_the_beginning_and_at_the_end_without_eval_steps(runs, place):
    runs.start(place, *runs.words("sft"), "eval_steps=null")
    assert [line["step"] for line in log_of(runs, place) if "eval_loss" in line] == [0, 5]


def test_checkpoints_come_with_eval_steps_even_without_held_out_rows(runs, place):
    words = [*runs.words("sft"), "eval_fraction=0", "save_steps=null"]
    assert runs.start(place, *words, at=At("metrics.jsonl", 9)).code in (0, -signal.SIGKILL)
    assert {path.name for path in (runs.root / place / "run").glob("checkpoint-*")} >= {"checkpoint-4"}


def test_losses_that_are_not_finite_are_refused_and_stop_the_run_with_advice(runs, place):
    words = [*runs.words("sft"), "learning_rate=1e30", "warmup_steps=0", "lr_scheduler_type=constant", "max_steps=20"]
    sentence = runs.start(place, *words).refusal
    assert sentence.startswith("3 steps in a row had a loss or gradient that was not finite (the last is step 4)")
    assert "lower learning_rate" in sentence
    run = runs.root / place / "run"
    assert [line["refused"] for line in log_of(runs, place) if "refused" in line] == [0.0, 1.0, 1.0, 1.0]
    assert (run / "events.log").read_text().count("refused: its loss or gradient was not finite") == 3
    assert (run / "checkpoint-4").is_dir() and not (run / "model").exists()
    first, last = (load_file(run / f"checkpoint-{step}" / "policy.safetensors") for step in (3, 4))
    assert all(torch.equal(first[name], last[name]) for name in first), "refused steps change no weight"


def test_weights_that_cannot_be_sampled_from_stop_the_run_with_advice(runs, place):
    sentence = runs.start(place, *runs.words("ppo"), "learning_rate=1e30", "warmup_steps=0").refusal
    assert "not finite" in sentence and "lower learning_rate" in sentence


def test_a_run_shows_in_its_folder_what_happened(runs):
    run = runs.whole("ppo", False)
    names = {path.name for path in Path(run).iterdir()}
    assert names >= {"config.yaml", "inputs.json", "metrics.jsonl", "samples.jsonl", "trace.json", "summary.json", "model"}
    assert set(json.loads((run / "inputs.json").read_text())) == {"model_name_or_path", "train_file", "ptx_file"}
