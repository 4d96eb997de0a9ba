"""The recipe of over-optimisation: its world by hand, and all of it once, small."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest


@pytest.fixture(scope="module")
def recipe(load_recipe):
    return load_recipe("over_optimisation")


def test_the_truth_rises_to_three_and_falls(recipe):
    assert recipe.toy.gold(["bcd", "a", "aabca", "aaaa", "a" * 16]) == [0, 1, 3, 2, -10]


def test_comparisons_follow_the_truth_with_its_noise(recipe):
    rows = recipe.toy.judged(["abc"] * 4000, [["bbb", "baa"]] * 4000, seed=1)
    share = sum(row["chosen"] == "baa" for row in rows) / 4000
    assert share == pytest.approx(0.8808, abs=0.02)  # 1 / (1 + e^-2)
    assert recipe.toy.judged(["abc"], [["bb", "bb"]], seed=1) == []


def test_the_page_says_where_it_turned_and_what_was_kept(recipe):
    ppo = [{"step": 8 * i, "kl": 2.0 * i, "proxy": 0.5 * i, "gold": gold} for i, gold in enumerate((1.0, 1.8, 0.2))]
    guard = {"step": 16, "gold": 1.75, "error": 0.05, "alarms": [{"step": 16, "action": "stop", "rule": "over_optimisation"}]}
    found = {
        "ppo": ppo,
        "guard": guard,
        "start": {"gold": 1.0},
        "turn": 8,
        "dpo": [{"kl": 1.0, "gold": 2.0}],
        "best_of_n": ppo[:1],
    }
    cells = [cell.strip() for cell in recipe.row_of(1, found).strip("|").split("|")]
    assert cells[:4] == ["1", "0.00 → 1.00", "1.00 → 1.80 → 0.20", "8 (KL 2.0)"]
    assert cells[4:7] == ["8", "16 (over_optimisation)", "1.75 ± 0.10"]
    assert "| DPO | 2.00 | 2.00 at 1.0 |" in recipe.frontier([found])
    assert recipe.picture([found], "gold", "Gold").count("<circle") == 5


def test_the_turn_is_the_last_evaluation_that_is_not_surely_below_the_highest(recipe):
    """It is .05 below with a standard error of .55, then .75 with one of .25."""
    top = np.array([2.0, 2.0, 2.0, 2.0])
    noise, fallen = np.array([1.0, 2.9, 1.0, 2.9]), np.array([1.0, 1.0, 1.0, 2.0])
    assert recipe.turn([(0, top - 1), (8, top), (16, noise), (24, fallen), (32, top)]) == 16
    assert recipe.turn([(0, top), (8, fallen)]) == 0


@pytest.mark.slow
def test_everything_runs_and_is_not_run_twice(recipe, tmp_path, monkeypatch, capsys):
    for name, value in (
        ("TRAIN", 64),
        ("HELD_OUT", 16),
        ("EVALUATED", 16),
        ("SAMPLES", 4),
        ("STEPS", 2),
        ("EVERY", 1),
        ("BETAS", (0.1,)),
    ):
        monkeypatch.setattr(recipe, name, value)
    small = {"max_steps": 2, "eval_steps": 1, "save_steps": 1, "num_eval_prompts": 16, "per_device_train_batch_size": 8}
    monkeypatch.setattr(recipe, "PPO", {**recipe.PPO, **small})
    monkeypatch.setattr(recipe, "best_of_n", lambda *given, whole=recipe.best_of_n: whole(*given, sizes=(1, 2, 4)))
    page = tmp_path / "page.md"
    words = ["recipe", "--out", str(tmp_path / "out"), "--seeds", "1", "--write", str(page)]
    monkeypatch.setattr(sys, "argv", words)
    recipe.main()
    found = json.loads((tmp_path / "out" / "seed1" / "result.json").read_text())
    assert [point["step"] for point in found["ppo"]] == [0, 1, 2] and found["ppo"][0]["kl"] == pytest.approx(0, abs=1e-3)
    assert len(found["dpo"]) == 1 and found["dpo"][0]["kl"] > -0.5
    assert "| 1 | " in page.read_text() and (tmp_path / "over-optimisation-gold.svg").read_text().startswith("<")
    before = page.read_text()
    recipe.main()  # from what is kept
    assert page.read_text().splitlines()[4:] == before.splitlines()[4:]
