"""Steering a run from outside: a run that waited, was killed while it waited, or branched ends as one that did not."""

from __future__ import annotations

import json
import threading

import pytest

from nursery import At
from plaudit.config import load
from plaudit.schema import UserError
from plaudit.training.branch import branch
from plaudit.training.control import Control, state_of, steer
from plaudit.training.run import sections, train
from training_runs import SHARED, own, write_data


def words(folder, verb, name):
    """Options of a small run in `folder`/`name`."""
    given = [word.replace("../", f"{folder}/") for word in (*SHARED, *own(verb)) if not word.startswith("output_dir=")]
    return [*given, "num_train_epochs=3", f"output_dir={folder / name}"]


def run(folder, verb, name, observe=None, resume=False):
    classes, defaults = sections(verb)
    return train(verb, load(classes, None, words(folder, verb, name), defaults), observe=observe, resume=resume)


def what_it_became(folder):
    """Every figure but times, and the weights."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    figures = [{key: value for key, value in line.items() if not key.startswith(("time/", "usage/"))} for line in lines]
    return figures, (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, and a run that nobody disturbed."""
    found = write_data(tmp_path_factory.mktemp("steered"))
    run(found, "sft", "alone")
    return found


class Hand:
    """Somebody on a page: asks for something after a step, and for more once the run waits."""

    def __init__(self, path, after, then):
        self.path, self.after, self.then = path, after, then
        self.seen = []

    def __call__(self, step, metrics):
        if step == self.after and not self.seen:
            steer(self.path, "pause", "lin")
            self.seen.append(step)
            self.thread = threading.Thread(target=self.answer)
            self.thread.start()

    def answer(self):
        while state_of(self.path).state == "running":
            threading.Event().wait(0.005)
        if state_of(self.path).state == "over":
            return  # it did not listen: the test says so
        self.seen.append(state_of(self.path))
        steer(self.path, self.then, "lin")


def test_a_run_that_waited_ends_as_one_that_did_not(folder):
    path = folder / "waited"
    hand = Hand(path, 2, "go")
    summary = run(folder, "sft", "waited", hand)
    hand.thread.join()
    assert summary["status"] == "finished"
    assert hand.seen[1].step == 2 and hand.seen[1].alive and hand.seen[1].verb == "sft"
    assert what_it_became(path) == what_it_became(folder / "alone")
    assert "paused after step 2, as lin asked" in (path / "events.log").read_text()
    assert state_of(path).state == "over" and not state_of(path).alive
    with pytest.raises(UserError, match="not running"):
        steer(path, "pause", "lin")


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(folder):
    path = folder / "stopped"
    hand = Hand(path, 3, "stop")
    summary = run(folder, "sft", "stopped", hand)
    hand.thread.join()
    assert (summary["status"], summary["steps"]) == ("stopped", 3) and not (path / "summary.json").exists()
    assert run(folder, "sft", "stopped", resume=True)["status"] == "finished", "what was wanted of the old process is forgotten"
    assert what_it_became(path) == what_it_became(folder / "alone")


def test_a_run_killed_while_it_waits_goes_on(folder, nursery):
    """The checkpoint is written before it waits; the kill comes with the first word of waiting, state.json."""
    path = folder / "killed"
    control = json.dumps({"wanted": "pause", "by": "lin"})
    ask = folder / "ask.py"
    ask.write_text(
        "import json, os\n"
        "def shortish(completion_ids, trainer_state, **_):\n"
        f"    if trainer_state.global_step == 2 and not os.path.exists({str(folder / 'asked')!r}):\n"
        f"        open({str(folder / 'asked')!r}, 'w').close()\n"
        f"        open({str(path / 'control.json')!r}, 'w').write({control!r})\n"
        "    return [sum(i % 7 for i in ids) / 10 for ids in completion_ids]\n"
    )
    (folder / "asked").write_text("")
    run_of = [word.replace("rewards.py", "ask.py") for word in words(folder, "ppo", "alone-ppo")]
    assert nursery.run("train", "ppo", *run_of, cwd=folder).code == 0
    (folder / "asked").unlink()
    killed = [word.replace("rewards.py", "ask.py") for word in words(folder, "ppo", "killed")]
    done = nursery.run("train", "ppo", *killed, cwd=folder, at=At("killed/state.json", 2))
    assert done.code == -9 and state_of(path).state == "running", done.err
    assert nursery.run("train", "ppo", *killed, "--resume", cwd=folder).code == 0
    assert what_it_became(path) == what_it_became(folder / "alone-ppo")


def test_a_branch_without_changes_is_what_the_run_became(folder, nursery):
    done = nursery.run("branch", folder / "alone", 4, "--to", folder / "same", "--json", cwd=folder)
    assert done.code == 0, done.err
    assert what_it_became(folder / "same") == what_it_became(folder / "alone")
    assert json.loads((folder / "same" / "branch.json").read_text())["step"] == 4


def test_a_branch_with_another_option_differs_from_its_checkpoint_on(folder, nursery):
    done = nursery.run("branch", folder / "alone", 4, "learning_rate=1e-2", cwd=folder)
    assert done.code == 0, done.err
    ours, theirs = (what_it_became(folder / name)[0] for name in ("alone-from-4", "alone"))
    early = [line for line in theirs if line["step"] <= 4]
    assert ours[: len(early)] == early and ours != theirs


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((9,), "has no checkpoint 9; it has 4, 5"),
        ((4, "--to", "alone"), "is there already"),
        ((4, "learning_rat=1"), "learning_rate"),
        ((4, "output_dir=x"), "the folder is --to"),
    ],
)
def test_a_branch_that_cannot_be_is_refused_and_leaves_nothing(folder, nursery, words, says):
    assert says in nursery.run("branch", "alone", *words, cwd=folder).refusal
    assert not list(folder.glob(".*.part"))


def test_a_torn_checkpoint_gives_no_branch(folder, tmp_path):
    torn = tmp_path / "torn"
    branch(folder / "alone", 4, torn, {})
    (torn / "checkpoint-4" / "policy.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot be used"):
        branch(torn, 4, tmp_path / "other", {})
    assert not (tmp_path / "other").exists()


def test_a_run_waits_until_something_else_is_wanted(tmp_path):
    looks = []

    def wait(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            steer(tmp_path, "stop", "lin")

    control = Control(tmp_path, "sft", wait)
    control.say("paused", 2)
    steer(tmp_path, "pause", "lin")
    assert control.wanted() == ("pause", "lin")
    assert control.pause(lambda: False) == "stop" and len(looks) == 3
    (tmp_path / "control.json").write_text("{half")
    assert control.wanted() == ("go", ""), "what cannot be read asks for nothing"
    with pytest.raises(UserError, match="not to 'erase'"):
        steer(tmp_path, "erase", "lin")
