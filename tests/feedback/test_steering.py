"""Runs steered from the pages and by programs: paused, stopped, branched; and by whom they are not."""

from __future__ import annotations

import os

import pytest

from feedback_world import Browser, account, running
from plaudit.training.control import Control


@pytest.fixture
def run(tmp_path):
    """A run that says that it is going on in this very process, with a checkpoint."""
    path = tmp_path / "runs" / "shop" / "ppo-1"
    (path / "checkpoint-3").mkdir(parents=True)
    (path / "metrics.jsonl").write_text('{"step": 3, "reward": 0.5}\n')
    Control(path, "ppo").say("running", 3)
    return path


def test_a_run_is_paused_and_stopped_from_the_page_and_by_programs(tmp_path, run):
    control = Control(run, "ppo")
    control.say("running", 3)
    with running(tmp_path) as app:
        here = Browser(app)
        page = here.get("/runs/shop/ppo-1").text
        assert 'value="pause"' in page and 'value="stop"' in page and 'value="go"' not in page and "training" in page
        assert here.submit("/runs/shop/ppo-1/steer", {"wanted": "pause"}).status_code == 303
        assert control.wanted() == ("pause", "local")
        control.say("paused", 3)
        assert 'value="go"' in here.get("/runs/shop/ppo-1").text
        headers = {"x-csrf-token": here.csrf()}
        for wanted in ("go", "stop"):
            assert here.post("/api/v1/runs/shop/ppo-1/steer", json={"wanted": wanted}, headers=headers).status_code == 200
            assert control.wanted() == (wanted, "local")
        assert here.submit("/runs/shop/ppo-1/steer", {"wanted": "erase"}).status_code == 400
        assert here.submit("/runs/shop/none/steer", {"wanted": "stop"}).status_code == 404
        said = here.get("/api/v1/runs/shop/ppo-1/state").json()
        assert said == {"state": {"verb": "ppo", "state": "paused", "step": 3, "alive": True}, "checkpoints": [3]}
        control.say("over", 3)
        assert here.submit("/runs/shop/ppo-1/steer", {"wanted": "go"}).status_code == 400
        assert 'value="stop"' not in here.get("/runs/shop/ppo-1").text


def test_viewers_and_annotators_steer_nothing(tmp_path, run):
    with running(tmp_path) as app:
        account(app, "lin", "admin")
        ada = account(app, "ada")
        assert 'value="pause"' not in ada.get("/runs/shop/ppo-1").text
        assert ada.submit("/runs/shop/ppo-1/steer", {"wanted": "stop"}).status_code == 403
        assert ada.submit("/mechanism/random", {"percent": "1"}).status_code == 403
        assert not (run / "control.json").exists()


@pytest.mark.parametrize(
    "options",
    [
        *("reward_funcs=os:system", "output_dir=/tmp/x", "learning_rate", "a b=1", "report_to=x:y", "x=1;y", "A=1"),
        "trust_remote_code=true",
    ],
)
def test_a_branch_from_the_page_changes_numbers_only(tmp_path, run, options):
    with running(tmp_path) as app:
        answer = Browser(app).submit("/runs/shop/ppo-1/branch", {"step": "3", "options": options})
        assert answer.status_code == 400 and app.state.server.branches.list() == []


@pytest.mark.slow
def test_a_branch_that_fails_says_why(tmp_path, run):
    with running(tmp_path) as app:
        here = Browser(app)
        assert here.submit("/runs/shop/ppo-1/branch", {"step": "9"}).status_code == 400
        assert here.submit("/runs/shop/ppo-1/branch", {"step": "x"}).status_code == 400
        assert here.submit("/runs/shop/ppo-1/branch", {"step": "3", "options": "learning_rate=1e-5"}).status_code == 303
        ((_, process, _),) = app.state.server.branches._begun
        assert process.wait(300) == 2
        (found,) = here.get("/api/v1/branches").json()["branches"]
        assert found["run"] == "shop/ppo-1" and not found["going"] and "config" in found["problem"]
        assert found["name"] == "shop/ppo-1-from-3" and found["problem"] in here.get("/runs").text.replace("&#39;", "'")
        assert not os.path.exists(tmp_path / "runs" / found["name"])
