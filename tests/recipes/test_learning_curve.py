"""The recipe of learning curves: where a curve gets to, and Plaudit's side of it once, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def recipe(load_recipe):
    return load_recipe("learning_curve")


def curve(*golds, pace=2.0):
    return [{"step": 4 * i, "seconds": pace * i, "gold": gold, "error": 0.1} for i, gold in enumerate(golds)]


def test_a_favoured_letter_is_one_point(recipe):
    assert recipe.toy.favoured(["abc", "ddd", "", "aXbY"]) == [3, 0, 0, 2]


def test_pairs_may_follow_another_rule_than_gold(recipe):
    rows = recipe.toy.judged(["abc"] * 500, [["a" * 16, "d" * 16]] * 500, 1, recipe.toy.favoured)
    assert {row["chosen"] for row in rows} == {"a" * 16}  # sixteen points apart; gold itself says the opposite


def test_where_a_curve_gets_to(recipe):
    points = curve(4.0, 6.0, 10.0)
    assert recipe.reaches(points, 5.0, "step") == 2.0  # half of the first four steps
    assert recipe.reaches(points, 9.0, "seconds") == 2.0 + 0.75 * 2.0
    assert recipe.reaches(points, 11.0, "step") == float("inf")


def test_a_row_compares_at_the_same_gold_score(recipe):
    found = {"ours": curve(4.0, 9.0, 14.0, pace=1.0), "theirs": curve(4.0, 8.0, 12.0, pace=4.0)}
    cells = [cell.strip() for cell in recipe.row_of(7, found).strip("|").split("|")]
    # nine tenths of the way from 4 to 12 are 11.2: ours at 5.76 steps and 1.44 s, theirs at 7.2 steps and 7.2 s
    assert cells == ["7", "4.00", "14.00 ± 0.20", "12.00 ± 0.20", "11.20", "369", "461", "1", "7", "5.0"]
    assert recipe.picture([found], "step", 64, "answers").count("<circle") == 6


def test_seconds_are_those_of_steps_alone(recipe):
    lines = [
        {"step": 0, "eval_independent/mean": 1.0, "eval_independent/std": 2.0, "time/evaluate": 50.0},
        {"step": 1, "time/step": 0.5},
        {"step": 2, "time/step": 0.25},
        {"step": 2, "eval_independent/mean": 3.0, "eval_independent/std": 2.0, "time/evaluate": 50.0},
    ]
    assert [(p["step"], p["seconds"], p["gold"]) for p in recipe.curve_of(lines)] == [(0, 0.0, 1.0), (2, 0.75, 3.0)]


@pytest.mark.slow
def test_our_side_runs_and_the_job_names_what_trl_needs(recipe, tmp_path, monkeypatch):
    for name, value in (("TRAIN", 64), ("HELD_OUT", 16), ("STEPS", 2), ("EVERY", 1)):
        monkeypatch.setattr(recipe, name, value)
    monkeypatch.setattr(recipe, "OPTIONS", {**recipe.OPTIONS, "per_device_train_batch_size": 8})
    handed = {}

    def stand_in(command, result, log):  # TRL has an environment of its own, which tests do not make
        handed.update(json.loads(Path(command[2]).read_text()))
        return {"points": curve(4.0, 5.0, 6.0)}

    monkeypatch.setattr(recipe, "peer", lambda *given: (None, Path("python")))
    monkeypatch.setattr(recipe, "run", stand_in)
    found = recipe.seed_of(tmp_path, 1, tmp_path)
    assert [point["step"] for point in found["ours"]] == [0, 1, 2]
    assert (len(handed["prompts"]), len(handed["held_out"])) == (64, 16)
    assert (Path(handed["reward"]) / "model.safetensors").exists() and (Path(handed["policy"]) / "model.safetensors").exists()
    assert recipe.seed_of(tmp_path, 1, tmp_path) == json.loads((tmp_path / "seed1" / "result.json").read_text())
