"""Pre-flight: a turn that was planted is found with its coefficient, and none is made up."""

from __future__ import annotations

import json

import numpy as np
import pytest

from plaudit.cli.main import main
from plaudit.evaluation.preflight import preflight, sizes_of, tilted
from plaudit.evaluation.preflight_page import preflight_page


def world(prompts=200, samples=32, cheats=0.03, seed=0):
    """Gold is a normal number; a few answers please the proxy and nobody else."""
    rng = np.random.default_rng(seed)
    gold, cheat = rng.normal(size=(prompts, samples)), rng.random((prompts, samples)) < cheats
    return gold + 4 * cheat, gold - 4 * cheat


def test_sizes():
    assert sizes_of(8) == [1, 2, 4, 8] and sizes_of(12) == [1, 2, 4, 8, 12] and sizes_of(4) == [1, 2, 4]


def test_a_planted_turn_is_found_and_a_coefficient_that_stays_before_it():
    told = preflight(*world())
    assert told["advice"]["verdict"] == "turns" and told["best_n"] in (4, 8)
    low, high = told["turning_point"]["kl_ci"]
    assert low < told["advice"]["config"]["kl_target"] < high + 0.5
    rewards = [row["reward"] for row in told["best_of_n"]]
    assert rewards == sorted(rewards) and told["best_of_n"][-1]["independent"] < max(
        r["independent"] for r in told["best_of_n"]
    )
    chosen = told["advice"]["config"]["kl_coef"]
    near = min(told["tilted"], key=lambda row: abs(row["kl_coef"] - chosen))
    looser = [row for row in told["tilted"] if row["kl_coef"] < near["kl_coef"] / 3]
    assert (
        all(row["independent"] < near["independent"] for row in looser)
        and near["independent"] > told["best_of_n"][0]["independent"]
    )


def test_no_turn_is_made_up_and_a_reward_that_only_harms_is_named():
    honest, _ = world(cheats=0)
    told = preflight(honest, honest)
    assert told["advice"]["verdict"] == "does not turn" and "kl_target" not in told["advice"]["config"]
    assert preflight(honest, -honest)["advice"]["verdict"] == "gains nothing"
    few = preflight(*(table[:20] for table in world()))
    assert "few" in few["advice"]["says"]
    assert preflight(honest, None)["advice"]["verdict"] == "unknown"


def test_tilted_samples_are_the_optimum_of_reward_less_kl():
    """Against the closed form for normal rewards: tilting by r / beta moves the mean by var / beta at KL var / (2 beta^2)."""
    rng = np.random.default_rng(1)
    reward = rng.normal(size=(40, 20000))
    rows = [row for row in tilted(reward, reward) if 0.8 < row["kl_coef"] < 4]
    assert rows
    for row in rows:
        assert row["reward"] == pytest.approx(1 / row["kl_coef"], abs=0.03)
        assert row["kl"] == pytest.approx(0.5 / row["kl_coef"] ** 2, abs=0.03)


def test_the_verb_samples_scores_and_writes(tmp_path, capsys):
    (tmp_path / "rules.py").write_text(
        "def proxy(completion_ids, **_):\n    return [float(sum(ids) % 17) for ids in completion_ids]\n"
        "def gold(completion_ids, **_):\n    return [v - 3 * (v > 14) for v in proxy(completion_ids)]\n"
    )
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(6)))
    base = ["preflight", "tiny", str(tmp_path / "prompts.jsonl"), "max_new_tokens=4", "-n", "8"]
    words = [*base, f"reward_funcs=[{tmp_path}/rules.py:proxy]"]
    page = tmp_path / "page.html"
    with pytest.raises(SystemExit) as end:
        main([*words, f"independent_reward_funcs=[{tmp_path}/rules.py:gold]", "--json", "--output", str(page)])
    told = json.loads(capsys.readouterr().out)
    assert (
        not end.value.code and [row["n"] for row in told["best_of_n"]] == [1, 2, 4, 8] and told["prompts_without_scores"] == 0
    )
    assert told["advice"]["verdict"].capitalize() in page.read_text() and "http" not in page.read_text().split("</style>")[1]
    for more, says in (
        ([], "needs the reward"),
        ([f"reward_funcs=[{tmp_path}/rules.py:proxy]", "temperature=0"], "same one each time"),
    ):
        with pytest.raises(SystemExit) as end:
            main([*base, *more])
        assert end.value.code == 2 and says in capsys.readouterr().err


def test_names_on_the_page_are_text():
    assert "<b>" not in preflight_page("<b>", "<b>", preflight(world(10, 4)[0], None)).split("</style>")[1].replace(
        "<b></b>", ""
    )
