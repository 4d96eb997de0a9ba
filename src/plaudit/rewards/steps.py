"""A process reward model as a reward: the chance that each step of an answer is right, as one number or on its tokens.

min      min_i p_i           Lightman et al. 2023 (arXiv:2305.20050), app. F; the default
product  prod_i p_i          the chance that all are right, were they independent (the same, their usual choice)
last     p_n                 as an outcome reward model
dense    p_i / n on the last token of step i, so that the answer's reward is the mean and more steps do not earn more
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from plaudit.core.batch import from_rows
from plaudit.data.template import encode_steps
from plaudit.models.network import Network
from plaudit.rewards.base import Context, Dense, Scores
from plaudit.rewards.model import same_tokenizer
from plaudit.schema import Completion, Prompt, UserError

StepRule = Literal["min", "product", "last", "dense"]


@dataclass(frozen=True)
class Marked:
    """An answer as the reward model reads it: its ids, where its steps end in them, and in the tokens that were sampled."""

    ids: list[int]
    ends: list[int]
    sampled: list[int]


class StepReward:
    """Scores whole rows (prompt and answer) at the ends of their steps. An answer without any step has no reward."""

    concurrent = False

    def __init__(
        self,
        network: Network,
        rule: StepRule,
        name: str = "reward_model",
        *,
        batch_size: int = 16,
        policy_tokenizer: Any = None,
    ) -> None:
        """UserError where tokens are to be rewarded that are not those of the reward model's tokenizer."""
        self.network, self.rule, self.name, self.batch_size = network, rule, name, batch_size
        self.tokenizer, self.separator = network.base.tokenizer, network.step_separator
        self.same = policy_tokenizer is None or same_tokenizer(self.tokenizer, policy_tokenizer)
        if rule == "dense" and not self.same:
            raise UserError(
                f"step_reward dense puts rewards on the policy's tokens, but {name} has another tokenizer; use min, product or "
                "last"
            )
        self._special = set(self.tokenizer.all_special_ids)
        self._behind = self.tokenizer(self.separator, add_special_tokens=False)["input_ids"]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion], context: Context) -> Scores:
        """One number for each answer, by the rule; `Dense` ones for the rule dense."""
        marked = [self.marked(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        found: Scores = [None] * len(marked)
        some = [i for i, item in enumerate(marked) if item.ends]
        for i, chances in zip(some, self._chances([marked[i] for i in some]), strict=True):
            found[i] = self.combined(chances, marked[i].sampled, len(completions[i].tokens))
        context.log_metric(f"rewards/{self.name}/steps", sum(len(item.ends) for item in marked) / max(1, len(marked)))
        return found

    def combined(self, chances: Sequence[float], places: Sequence[int], length: int) -> float:
        """The reward of an answer of `length` tokens, from its steps' chances and the tokens that they end on."""
        if self.rule == "min":
            return min(chances)
        if self.rule == "product":
            return math.prod(chances)
        if self.rule == "last":
            return chances[-1]
        tokens = [0.0] * length
        for place, chance in zip(places, chances, strict=True):
            tokens[place] += chance / len(chances)
        return Dense(tokens)

    def marked(self, prompt: Prompt, completion: Completion) -> Marked:
        """The answer's row with its steps' ends. A last step without separator gets one to be judged at, as in training."""
        if not self.same:
            steps = [step for step in completion.text.split(self.separator) if step.strip()]
            row, ends = encode_steps(self.tokenizer, prompt, steps, self.separator)
            return Marked(row.ids, ends, [])
        head, tokens = len(completion.prompt_tokens), list(completion.tokens)
        while tokens and tokens[-1] in self._special:
            tokens.pop()
        places, said = [], ""
        for place, piece in enumerate(self.tokenizer.decode([token]) for token in tokens):
            said += piece
            if self.separator in said:
                if said.strip():
                    places.append(place)
                said = ""
        ids = [*completion.prompt_tokens, *tokens]
        ends = [head + place for place in places]
        if said.strip():
            ids += self._behind
            ends, places = [*ends, len(ids) - 1], [*places, len(tokens) - 1]
        return Marked(ids, ends, places)

    @torch.no_grad()
    def _chances(self, items: Sequence[Marked]) -> list[list[float]]:
        found: list[list[float]] = [[] for _ in items]
        order = sorted(range(len(items)), key=lambda i: len(items[i].ids))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            rows = [items[i].ids for i in chosen]
            nothing = [[0] * len(row) for row in rows]
            steps = [[float(t in set(items[i].ends)) for t in range(len(items[i].ids))] for i in chosen]
            batch = from_rows(rows, nothing, streams={"step": steps}).to(self.network.base.model.device)
            outputs = self.network(batch, {"steps"})
            assert outputs.steps is not None
            for place, i in enumerate(chosen):
                found[i] = outputs.steps[place, items[i].ends].sigmoid().tolist()
        self.network.base.rest()
        return found
