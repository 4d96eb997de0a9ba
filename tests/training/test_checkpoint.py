"""Checkpoints: whole or not there, whatever fails and whenever the process dies."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from plaudit.schema import UserError
from plaudit.training import checkpoint

TENSORS = {
    "policy": {"w": torch.arange(6.0).view(2, 3), "half": torch.ones(2, dtype=torch.bfloat16)},
    "random": {"torch": torch.zeros(4)},
}
CALLS = ("mkdir", "replace", "rename", "fsync", "open", "unlink", "rmdir")


def content(step: int, mark: float = 0.0) -> tuple[dict, dict]:
    return {**TENSORS, "policy": {**TENSORS["policy"], "w": TENSORS["policy"]["w"] + step + mark}}, {"step": step, "mark": mark}


def saved(folder, *steps: int):
    for step in steps:
        checkpoint.save(folder, step, *content(step))
    return folder


def marks(folder) -> dict[int, float]:
    """Step -> mark of each checkpoint that is whole, read back in full."""
    found = {}
    for step in checkpoint.steps(folder):
        read = checkpoint.load(folder / f"checkpoint-{step}")
        assert torch.equal(read.tensors["policy"]["w"], content(step, read.state["mark"])[0]["policy"]["w"])
        found[step] = read.state["mark"]
    return found


def test_what_was_saved_comes_back_to_the_last_bit(tmp_path):
    saved(tmp_path, 7)
    found = checkpoint.latest(tmp_path, pytest.fail)
    assert found is not None and (found.step, found.state) == (7, {"step": 7, "mark": 0.0})
    for name, part in content(7)[0].items():
        for key, value in part.items():
            assert found.tensors[name][key].dtype == value.dtype and torch.equal(found.tensors[name][key], value)
    assert set(load_file(tmp_path / "checkpoint-7" / "policy.safetensors")) == {"w", "half"}
    assert checkpoint.latest(tmp_path / "nothing", pytest.fail) is None


# -- every file operation fails once --------------------------------------------------------------------------------------


class Failing:
    """The n-th of all file operations fails with one errno; a failing write has written half."""

    def __init__(self, monkeypatch, nth: int, number: int) -> None:
        self.left, self.number = nth, number
        for name in CALLS:
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))
        self.really_open = builtins.open
        monkeypatch.setattr(checkpoint, "open", self.open, raising=False)

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.number, os.strerror(self.number))

    def counted(self, call):
        def wrapped(*args, **options):
            self.count()
            return call(*args, **options)

        return wrapped

    def open(self, path, mode="r", **options):
        self.count()
        file = self.really_open(path, mode, **options)
        if "w" in mode:
            plain = file.write
            outer = self

            class Half(io.BufferedWriter):
                def write(self, data):
                    try:
                        outer.count()
                    except OSError:
                        plain(data[: len(data) // 2])
                        file.flush()
                        raise
                    return plain(data)

            file.close()
            file = Half(io.FileIO(path, "w"))
            plain = super(Half, file).write
        return file


def failures(tmp_path, number, act):
    """Run `act(folder)` with the n-th operation failing, for all n until none fails; (folder, the error or None)."""
    for nth in range(1, 500):
        folder = saved(tmp_path / str(nth), 1, 2)
        with pytest.MonkeyPatch.context() as patch:
            failing = Failing(patch, nth, number)
            try:
                act(folder)
                error = None
            except (UserError, OSError) as problem:
                error = problem
        yield folder, error
        if failing.left > 0:
            assert nth > 10, "the operations were not seen"
            return
    pytest.fail("never came to an end")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_save_that_fails_anywhere_leaves_the_old_or_the_new(tmp_path, number):
    refused = 0
    for folder, error in failures(tmp_path, number, lambda folder: checkpoint.save(folder, 3, *content(3))):
        assert error is None or isinstance(error, UserError)
        assert marks(folder) in ({1: 0.0, 2: 0.0}, {1: 0.0, 2: 0.0, 3: 0.0})
        if error is not None:
            refused += 1
            assert ("the disk is full" if number == errno.ENOSPC else os.strerror(number)) in str(error)
            assert str(error).startswith("checkpoint 3 could not be written to") and "--resume" in str(error)
        assert checkpoint.latest(folder, pytest.fail) is not None
    assert refused > 10


def test_saving_the_same_step_again_replaces_it_or_leaves_it(tmp_path):
    ends = set()
    for folder, error in failures(tmp_path, errno.EIO, lambda folder: checkpoint.save(folder, 2, *content(2, 0.5))):
        checkpoint.tidy(folder)
        assert set(marks(folder)) == {1, 2}
        ends.add((error is None, marks(folder)[2]))
    assert {(True, 0.5), (False, 0.0)} <= ends and (True, 0.0) not in ends


def test_rotation_that_fails_anywhere_deletes_nothing_that_should_stay(tmp_path):
    for folder, error in failures(tmp_path, errno.EIO, lambda folder: checkpoint.rotate(saved(folder, 3), 1, {1})):
        if error is None:
            checkpoint.tidy(folder)
            assert {1, 3} <= set(marks(folder)) <= {1, 2, 3}


# -- and the process dies before every one --------------------------------------------------------------------------------

DYING = """
import os, signal, sys
import torch
from plaudit.training import checkpoint
from test_checkpoint import CALLS, content, saved
import pathlib
root = pathlib.Path(sys.argv[1])
for nth in range(1, 500):
    folder = saved(root / str(nth), 1, 2)
    pid = os.fork()
    if pid == 0:
        left = nth
        def counted(call):
            def wrapped(*args, **options):
                global left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **options)
            return wrapped
        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        checkpoint.open = counted(open)
        checkpoint.save(folder, 2, *content(2, 0.5))
        checkpoint.save(folder, 3, *content(3))
        checkpoint.rotate(folder, 1, {1})
        os._exit(0)
    if os.waitpid(pid, 0)[1] == 0:
        break
