"""Run a project: each stage whose inputs changed, in order; the others are kept. Killed anywhere, the next call goes on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from plaudit.config import Resolved
from plaudit.pipeline import lineage
from plaudit.pipeline.project import keys, page
from plaudit.pipeline.project.plan import Project, Stage, read
from plaudit.schema import JSON, UserError
from plaudit.training.files import hold, write_text
from plaudit.training.progress import Progress, shown

DONE = "stage.json"
"""Written last into a stage's folder: what was done, with which inputs."""
State = Literal["kept", "run", "left out"]


@dataclass(frozen=True)
class Step:
    """One stage of one run: what will be done with it, where, and why."""

    stage: Stage
    options: Resolved
    inputs: Mapping[str, Any]
    key: str
    folder: Path
    state: State
    reason: str

    @property
    def name(self) -> str:
        return self.stage.name

    def done(self) -> JSON | None:
        """What the folder says of a finished stage; None where it is not finished, or anything of it is missing."""
        return _done(self.folder, self.key, self.stage)


def run(
    path: Path,
    *,
    only: str | None = None,
    start: str | None = None,
    force: str | None = None,
    dry_run: bool = False,
    stages: Sequence[str] | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    parents: Mapping[str, Sequence[str]] | None = None,
    progress: Progress | None = None,
) -> JSON:
    """Run what has changed; returns what stands in the project's summary.json.

    `only`: that stage alone; `start`: that stage and those that need it. What they need must be finished then.
    `force`: that stage runs again although nothing changed, and those that need it. `dry_run`: say what would be done.
    `stages`: these alone, with all that they need among them. `changes`: stage -> options that differ from the file.
    `parents`: stage -> ids of further runs that it comes from.
    UserError: a mistake anywhere in the file (nothing has run then), or one that a stage met.
    """
    if progress is None:
        with shown() as bar:
            return run(
                path,
                only=only,
                start=start,
                force=force,
                dry_run=dry_run,
                stages=stages,
                changes=changes,
                parents=parents,
                progress=bar,
            )
    path = path.resolve()
    project = read(path).changed(changes or {}).only(stages)
    for name in filter(None, (only, start, force)):
        if name not in project.stages:
            raise UserError(f"{path} has no stage {name}; it has {', '.join(project.stages)}")
    with contextlib.chdir(path.parent):
        root = Path("runs") / project.name
        chosen = [only] if only else project.needing(start) if start else list(project.stages)
        again = project.needing(force) if force else []
        steps = plan(project, root, chosen, again)
        if dry_run:
            return _summary(project, root, steps, {}, "planned")
        root.mkdir(parents=True, exist_ok=True)
        with hold(root):
            return _run(project, root, steps, parents or {}, progress)


def plan(project: Project, root: Path, chosen: Sequence[str], again: Sequence[str] = ()) -> list[Step]:
    """Every stage with its key and what is to be done. UserError where a chosen stage needs one that is not finished."""
    code, found, places = lineage.code_version(), dict[str, str](), dict[str, dict[str, str]]()
    steps: list[Step] = []
    for stage in project.stages.values():
        bare, _ = stage.resolved({}, "")
        assert bare is not None, "read() checked it"
        inputs = keys.inputs(stage, bare, found, project.place, code)
        found[stage.name] = key = keys.key(inputs)
        folder = root / f"{stage.name}-{key[:8]}"
        places[stage.name] = stage.outputs(str(folder))
        options, _ = stage.resolved(places, str(folder))
        assert options is not None
        state, reason = _what(stage, folder, key, inputs, stage.name in chosen, stage.name in again)
        steps.append(Step(stage, options, inputs, key, folder, state, reason))
    by_name = {step.name: step for step in steps}
    for step in steps:
        for need in step.stage.needs if step.state == "run" else ():
            if by_name[need].state == "left out":
                raise UserError(f"stage {step.name} needs {need}, which is not finished; run without --only and --from first")
    return steps


def _what(stage: Stage, folder: Path, key: str, inputs: Mapping[str, Any], chosen: bool, again: bool) -> tuple[State, str]:
    if not (chosen and again) and _done(folder, key, stage) is not None:
        return "kept", "nothing changed"
    if not chosen:
        return "left out", "not asked for"
    if again:
        return "run", "forced"
    if folder.exists():
        return "run", "goes on"
    before = _json(latest(folder.parent, stage.name) / DONE)
    if before is None:
        return "run", "new"
    old = before.get("inputs", {})
    changed = [name for name in dict.fromkeys([*inputs, *old]) if inputs.get(name) != old.get(name)]
    return "run", f"changed: {', '.join(changed)}"


