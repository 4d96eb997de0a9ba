"""`plaudit runs` reads what runs left behind, whole or torn."""

from __future__ import annotations

import json
import os

import pytest

from plaudit.cli.main import main
from plaudit.cli.runs import _span, listed
from plaudit.schema import UserError


def leave(folder, name, age, **files):
    """A run folder whose files are `age` seconds older than now."""
    run = folder / name
    run.mkdir(parents=True)
    for file, content in files.items():
        path = run / file.replace("_", ".")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        os.utime(path, (2_000_000_000 - age,) * 2)


def test_newest_first_with_state_and_main_figure(tmp_path):
    summary = {"model": "tiny", "seed": 1, "seconds": {"sft": 60, "ppo": 61.5, "total": 122}, "ppo": {"win_rate": 0.71234}}
    leave(tmp_path, "demo", 100, summary_json=summary)
    leave(tmp_path / "demo", "sft", 200, config_yaml="model_name_or_path: tiny\nseed: 10\n", summary_json={"verb": "sft"})
    leave(tmp_path / "begun", "sft", 70, config_yaml="model_name_or_path: tiny:3\nseed: 10\n")
    leave(tmp_path, "new", 1, config_yaml="model_name_or_path: smollm2\nseed: 7\n", metrics_jsonl="")
    leave(tmp_path, "done", 10, config_yaml="seed: 2", summary_json={"verb": "sft", "seconds": 3.5, "best": {"eval_loss": 1.5}})
    leave(tmp_path, "torn", 50, summary_json='{"model": "ti')
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").write_text("")
    new, done, torn, begun, demo = listed(tmp_path)
    assert (demo["id"], demo["status"], demo["verb"], demo["seconds"]) == ("demo", "finished", "demo", 122)
    assert (demo["figure"], demo["model"], demo["seed"]) == ("win_rate 0.7123", "tiny", "1")
    assert (begun["verb"], begun["status"], begun["model"]) == ("demo", "unfinished", "tiny:3")
    assert (new["id"], new["status"], new["model"], new["seed"]) == ("new", "unfinished", "smollm2", "7")
    assert (done["verb"], done["status"], done["seconds"], done["figure"]) == ("sft", "finished", 3.5, "eval_loss 1.5")
    assert (torn["id"], torn["status"]) == ("torn", "unreadable summary")


def test_as_json_and_as_table(tmp_path, capsys):
    leave(tmp_path, "one", 5, summary_json={"win_rate": 0.5})
    for words in (["runs", str(tmp_path), "--json"], ["runs", str(tmp_path)]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert not end.value.code
    out = capsys.readouterr().out
    as_json, _, table = out.partition("]\n")
    assert json.loads(as_json + "]")[0]["id"] == "one"
    assert "win_rate 0.5" in table


def test_no_runs_yet_and_no_folder(tmp_path, capsys):
    assert listed(tmp_path / "runs") == []
    with pytest.raises(SystemExit):
        main(["runs", str(tmp_path / "runs")])
    assert "yet" in capsys.readouterr().out
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="is a file"):
        listed(tmp_path / "runs")


def test_lengths_of_time():
    assert [_span(s) for s in (None, 41.6, 60, 3700, 200_000)] == ["", "42 s", "1 min", "1 h", "2 d"]


USAGE = {
    "seconds": {"start": 1.0, "update": 30.0, "other": 1.0},
    "total_seconds": 32.0,
    "tokens": {"trained_on": 3000, "generated": 0},
    "tokens_per_second": {"trained_on": 100.0},
    "peak_memory_bytes": 3_000_000_000,
    "memory_before_bytes": 500_000_000,
    "raised_memory_bytes": {"start": 900_000_000, "update": 3_000_000_000},
    "memory_of": "process",
    "processes": 2,
}
SAID = {
    "memory": {"bytes": 2_000_000_000, "interval_bytes": [1.6e9, 2.5e9]},
    "here": {"phases_seconds": {"update": 25.0}, "interval_seconds": [17.5, 35.0]},
}


def told(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["runs", *words])
    assert not end.value.code
    return capsys.readouterr().out


def test_show_tells_where_time_and_memory_went(tmp_path, capsys):
    leave(tmp_path, "one", 5, usage_json=USAGE, estimate_json=SAID)
    run = str(tmp_path / "one")
    text = told(capsys, "show", run)
    assert "94%" in text and "25 s" in text and "3,000, 100 a second" in text
    assert "3 GB, 2.5 GB of it the run's own (said before: 2 GB" in text.replace("\n", " ")
    assert "reached in: update" in text and "over 2 processes" in text
    found = json.loads(told(capsys, "show", run, "--json"))
    assert found["own_memory_bytes"] == 2_500_000_000 and found["predicted"]["seconds"] == {"update": 25.0}


def test_show_without_an_estimate_and_without_a_run(tmp_path, capsys):
    leave(tmp_path, "one", 5, usage_json=USAGE)
    leave(tmp_path, "torn", 5, usage_json='{"seconds"')
    assert "said before" in told(capsys, "show", str(tmp_path / "one"))
    for name, words in (("torn", "no usage.json"), ("nowhere", "is no folder")):
        with pytest.raises(SystemExit) as end:
            main(["runs", "show", str(tmp_path / name)])
        assert end.value.code == 2 and words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["runs", "a", "b"])
    assert "plaudit runs show RUN" in capsys.readouterr().err
