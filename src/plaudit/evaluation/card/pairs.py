"""Held-out pairs with a reward model's scores: what every part of the card looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from plaudit.data.sides import said
from plaudit.rewards.base import Context, Reward
from plaudit.schema import JSON, Completion, Prompt, Ranking, UserError

Score = Callable[[Sequence[Prompt], Sequence[str]], list[float | None]]
"""Prompts and answers (one each) -> scores; None where there is none."""


@dataclass(frozen=True)
class Pairs:
    """N pairs of answers to one prompt each; arrays are [N]."""

    prompts: list[Prompt]
    chosen: list[str]
    rejected: list[str]
    meta: list[JSON]
    strength: np.ndarray
    """The label's margin; 0 where it has none."""
    probability: np.ndarray
    """P(the label is right), 1 for plain labels."""
    scores: np.ndarray
    """[N, 2]: of the chosen and of the rejected answer."""
    left_out: int = 0
    """Pairs without a score."""

    @property
    def gap(self) -> np.ndarray:
        """r(chosen) - r(rejected)."""
        return np.asarray(self.scores[:, 0] - self.scores[:, 1])

    @property
    def right(self) -> np.ndarray:
        """1 where the chosen answer scores higher, 1/2 where both score the same."""
        return np.where(self.gap == 0, 0.5, (self.gap > 0).astype(float))

    @property
    def longer(self) -> np.ndarray:
        """Words of the chosen answer less those of the rejected."""
        return np.array([len(a.split()) - len(b.split()) for a, b in zip(self.chosen, self.rejected, strict=True)], dtype=float)

    @property
    def groups(self) -> np.ndarray:
        """The number of each pair's prompt: pairs of one prompt are not independent."""
        ids = [prompt.id for prompt in self.prompts]
        place = {one: number for number, one in enumerate(dict.fromkeys(ids))}
        return np.array([place[one] for one in ids])

    def __len__(self) -> int:
        return len(self.prompts)


def scored_pairs(items: Sequence[Ranking], score: Score) -> Pairs:
    """The best answer of each ranking against each other one. UserError where no pair could be scored."""
    rows = [(item, other) for item in items for other in item.answers[1:]]
    prompts = [item.prompt for item, _ in rows]
    chosen, rejected = [said(item.answers[0]) for item, _ in rows], [said(other) for _, other in rows]
    found = score([*prompts, *prompts], [*chosen, *rejected])
    kept = [i for i in range(len(rows)) if found[i] is not None and found[len(rows) + i] is not None]
    if not kept:
        raise UserError("none of the pairs has scores from this reward model: they are longer than it reads, or there are none")
    return Pairs(
        [prompts[i] for i in kept],
        [chosen[i] for i in kept],
        [rejected[i] for i in kept],
        [{**rows[i][0].prompt.meta, **rows[i][0].meta} for i in kept],
        np.array([rows[i][0].margin for i in kept]),
        np.array([rows[i][0].probability for i in kept]),
        np.array([[found[i], found[len(rows) + i]] for i in kept], dtype=float),
        len(rows) - len(kept),
    )


def scorer_of(reward: Reward) -> Score:
    """A reward as a function of prompts and texts; every answer counts as ended."""

    def score(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float | None]:
        rows = [Completion(prompt.id, text, (), (), (), "stop") for prompt, text in zip(prompts, answers, strict=True)]
        found = reward.score(list(prompts), rows, Context())
        assert isinstance(found, list), "reward models do not work in the background"
        return [None if value is None else float(value) for value in found]

    return score


def request(prompt: Prompt) -> str:
    """The last thing that was asked, as text."""
    return prompt.text if prompt.text is not None else next((m.content for m in reversed(prompt.messages)), "")
