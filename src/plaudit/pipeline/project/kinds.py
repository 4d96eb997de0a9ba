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
    annotators: Literal["simulated", "people"]
    """people: the pairwise judgements that the project's store holds; simulated: programs that know `reward_func` and err."""
    reward_func: str | None = None
    """What simulated annotators know of an answer's worth: a reward function, as in reward_funcs."""
    votes: Annotated[int, Ge(1)] = 3
    """Simulated annotators who judge each pair, at most five."""
    pairs_per_prompt: Annotated[int, Ge(1)] = 1
    """Pairs of answers that simulated annotators judge for each prompt."""
    eval_fraction: Annotated[float, Ge(0), Lt(1)] = 0.2
    """Share of the prompts whose pairs are held out."""
    seed: int = 0
    """Draws the pairs, the held-out prompts and the simulated noise."""

    def __post_init__(self) -> None:
        if (self.annotators == "simulated") != (self.reward_func is not None):
            raise ValueError("reward_func is what simulated annotators know: give it with annotators: simulated, and only then")


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
