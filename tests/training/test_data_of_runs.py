"""Mixtures and streaming in whole runs: the same weights to the last bit, killed or not, streamed or not."""

from __future__ import annotations

import json
import signal

import pytest

from nursery import At
from training_runs import QUESTIONS, Runs, same

MIXTURE = "train_file=[{path: ../demonstrations.jsonl, weight: 3}, {path: ../other.csv, weight: 1}]"


@pytest.fixture(scope="module")
def runs(nursery, tmp_path_factory):
    made = Runs(nursery, tmp_path_factory.mktemp("runs"))
    (made.root / "other.csv").write_text("prompt,completion\n" + "".join(f"{q} Or not?,On its way.\n" for q in QUESTIONS[:6]))
    alpaca = [{"instruction": q, "input": "", "output": "Here.", "system": "Be kind."} for q in QUESTIONS]
    (made.root / "alpaca.json").write_text(json.dumps(alpaca))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["sft", "reward", "kto", "ppo"])
def test_a_streamed_run_is_the_run(runs, verb):
    words = [*runs.words(verb), "streaming=true"]
    done = runs.start(f"streamed-{verb}", *words)
    assert done.code == 0 and "duplicates and leakage are not looked for" in done.err, done.err
    same(runs.root / f"streamed-{verb}" / "run", runs.whole(verb, False))


@pytest.mark.slow
def test_a_mixture_is_told_and_killed_it_ends_the_same(runs):
    words = [*runs.words("sft"), MIXTURE]
    done = runs.start("mixed", *words)
    assert done.code == 0, done.err
    told = [line for line in done.err.splitlines() if "rows of an epoch" in line]
    assert len(told) == 2 and "../demonstrations.jsonl: 20 of the 27 rows" in told[0] and "../other.csv: 7" in told[1], done.err
    assert runs.start("killed", *words, at=At(".checkpoint-3.tmp")).code == -signal.SIGKILL
    assert runs.start("killed", *words, "--resume").code == 0
    same(runs.root / "killed" / "run", runs.root / "mixed" / "run")
    streamed = runs.start("mixed-streamed", *words, "streaming=true")
    assert streamed.code == 0, streamed.err
    same(runs.root / "mixed-streamed" / "run", runs.root / "mixed" / "run")


@pytest.mark.slow
def test_other_layouts_and_conversions_are_told(runs):
    done = runs.start("alpaca", *runs.words("sft"), "train_file=../alpaca.json")
    assert done.code == 0 and "../alpaca.json: 24 demonstrations (alpaca)" in done.err, done.err
    done = runs.start("thumbs", *runs.words("kto"), "train_file=../pairs.jsonl")
    assert done.code == 0 and "24 pairs, taken as two labels: chosen 1, rejected 0" in done.err, done.err


def test_ratings_and_classes_are_refused_where_thumbs_are_needed(runs):
    for label, said in ((4, "has labels such as 4"), ("late", "has the classes late")):
        rows = [{"prompt": q, "completion": " Yes.", "label": label} for q in QUESTIONS]
        (runs.root / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sentence = runs.start("odd", *runs.words("kto"), "train_file=../odd.jsonl").refusal
        assert said in sentence and "only true and false" in sentence
    both = "train_file=[{path: ../pairs.jsonl, weight: 1}, ../pairs.jsonl]"
    assert "give every part a weight, or none" in runs.start("odd", *runs.words("reward"), both).refusal
