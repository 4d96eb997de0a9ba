"""Runs as they train: which are listed, curves from what is written, half lines, names that are paths."""

from __future__ import annotations

import json

import pytest

from feedback_world import Browser, running
from plaudit.feedback.screens.watching import MOST_POINTS, curves, lines, runs, samples, thinned


@pytest.fixture
def folder(tmp_path):
    run = tmp_path / "runs" / "shop" / "ppo-1"
    run.mkdir(parents=True)
    rows = [{"step": step, "reward": step / 10, "time/step": 1.0, "refused": False} for step in (1, 2, 3)]
    rows.insert(2, {"step": 2, "eval_reward": 0.5})
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 4, "rew', "utf-8")
    sample = {"step": 3, "prompt": "<script>alert(1)</script>", "completion": "it <b>came</b>\u2028today", "reward": 0.3}
    (run / "samples.jsonl").write_text(json.dumps(sample, ensure_ascii=False) + "\n" + '{"half', "utf-8")
    (tmp_path / "runs" / "shop" / "latest").symlink_to(run)
    return tmp_path


def test_runs_are_found_by_their_metrics_and_once(folder):
    (found,) = runs(folder / "runs")
    assert (found.name, found.finished) == ("shop/ppo-1", False)
    assert runs(folder / "nothing") == []


def test_curves_hold_the_numbers_that_were_logged(folder):
    rows = lines(folder / "runs" / "shop" / "ppo-1" / "metrics.jsonl")
    assert len(rows) == 4, "the half line is not there yet"
    (curve,) = curves(rows)
    assert curve.name == "reward" and list(curve.points) == [(1.0, 0.1), (2.0, 0.2), (3.0, 0.3)]
    assert list(curve.others["held-out"]) == [(2.0, 0.5)]


def test_a_long_curve_is_thinned_and_keeps_its_end():
    points = [(float(step), 0.0) for step in range(1003)]
    assert len(thinned(points)) <= MOST_POINTS + 1 and thinned(points)[-1] == points[-1] and thinned(points[:5]) == points[:5]


def test_the_page_shows_curves_and_escapes_samples(folder):
    assert samples(folder / "runs" / "shop" / "ppo-1")[0]["step"] == 3
    with running(folder) as app:
        here = Browser(app)
        assert "shop/ppo-1" in here.get("/runs").text
        page = here.get("/runs/shop/ppo-1").text
        assert "<svg" in page and "&lt;script&gt;" in page and "<b>came" not in page and "data-events" in page
        assert here.get("/api/v1/runs/shop/ppo-1/metrics").json()["metrics"][0]["reward"] == 0.1


def test_a_finished_run_sends_one_event_and_ends(folder):
    (folder / "runs" / "shop" / "ppo-1" / "summary.json").write_text("{}", "utf-8")
    with running(folder) as app:
        text = Browser(app).get("/runs/shop/ppo-1/events").text
        assert text.startswith("event: run\ndata: {") and json.loads(text.split("data: ")[1])["finished"] is True


NAMES = ("%2e%2e", "%2e%2e/%2e%2e", "%2e%2e/secret", "shop", "shop/latest", "/etc", "shop/ppo-1/%2e%2e/ppo-1", "x" * 3000)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_never_a_path(folder, name):
    with running(folder) as app:
        for path in (f"/runs/{name}", f"/runs/{name}/events", f"/api/v1/runs/{name}/metrics"):
            assert Browser(app).get(path).status_code in (404, 405), path
