"""What both sides of the parity tests start from: tiny models, a tokenizer, and rows. No TRL here, and nothing of Plaudit.

Everything follows from names and seeds by a counter-based generator (Philox) whose raw 64-bit words are turned into numbers
here, so that two environments with other versions of numpy or torch make the same weights to the last bit.
"""

import hashlib
import json

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

PAD, END, START = 0, 1, 2
VOCABULARY = 32
STEPS = 5
PROMPTS, SIBLINGS = 2, 4
CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "pad_token_id": PAD,
    "eos_token_id": END,
    "bos_token_id": START,
}


def uniform(name, count):
    """`count` float64 numbers in [0, 1) that belong to `name`."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    words = np.random.Philox(key=key).random_raw(count)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(name, count, low, high):
    """`count` integers from low to high - 1 that belong to `name`."""
    return (low + np.floor(uniform(name, count) * (high - low)).astype(int)).tolist()


@torch.no_grad()
def fill(model, seed):
    """Weights uniform in [-0.4, 0.4], norms in [0.8, 1.2], each by its own name."""
    for name, weight in model.named_parameters():
        drawn = torch.from_numpy(2 * uniform(f"{seed}/{name}", weight.numel()) - 1).view(weight.shape)
        weight.copy_(1 + 0.2 * drawn if "norm" in name else 0.4 * drawn)
    return model.float().eval()


def causal(seed):
    """A Llama of two layers in float32."""
    return fill(LlamaForCausalLM(LlamaConfig(**CONFIG)), seed)


def scorer(seed):
    """The same with a linear head without bias in place of the output head: reward models and critics, as TRL has them."""
    return fill(LlamaForSequenceClassification(LlamaConfig(**CONFIG, num_labels=1)), seed)


def tokenizer():
    """One word is one token: "t7" is id 7."""
    special = {"<pad>": PAD, "<end>": END, "<start>": START}
    core = Tokenizer(models.WordLevel({**special, **{f"t{i}": i for i in range(3, VOCABULARY)}}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>", bos_token="<start>")


def text(ids):
    """The text that the tokenizer turns into these ids; a leading space, so that texts can be joined."""
    return "".join(f" t{i}" for i in ids)


# -- rows: (prompt ids, answer ids); an answer ends with END unless said otherwise --------------------------------------


def prompt(name):
    (length,) = integers(f"{name}/length", 1, 3, 6)
    return integers(name, length, 3, VOCABULARY)


def answer(name, shortest=2, longest=8):
    (length,) = integers(f"{name}/length", 1, shortest, longest)
    return [*integers(name, length - 1, 3, VOCABULARY), END]


def demonstrations(count):
    return [(prompt(f"sft/{i}/prompt"), answer(f"sft/{i}/answer")) for i in range(count)]


def pairs(count):
    """(prompt, chosen, rejected)."""
    return [(prompt(f"pair/{i}/prompt"), answer(f"pair/{i}/chosen"), answer(f"pair/{i}/rejected")) for i in range(count)]


def labelled(count):
    """(prompt, answer, whether it is liked)."""
    rows = [(prompt(f"label/{i}/prompt"), answer(f"label/{i}/answer")) for i in range(count)]
    return [(*row, bool(liked)) for row, liked in zip(rows, integers("label/liked", count, 0, 2), strict=True)]


def rollouts(step):
    """The prompts of a step, and SIBLINGS answers to each: [(prompt, [answer, ...]), ...]."""
    name = f"rollout/{step}"
    return [(prompt(f"{name}/{i}/prompt"), [answer(f"{name}/{i}/{j}/answer") for j in range(SIBLINGS)]) for i in range(PROMPTS)]


def full_rollouts(step, rows, length):
    """(prompt of 4 tokens, answer of `length` tokens that never ends): nothing is padded, on either side."""
    name = f"full/{step}"
    return [
        (integers(f"{name}/{i}/prompt", 4, 3, VOCABULARY), integers(f"{name}/{i}/answer", length, 3, VOCABULARY))
        for i in range(rows)
    ]


def reward(answer_ids):
    """A number in [0, 2] that any two answers hardly share: a toy reward, the same function on both sides."""
    return sum((7 * token + place) % 11 for place, token in enumerate(answer_ids)) / (5 * len(answer_ids))


# -- what is kept of weights --------------------------------------------------------------------------------------------


def digest(model):
    """SHA-256 of all weights: both sides must start from the same bits."""
    found = hashlib.sha256()
    for name, weight in model.named_parameters():
        found.update(name.encode())
        found.update(weight.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


@torch.no_grad()
def changes(now, before):
    """How far each tensor moved: its norm, and its products with two fixed vectors of signs, divided by the root of its size.

    now, before: name -> tensor. In float64. A product sees the direction, which a norm does not.
    """
    found = {}
    for name in sorted(before):
        moved = (now[name].double() - before[name].double()).flatten()
        signs = [torch.from_numpy(np.sign(uniform(f"signs/{k}/{name}", moved.numel()) - 0.5)) for k in range(2)]
        found[name] = [float(moved.norm()), *(float(moved @ s) / moved.numel() ** 0.5 for s in signs)]
    return found


def weights(model):
    """name -> a copy of each weight."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def write(path, content):
    """Numbers as JSON, one key a line at the top."""
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
