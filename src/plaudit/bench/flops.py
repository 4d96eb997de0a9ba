"""What a step must compute at least: floating-point operations counted from the model's shape and the tokens. No torch.

    forward, n tokens, m of them with logits:  F = 2 Nb n + 4 L h e C + 2 V d m
    Nb = L (2 d h e + 2 d k e + 3 d f)         weights of the layers' matrices
    C  = sum over tokens of the tokens they see, themselves included: T (T + 1) / 2 for a row of T
    L layers, d width, h / k query / key-value heads of size e, f width of the MLP, V vocabulary

A product of [a, b] and [b, c] is 2abc operations. Backward is twice forward (gradients of inputs and of weights), so a
training pass is 3 F. With LoRA the frozen matrices need no gradient of weights: twice their part of F, and three times that of
attention. The adapters' own products are left out (5 % of the layers' at rank 16 in SmolLM2-135M). So are norms, softmax,
rotary angles, embeddings, the optimiser, padding, and whatever is computed twice: a prompt counts once for all its answers.
Checked against torch's own counter in the tests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaudit.schema import UserError

Group = tuple[int, Sequence[int]]
"""A prompt's tokens, and those of each of its answers."""


@dataclass(frozen=True)
class Shape:
    """A decoder with a gated MLP, as Llama has it."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocabulary: int

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each matrix of one layer: q, k, v, o, gate, up, down."""
        d, h, k, f = self.width, self.heads * self.head_dim, self.kv_heads * self.head_dim, self.inner
        return [(d, h), (d, k), (d, k), (h, d), (d, f), (d, f), (f, d)]

    @property
    def body(self) -> int:
        """Nb: weights of all layers' matrices."""
        return self.layers * sum(a * b for a, b in self.matrices)

    def linear(self, tokens: int) -> int:
        """The layers' matrices on so many tokens."""
        return 2 * self.body * tokens

    def attention(self, pairs: int) -> int:
        """Scores and weighted sums over so many (query, key) pairs, all heads and layers."""
        return 4 * self.layers * self.heads * self.head_dim * pairs

    def logits(self, tokens: int) -> int:
        """The output head on so many tokens."""
        return 2 * self.vocabulary * self.width * tokens

    def forward(self, groups: Sequence[Group], *, logits: bool) -> int:
        """F of rows that begin with their group's prompt, each prompt read once; `logits` of the answers' tokens."""
        return self._products(groups, logits) + self._seen(groups)

    def training(self, groups: Sequence[Group], *, logits: bool, peft: bool) -> int:
        """Forward and backward of the same; with `peft` the matrices are frozen, but what flows through them is not."""
        return (2 if peft else 3) * self._products(groups, logits) + 3 * self._seen(groups)

    def _products(self, groups: Sequence[Group], logits: bool) -> int:
        """Products with weights."""
        tokens = sum(prompt + sum(answers) for prompt, answers in groups)
        return self.linear(tokens) + (self.logits(sum(sum(answers) for _, answers in groups)) if logits else 0)

    def _seen(self, groups: Sequence[Group]) -> int:
        """Attention: an answer's tokens see its prompt and what is before them in the answer."""
        return self.attention(sum(causal(prompt) + sum(a * prompt + causal(a) for a in answers) for prompt, answers in groups))


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


def causal(tokens: int) -> int:
    """(query, key) pairs of a row whose tokens see what is before them."""
    return tokens * (tokens + 1) // 2


def generation(shape: Shape, groups: Sequence[Group], slots: int) -> list[Phase]:
    """Each prompt read once, then one token at a time for at most `slots` rows; finished rows make room for waiting ones.

    An answer of r tokens takes r - 1 decoding steps: its first token comes from the prompt's own logits. Steps are sorted into
    four classes by how many rows are alive, since a product of few rows cannot reach the rate of one of many.
    """
    prompts = [prompt for prompt, _ in groups]
    read = shape.linear(sum(prompts)) + shape.attention(sum(map(causal, prompts))) + shape.logits(len(prompts))
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
        classes[size] += shape.linear(len(alive)) + shape.logits(len(alive)) + shape.attention(seen)
        alive = [[context + 1, left - 1] for context, left in alive if left > 1]
    return phases + [Phase("forward", size, flops) for size, flops in sorted(classes.items())]


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
    policy, scalar = (shape.forward(groups, logits=logits) for logits in (True, False))
    update, update_scalar = (shape.training(groups, logits=logits, peft=peft) for logits in (True, False))
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


def shape_of(found: Mapping[str, Any]) -> Shape:
    """From a transformers config as a mapping. UserError where it lacks a number that the counts need."""
    needed = ("num_attention_heads", "hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size")
    if missing := [name for name in needed if not found.get(name)]:
        raise UserError(
            f"the config of this {found.get('model_type')} model has no {missing[0]}: bench needs a model like Llama"
        )
    heads, width = int(found["num_attention_heads"]), int(found["hidden_size"])
    return Shape(
        layers=int(found["num_hidden_layers"]),
        width=width,
        heads=heads,
        kv_heads=int(found.get("num_key_value_heads") or heads),
        head_dim=int(found.get("head_dim") or width // heads),
        inner=int(found["intermediate_size"]),
        vocabulary=int(found["vocab_size"]),
    )
