"""A new run that goes on from a checkpoint of another, with the same options or with others: the old run stays as it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from plaudit.schema import UserError
from plaudit.training import checkpoint
from plaudit.training.control import state_of
from plaudit.training.files import write_text
from plaudit.training.folder import LOGS

ABOUT = "branch.json"


def verb_of(run: Path) -> str:
    """The algorithm of a run. UserError where the folder does not say."""
    state = state_of(run)
    if state is not None and state.verb:
        return state.verb
    try:
        return str(json.loads((run / "summary.json").read_text("utf-8"))["verb"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{run} does not say which algorithm it runs: give --algorithm") from None


def branch(source: Path, step: int, target: Path, config: Mapping[str, Any], changed: Sequence[str] = ()) -> None:
    """Make `target` a run that stands where `source` stood at a checkpoint; it goes on as a resumed run does.

    `config`: its options; `changed`: those that are others than before, whose inputs may be others too. The folder is there
    whole or not at all. UserError: no such checkpoint, or a torn one, or a `target` that is there already.
    """
    chosen = source / f"checkpoint-{step}"
    if not chosen.is_dir():
        there = ", ".join(map(str, checkpoint.steps(source))) or "none"
        raise UserError(f"{source} has no checkpoint {step}; it has {there}")
    if target.exists():
        raise UserError(f"{target} is there already: choose another folder for the branch")
    state = checkpoint.load(chosen).state
    beside = target.with_name(f".{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    best = source / f"checkpoint-{state['best']['step']}"  # whose weights may be what is kept in the end
    for folder in {chosen, *([best] if best.is_dir() and state["best"]["value"] is not None else [])}:
        shutil.copytree(folder, beside / folder.name)
    for name in LOGS:
        if (source / name).exists():
            with open(source / name, "rb") as file:
                (beside / name).write_bytes(file.read(state["sizes"].get(name, 0)))
    write_text(beside / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    if (source / "inputs.json").exists():
        inputs = json.loads((source / "inputs.json").read_text("utf-8"))
        kept = {name: digest for name, digest in inputs.items() if name not in changed}
        write_text(beside / "inputs.json", json.dumps(kept, indent=2) + "\n")
    write_text(beside / ABOUT, json.dumps({"run": str(source), "step": step, "changed": sorted(changed)}) + "\n")
    os.replace(beside, target)
