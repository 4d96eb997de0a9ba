"""Generation in plain torch with continuous batching: finished rows leave the batch, waiting ones enter.

One process, one device: the CPU or, by the `device` argument, CUDA.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from plaudit.engines.base import Progress, check_request
from plaudit.engines.batching import Loop
from plaudit.engines.decoder import Decoder, check
from plaudit.engines.graphs import Graphs
from plaudit.engines.kernels import Kernels
from plaudit.engines.kv_cache import KVCache
from plaudit.engines.rows import asked, completions, rows_of
from plaudit.engines.stop import ends
from plaudit.models.families import context
from plaudit.schema import Completion, Prompt, Sampling, UserError


def end_token_ids(model: Any) -> list[int]:
    """The ids that end an answer by the generation config of a transformers model; often more than the tokenizer's EOS."""
    listed = getattr(model.generation_config, "eos_token_id", None)
    return [listed] if isinstance(listed, int) else list(listed or [])


class TorchEngine:
    """Own generation loop for the families of `models/families.py`; holds its own fused copy of the weights, filled by `load`.

    A row's tokens depend on its prompt, seed and weights alone, not on what else is in the batch: its random numbers are its
    own, and only the rounding of matrix products can differ with the batch's shape (in float64 too little to matter).
    The recorded log-probabilities are those of the distribution sampled from: after temperature and filters; 0 for greedy.
    In bfloat16 matrix products (the last one included) are in bfloat16; norms, softmax and sampling are in float32 or better.
    """

    returns_token_ids = True

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        *,
        dtype: torch.dtype | None = None,
        slots: int = 64,
        max_length: int | None = None,
        device: torch.device | str = "cpu",
        eos_token_ids: Iterable[int] = (),
        compiled: bool | None = None,
    ) -> None:
        """An engine without weights yet; `generate` works after the first `load`.

        config: the model's config. dtype: float64, float32 (default) or bfloat16. slots: rows decoded at once.
        max_length: prompt and answer together, in tokens; default is what the model can read.
        eos_token_ids: ids that end an answer beside the tokenizer's EOS (the generation config's).
        compiled: fast kernels; by default in float32 and bfloat16, where there is a compiler or Triton (see `kernels`).
        Raises UserError for another family, rope type or a max_length too long.
        """
        self.max_length: int = context(config) if max_length is None else max_length
        check(config, self.max_length)
        if slots < 1:
            raise UserError(f"engine option slots is {slots}; allowed: at least 1.")
        self.tokenizer, self.slots, self.version = tokenizer, slots, ""
        self.eos_token_ids = tuple(eos_token_ids)
        self.device = torch.device(device)
        self.decoder = Decoder(config, dtype or torch.float32, self.device, compiled)
        shape = self.decoder.shape
        self.cache = KVCache(config.num_hidden_layers, shape.kv_heads, shape.head_dim, self.decoder.dtype, self.device)
        self.graphs = Graphs(self.decoder, self.cache)
        self.loaded = False

    @classmethod
    def from_model(cls, model: Any, tokenizer: Any, *, version: str = "", **options: Any) -> TorchEngine:
        """An engine with a copy of a transformers model's weights, in its dtype and on its device unless `options` say else."""
        options.setdefault("eos_token_ids", end_token_ids(model))
        engine = cls(model.config, tokenizer, **{"dtype": model.dtype, "device": model.device, **options})
        engine.load(model.state_dict().items(), version)
        return engine

    def load(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
        """Overwrite the weights in place. After an error they are a mixture: no generation until a load succeeds."""
        self.loaded = False
        self.decoder.load(weights)
        self.loaded, self.version = True, version

    @property
    def kernels(self) -> str:
        """The name of the kernels that it samples with: their last bits differ, so a resumed run needs the same (law 6)."""
        return self.decoder.kernels.name

    def use(self, kernels: str) -> bool:
        """Sample with the kernels of this name from now on; False where they cannot be had here, and torch's are used."""
        self.decoder.use(kernels != Kernels.name)
        return self.kernels == kernels

    def release(self) -> None:
        """Give the cache's memory back between calls; the next `generate` allocates it again."""
        self.cache.release()

    def unload(self) -> None:
        """Give all memory back, the weights' too: until the next `load` it holds none, and `generate` refuses.

        On a GPU nothing happens: recorded steps hold the addresses, and recording them anew costs more than it saves.
        """
        if self.device.type != "cpu":
            return
        self.loaded, self.version = False, ""
        self.decoder.weights.drop()
        self.cache.release()

    def generate(
        self,
        prompts: Sequence[Prompt],
        n: int,
        sampling: Sampling,
        progress: Progress | None = None,
        *,
        limits: Sequence[int] | None = None,
    ) -> list[Completion]:
        """`n` answers to each prompt, prompt-major. A row that reaches `max_length` ends with finish_reason "length".

        limits: most new tokens of each prompt's answers, where they are to be less than `max_new_tokens`.
        The same prompt twice in one call gets the same answers twice: seeds come from the prompt, not from its place.
        Raises UserError where a prompt leaves no room for an answer, and for sampling options out of range;
        RuntimeError where no weights are loaded; FloatingPointError where logits are not finite.
        """
        check_request(n, sampling)
        if not self.loaded:
            raise RuntimeError("the engine holds no complete set of weights: call load first")
        stop = ends(self.tokenizer, sampling, self.eos_token_ids)
        found = asked(self.tokenizer, prompts, self.max_length, self.decoder.extras.virtual)
        rows = rows_of(found, n, sampling, stop, self.tokenizer, self.max_length, limits)
        if not rows:
            return []
        with torch.inference_mode():
            length = max(row.prompt.places + row.limit for row in rows)
            self.decoder.reserve(length)
            self.cache.reserve(min(self.slots, len(rows)), length)
            try:
                loop = Loop(self.decoder, self.cache, sampling, stop, min(self.slots, len(rows)), progress, self.graphs)
                loop.run(rows)
            except FloatingPointError:
                self.cache.release()  # it may hold NaN, which no mask hides
                raise
        return completions(rows, self.tokenizer, sampling, self.version)
