"""A reward model as a reward, with the tokenizer it was trained with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from plaudit.data.template import encode_answer, turn_end_id
from plaudit.rewards.base import Context, Scores, checked
from plaudit.schema import Completion, Prompt


class ModelReward:
    """Scores whole rows (prompt and answer) by `scorer`, which takes lists of ids and gives one number for each.

    Where the policy has the same tokenizer, the reward model reads the very ids that were sampled; else prompt and text are
    encoded anew by its own tokenizer and chat template. An answer that its model ended is closed by the end token, as the
    rows were that the reward model was trained on; an answer that ran into the length limit stays open.
    """

    concurrent = False

    def __init__(
        self,
        scorer: Callable[[list[list[int]]], list[float]],
        tokenizer: Any,
        name: str = "reward_model",
        *,
        policy_tokenizer: Any = None,
        max_length: int | None = None,
    ) -> None:
        """`policy_tokenizer`: None means the same one. `max_length`: rows longer than this many ids get None, counted in
        the metric `rewards/<name>/too_long`."""
        self.scorer, self.tokenizer, self.name, self.max_length = scorer, tokenizer, name, max_length
        self.same = policy_tokenizer is None or same_tokenizer(tokenizer, policy_tokenizer)
        self._special = set(tokenizer.all_special_ids)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion], context: Context) -> Scores:
        """UserError where the model gives something else than one finite number for each row."""
        rows = [self.encode(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        fits = [i for i, ids in enumerate(rows) if self.max_length is None or len(ids) <= self.max_length]
        if self.max_length is not None:
            context.log_metric(f"rewards/{self.name}/too_long", len(rows) - len(fits))
        found: Scores = [None] * len(rows)
        values = checked(self.scorer([rows[i] for i in fits]), len(fits), f"reward model {self.name}") if fits else []
        for i, value in zip(fits, values, strict=True):
            found[i] = value
        return found

    def encode(self, prompt: Prompt, completion: Completion) -> list[int]:
        """The ids that the reward model reads for this answer."""
        text_only = not completion.prompt_tokens or bool(completion.text and not completion.tokens)
        if not self.same or text_only:
            return encode_answer(self.tokenizer, prompt, completion.text, add_eos=not completion.truncated).ids
        ids = [*completion.prompt_tokens, *completion.tokens]
        # A stop string ended it: the model wrote no end token, but its rows all had one.
        if not completion.truncated and not (completion.tokens and completion.tokens[-1] in self._special):
            ids.append(turn_end_id(self.tokenizer, chat=prompt.text is None))
        return ids


def same_tokenizer(one: Any, other: Any) -> bool:
    """Whether two tokenizers write the same ids for the same dialogue: vocabulary, rules, end token and chat template."""
    return one is other or _identity(one) == _identity(other)


def _identity(tokenizer: Any) -> tuple[Any, ...]:
    if not tokenizer.is_fast:
        return (id(tokenizer),)
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    rules = {key: value for key, value in core.items() if key not in ("truncation", "padding")}  # those change with every call
    return rules, tokenizer.eos_token_id, tokenizer.chat_template
