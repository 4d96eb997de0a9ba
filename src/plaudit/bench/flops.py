"""What a step must compute at least: floating-point operations counted from the model's shape and the tokens. No torch.

    forward, n tokens, m of them with logits:  F = 2 Nb n + 4 L h e C + 2 V d m
    Nb = L (2 d h e + 2 d k e + 3 d f)         weights of the layers' matrices (2 d f where the MLP has no gate)
    C  = sum over tokens of the tokens they see, themselves included: T (T + 1) / 2 for a row of T
    L layers, d width, h / k query / key-value heads of size e, f width of the MLP, V vocabulary

A product of [a, b] and [b, c] is 2abc operations. Backward is twice forward (gradients of inputs and of weights), so a
training pass is 3 F. With LoRA the frozen matrices need no gradient of weights: twice their part of F, and three times that of
attention. The adapters' own products are left out (5 % of the layers' at rank 16 in SmolLM2-135M). So are norms, softmax,
rotary angles, embeddings, the optimiser, padding, and whatever is computed twice: a prompt counts once for all its answers.
Both are `models/flops.py`'s. Checked against torch's own counter in the tests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plaudit.models import flops
from plaudit.models.flops import Shape, causal

Group = tuple[int, Sequence[int]]
"""A prompt's tokens, and those of each of its answers."""


def forward(shape: Shape, groups: Sequence[Group], *, logits: bool) -> int:
    """F of rows that begin with their group's prompt, each prompt read once; `logits` of the answers' tokens."""
    return products(shape, *_read(groups, logits)) + attention(shape, _seen(groups))


def training(shape: Shape, groups: Sequence[Group], *, logits: bool, peft: bool) -> int:
    """Forward and backward of the same; with `peft` the matrices are frozen, but what flows through them is not."""
    return (2 if peft else 3) * products(shape, *_read(groups, logits)) + 3 * attention(shape, _seen(groups))


def products(shape: Shape, tokens: int, logits: int = 0) -> int:
    """Products with weights: the layers' matrices on so many tokens, the output head on so many."""
    return int(flops.forward(shape, tokens, 0, logits))


def attention(shape: Shape, pairs: int) -> int:
    """Scores and weighted sums over so many (query, key) pairs, all heads and layers."""
    return int(flops.forward(shape, 0, pairs))


def _read(groups: Sequence[Group], logits: bool) -> tuple[int, int]:
    """Tokens that are read, and those of them that get logits."""
    answers = sum(sum(answers) for _, answers in groups)
    return sum(prompt for prompt, _ in groups) + answers, answers if logits else 0


def _seen(groups: Sequence[Group]) -> int:
    """Pairs: an answer's tokens see its prompt and what is before them in the answer."""
    return sum(causal([prompt]) + sum(a * prompt for a in answers) + causal(answers) for prompt, answers in groups)


@dataclass(frozen=True)
class Phase:
    """A part of a step: `flops` operations in matrix products of `rows` rows, of one kind (forward, lora, train)."""

    kind: str
    rows: int
    flops: int

    @property
    def key(self) -> str:
        """Its name among the ceilings."""
        return f"{self.kind}@{self.rows}"


def generation(shape: Shape, groups: Sequence[Group], slots: int) -> list[Phase]:
    """Each prompt read once, then one token at a time for at most `slots` rows; finished rows make room for waiting ones.

    An answer of r tokens takes r - 1 decoding steps: its first token comes from the prompt's own logits. Steps are sorted into
    four classes by how many rows are alive, since a product of few rows cannot reach the rate of one of many.
    """
    prompts = [prompt for prompt, _ in groups]
    read = products(shape, sum(prompts), len(prompts)) + attention(shape, causal(prompts))
    phases = [Phase("forward", bucket(sum(prompts)), read)]
    waiting = [(prompt, answer) for prompt, answers in groups for answer in answers][::-1]
    slots, alive = min(slots, len(waiting)), list[list[int]]()  # [tokens seen by the next one, decoding steps left]
    classes: Counter[int] = Counter()
    while waiting or alive:
        while waiting and len(alive) < slots:
            prompt, answer = waiting.pop()
            if answer > 1:
                alive.append([prompt + 1, answer - 1])
        if not alive:
            break
        seen = sum(context for context, _ in alive)
        size = max(1, math.ceil(math.ceil(4 * len(alive) / slots) * slots / 4))
        classes[size] += products(shape, len(alive), len(alive)) + attention(shape, seen)
        alive = [[context + 1, left - 1] for context, left in alive if left > 1]
    return phases + [Phase("forward", size, count) for size, count in sorted(classes.items())]


def bucket(rows: int) -> int:
    """`rows`, at most 2048: beyond, products do not get faster, and the probe stays short."""
    return max(1, min(2048, rows))


def phases(name: str, shape: Shape, groups: Sequence[Group], *, batch: int, slots: int, epochs: int, peft: bool) -> list[Phase]:
    """Everything that one step of a benchmark needs. `batch`: rows in a pass, which decides how large its products are.

    sft, reward   one training pass          dpo   a training pass of the policy, a forward pass of the reference
    grpo          generation, a training pass (no reference: beta is 0)
    ppo           generation; forward passes of reward model, reference, policy and critic; then `epochs` training passes of
                  policy and critic. Logits only where log-probabilities are needed: not in the reward model and the critic.
    """
    if name == "rollout":
        return generation(shape, groups, slots)
    tokens = sum(prompt + sum(answers) for prompt, answers in groups)
    passes = max(1, round(sum(len(answers) for _, answers in groups) / batch))
    if name in ("reward", "dpo"):  # a batch of those is of pairs
        passes = max(1, round(len(groups) / batch))
    rows = bucket(tokens // passes)
    kind = "lora" if peft else "train"
    policy, scalar = (forward(shape, groups, logits=logits) for logits in (True, False))
    update, update_scalar = (training(shape, groups, logits=logits, peft=peft) for logits in (True, False))
    if name == "sft":
        return [Phase(kind, rows, update)]
    if name == "reward":
        return [Phase(kind, rows, update_scalar)]
    if name == "dpo":
        return [Phase(kind, rows, update), Phase("forward", rows, policy)]
    sampled = generation(shape, groups, slots)
    if name == "grpo":
        return [*sampled, Phase(kind, rows, update)]
    scoring = Phase("forward", rows, 2 * policy + 2 * scalar)
    return [*sampled, scoring, Phase(kind, rows, epochs * (update + update_scalar))]


def limit_seconds(work: Sequence[Phase], ceilings: Mapping[str, float]) -> float:
    """Seconds of the work if every product ran at the rate (operations per second) measured at its kind and rows."""
    return sum(phase.flops / ceilings[phase.key] for phase in work)
