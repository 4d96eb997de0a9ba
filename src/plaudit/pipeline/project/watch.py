"""Watch mode: a project goes round by itself while people judge. Sample, ask, wait for judgements, learn from them, again.

Round k: the answers stage samples with the newest policy; people are asked through the pages; when enough new judgements have
come, the reward model is trained anew on all of them, and the policy goes on from where the last round left it. What people say
meanwhile counts for the next round. `watch.json` says where it stands, so that a watch that was killed goes on: the judgements
of a round are those up to a number that is fixed before its training begins.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaudit.data.readers import read_jsonl, write_jsonl
from plaudit.pipeline.project import running, scoring
from plaudit.pipeline.project.acts import SOURCES
from plaudit.pipeline.project.plan import Project, Stage, read
from plaudit.pipeline.project.work import NoPairs, completions_of
from plaudit.schema import JSON, UserError
from plaudit.store import Store, located
from plaudit.training.files import write_text
from plaudit.training.progress import Progress

POLL = 2.0
"""Seconds between two looks for new judgements."""


@dataclass(frozen=True)
class Roles:
    """Which stages go round: answers -> judge -> reward -> policy."""

    answers: str
    judge: str
    reward: str
    policy: str


@dataclass
class Standing:
    """watch.json. `until` is the number of the last act that the round under way learns from, None while it waits for acts."""

    done: int = 0
    until: int | None = None
    before: int = 0
    """The same number of the round before."""
    rounds: list[JSON] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Standing:
        """UserError where the file is damaged."""
        if not path.exists():
            return cls()
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            raise UserError(f"{path} is damaged: remove it to begin the rounds anew; what was judged is in the store") from None

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(vars(self), indent=2, ensure_ascii=False) + "\n")


def roles_of(project: Project) -> Roles:
    """UserError where the project has no such circle, with what is missing."""

    def naming(stages: Mapping[str, Stage], option: str, other: str) -> str | None:
        return next((n for n, s in stages.items() if option in s.given and f"${{{other}." in str(s.given[option].value)), None)

    stages = project.stages
    judge = next((n for n, s in stages.items() if s.kind.verb == "judge" and s.value("annotators") in SOURCES), None)
    if judge is None:
        raise UserError(f"{project.path}: to watch needs a stage with verb: judge and annotators: people")
    answers = next((n for n in stages[judge].needs if stages[n].kind.verb == "generate"), None)
    if answers is None:
        raise UserError(f"{project.path}: to watch needs a stage with verb: generate whose completions {judge} takes")
    trained = {name: stage for name, stage in stages.items() if stage.kind.trains}
    reward = naming(trained, "train_file", judge)
    if reward is None:
        raise UserError(f"{project.path}: to watch needs a stage that trains a reward model on ${{{judge}.pairs}}")
    policy = naming(trained, "reward_model_path", reward)
    if policy is None:
        raise UserError(f"{project.path}: to watch needs a stage, such as ppo, with reward_model_path: ${{{reward}.model}}")
    return Roles(answers, judge, reward, policy)


def watch(
    path: Path,
    *,
    judgements: int,
    rounds: int | None = None,
    progress: Progress,
    wait: Callable[[float], Any] = time.sleep,
) -> JSON:
    """Go round until `rounds` are done (None: until stopped); returns the summary of the last run, with `rounds`.

    A round's training begins once `judgements` new acts have come since that of the round before began. UserError as `run`.
    """
    path = path.resolve()
    project = read(path)
    roles = roles_of(project)
    root = path.parent / "runs" / project.name
    file = root / "watch.json"
    standing = Standing.read(file)
    summary: JSON = {"status": "finished", "rounds": standing.rounds}
    while rounds is None or standing.done < rounds:
        progress.tell(f"\nround {standing.done + 1}")
        changes = _changes(project, roles, standing)
        parents = _parents(project, roles, standing)
        asked = project.needed(roles.answers)
        summary = running.run(path, stages=asked, changes=changes, parents=parents, progress=progress)
        if summary["status"] != "finished":
            break
        folder = path.parent / summary["stages"][roles.answers]["folder"]
        answers = _gathered(root, folder, standing)
        changes[roles.judge] = {"completions": str(answers)}
        if standing.until is None:
            _score(project, roles, root, folder, progress)
            standing.until = _wait(project, roles, path, standing, judgements, progress, wait)
            standing.write(file)
        changes[roles.judge]["until"] = standing.until
        try:
            parents[roles.judge] = [*parents.get(roles.judge, ()), _run_id(project, str(folder))]
            summary = running.run(path, changes=changes, parents=parents, progress=progress)
        except UserError as mistake:
            if not isinstance(mistake.__cause__, NoPairs):
                raise
            progress.tell(f"{mistake}: waiting for more")
            standing.until, standing.before = None, standing.until or 0
            standing.write(file)
            continue
        if summary["status"] != "finished":
            break
        _finish(standing, summary, roles, answers)
        standing.write(file)
    return {**summary, "rounds": standing.rounds}


def _changes(project: Project, roles: Roles, standing: Standing) -> dict[str, dict[str, Any]]:
    """What differs from plaudit.yaml in the round under way: after the first the newest policy samples and goes on."""
    if not standing.rounds:
        return {}
    policy = standing.rounds[-1]["policy"]
    seed = project.stages[roles.answers].value("seed") or 0
    return {
        roles.answers: {"model": policy, "seed": int(seed) + standing.done},
        roles.policy: {"model_name_or_path": policy},
    }


def _parents(project: Project, roles: Roles, standing: Standing) -> dict[str, list[str]]:
    """Runs of earlier rounds that a stage comes from, beside those that its options name."""
    if not standing.rounds:
        return {}
    policy = [_run_id(project, str(Path(standing.rounds[-1]["policy"]).parent))]
    answered = [_run_id(project, one["answered_by"]) for one in standing.rounds]
    return {roles.answers: policy, roles.policy: policy, roles.judge: answered}


def _run_id(project: Project, folder: str) -> str:
    return f"{project.name}/{Path(folder).name}"


def _gathered(root: Path, folder: Path, standing: Standing) -> Path:
    """The answers of all rounds so far, in one file: what was judged of earlier ones teaches the reward model too."""
    earlier = read_jsonl(Path(standing.rounds[-1]["completions"])) if standing.rounds else []
    target = root / "watch" / f"completions-{standing.done + 1}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(target, [*earlier, *read_jsonl(folder / "completions.jsonl")])
    return target


def _score(project: Project, roles: Roles, root: Path, folder: Path, progress: Progress) -> None:
    """Let the last round's reward model say of which new answers it is unsure: the pages ask those first, for a share."""
    latest = running.latest(root, roles.reward).resolve()
    if not (latest / "model").is_dir():
        return
    answers, store = completions_of(folder / "completions.jsonl"), located(project.store, project.path.parent)
    with Store(store, readonly=True) as opened:
        prompts = opened.prompts(ids=list(dict.fromkeys(one.prompt_id for one in answers)))
    scoring.keep(store, latest.name, scoring.scores([str(latest)], prompts, answers))
    progress.tell(f"{latest.name} scored {len(answers)} new answers")


