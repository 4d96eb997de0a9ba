"""A world that is small enough to see a reward being over-optimised in a minute: answers are letters, and the truth is known.

The gold rule likes the letter a up to three times in an answer and dislikes each one beyond. Answers of the untrained policy
have one or two, seldom more than three, so nearly every comparison that people could make of them says: more of a is better. A
reward model that has learned exactly that is right wherever there is data, and wrong where a policy goes that is paid by it.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

LETTERS = "abcdefghijkl"
LENGTH = 16
BEST = 3
FAVOURITES = "abc"
PAD, END = "<pad>", "<end>"


def gold(completions: Sequence[str], **_: Any) -> list[float]:
    """The truth: one point for each a up to three, one off for each beyond."""
    return [float(BEST - abs(BEST - text.count("a"))) for text in completions]


def favoured(completions: Sequence[str], **_: Any) -> list[float]:
    """A truth without a turn: one point for each a, b or c."""
    return [float(sum(letter in FAVOURITES for letter in text)) for text in completions]


def model(folder: Path, seed: int) -> Path:
    """A random Llama with two layers and a tokenizer of single letters, as a folder."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate((PAD, END, *LETTERS))}, merges=[]))
    core.decoder = decoders.Fuse()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, END)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
        made = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                num_key_value_heads=2,
                max_position_embeddings=64,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                **sizes,
            )
        )
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prompts(count: int, seed: int) -> list[str]:
    """Different prompts of three letters, or of as many as give enough of them."""
    size = 3
    while len(LETTERS) ** size < count:
        size += 1
    return ["".join(letters) for letters in random.Random(seed).sample(list(product(LETTERS, repeat=size)), count)]


def demonstrations(asked: Sequence[str], seed: int) -> list[dict[str, str]]:
    """Answers of sixteen letters, each as likely as any other."""
    draw = random.Random(seed)
    return [{"prompt": prompt, "completion": "".join(draw.choices(LETTERS, k=LENGTH))} for prompt in asked]


def judged(
    asked: Sequence[str], answers: Sequence[Sequence[str]], seed: int, rule: Callable[[Sequence[str]], list[float]] = gold
) -> list[dict[str, str]]:
    """Pairs of two answers to each prompt: the better by the rule with the chance that Bradley and Terry give it."""
    draw = random.Random(seed)
    rows = []
    for prompt, (first, second) in zip(asked, answers, strict=True):
        one, two = rule([first, second])
        wins = draw.random() < 1 / (1 + math.exp(two - one))
        chosen, rejected = (first, second) if wins else (second, first)
        if chosen != rejected:
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


def write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
