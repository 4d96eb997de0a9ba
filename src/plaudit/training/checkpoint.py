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
        if target.exists():  # the same step again, after a resume: identical content
            shutil.rmtree(target)
        os.replace(beside, target)
        _sync(parent)
    except OSError as problem:
        shutil.rmtree(beside, ignore_errors=True)
        reason = "the disk is full" if problem.errno in FULL_DISK else (problem.strerror or str(problem))
        raise UserError(
            f"checkpoint {step} could not be written to {parent}: {reason}; earlier checkpoints are untouched, make room and "
            "start again with --resume"
        ) from problem
    return target


def _write(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
    from safetensors.torch import save as to_bytes

    manifest = {}
    files = {
        f"{name}.safetensors": to_bytes({k: v.contiguous().cpu() for k, v in part.items()}) for name, part in tensors.items()
    }
    files["state.json"] = json.dumps(state, indent=1).encode()
    for name, content in files.items():
        _write_synced(folder / name, content)
        manifest[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
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
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return "it has no readable manifest"
    for name, expected in manifest.items():
        try:
            content = (folder / name).read_bytes()
        except OSError:
            return f"{name} is missing"
        if len(content) != expected["bytes"] or hashlib.sha256(content).hexdigest() != expected["sha256"]:
            return f"{name} is not what was written"
    return None


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint; UserError where it is torn."""
    from safetensors.torch import load as from_bytes

    wrong = problem_with(folder)
    if wrong:
        raise UserError(f"checkpoint {folder} cannot be used: {wrong}; choose an earlier one")
    match = NAME.fullmatch(folder.name)
    tensors = {path.stem: from_bytes(path.read_bytes()) for path in sorted(folder.glob("*.safetensors"))}
    state = json.loads((folder / "state.json").read_text())
    return Checkpoint(folder, int(match.group(1)) if match else int(state.get("step", 0)), tensors, state)


def steps(parent: Path) -> list[int]:
    """Steps of the checkpoints in a folder, oldest first, torn ones included."""
    found = (NAME.fullmatch(path.name) for path in parent.iterdir()) if parent.is_dir() else ()
    return sorted(int(match.group(1)) for match in found if match)


def latest(parent: Path, tell: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; None when there is none. A torn one is renamed to `*.torn` and told about."""
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
    """Delete all but the `keep` newest checkpoints and those in `always` (the best one)."""
    for step in steps(parent)[:-keep]:
        if step not in always:
            shutil.rmtree(parent / f"checkpoint-{step}", ignore_errors=True)