def _run(project: Project, root: Path, steps: Sequence[Step], parents: Mapping[str, Sequence[str]], progress: Progress) -> JSON:
    told: dict[str, JSON] = {}
    status = "finished"
    for number, step in enumerate(steps, 1):
        progress.tell(f"\n{number}/{len(steps)} {step.name} ({step.stage.kind.verb}): {step.state}, {step.reason}")
        if step.state == "run":
            if step.reason == "forced":
                shutil.rmtree(step.folder, ignore_errors=True)
            status = _stage(project, step, steps, progress)
            if status != "finished":
                break
        done = step.done()
        if done is not None:
            told[step.name] = done
            _record(project, step, done, steps, parents.get(step.name, ()))
            _point(root, step)
        summary = _summary(project, root, steps, told, "unfinished")
        write_text(root / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    summary = _summary(project, root, steps, told, status)
    write_text(root / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    page.write(root, project, summary, {step.name: step.options.flat() for step in steps if step.name in told})
    return summary


def _stage(project: Project, step: Step, steps: Sequence[Step], progress: Progress) -> str:
    """Run one stage and write its stage.json; `finished`, or the signal that stopped it (or came too late to)."""
    started, resume = time.perf_counter(), step.folder.exists()
    step.folder.mkdir(parents=True, exist_ok=True)
    try:
        summary = _work(project, step, resume, progress)
    except UserError as mistake:
        raise UserError(f"stage {step.name}: {mistake}") from mistake
    status = str(summary.get("status", "finished"))
    stopping = summary.pop("stopping", None)
    if status not in ("finished", "early", "guarded"):
        return status
    done = {
        "stage": step.name,
        "verb": step.stage.kind.verb,
        "key": step.key,
        "seconds": round(time.perf_counter() - started, 2),
        "summary": summary,
        "inputs": dict(step.inputs),
    }
    write_text(step.folder / DONE, json.dumps(done, indent=2, ensure_ascii=False) + "\n")
    return stopping or "finished"


def _work(project: Project, step: Step, resume: bool, progress: Progress) -> JSON:
    if step.stage.kind.trains:
        from plaudit.training.run import train

        return train(step.stage.kind.verb, step.options, resume=resume, progress=progress)
    from plaudit.pipeline.project import scoring, work

    workers = {"generate": work.generate, "judge": work.judge, "score": scoring.score, "evaluate": work.evaluate}
    return workers[step.stage.kind.verb](work.Work(step.options, step.folder, project.place, progress))


def _record(project: Project, step: Step, done: JSON, steps: Sequence[Step], parents: Sequence[str]) -> None:
    """Enter a finished stage into the store: what it was made of, so that a model traces back to data and judgements."""
    by_name = {other.name: other for other in steps}
    data = {name: str(value) for name, value in step.inputs.items() if str(value).startswith(("file ", "folder "))}
    if "dataset" in done["summary"]:
        data["dataset"] = str(done["summary"]["dataset"])
    lineage.record(
        project.place,
        step.folder,
        step.stage.kind.verb,
        step.options.flat(),
        done["summary"],
        parents=[*(f"{project.name}/{by_name[need].folder.name}" for need in step.stage.needs), *parents],
        data=data,
        name=step.folder.name,
        code=str(step.inputs["code"]),
    )


def _summary(project: Project, root: Path, steps: Sequence[Step], told: Mapping[str, JSON], status: str) -> JSON:
    stages = {
        step.name: {
            "verb": step.stage.kind.verb,
            "state": step.state if step.state != "run" or step.name in told or status == "planned" else "not run",
            "reason": step.reason,
            "seconds": told.get(step.name, {}).get("seconds"),
            "folder": str(step.folder),
            "figures": _figures(told.get(step.name, {}).get("summary", {})),
        }
        for step in steps
    }
    ran = {name: done["seconds"] for name, done in told.items()}
    whole = "unfinished" if status == "finished" and len(told) < len(steps) else status
    return {
        "verb": "project",
        "project": project.name,
        "status": whole,
        "folder": str(root),
        "stages": stages,
        "seconds": round(sum(ran.values()), 2),
    }


def _figures(summary: JSON) -> dict[str, float]:
    """The numbers of a stage's summary by flat names: `best.eval_loss`, `model.reward`; counts of nothing left out."""
    found: dict[str, float] = {}
    for name, value in summary.items():
        if isinstance(value, Mapping) and name != "counts":
            found |= {f"{name}.{inner}": one for inner, one in _figures(dict(value)).items()}
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "seconds":
            found[name] = value
    return found


def _done(folder: Path, key: str, stage: Stage) -> JSON | None:
    done = _json(folder / DONE)
    whole = done is not None and done.get("key") == key
    return done if whole and all((folder / file).exists() for file in stage.kind.outputs.values()) else None


def _json(path: Path) -> JSON | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def latest(root: Path, name: str) -> Path:
    """The folder of the stage as it last finished; one that is not there where it never did."""
    pointer = root / "latest" / name
    if pointer.is_file():
        return root / pointer.read_text(encoding="utf-8").strip()
    return pointer


def _point(root: Path, step: Step) -> None:
    """`latest/<stage>` leads to the folder: a symbolic link, or a file with its name where links are not allowed."""
    pointer = root / "latest" / step.name
    pointer.parent.mkdir(exist_ok=True)
    beside = pointer.with_name(f".{pointer.name}.new")
    beside.unlink(missing_ok=True)
    try:
        beside.symlink_to(Path("..") / step.folder.name, target_is_directory=True)
    except (OSError, NotImplementedError):
        beside.write_text(step.folder.name + "\n", encoding="utf-8")
    os.replace(beside, pointer)