def _wait(
    project: Project,
    roles: Roles,
    path: Path,
    standing: Standing,
    judgements: int,
    progress: Progress,
    wait: Callable[[float], Any],
) -> int:
    """Until enough new judgements are there; the number of the newest act then."""
    sources = SOURCES[str(project.stages[roles.judge].value("annotators"))]
    progress.tell(f"waiting for {judgements} judgements: plaudit feedback --project {path.parent}")
    progress.task("judgements", judgements)
    with Store(located(project.store, path.parent), readonly=True) as store:
        while True:
            count, newest = store.judged_since(standing.before, "pairwise", sources)
            progress.advance(min(count, judgements))
            if count >= judgements:
                return newest
            wait(POLL)


def _finish(standing: Standing, summary: JSON, roles: Roles, answers: Path) -> None:
    stages = summary["stages"]
    told = {name: stages[name]["figures"] for name in (roles.judge, roles.reward, roles.policy)}
    policy = Path(stages[roles.policy]["folder"]) / "model"
    done = {"round": standing.done + 1, "policy": str(policy), "until": standing.until, "figures": told}
    standing.rounds.append({**done, "completions": str(answers), "answered_by": stages[roles.answers]["folder"]})
    standing.done += 1
    standing.before, standing.until = standing.until or 0, None