"""


@pytest.mark.slow
def test_killed_before_any_operation_of_saving_and_rotating(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], check=True, env=environment)
    folders = sorted(tmp_path.iterdir(), key=lambda path: int(path.name))
    assert len(folders) > 30
    seen = []
    for folder in folders:
        newest = checkpoint.latest(folder, pytest.fail)
        assert newest is not None
        found = marks(folder)
        assert 1 in found, "the best one stays"
        assert not list(folder.glob(".checkpoint-*")), "what was half done is cleared away"
        seen.append((newest.step, newest.state["mark"]))
    assert [state for i, state in enumerate(seen) if seen[:i].count(state) == 0] == [(2, 0.0), (2, 0.5), (3, 0.0)]
    assert seen == sorted(seen), "never back to an older state"


# -- damage -----------------------------------------------------------------------------------------------------------------


def flip(path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << (place % 8)
    path.write_bytes(bytes(data))


DAMAGE = {
    "truncated": lambda folder: os.truncate(folder / "policy.safetensors", 40),
    "emptied": lambda folder: os.truncate(folder / "state.json", 0),
    "zeros": lambda folder: (folder / "policy.safetensors").write_bytes(bytes((folder / "policy.safetensors").stat().st_size)),
    "a flipped bit": lambda folder: flip(folder / "random.safetensors", 100),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "half a manifest": lambda folder: os.truncate(folder / "manifest.json", 100),
    "an empty manifest": lambda folder: (folder / "manifest.json").write_text("{}"),
    "a manifest of another kind": lambda folder: (folder / "manifest.json").write_text("[1]"),
    "a missing file": lambda folder: (folder / "random.safetensors").unlink(),
    "files swapped": lambda folder: shutil.copy(folder / "random.safetensors", folder / "policy.safetensors"),
    "a file too many": lambda folder: shutil.copy(folder / "random.safetensors", folder / "other.safetensors"),
    "a folder in place of a file": lambda folder: ((folder / "state.json").unlink(), (folder / "state.json").mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_torn_newest_one_is_set_aside_and_the_one_before_is_used(tmp_path, damage):
    saved(tmp_path, 1, 2)
    damage(tmp_path / "checkpoint-2")
    with pytest.raises(UserError, match="checkpoint-2 cannot be used: "):
        checkpoint.load(tmp_path / "checkpoint-2")
    told = []
    found = checkpoint.latest(tmp_path, told.append)
    assert found is not None and found.step == 1
    assert len(told) == 1 and told[0].startswith("checkpoint-2 is torn (") and "checkpoint-2.torn" in told[0]
    assert checkpoint.steps(tmp_path) == [1] and (tmp_path / "checkpoint-2.torn").is_dir()


def test_any_flipped_bit_is_seen(tmp_path):
    """Every byte of the small files, and 300 places spread over the large ones."""
    folder = saved(tmp_path, 1) / "checkpoint-1"
    for path in folder.iterdir():
        whole = path.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 300)):
            flip(path, place)
            assert checkpoint.problem_with(folder), f"{path.name}, byte {place}"
            path.write_bytes(whole)
    assert checkpoint.problem_with(folder) is None


def test_all_torn_is_none_and_nothing_is_deleted(tmp_path):
    saved(tmp_path, 1, 2)
    for manifest in tmp_path.glob("*/manifest.json"):
        manifest.unlink()
    told = []
    assert checkpoint.latest(tmp_path, told.append) is None
    assert len(told) == 2 and {path.name for path in tmp_path.iterdir()} == {"checkpoint-1.torn", "checkpoint-2.torn"}


def test_rotation_keeps_the_newest_and_the_best(tmp_path):
    checkpoint.rotate(saved(tmp_path, 1, 2, 3, 10, 11), 2, {2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-11", "checkpoint-2"]


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 300 KiB in a mount namespace of our own."""
    script = (
        "import os, sys, pathlib, torch\n"
        "from plaudit.training import checkpoint\n"
        "from plaudit.schema import UserError\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "big = {'policy': {'w': torch.zeros(30_000)}}\n"
        "checkpoint.save(folder, 1, big, {'step': 1})\n"
        "checkpoint.save(folder, 2, big, {'step': 2})\n"
        "try:\n"
        "    checkpoint.save(folder, 3, big, {'step': 3})\n"
        "except UserError as error:\n"
        "    print(error)\n"
        "assert checkpoint.latest(folder, print).step == 2\n"
        "print(sorted(os.listdir(folder)))\n"
    )
    mount = f'mount -t tmpfs -o size=300k none {tmp_path} && exec {sys.executable} -c "$SCRIPT" {tmp_path}'
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces for this user")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount], env={**os.environ, "SCRIPT": script}, capture_output=True, text=True, check=False
    )
    if "mount" in done.stderr and "permission denied" in done.stderr.lower():
        pytest.skip("this user may not mount")
    sentence, left = done.stdout.splitlines()
    assert "checkpoint 3 could not be written" in sentence and "the disk is full" in sentence
    assert left == "['checkpoint-1', 'checkpoint-2']" and done.returncode == 0, done.stderr
