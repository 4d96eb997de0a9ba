"""What a stage can be: any algorithm that trains, and what lies between two trainings."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from plaudit.config import config
from plaudit.registry import names
from plaudit.rewards.mix import RewardConfig
from plaudit.schema import Sampling, UserError


@config
class GenerateConfig:
    """A stage that answers prompts."""

    model: str
    """A run, a model folder, a .gguf file or a name."""
    prompts: str
    """JSONL file with a `prompt` column."""
    num_generations: Annotated[int, Ge(1)] = 2
    """Answers to each prompt."""


@config
class JudgeConfig:
    """A stage that turns judgements of answers into preference pairs."""

    prompts: str
    """The JSONL file whose prompts were answered."""
    completions: str
    """The completions to judge, as a `generate` stage wrote them."""
    annotators: Literal["simulated", "people", "judges", "everyone"]
    """Whose pairwise judgements in the store count: people's, judge models', everyone's; simulated: programs that err."""
    reward_func: str | None = None
    """What simulated annotators know of an answer's worth: a reward function, as in reward_funcs."""
    votes: Annotated[int, Ge(1)] = 3
    """Simulated annotators who judge each pair, at most five."""
    pairs_per_prompt: Annotated[int, Ge(1)] = 1
    """Pairs of answers that simulated annotators judge for each prompt."""
    eval_fraction: Annotated[float, Ge(0), Lt(1)] = 0.2
    """Share of the prompts whose pairs are held out."""
    until: Annotated[int, Ge(0)] | None = None
    """Judgements up to this number in the store; none takes all. `plaudit run --watch` sets it."""
    seed: int = 0
    """Draws the pairs, the held-out prompts and the simulated noise."""

    def __post_init__(self) -> None:
        if (self.annotators == "simulated") != (self.reward_func is not None):
            raise ValueError("reward_func is what simulated annotators know: give it with annotators: simulated, and only then")


@config
class ScoreConfig:
    """A stage that lets reward models score answers, so that the pages can ask what they are unsure of."""

    model: str | tuple[str, ...]
    """A trained reward model, or a list of them, an ensemble."""
    prompts: str
    """The JSONL file whose prompts were answered."""
    completions: str
    """The answers, as a `generate` stage wrote them."""


@config
class EvaluateConfig:
    """A stage that compares models on held-out prompts."""

    model: str
    """A run, a model folder, a .gguf file or a name."""
    prompts: str
    """JSONL file with a `prompt` column, held out from training."""
    against: str | None = None
    """Another model that answers the same prompts; needs reward_funcs or reward_model_path to compare."""
    num_generations: Annotated[int, Ge(1)] = 1
    """Answers to each prompt."""


@dataclass(frozen=True)
class Kind:
    """A verb: its option classes, its own defaults, and what other stages may take from it (name -> file in its folder)."""

    verb: str
    sections: tuple[type, ...]
    outputs: Mapping[str, str]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = False


WORK = {
    "generate": Kind("generate", (GenerateConfig, Sampling), {"completions": "completions.jsonl"}),
    "judge": Kind("judge", (JudgeConfig,), {"pairs": "pairs.jsonl", "eval_pairs": "eval_pairs.jsonl"}),
    "score": Kind("score", (ScoreConfig,), {"scores": "scores.jsonl"}),
    "evaluate": Kind("evaluate", (EvaluateConfig, Sampling, RewardConfig), {"answers": "answers.jsonl"}),
}


def kind(verb: str) -> Kind:
    """The kind of a stage by its verb. UserError, with the nearest name, where nothing is called so."""
    if verb in WORK:
        return WORK[verb]
    known = (*names("algorithms"), *WORK)
    if verb not in known and ":" not in verb:
        near = difflib.get_close_matches(verb, known, n=1)
        raise UserError(
            f"there is no verb {verb!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")
        )
    from plaudit.training.run import sections

    classes, defaults = sections(verb)
    return Kind(verb, tuple(classes), {"model": "model"}, defaults, trains=True)
