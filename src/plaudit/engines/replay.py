"""An engine that plays recorded completions back: for tests, and for training on answers sampled elsewhere."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.engines.base import Progress
from plaudit.schema import Completion, Prompt, Sampling, UserError

if TYPE_CHECKING:
    from torch import Tensor


class ReplayEngine:
    """Returns recorded completions of each prompt in the order recorded, each once. Weights are not looked at."""

    def __init__(self, completions: Iterable[Completion], version: str = "replay") -> None:
        self.version = version
        self.returns_token_ids = True
        self.recorded: dict[str, deque[Completion]] = defaultdict(deque)
        for completion in completions:
            self.recorded[completion.prompt_id].append(completion)
            self.returns_token_ids &= 0 < len(completion.tokens) == len(completion.logprobs)

    @classmethod
    def from_jsonl(cls, path: str | Path, version: str = "replay") -> ReplayEngine:
        """Read a file with one completion as JSON on each line. Raises UserError with file and line."""
        try:
            lines = Path(path).read_text(encoding="utf-8").split("\n")  # not splitlines: texts may hold U+2028
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the recorded completions in {path}: {error}.") from None
        return cls([_completion(line, f"{path}, line {i}") for i, line in enumerate(lines, 1) if line.strip()], version)

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, progress: Progress | None = None
    ) -> list[Completion]:
        """The next `n` recorded completions of each prompt; `sampling` is not looked at.

        Raises UserError naming the prompt that has too few left; nothing is used up then.
        """
        wanted: dict[str, int] = defaultdict(int)
        for prompt in prompts:
            wanted[prompt.id] += n
        for name, count in wanted.items():
            left = len(self.recorded.get(name, ()))
            if left < count:
                raise UserError(f"prompt {name} has {left} recorded completions left, and {count} are asked for.")
        found = [replace(self.recorded[prompt.id].popleft(), index=place) for prompt in prompts for place in range(n)]
        if progress:
            progress(len(found), len(found))
        return found

    def load(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
        """Takes the version's name; recorded completions keep the policy that wrote them."""
        self.version = version


def _completion(line: str, where: str) -> Completion:
    """One completion from a line of JSON."""
    try:
        row: dict[str, Any] = dict(json.loads(line).items())
        known = {field.name for field in fields(Completion)}
        if unknown := set(row) - known:
            raise UserError(f"{where}: unknown keys {sorted(unknown)} in a completion; known are {sorted(known)}.")
        for name in ("prompt_tokens", "tokens", "logprobs"):
            row[name] = tuple(row[name])
        plan = row.pop("sampling", {})
        listed = {name: tuple(plan[name]) for name in ("stop", "stop_token_ids") if name in plan}
        return Completion(**row, sampling=Sampling(**{**plan, **listed}))
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error}).") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: not a recorded completion ({error}); write it with plaudit.schema.to_json.") from None
