"""Mistakes of the user, through the command line: exit code 2, one sentence (what, where, what to do), and nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from bad_inputs import TABLE, data

from nursery import At
from training_runs import Runs, same


@pytest.fixture(scope="module")
def runs(nursery, tmp_path_factory):
    return Runs(nursery, tmp_path_factory.mktemp("bad"))


@pytest.mark.slow
@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE)
def test_a_mistake_is_one_sentence_and_leaves_the_folder_free(runs, request, case):
    spoil, (verb, *options), parts = case
    place = "".join(c if c.isalnum() else "-" for c in request.node.callspec.id)
    folder = runs.root / place
    folder.mkdir()
    spoil(folder, runs)
    usual = runs.words(verb)[2:] if verb in ("sft", "reward", "ppo") else []
    files, changes = [o for o in options if "=" not in o], [o for o in options if "=" in o]
    sentence = runs.start(place, "train", verb, *files, *usual, *changes).refusal
    assert "\n" not in sentence
    assert [part for part in parts if part not in sentence] == [], sentence
    assert not (folder / "run" / "model").exists()


def test_a_start_with_bad_data_can_be_mended_and_repeated(runs):
    (runs.root / "mended").mkdir()
    data("{")(runs.root / "mended", runs)
    words = runs.words("sft")
    assert "broken JSON" in runs.start("mended", *words, "train_file=bad.jsonl").refusal
    assert runs.start("mended", *words).code == 0


@pytest.mark.slow
def test_a_reward_that_raises_late_loses_no_step(runs):
    """The steps so far are in a checkpoint; mended, the run goes on and ends as if nothing had been."""
    script = runs.root / "late.py"
    script.write_text(
        "def reward(completion_ids, trainer_state, **_):\n"
        "    if trainer_state.global_step == 3:\n"
        "        raise OSError('service is down')\n"
        "    return [sum(i % 7 for i in ids) / 10 for ids in completion_ids]\n"
    )
    words = [*runs.words("ppo"), "reward_funcs=[../late.py:reward]", "save_steps=100", "eval_steps=100"]
    sentence = runs.start("late", *words).refusal
    assert "raised OSError: service is down" in sentence and "late.py, line 3" in sentence
    assert (runs.root / "late" / "run" / "checkpoint-3").is_dir()
    script.write_text(script.read_text().replace("== 3", "== -3"))
    done = runs.start("late", *words, "--resume")
    assert done.code == 0 and "going on after step 3 of 5" in done.err
    assert runs.start("never", *words).code == 0
    same(runs.root / "late" / "run", runs.root / "never" / "run")


def test_resume_with_another_config_names_what_changed_and_loses_nothing(runs):
    whole = runs.whole("sft", False)
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    sentence = runs.start("sft-False", *runs.words("sft"), "learning_rate=0.5", "max_steps=9", "--resume").refusal
    assert "max_steps was 5 and is now 9" in sentence and "learning_rate was 0.001 and is now 0.5" in sentence
    assert "put it back, or choose another folder" in sentence
    assert "already holds a run; go on with --resume" in runs.start("sft-False", *runs.words("sft")).refusal
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_resume_with_other_data_is_refused(runs):
    folder = runs.root / "swapped"
    folder.mkdir()
    shutil.copy(runs.root / "demonstrations.jsonl", folder / "mine.jsonl")
    words = [*runs.words("sft"), "train_file=mine.jsonl"]
    assert runs.start("swapped", *words, at=At(".checkpoint-4.tmp")).code == -9
    lines = (folder / "mine.jsonl").read_text().splitlines()
    (folder / "mine.jsonl").write_text("\n".join(lines[1:]))
    assert "train_file no longer has the content" in runs.start("swapped", *words, "--resume").refusal
    (folder / "mine.jsonl").write_text("\n".join(lines))
    assert runs.start("swapped", *words, "--resume").code == 0


def test_held_out_prompts_that_are_trained_on_are_told_of(runs):
    done = runs.start("leak", *runs.words("sft"), "eval_file=../demonstrations.jsonl")
    assert done.code == 0, done.err
    told = [line for line in done.err.splitlines() if "validation" in line and "train" in line]
    assert any("24" in line for line in told[1:]), done.err
    assert set(told) <= {line.split(" ", 1)[1] for line in (runs.root / "leak" / "run" / "events.log").read_text().splitlines()}


@pytest.mark.slow
def test_rows_longer_than_the_context_are_cut_and_told_of(runs):
    (runs.root / "context").mkdir()
    data(*({"prompt": f"Where {i}?", "completion": " on the way" * 200} for i in range(9)))(runs.root / "context", runs)
    done = runs.start("context", *runs.words("sft"), "train_file=bad.jsonl", "max_length=1024")
    assert done.code == 0, done.err
    assert "max_length 1024 is more than the model can read: 512 is used" in done.err
    assert "kept but cut to 512 tokens" in done.err


@pytest.mark.slow
def test_a_disk_that_fills_up_while_training_and_then_has_room_again(runs):
    """A real file system of its own, too small for three checkpoints; the run goes on once there is room."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces for this user")
    (runs.root / "full" / "run").mkdir(parents=True)
    whole = runs.whole("sft", False)
    checkpoint = sum(path.stat().st_size for path in (whole / "checkpoint-5").iterdir())
    train = f"{sys.executable} -m plaudit {' '.join(runs.words('sft'))}"
    script = (
        f"mount -t tmpfs -o size={int(2.5 * checkpoint)} none run && {train}; test $? = 2 || exit 3; ls -A run; "
        f"mount -o remount,size={20 * checkpoint} run && {train} --resume && cp -r run kept"
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=runs.root / "full",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "permission denied" in done.stderr.lower():
        pytest.skip("this user may not mount")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    (sentence,) = (line for line in done.stderr.splitlines() if line.startswith("plaudit: "))
    assert sentence.startswith("plaudit: checkpoint 3 ") and "the disk is full; earlier checkpoints are untouched" in sentence
    assert {"checkpoint-1", "checkpoint-2"} <= set(done.stdout.split()) and ".tmp" not in done.stdout
    assert "going on after step 2 of 5" in done.stderr
    same(runs.root / "full" / "kept", whole)
