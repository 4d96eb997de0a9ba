"""The stage `score`: what reward models say of answers, into a file and into the store, where the pages ask by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plaudit.data.readers import read_prompts, write_jsonl
from plaudit.evaluation.against import judges_of, rewards_of
from plaudit.models.scorer import reward_info
from plaudit.pipeline.project.kinds import ScoreConfig
from plaudit.pipeline.project.work import Work, completions_of
from plaudit.rewards.mix import RewardConfig
from plaudit.schema import JSON, Completion, Prompt, UserError
from plaudit.store import Store, Where


def score(work: Work) -> JSON:
    """scores.jsonl with `completion_id`, `model`, `score`: log-odds, so that a gap of two is that of the preference."""
    o = work.options[ScoreConfig]
    prompts, answers = read_prompts(o.prompts), completions_of(Path(o.completions))
    models = [o.model] if isinstance(o.model, str) else list(o.model)
    found = scores(models, prompts, answers)
    keep(work.store, work.folder.name, found)
    rows = [
        {"completion_id": one, "model": number, "score": value}
        for number, each in enumerate(found, 1)
        for one, value in each.items()
    ]
    write_jsonl(work.folder / "scores.jsonl", rows)
    return {"answers": len(answers), "models": len(models)}


def scores(models: Sequence[str], prompts: Sequence[Prompt], answers: Sequence[Completion]) -> list[dict[str, float]]:
    """For each reward model: completion id -> score on the scale that it was trained on.

    UserError for an answer to none of the prompts, and where a model is no scalar reward model.
    """
    asked = {prompt.id: prompt for prompt in prompts}
    foreign = sum(one.prompt_id not in asked for one in answers)
    if foreign:
        raise UserError(f"{foreign} completions answer none of the prompts; give the file that they answered")
    found = []
    for model in map(_folder, models):
        info = reward_info(model)
        if info.aspects or info.step_separator:
            raise UserError(f"{model} scores aspects or steps; a preference needs a model of `train reward`")
        options = RewardConfig(reward_model_path=str(model))
        mix = rewards_of(options, judges_of(options), None)
        assert mix is not None, "there is a reward model"
        scored = mix.score([asked[one.prompt_id] for one in answers], answers)
        found.append({one.completion.id: one.reward * info.deviation for one in scored if one.reward is not None})
    return found


def keep(store: Where, name: str, found: Sequence[dict[str, float]]) -> None:
    """Into the store, as `name/1`, `name/2`, ...: the members of one ensemble."""
    with Store(store) as opened:
        for number, each in enumerate(found, 1):
            opened.set_scores(f"{name}/{number}", each)


def _folder(model: str) -> Path:
    """The model of a run, or the folder itself."""
    path = Path(model)
    return path / "model" if (path / "model").is_dir() else path
