"""Generation by transformers' own `generate`, for causal LMs that the decoder of ours does not describe: the general path.

It is slower: rows are padded to the longest prompt of their batch, each sibling reads its prompt again, and a batch goes on
until its last row ends. What an answer is does not differ from the other engine: the same seeds, the same exact sampler, ids
and log-probabilities as sampled.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from plaudit.engines.base import Progress, check_request
from plaudit.engines.rows import Row, asked, completions, rows_of
from plaudit.engines.sampling import draw
from plaudit.engines.stop import Ends, ends
from plaudit.engines.weights import Place, fill
from plaudit.models.families import context
from plaudit.schema import Completion, Prompt, Sampling, UserError


class TransformersEngine:
    """Any causal LM of transformers, with the interface of `TorchEngine`; holds a model of its own, filled by `load`."""

    returns_token_ids = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        dtype: torch.dtype | None = None,
        slots: int = 64,
        max_length: int | None = None,
        device: torch.device | str = "cpu",
        eos_token_ids: Iterable[int] = (),
    ) -> None:
        """An engine for models like `model` (its class and config are taken, not its weights). Options are TorchEngine's.

        slots: rows of one batch. Raises UserError for a max_length too long.
        """
        if slots < 1:
            raise UserError(f"engine option slots is {slots}; allowed: at least 1.")
        most = context(model.config)
        self.max_length = most if max_length is None else max_length
        if self.max_length > most:
            raise UserError(f"max_length {max_length} is more than the model can read (max_position_embeddings {most}).")
        self.tokenizer, self.slots, self.version = tokenizer, slots, ""
        self.eos_token_ids = tuple(eos_token_ids)
        self.device = torch.device(device)
        self.model = _empty(model, dtype or torch.float32).to(self.device)
        self.loaded = False

    @torch.no_grad()
    def load(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
        """Overwrite the weights in place. After an error they are a mixture: no generation until a load succeeds."""
        self.loaded = False
        places = {name: Place(w, tuple(w.shape), tuple(w.shape)) for name, w in self.model.state_dict().items()}
        fill(places, weights)
        self.loaded, self.version = True, version

    def release(self) -> None:
        """Nothing is kept between calls."""

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, progress: Progress | None = None
    ) -> list[Completion]:
        """`n` answers to each prompt, prompt-major; errors as TorchEngine's."""
        check_request(n, sampling)
        if not self.loaded:
            raise RuntimeError("the engine holds no complete set of weights: call load first")
        stop = ends(self.tokenizer, sampling, self.eos_token_ids)
        rows = rows_of(asked(self.tokenizer, prompts, self.max_length), n, sampling, stop, self.tokenizer, self.max_length)
        done = 0
        with torch.inference_mode():
            for batch in self._batches(rows):

                def told(count: int, before: int = done) -> None:
                    if progress:
                        progress(before + count, len(rows))

                self._write(Writer(batch, sampling, stop, self._pad, told))
                done += len(batch)
        return completions(rows, self.tokenizer, sampling, self.version)

    @property
    def _pad(self) -> int:
        found = self.tokenizer.pad_token_id
        return 0 if found is None else int(found)

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows, longest prompt first, in batches in which no row's padded length passes `max_length`.

        A model with a running state is not told of padding by a mask, so its batches are of one length.
        """
        batch: list[Row] = []
        for row in rows:
            if batch:
                width = len(batch[0].prompt.ids)
                other = len(row.prompt.ids) != width
                if len(batch) == self.slots or (other and (self.model._is_stateful or width + row.limit > self.max_length)):
                    yield batch
                    batch = []
            batch.append(row)
        if batch:
            yield batch

    def _write(self, writer: Writer) -> None:
        from transformers import GenerationConfig
        from transformers.generation import LogitsProcessorList, StoppingCriteriaList

        width = len(writer.rows[0].prompt.ids)
        ids = torch.full((len(writer.rows), width), self._pad)
        mask = torch.zeros_like(ids)
        for row, line, real in zip(writer.rows, ids, mask, strict=True):
            line[width - len(row.prompt.ids) :] = torch.tensor(row.prompt.ids)
            real[width - len(row.prompt.ids) :] = 1
        self.model.generate(
            ids.to(self.device),
            attention_mask=mask.to(self.device),
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=max(row.limit for row in writer.rows), pad_token_id=self._pad, use_cache=True
            ),
            logits_processor=LogitsProcessorList([writer]),
            stopping_criteria=StoppingCriteriaList([writer.stopped]),
        )


class Writer:
    """Draws each row's next token itself, as a logits processor of `generate`, which then finds one token possible only."""

    def __init__(self, rows: list[Row], sampling: Sampling, stop: Ends, pad: int, told: Any) -> None:
        self.rows, self.sampling, self.stop, self.pad, self.told = rows, sampling, stop, pad, told

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        going = [number for number, row in enumerate(self.rows) if not row.reason]
        chosen = torch.full((len(self.rows), 1), self.pad, device=scores.device)
        if going:
            rows = [self.rows[number] for number in going]
            uniform = torch.tensor([row.uniform[len(row.tokens)] for row in rows], dtype=torch.float64, device=scores.device)
            tokens, logprobs = draw(scores[going], uniform, self.sampling)
            for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
                row.push(token, logprob, self.stop)
            chosen[going, 0] = tokens
            if any(row.reason for row in rows):
                self.told(sum(bool(row.reason) for row in self.rows))
        return torch.full_like(scores, float("-inf")).scatter_(1, chosen, 0.0)

    def stopped(self, ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """True for rows that have ended; a stopping criterion of `generate`."""
        return torch.tensor([bool(row.reason) for row in self.rows], device=ids.device)


def _empty(model: Any, dtype: torch.dtype) -> Any:
    """A model of the same class and config, whose `generate` follows no defaults of the model's own."""
    from transformers import GenerationConfig

    config = copy.deepcopy(model.config)
    config._attn_implementation = None  # a model that is trained may attend in a way that keeps no cache
    with torch.random.fork_rng(devices=[]):
        made = type(model)._from_config(config, dtype=dtype)
    made.generation_config = GenerationConfig()
    return made.eval().requires_grad_(False)
