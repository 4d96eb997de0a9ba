"""The demo end to end, with the tiny model: every stage, file and figure is there (what it says is for the real model)."""

import json

import pytest

from plaudit.config import load
from plaudit.data.readers import read_jsonl
from plaudit.pipeline.demo import run
from plaudit.pipeline.demo_config import DemoConfig, Sizes, folder_of
from plaudit.schema import UserError
from plaudit.store import Store
from plaudit.training.progress import Silent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "run"
    words = ["model=tiny", "quick=true", "seed=5", f"output_dir={folder}", "ppo_steps=2"]
    return folder, run(load([DemoConfig], None, words)[DemoConfig], Silent())


def test_the_summary_holds_every_figure(finished):
    folder, returned = finished
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["model"] == "tiny" and summary["seed"] == 5
    assert set(summary["seconds"]) == {"sft", "answers", "judgements", "reward_model", "ppo", "evaluation", "total"}
    assert {"accuracy", "length_baseline", "ceiling", "n"} <= set(summary["reward_model"])
    ppo = summary["ppo"]
    for name in ("win_rate", "win_rate_vs_base"):
        low, high = ppo[f"{name}_ci"]
        assert 0 <= low <= ppo[name] <= high <= 1
    assert ppo["first_pass_ratio_deviation"] == 0
    assert ppo["n_prompts"] == Sizes.of(True).held_out == len((folder / "heldout.jsonl").read_text().splitlines())
    assert {"kl", "gold_before", "gold_after", "truncated_before", "truncated_after"} <= set(ppo)
    assert returned["report"] == str(folder / "report.html")


def test_judgements_are_simulated_and_went_through_the_store(finished):
    folder, returned = finished
    with Store(folder / "store.sqlite") as store:
        acts = store.feedback()
        assert len(acts) == returned["simulated_annotators"]["acts"] > 0
        assert {act.source for act in acts} == {"simulated"}
        made = store.dataset(returned["simulated_annotators"]["dataset"])
        pairs = [line for part in ("train", "validation") for line in read_jsonl(folder / f"pairs_{part}.jsonl")]
        assert len(made.rows) == len(pairs)
        lineage = store.lineage(f"{folder.name}/ppo")
        assert {run.verb for run in lineage.ancestors} == {"sft", "reward"}
        assert lineage.datasets == (returned["simulated_annotators"]["dataset"],)
        assert set(lineage.feedback_ids) <= {act.id for act in acts}


def test_the_report_shows_the_run(finished):
    folder, _ = finished
    page = (folder / "report.html").read_text()
    for shown in ("simulated", "Win rate", "Entropy", "advantage", "plaudit demo --seed 5 --model tiny --quick"):
        assert shown in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_a_finished_folder_is_not_overwritten(finished):
    folder, _ = finished
    with pytest.raises(UserError, match="already holds a finished demo"):
        run(DemoConfig(model="tiny", output_dir=str(folder)), Silent())


def test_the_default_folder_is_a_free_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = folder_of(DemoConfig(seed=3), "2030-01-02")
    assert str(first) == "runs/demo-2030-01-02-seed3"
    first.mkdir(parents=True)
    assert str(folder_of(DemoConfig(seed=3), "2030-01-02")) == "runs/demo-2030-01-02-seed3-2"
