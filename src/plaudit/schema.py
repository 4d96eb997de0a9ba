"""The types that travel between the rooms and are stored: frozen dataclasses, no torch.

Every class is JSON in and out (`to_json`, `from_json`). A worked example stands in each docstring.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

JSON = dict[str, Any]
Record = TypeVar("Record")

ROLES = ("system", "developer", "user", "assistant", "tool")
FinishReason = Literal["stop", "length"]
Source = Literal["human", "judge", "simulated", "implicit"]


class UserError(ValueError):
    """A mistake that the user can mend. One sentence: what, where, what to do. The CLI prints it and exits with 2."""


def content_hash(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON: equal content, equal id."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def json_lines(text: str) -> list[str]:
    """The lines of JSONL, blank ones left out. Only a line feed ends one: U+2028 or U+0085 may stand in a JSON text."""
    return [line for line in text.split("\n") if line.strip()]


def to_json(record: Any) -> JSON:
    """A plain dict of a schema dataclass, nested ones included; tuples become lists."""
    plain: JSON = json.loads(json.dumps(dataclasses.asdict(record)))
    return plain


@dataclass(frozen=True)
class Message:
    """One turn: `Message("user", "Where is my order?")`."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """What the model is asked: plain text (`text`) or a conversation (`messages`), never both.

    `Prompt(messages=(Message("user", "Where is order 1182?"),), meta={"template": "late-1"})`
    `meta` holds every other column of the data row; reward functions receive it.
    """

    text: str | None = None
    messages: tuple[Message, ...] = ()
    meta: JSON = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Hash of the content; `meta` does not count, so the same question has the same id everywhere."""
        return content_hash(self.text if self.text is not None else [[m.role, m.content] for m in self.messages])


@dataclass(frozen=True)
class Sampling:
    """How to sample. Names are those of the field; `temperature=0` is greedy; `top_k=0`, `top_p=1`, `min_p=0` are off."""

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    """Ids that end an answer, beside the tokenizer's EOS."""
    seed: int = 0

    @property
    def truncates(self) -> bool:
        """True where top-k, top-p or min-p remove tokens, so that sampled log-probabilities are renormalised."""
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0


@dataclass(frozen=True)
class Completion:
    """One sampled answer, with the very ids that were sampled.

    `prompt_tokens` are the ids the model read, `tokens` the ids it wrote (its end token included when it wrote one),
    `logprobs[t]` the log-probability of `tokens[t]` under the distribution it was drawn from.
    """

    prompt_id: str
    text: str
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    """`stop`: the model (or a stop string) ended it; `length`: it ran into max_new_tokens."""
    policy: str = ""
    """Which weights wrote it, for example `run-20261122-ppo@12`."""
    index: int = 0
    """Place among the siblings of one prompt."""
    seed: int = 0
    sampling: Sampling = Sampling()

    @property
    def id(self) -> str:
        return content_hash([self.prompt_id, list(self.tokens), self.policy, self.index, self.seed])

    @property
    def truncated(self) -> bool:
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Scored:
    """A completion with its reward and the parts that made it: `Scored(c, 0.7, {"helpful": 1.0, "length": -0.3})`."""

    completion: Completion
    reward: float | None
    parts: dict[str, float | None] = field(default_factory=dict)
    dense: tuple[float, ...] = ()
    """What of the reward belongs to each of the completion's tokens; the rest is the whole answer's. Empty: all of it is."""


@dataclass(frozen=True)
class Assignment:
    """What one annotator was shown: the completions in the order shown, and why it was chosen."""

    prompt_id: str
    completion_ids: tuple[str, ...]
    kind: str = "pairwise"
    reason: str = "random"


@dataclass(frozen=True)
class Feedback:
    """One act of feedback. Append-only: an edit is a new row that supersedes the old one.

    Pairwise: `judgement={"choice": "a" | "b" | "tie", "strength": 1}`; a and b are `assignment.completion_ids[0]` and `[1]`.
    """

    assignment: Assignment
    judgement: JSON
    annotator: str
    source: Source
    seconds: float | None = None
    created_at: str = ""
    """ISO 8601, UTC."""
    supersedes: str | None = None

    @functools.cached_property
    def id(self) -> str:
        """Hash of the whole act: worth keeping, since everything that reads many acts asks for it."""
        return content_hash(to_json(self))


@dataclass(frozen=True)
class Demonstration:
    """An answer to learn from: `answer` follows `prompt`; for whole dialogues every assistant turn of `messages` counts."""

    prompt: Prompt
    answer: tuple[Message, ...] | str
    weight: float = 1.0


@dataclass(frozen=True)
class Ranking:
    """Answers to one prompt, best first. Two of them are a preference pair.

    `probability` is how sure we are of the order of a pair (a soft label; 1.0 for a plain label); `margin` is TRL's column.
    """

    prompt: Prompt
    answers: tuple[tuple[Message, ...] | str, ...]
    margin: float = 0.0
    probability: float = 1.0
    weight: float = 1.0
    meta: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class Label:
    """One answer with a value: a thumb (0 or 1), a rating, a class."""

    prompt: Prompt
    answer: tuple[Message, ...] | str
    value: float
    weight: float = 1.0


@dataclass(frozen=True)
class Rated(Demonstration):
    """One answer with a number for each of some aspects: `Rated(prompt, "It left.", scores={"helpful": 4, "safe": 5})`."""

    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Steps:
    """One answer in steps, each of them judged: `Steps(p, ("2 + 2 = 4", "so 5"), (1.0, 0.0))`.

    `labels[i]` is 1 where step i is right; any number from 0 to 1 counts (a share of rollouts that ended well).
    """

    prompt: Prompt
    steps: tuple[str, ...]
    labels: tuple[float, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Update:
    """What one step of the learner did: unreduced counts are already summed; metrics have TRL's names."""

    step: int
    metrics: dict[str, float]
    tokens: int = 0
    """Trained (mask 1) tokens of the step."""
    seconds: float = 0.0
    refused: bool = False
    """True where the loss or gradient was not finite and the weights were left as they were."""


@dataclass(frozen=True)
class RunRecord:
    """One run as the store knows it; its folder holds the rest."""

    id: str
    verb: str
    folder: str
    config: JSON
    status: Literal["running", "finished", "stopped", "failed"] = "running"
    parents: tuple[str, ...] = ()
    data: dict[str, str] = field(default_factory=dict)
    """Name of a data set -> its content hash."""
    commit: str = ""
    created_at: str = ""
    summary: JSON = field(default_factory=dict)
