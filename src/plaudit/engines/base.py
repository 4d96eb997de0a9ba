"""What every engine can do, the seed of a row, and the refusal of engines that cannot say which ids they sampled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from plaudit.schema import Completion, Prompt, Sampling, UserError

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all) whenever rows end."""


@runtime_checkable
class Engine(Protocol):
    """Writes answers. `version` names the weights it holds; `returns_token_ids` says whether completions carry sampled ids."""

    version: str
    returns_token_ids: bool

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, progress: Progress | None = None
    ) -> list[Completion]:
        """`n` completions of each prompt: prompt-major, then the siblings 0..n-1."""
        ...

    def load(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
        """Take new weights by their Hugging Face parameter names, adapters already merged."""
        ...


def row_seed(seed: int, prompt_id: str, index: int) -> int:
    """The seed of one row's random numbers, from nothing but the sampling seed, the prompt and the place among its siblings.

    SHA-256, so it is the same in every process, on every machine and in any batch. 53 bits, so that JSON readers which
    keep numbers as doubles (browsers) do not change it.
    """
    digest = hashlib.sha256(f"{seed}:{prompt_id}:{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def require_token_ids(engine: Engine, purpose: str) -> None:
    """Refuse an engine that returns text only where the very ids that were sampled are needed (policy gradients).

    Text that is tokenised again is often another sequence than the one sampled, and has no log-probabilities. Raises UserError.
    """
    if not engine.returns_token_ids:
        raise UserError(
            f"{purpose} needs the token ids that were sampled, and the engine {type(engine).__name__} returns text only: "
            "use `engine: torch`, or keep this engine for judging and for playing the user."
        )


def check_request(n: int, sampling: Sampling) -> None:
    """Refuse numbers that no engine can sample with. Raises UserError naming the option, its value and what is allowed."""
    rules = (
        ("n", n, n >= 1, "at least 1"),
        ("max_new_tokens", sampling.max_new_tokens, sampling.max_new_tokens >= 1, "at least 1"),
        ("temperature", sampling.temperature, 0 <= sampling.temperature < float("inf"), "0 (greedy) or a positive number"),
        ("top_k", sampling.top_k, sampling.top_k >= 0, "0 (off) or a positive whole number"),
        ("top_p", sampling.top_p, 0 < sampling.top_p <= 1, "above 0 and at most 1 (off)"),
        ("min_p", sampling.min_p, 0 <= sampling.min_p <= 1, "between 0 (off) and 1"),
        ("stop", sampling.stop, all(sampling.stop), "strings that are not empty"),
    )
    for name, value, good, allowed in rules:
        if not good:
            raise UserError(f"sampling option {name} is {value!r}; allowed: {allowed}.")
