"""Where time went: each second counts once, evaluations keep what is theirs, runs add up over their processes."""

from __future__ import annotations

import json

import pytest

from plaudit.training import usage
from plaudit.training.usage import PHASES, Usage, counting, phase
from training_runs import SHARED, own, write_data


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: seconds = clock[0]."""
    now = [0.0]
    monkeypatch.setattr(usage.time, "perf_counter", lambda: now[0])
    return now


def test_by_hand(clock):
    """1 s of nothing, 2 s of rollout, 4 s of update around 8 s of scoring; an evaluation keeps its reward, not its save."""
    with counting(Usage()) as found:
        clock[0] += 1
        with phase("rollout"):
            clock[0] += 2
            usage.tokens("generated", 10)
        with phase("update"):
            clock[0] += 4
            with phase("scoring"):
                clock[0] += 8
        assert found.lap() == {"time/update": 4, "time/scoring": 8}
        with phase("evaluation"):
            clock[0] += 16
            with phase("reward"):
                clock[0] += 32
                usage.tokens("generated", 1000)
            with phase("checkpoint"):
                clock[0] += 64
        assert found.lap() == {}
    told = found.as_json()
    assert {name: s for name, s in told["seconds"].items() if s} == {
        "rollout": 2,
        "scoring": 8,
        "update": 4,
        "evaluation": 48,
        "checkpoint": 64,
        "other": 1,
    }
    assert told["total_seconds"] == 127 and told["tokens"]["generated"] == 10
    assert told["tokens_per_second"] == {"generated": 5.0}
    with counting(Usage(told)) as later:
        clock[0] += 3
    again = later.as_json()
    assert (again["seconds"]["other"], again["seconds"]["evaluation"], again["processes"]) == (4, 48, 2)


def test_nobody_counts():
    with phase("update"):
        usage.tokens("generated", 1)
    assert usage.lap() == {}


def test_a_failure_ends_its_phase(clock):
    found = Usage()
    with counting(found), pytest.raises(RuntimeError), phase("update"):
        clock[0] += 1
        raise RuntimeError
    assert found.phase == "other" and found.seconds["update"] == 1


@pytest.mark.parametrize("verb", ["sft", "grpo"])
def test_a_run_says_where_its_time_went(verb, nursery, tmp_path):
    """All of it adds up to the run's own seconds; a run that goes on after a stop adds to what was."""
    write_data(tmp_path)
    (tmp_path / "one").mkdir()
    done = nursery.run("train", verb, *SHARED, *own(verb), "--json", cwd=tmp_path / "one")
    assert done.code == 0, done.err
    folder = tmp_path / "one" / "run"
    told = json.loads((folder / "usage.json").read_text())
    assert list(told["seconds"]) == list(PHASES)
    assert told["total_seconds"] == pytest.approx(json.loads(done.out)["seconds"], rel=0.2)
    online = verb == "grpo"
    for name in ("start", "update", "evaluation", "checkpoint", "saving", *(("rollout", "reward") if online else ())):
        assert told["seconds"][name] > 0, name
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert told["tokens"]["trained_on"] == sum(line["num_tokens"] for line in steps)
    assert all(0 < line["time/update"] < line["time/step"] for line in steps)
    assert told["peak_memory_bytes"] >= told["memory_before_bytes"] > 1e8
    estimate = json.loads((folder / "estimate.json").read_text())
    assert estimate["steps"] == 5 and estimate["memory"]["bytes"] > 0
