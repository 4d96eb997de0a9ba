"""`plaudit init`: a folder with a project that runs at once, and is changed from there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plaudit.data.layouts.base import Wants
from plaudit.data.readers import read, write_jsonl
from plaudit.pipeline.project import template
from plaudit.pipeline.rows import demonstration_row, prompt_row
from plaudit.pipeline.support.demonstrations import demonstrations
from plaudit.pipeline.support.questions import questions
from plaudit.schema import UserError
from plaudit.training.files import write_text

WANTED: tuple[Wants, ...] = ("demonstrations", "rankings", "prompts")
STAGES = ("sft", "answers", "judge", "reward", "ppo", "evaluate")


@dataclass(frozen=True)
class Sources:
    """The files that the stages read, as they stand in plaudit.yaml; None where there is none of that kind."""

    demonstrations: str | None
    prompts: str | None
    pairs: str | None
    held_out: str | None


def start(
    folder: Path,
    *,
    data: Path | None = None,
    stages: Sequence[str] = STAGES,
    model: str = "smollm2-135m-instruct",
    force: bool = False,
) -> list[Path]:
    """Write a project into `folder`; returns the files written. UserError: a file is there already (nothing is written then).

    `data`: a file of the user's own, in any layout that training reads; else a few sample rows are written.
    """
    unknown = [name for name in stages if name not in STAGES]
    if unknown:
        raise UserError(f"there is no stage {unknown[0]} to begin with; there are {', '.join(STAGES)}")
    sources = _of(data, folder) if data else SAMPLES
    asked = [name for name in STAGES if name in stages]
    kept, left = template.possible(asked, sources.demonstrations, sources.prompts, sources.pairs)
    if not kept:
        raise UserError(f"{data} has the columns for none of the stages {', '.join(asked)}: {'; '.join(left.values())}")
    files: dict[str, Callable[[Path], object]] = {
        "plaudit.yaml": lambda path: write_text(path, template.project(folder.resolve().name, model, kept, left, sources)),
        "rewards.py": lambda path: write_text(path, template.REWARDS),
        "README.md": lambda path: write_text(path, template.readme(folder.resolve().name, kept, samples=data is None)),
    }
    if data is None:
        files |= {
            "data/demonstrations.jsonl": _demonstrations,
            "data/prompts.jsonl": _prompts,
            "data/held_out.jsonl": _held_out,
        }
    there = [name for name in files if (folder / name).exists()]
    if there and not force:
        raise UserError(f"{folder} already has {', '.join(there)}; nothing was written; choose another folder, or add --force")
    for name, write in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name)
    return [folder / name for name in files]


SAMPLES = Sources("data/demonstrations.jsonl", "data/prompts.jsonl", None, "data/held_out.jsonl")


def _of(data: Path, folder: Path) -> Sources:
    """What a user's file can be used for. UserError where it cannot be read as anything."""
    path = os.path.relpath(data.resolve(), folder.resolve()).replace(os.sep, "/")
    found: dict[str, str | None] = {}
    refused: UserError | None = None
    for wants in WANTED:
        try:
            read(data, wants)
            found[wants] = path
        except UserError as mistake:
            found[wants], refused = None, mistake
    if refused and not any(found.values()):
        raise refused
    return Sources(found["demonstrations"], found["prompts"], found["rankings"], found["prompts"])


def _demonstrations(path: Path) -> None:
    write_jsonl(path, [demonstration_row(one) for one in demonstrations(questions(48, 1, "train"), 1)])


def _prompts(path: Path) -> None:
    write_jsonl(path, [prompt_row(one) for one in questions(24, 2, "train")])


def _held_out(path: Path) -> None:
    write_jsonl(path, [prompt_row(one) for one in questions(12, 3, "heldout")])
