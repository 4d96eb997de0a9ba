"""A model under evaluation: it answers, and where its weights are here it also says how likely a text is to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plaudit.schema import Completion, Message, Prompt, Sampling, UserError

if TYPE_CHECKING:
    from plaudit.data.template import Row
    from plaudit.models.load import Loaded

Told = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Progress that nobody is told of."""


class Subject:
    """A run, model folder, file or name, or URL#MODEL. What is asked of it decides what is loaded."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def remote(self) -> bool:
        """Whether it answers over HTTP, and gives no likelihoods."""
        return self.name.startswith(("http://", "https://"))

    @cached_property
    def loaded(self) -> Loaded:
        """The whole model, adapters merged. UserError for one behind a server."""
        from plaudit.engines.opening import model_of
        from plaudit.models.adapter_folder import is_adapter, merged_model, open_adapter
        from plaudit.models.load import Loaded, load

        if self.remote:
            raise UserError(
                f"{self.name} is behind a server that gives no likelihoods; give a model folder, or leave the task out"
            )
        chosen = model_of(self.name)
        if not is_adapter(Path(chosen)):
            return load(chosen)
        base, adapter = open_adapter(Path(chosen))
        return Loaded(merged_model(base, adapter), base.tokenizer, base.digest, self.name)

    @cached_property
    def engine(self) -> Any:
        """What generates."""
        from plaudit.engines.opening import open_engine

        return open_engine(self.name)

    @cached_property
    def chats(self) -> bool:
        """Whether it has a chat template; a server is taken to have one. What is in memory already is asked."""
        return self.remote or bool((self.loaded if "loaded" in self.__dict__ else self.engine).tokenizer.chat_template)

    def scoring(self) -> None:
        """Load what likelihoods need, before prompts are made: a model that only scores is then in memory once."""
        _ = self.loaded

    def prompt(self, text: str, system: str = "", examples: Sequence[tuple[str, str]] = ()) -> Prompt:
        """The request in the model's own form: a dialogue with a chat template, else text; solved examples stand before it."""
        if self.chats:
            turns = [Message("system", system)] if system else []
            for question, answer in examples:
                turns += [Message("user", question), Message("assistant", answer)]
            return Prompt(messages=(*turns, Message("user", text)))
        lead = [system] if system else []
        return Prompt(text="\n\n".join([*lead, *(f"{question}\n{answer}" for question, answer in examples), f"{text}\n"]))

    def answers(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, told: Told = silent) -> list[Completion]:
        """`n` answers to each prompt, prompt-major."""
        found: list[Completion] = self.engine.generate(prompts, n, sampling, told)
        return found

    def likelihood(self, prompts: Sequence[Prompt], answers: Sequence[str], told: Told = silent) -> np.ndarray:
        """log p(answer | prompt) of each row in nats, end token left out, [rows]."""
        from plaudit.data.template import encode_answer
        from plaudit.evaluation.perplexity import answer_logprobs

        tokenizer = self.loaded.tokenizer
        rows = [encode_answer(tokenizer, p, a, add_eos=False) for p, a in zip(prompts, answers, strict=True)]
        self._fits(rows)
        return answer_logprobs(self.loaded, rows, told)

    def text_likelihood(self, texts: Sequence[str], told: Told = silent) -> tuple[np.ndarray, np.ndarray]:
        """(log p in nats, tokens counted) of plain texts, each behind the tokenizer's BOS (EOS where it has none).

        Texts longer than the model can read are read in pieces that do not overlap, each behind a BOS.
        """
        from plaudit.data.template import Row
        from plaudit.evaluation.perplexity import answer_logprobs

        tokenizer, limit = self.loaded.tokenizer, self._context - 1
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        rows, owner = [], []
        for number, text in enumerate(texts):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            for i in range(0, len(ids), limit):
                piece = ids[i : i + limit]
                rows.append(Row(ids=[start, *piece], mask=[0] + [1] * len(piece), prompt_length=1))
                owner.append(number)
        found = answer_logprobs(self.loaded, rows, told)
        tokens = [sum(row.mask) for row in rows]
        return np.bincount(owner, found, len(texts)), np.bincount(owner, tokens, len(texts))

    @cached_property
    def _context(self) -> int:
        from plaudit.models import families

        return int(families.context(self.loaded.model.config))

    def _fits(self, rows: Sequence[Row]) -> None:
        longest = max((len(row) for row in rows), default=0)
        if longest > self._context:
            raise UserError(f"{self.name} can read {self._context} tokens, and a row has {longest}; shorten the task's rows")


def normalised(logprobs: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Log-likelihoods per byte of text, so that long choices do not lose by their length."""
    return logprobs / np.array([max(1, len(text.encode())) for text in texts])


def bits(nats: float) -> float:
    return nats / math.log(2)
