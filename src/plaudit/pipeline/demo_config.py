"""How much the demo does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le

from plaudit.config import config


@config
class DemoConfig:
    """Options of `plaudit demo`."""

    model: str = "smollm2-135m-instruct"
    """The model to start from: a folder, a .gguf file, a hub name, or the embedded SmolLM2-135M-Instruct."""
    seed: Annotated[int, Ge(0)] = 1
    """Everything random follows from it: questions, order of the data, answers, annotators' noise."""
    quick: bool = False
    """The same with less: a few minutes, and wider intervals."""
    output_dir: str | None = None
    """Folder of the run; none makes runs/demo-<date>-seed<seed>."""
    place: str = "local"
    """Where it runs: local is this process."""
    ppo_steps: Annotated[int, Ge(1)] | None = None
    """Updates of PPO; none takes what the demo was tuned for."""
    temperature: Annotated[float, Gt(0), Le(2)] = 1.0
    """Sampling temperature of every answer: judged, trained on, and evaluated."""


@dataclass(frozen=True)
class Sizes:
    """Rows of each stage; `Sizes.of(quick)` picks a set."""

    demonstrations: int = 320
    sft_validation: int = 32
    judged_prompts: int = 400
    judged_validation: int = 120
    answers: int = 2
    pairs_per_prompt: int = 1
    votes: int = 5
    ppo_prompts: int = 400
    ppo_steps: int = 12
    prompts_per_step: int = 20
    generations: int = 2
    held_out: int = 200
    max_tokens: int = 80
    max_tokens_base: int = 128

    @staticmethod
    def of(quick: bool) -> Sizes:
        """The full demo, or the quick one."""
        if not quick:
            return Sizes()
        return Sizes(
            demonstrations=120,
            sft_validation=16,
            judged_prompts=40,
            judged_validation=16,
            ppo_prompts=80,
            ppo_steps=4,
            prompts_per_step=12,
            held_out=40,
        )


def folder_of(options: DemoConfig, today: str) -> Path:
    """The run's folder: the one asked for, or the first free runs/demo-<date>-seed<seed>[-n]."""
    if options.output_dir is not None:
        return Path(options.output_dir)
    stem = f"runs/demo-{today}-seed{options.seed}{'-quick' if options.quick else ''}"
    names = (Path(stem if n == 1 else f"{stem}-{n}") for n in range(1, 1000))
    return next(path for path in names if not path.exists())
