"""Checkpoints that are whole or not there: written beside, flushed to disk, verified by a manifest, renamed.

A folder `checkpoint-N` holds safetensors files, state.json and manifest.json (size and SHA-256 of each file, written last).
Loading trusts the manifest, not the name: a torn newest checkpoint is set aside and the one before is used, with a message.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from plaudit.schema import UserError

Tensor = torch.Tensor
NAME = re.compile(r"checkpoint-(\d+)")
MANIFEST = "manifest.json"
FULL_DISK = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint."""

    folder: Path
    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save(parent: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> Path:
    """Write `parent/checkpoint-<step>` so that it is there whole, or not at all, whenever the process dies.

    UserError where the disk is full or the folder cannot be written; what was there before is untouched.
    """
    target, beside = parent / f"checkpoint-{step}", parent / f".checkpoint-{step}.tmp"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        _write(beside, tensors, state)
        _put(beside, target)
        _sync(parent)
    except OSError as problem:
        shutil.rmtree(beside, ignore_errors=True)
        reason = "the disk is full" if problem.errno in FULL_DISK else (problem.strerror or str(problem))
        raise UserError(
            f"checkpoint {step} could not be written to {parent}: {reason}; earlier checkpoints are untouched, make room and "
            "start again with --resume"
        ) from problem
    return target


def _put(beside: Path, target: Path) -> None:
    """Give a whole checkpoint its name. One of that name goes aside first: `tidy` puts it back after a crash in between."""
    aside = target.with_name(f".{target.name}.old")
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(beside, target)
    except OSError:
        if aside.exists():
            os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def tidy(parent: Path) -> None:
    """Clear away what a process left that died while it wrote or deleted a checkpoint."""
    for old in parent.glob(".checkpoint-*.old"):
        target = parent / old.name.removeprefix(".").removesuffix(".old")
        if not target.exists():
            os.replace(old, target)
    for pattern in ("old", "tmp", "gone"):
        for left in parent.glob(f".checkpoint-*.{pattern}"):
            shutil.rmtree(left, ignore_errors=True)


def _write(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    from safetensors.torch import save as to_bytes

    manifest = {}

    def write(name: str, content: bytes) -> None:
        _write_synced(folder / name, content)
        manifest[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    for name, part in tensors.items():  # one at a time: all of them together are three times the model
        write(f"{name}.safetensors", to_bytes({k: v.contiguous().cpu() for k, v in part.items()}))
    write("state.json", json.dumps(state, indent=1).encode())
    _write_synced(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    _sync(folder)


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def problem_with(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder; None when every file is as its manifest says."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        expected = {name: (about["bytes"], about["sha256"]) for name, about in manifest.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return "it has no readable manifest"
    if not {"state.json", *(path.name for path in folder.glob("*.safetensors"))} <= set(expected):
        return "its manifest does not name all of its files"
    for name, wanted in expected.items():
        try:
            with open(folder / name, "rb") as file:
                found = (os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())
        except (OSError, ValueError):
            return f"{name} is missing"
        if found != wanted:
            return f"{name} is not what was written"
    return None


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint; UserError where it is torn."""
    from safetensors.torch import load_file

    wrong = problem_with(folder)
    if wrong:
        raise UserError(f"checkpoint {folder} cannot be used: {wrong}")
    match = NAME.fullmatch(folder.name)
    tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    state = json.loads((folder / "state.json").read_text())
    return Checkpoint(folder, int(match.group(1)) if match else int(state.get("step", 0)), tensors, state)


def steps(parent: Path) -> list[int]:
    """Steps of the checkpoints in a folder, oldest first, torn ones included."""
    found = (NAME.fullmatch(path.name) for path in parent.iterdir()) if parent.is_dir() else ()
    return sorted(int(match.group(1)) for match in found if match)


def latest(parent: Path, tell: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; None when there is none. A torn one is renamed to `*.torn` and told about."""
    tidy(parent)
    for step in reversed(steps(parent)):
        folder = parent / f"checkpoint-{step}"
        wrong = problem_with(folder)
        if wrong is None:
            return load(folder)
        aside = folder.with_name(f"{folder.name}.torn")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        tell(f"{folder.name} is torn ({wrong}); it is set aside as {aside.name} and the one before is used")
    return None


def rotate(parent: Path, keep: int, always: set[int]) -> None:
    """Delete all but the `keep` newest checkpoints and those in `always` (the best one).

    Each is renamed first, so that a half-deleted one never has a checkpoint's name.
    """
    for step in steps(parent)[:-keep]:
        if step not in always:
            gone = parent / f".checkpoint-{step}.gone"
            try:
                os.replace(parent / f"checkpoint-{step}", gone)
            except OSError:
                continue  # it stays: too many are better than too few
            shutil.rmtree(gone, ignore_errors=True)
