"""What is to be done, the same for both sides: a JSON file that a child process reads. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from plaudit.bench.texts import answers, questions, spread
from plaudit.schema import UserError

ROLLOUT, OFFLINE, ONLINE = ("rollout",), ("sft", "reward", "dpo"), ("grpo", "ppo")
COMPARED = (*ROLLOUT, *OFFLINE, *ONLINE)
"""Benchmarks with a peer; `memory` and `scaling` repeat one of them at other sizes."""


@dataclass(frozen=True)
class Sizes:
    """How much a benchmark does in one step. Prompts have about 30 tokens."""

    pairs: int = 8
    """Rows of SFT, pairs of the reward model and of DPO."""
    words: tuple[int, int] = (20, 150)
    """Shortest and longest answer of those."""
    prompts: int = 64
    """Rollouts."""
    lengths: tuple[int, int] = (8, 128)
    """Fewest and most new tokens of a rollout."""
    samples: int = 32
    """Answers in a step of GRPO and PPO."""
    new_tokens: int = 64
    """Length of those, the same for all."""
    siblings: int = 4
    """GRPO's answers to each prompt."""
    batch: int = 8
    """Rows (or pairs) in one forward and backward pass, on both sides."""


QUICK = Sizes(pairs=4, words=(4, 12), prompts=6, lengths=(2, 9), samples=4, new_tokens=6, siblings=2, batch=2)


@dataclass(frozen=True)
class Work:
    """One side's whole job. `rows` are JSON rows with TRL's columns; `prepare` fills in the folders."""

    name: str
    model: str
    rows: list[dict[str, str]]
    new_tokens: list[int] = field(default_factory=list)
    """Of each prompt, for work that samples; no answer ends before."""
    siblings: int = 1
    batch: int = 8
    epochs: int = 1
    """Optimiser steps on each batch of answers."""
    warmup: int = 1
    steps: int = 1
    dtype: str = "auto"
    """auto, default (what the library does when it is not told), fp32 or bf16."""
    peft: bool = False
    seed: int = 0
    vocabulary: int = 1
    """The model's vocabulary is made so many times as large."""
    words: list[str] = field(default_factory=list)
    """`key=value` options of ours, as `plaudit train` takes them, over what the benchmark sets."""
    options: dict[str, Any] = field(default_factory=dict)
    """The same of the peer, by the peer's names."""
    folder: str = ""
    reward: str = ""
    """A whole reward model."""
    reward_adapter: str = ""
    """The same as an adapter on the base, where `peft` is on."""

    @property
    def samples(self) -> int:
        """Rows, pairs or answers in a step."""
        return len(self.rows) * self.siblings

    @property
    def accumulation(self) -> int:
        """Passes of `batch` rows in an optimiser step."""
        return -(-self.samples // self.batch)

    def write(self, path: Path) -> Path:
        """The file that a child is given."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")
        return path

    def prepared(self, found: dict[str, Any]) -> Work:
        """With the folders that `prepare` made."""
        return replace(self, **{name: found[name] for name in ("folder", "reward", "reward_adapter")})


def work(name: str, model: str, sizes: Sizes, seed: int = 0, **settings: Any) -> Work:
    """The job of benchmark `name`. `settings` are fields of `Work`. UserError for sizes that do not divide."""
    chosen: dict[str, Any] = {"batch": sizes.batch, "seed": seed}
    if name == "rollout":
        rows = [{"prompt": text} for text in questions(sizes.prompts, seed)]
        chosen["new_tokens"] = spread(sizes.prompts, *sizes.lengths, f"rollout-{seed}")
    elif name in ONLINE:
        chosen["siblings"] = sizes.siblings if name == "grpo" else 1
        chosen["epochs"] = 4 if name == "ppo" else 1
        if sizes.samples % (chosen["siblings"] * sizes.batch):
            raise UserError(
                f"{sizes.samples} samples cannot be cut into batches of {sizes.batch} with {sizes.siblings} siblings"
            )
        rows = [{"prompt": text} for text in questions(sizes.samples // chosen["siblings"], seed)]
        chosen["new_tokens"] = [sizes.new_tokens] * len(rows)
    else:
        rows = _rows(name, sizes, seed)
    return Work(name=name, model=model, rows=rows, **{**chosen, **settings})


def _rows(name: str, sizes: Sizes, seed: int) -> list[dict[str, str]]:
    """Demonstrations or pairs whose answers are spread evenly over the allowed lengths."""
    asked = questions(sizes.pairs, seed)
    if name == "sft":
        written = {"completion": answers(spread(sizes.pairs, *sizes.words, f"sft-{seed}"), seed)}
    else:
        sides = ("chosen", "rejected")
        written = {side: answers(spread(sizes.pairs, *sizes.words, f"{side}-{seed}"), seed, side) for side in sides}
    return [{"prompt": text, **{side: texts[i] for side, texts in written.items()}} for i, text in enumerate(asked)]
