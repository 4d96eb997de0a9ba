"""The folder of a run: who may use it, what is cut off on resume, what may not change in between."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from plaudit.schema import UserError
from plaudit.training.files import write_text
from plaudit.training.folder import RunFolder

CONFIG = {"learning_rate": 1e-3, "seed": 0, "logging_steps": 1, "stop": None}


def opened(path, *, resume=False, **changes):
    return RunFolder(path, {**CONFIG, **changes}, resume=resume)


def begun(path):
    """A folder in which one step was logged."""
    with opened(path) as folder:
        folder.log(1, {"loss": 2.5})
    return path


def test_lines_come_back_as_they_were_written(tmp_path):
    with opened(tmp_path / "deep" / "run") as folder:
        folder.log(1, {"loss": 0.1 + 0.2, "nan": float("nan")})
        folder.sample(1, {"answer": "zwölf\u2028 退款 \x85\n"})
        folder.event("something")
        assert folder.metrics()[0]["loss"] == 0.1 + 0.2
        lines = (folder.path / "samples.jsonl").read_bytes().split(b"\n")
        assert json.loads(lines[0]) == {"step": 1, "answer": "zwölf\u2028 退款 \x85\n"} and lines[1:] == [b""]
        assert (folder.path / "events.log").read_text().endswith(" something\n")


def test_logs_are_cut_back_to_the_very_byte(tmp_path):
    with opened(tmp_path) as folder:
        assert folder.sizes() == {}
        folder.log(1, {"loss": 1.0})
        folder.sample(1, {"answer": "ü"})
        sizes, kept = folder.sizes(), (tmp_path / "metrics.jsonl").read_bytes()
        folder.log(1, {"eval_loss": 1.0})  # the same step: told apart by size alone
        with open(tmp_path / "samples.jsonl", "ab") as file:
            file.write('{"step": 2, "answer": "ü'.encode()[:-1])  # torn in the middle of a character
        folder.cut(sizes)
        assert (tmp_path / "metrics.jsonl").read_bytes() == kept
        assert (tmp_path / "samples.jsonl").read_text() == '{"step": 1, "answer": "ü"}\n'
        folder.cut({name: size + 100 for name, size in sizes.items()})
        assert folder.sizes() == sizes, "a log that lost lines is not filled up"
        folder.cut({})
        assert folder.metrics() == []


def test_a_begun_run_is_never_started_over(tmp_path):
    begun(tmp_path)
    with pytest.raises(UserError, match="already holds a run; go on with --resume"):
        opened(tmp_path)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_start_that_failed_before_training_leaves_the_folder_free(tmp_path):
    opened(tmp_path).close()
    with opened(tmp_path, learning_rate=2.0):
        assert "learning_rate: 2.0" in (tmp_path / "config.yaml").read_text()


def test_a_resumed_run_has_the_same_options(tmp_path):
    begun(tmp_path)
    with pytest.raises(UserError) as refused:
        opened(tmp_path, resume=True, learning_rate=1e-4, stop=["x"])
    assert "learning_rate was 0.001 and is now 0.0001; stop was" in str(refused.value)
    with opened(tmp_path, resume=True, logging_steps=5):
        assert "logging_steps: 5" in (tmp_path / "config.yaml").read_text(), "what does not touch the weights may change"


def test_a_resumed_run_reads_the_same_inputs(tmp_path):
    with opened(tmp_path) as folder:
        folder.inputs(train_file="a")
        folder.inputs(model_name_or_path="m")
        folder.log(1, {})
    with opened(tmp_path, resume=True) as folder:
        folder.inputs(train_file="a")
        with pytest.raises(UserError, match="model_name_or_path no longer has the content"):
            folder.inputs(model_name_or_path="other")
        with pytest.raises(UserError, match="train_file no longer has the content"):
            folder.inputs(train_file="b")


def test_one_process_at_a_time(tmp_path):
    with opened(tmp_path), pytest.raises(UserError, match="another process is training in"):
        opened(tmp_path)
    script = "import fcntl, sys; file = open('.lock', 'w'); fcntl.flock(file, fcntl.LOCK_EX); print(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdout.readline()
        with pytest.raises(UserError, match="another process is training in"):
            opened(tmp_path)
        other.kill()
    opened(tmp_path).close()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=f"output_dir {path} cannot be written: .*; choose another folder"):
            opened(path)


def test_a_finished_run_has_its_summary_and_its_model(tmp_path):
    with opened(tmp_path) as folder:
        assert folder.finished() is None
        folder.finish({"status": "finished"})
        assert folder.finished() is None
        (tmp_path / "model").mkdir()
        assert folder.finished() == {"status": "finished"}


def test_a_file_is_replaced_in_one_move(tmp_path):
    path = tmp_path / "summary.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
