"""Trackers get every figure once, also where a run was killed; one that fails changes nothing but a line in the log."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from nursery import At
from plaudit.schema import UserError
from plaudit.training.trackers.base import names, trackers
from training_runs import Runs, same

BROKEN = """
class Tracker:
    where = ""
    def start(self, config, step): self.at("start")
    def log(self, step, metrics): self.at("log", step)
    def finish(self, summary): self.at("finish")
    def at(self, what, step=3):
        if what == self.where and step == 3:
            raise RuntimeError("no\\nroute")

class AtStart(Tracker): where = "start"
class AtLog(Tracker): where = "log"
class AtFinish(Tracker): where = "finish"

class Notes:
    def start(self, config, step): self.file = config["output_dir"] + "/notes.jsonl"; self.note(["start", step, config["seed"]])
    def log(self, step, metrics): self.note(["log", step, sorted(metrics)[0]])
    def finish(self, summary): self.note(["finish", summary["status"], summary["steps"]])
    def note(self, what):
        import json
        with open(self.file, "a") as file:
            file.write(json.dumps(what) + "\\n")
"""


def log_lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(nursery, tmp_path_factory):
    made = Runs(nursery, tmp_path_factory.mktemp("trackers"))
    (made.root / "trackers.py").write_text(BROKEN)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("where", "what"), [("AtStart", "start"), ("AtLog", "log"), ("AtFinish", "finish")])
def test_a_tracker_that_fails_is_switched_off_and_changes_nothing(runs, where, what):
    whole = runs.whole("sft", False)
    done = runs.start(where, *runs.words("sft"), f"report_to=../trackers.py:{where}")
    assert done.code == 0, done.err
    line = f"tracker ../trackers.py:{where} is switched off: {what} raised RuntimeError: no route; training goes on"
    run = runs.root / where / "run"
    assert done.err.count(line) == 1 and (run / "events.log").read_text().count(line) == 1
    same(run, whole)


def test_a_tracker_of_ones_own_gets_the_lines_of_the_log(runs):
    done = runs.start("notes", *runs.words("sft"), "report_to=../trackers.py:Notes")
    assert done.code == 0, done.err
    run = runs.root / "notes" / "run"
    notes = [json.loads(line) for line in (run / "notes.jsonl").read_text().splitlines()]
    assert notes[0] == ["start", -1, 3] and notes[-1] == ["finish", "finished", 5]
    assert [step for what, step, _ in notes if what == "log"] == [line["step"] for line in log_lines(run)]


def test_a_tracker_that_is_not_there_is_told_before_anything_is_trained(runs):
    sentence = runs.start("absent", *runs.words("sft"), "report_to=tensorbord").refusal
    assert "nothing in trackers is called 'tensorbord'; did you mean tensorboard?" in sentence
    assert not (runs.root / "absent" / "run" / "metrics.jsonl").exists()


def test_none_means_none_and_a_name_counts_once():
    assert names("none") == [] and names(["wandb", "none", "wandb"]) == ["wandb"] and names("wandb") == ["wandb"]
    with pytest.raises(UserError, match="there are tensorboard, wandb"):
        trackers("xyz", print)


def killed_and_resumed(runs: Runs, place: str, tracker: str) -> Path:
    """A run that was killed after step 4 was logged, and goes on from checkpoint 3; its folder."""
    words = [*runs.words("sft"), f"report_to={tracker}", "save_steps=3", "eval_steps=3"]
    assert runs.start(place, *words, at=At("metrics.jsonl", 9)).code == -signal.SIGKILL
    run = runs.root / place / "run"
    assert [line["step"] for line in log_lines(run)] == [0, 1, 2, 3, 3, 4]
    assert {path.name for path in run.glob("checkpoint-*")} == {"checkpoint-0", "checkpoint-3"}
    done = runs.start(place, *words, "--resume")
    assert done.code == 0 and "switched off" not in done.err, done.err
    return run


@pytest.mark.slow
def test_tensorboard_has_one_point_for_each_step_of_a_resumed_run(runs):
    pytest.importorskip("tensorboard")
    run = killed_and_resumed(runs, "tensorboard", "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), purge_orphaned_data=True)
    events.Reload()
    lines = log_lines(run)
    for name in ("loss", "eval_loss", "lr"):
        logged = [(line["step"], line[name]) for line in lines if name in line]
        seen = [(one.step, one.value) for one in events.Scalars(name)]
        assert [step for step, _ in seen] == [step for step, _ in logged], name
        assert [value for _, value in seen] == pytest.approx([value for _, value in logged]), name


@pytest.mark.slow
def test_wandb_offline_has_every_line_once_after_a_kill(runs):
    pytest.importorskip("wandb")
    run = killed_and_resumed(runs, "wandb", "wandb")
    assert len(sessions(run)) == 1, "what the killed process had not written is sent again, to a run of its own"
    each_line_once(run)


@pytest.mark.slow
def test_wandb_offline_goes_on_with_its_run_after_a_stop(runs):
    pytest.importorskip("wandb")
    words = [*runs.words("sft"), "report_to=wandb", "save_steps=3", "eval_steps=3"]
    assert runs.start("stopped", *words, at=At("checkpoint-3", signal=signal.SIGINT)).code == 130
    assert runs.start("stopped", *words, "--resume").code == 0
    run = runs.root / "stopped" / "run"
    assert len(sessions(run)) == 2
    each_line_once(run)


def sessions(run: Path) -> list[Path]:
    """The folders of the W&B run that a run of ours ended with."""
    return sorted((run / "wandb").glob(f"offline-run-*-{json.loads((run / 'wandb.json').read_text())['id']}"))


def each_line_once(run: Path) -> None:
    rows = [row for folder in sessions(run) for row in history(folder)]
    assert [row["_step"] for row in rows] == [0, 1, 2, 3, 4, 5], "an evaluation is in the row of its step"
    for line in log_lines(run):
        for name in ("loss", "eval_loss"):
            if name in line:
                assert rows[int(line["step"])][name] == pytest.approx(line[name])


def records(content: bytes) -> list[bytes]:
    """The records of a file in LevelDB's log format with W&B's header of 7 bytes: blocks of 32 KiB, pieces of a record each
    with checksum (4 bytes), length (2) and kind (1: 1 whole, 2 first, 3 middle, 4 last)."""
    found, part, at = [], b"", 7
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        part += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            found.append(part)
            part = b""
    return found


def history(folder: Path) -> list[dict[str, float]]:
    """The rows of an offline run's file."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("*.wandb")
    rows = []
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            rows.append({(i.key or i.nested_key[0]): json.loads(i.value_json) for i in record.history.item})
    return rows
