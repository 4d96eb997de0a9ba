"""A reward model in one file: plain torch and transformers, readable top to bottom.

    P(y_w over y_l | x) = sigmoid(r(x, y_w) - r(x, y_l))               Bradley and Terry 1952
    L = - mean over pairs of log sigmoid(r_w - r_l - margin)           Ouyang et al. 2022, arXiv:2203.02155, eq. 1
        + c mean over pairs of (r_w + r_l)^2                           Eisenstein et al. 2023, arXiv:2312.09244

r is one number, read by a linear head at the last token of the answer (its end token, found by length and not by its id).
The head starts at 0, so the first loss is log 2. Pairs fix differences only; c keeps the scores near 0.

What was left out: text (a row is a list of token ids), soft labels, row weights, dropout, adapters.

    python examples/reward.py

makes a tiny random Llama and teaches it to prefer, of two answers, the one that copies its prompt. Ten seconds on one core.
"""

import math
import random

import torch
from torch import nn
from torch.nn.functional import logsigmoid
from transformers import LlamaConfig, LlamaModel

PAD, END = 0, 1
LETTERS = "abcde"
IDS = {letter: number for number, letter in enumerate(LETTERS, 2)}  # one token is one letter


# 1. The model: a stack of layers and a linear head.


class RewardModel(nn.Module):
    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder
        self.head = nn.Linear(decoder.config.hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, rows):
        """Scores [R] of rows that are lists of token ids."""
        length = torch.tensor([len(ids) for ids in rows])
        width = int(length.max())
        ids = torch.tensor([[*ids, *[PAD] * (width - len(ids))] for ids in rows])
        attention = (torch.arange(width) < length[:, None]).long()
        hidden = self.decoder(input_ids=ids, attention_mask=attention).last_hidden_state
        return self.head(hidden[torch.arange(len(rows)), length - 1])[:, 0]


# 2. The loss. A pair is (chosen ids, rejected ids, margin), each row with its prompt.


def loss(model, pairs, center_rewards_coefficient=0.0):
    """The mean over pairs, and the share of pairs whose chosen answer has the higher score (equal scores count half)."""
    chosen, rejected = model([pair[0] for pair in pairs]), model([pair[1] for pair in pairs])
    margin = torch.tensor([pair[2] for pair in pairs], dtype=chosen.dtype)
    value = -logsigmoid(chosen - rejected - margin).mean()
    if center_rewards_coefficient:
        value = value + center_rewards_coefficient * ((chosen + rejected) ** 2).mean()
    gap = (chosen - rejected).detach()
    return value, ((gap > 0).float() + 0.5 * (gap == 0).float()).mean().item()


# 3. Training: AdamW, gradients clipped to a norm, a learning rate that falls linearly to 0.


def train(model, batches, learning_rate, center_rewards_coefficient=0.0, max_grad_norm=1.0, adam_epsilon=1e-8, each_step=None):
    """One optimiser step for each batch (a list of pairs); returns the loss of each step, before its update."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, eps=adam_epsilon, weight_decay=0.0)
    losses = []
    for step, pairs in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - step / len(batches))
        value, accuracy = loss(model, pairs, center_rewards_coefficient)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        losses.append(value.item())
        if each_step is not None:
            each_step(step, losses[-1], accuracy)
    return losses


# 4. The toy: the better answer copies its prompt, the worse one makes mistakes.


def tiny_reward_model(seed):
    """Two layers of width 64, random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(LETTERS) + 2,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=END,
    )
    return RewardModel(LlamaModel(config))


def pair(draw):
    """A prompt of three letters, answered by a copy and by a copy in which each letter is wrong with probability 1/2."""
    prompt = draw.choices(LETTERS, k=3)
    wrong = prompt
    while wrong == prompt:
        wrong = [draw.choice(LETTERS) if draw.random() < 0.5 else letter for letter in prompt]
    chosen, rejected = ([IDS[c] for c in [*prompt, *answer]] + [END] for answer in (prompt, wrong))
    return chosen, rejected, 0.0


def main(steps=400, seed=1):
    draw = random.Random(seed)
    model = tiny_reward_model(seed)
    held_out = [pair(draw) for _ in range(300)]

    def evaluate():
        with torch.no_grad():
            value, accuracy = loss(model, held_out)
        return value.item(), accuracy

    def report(step, value, accuracy):
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step + 1:3d}  loss {value:.4f}  held-out loss {evaluate()[0]:.4f}, accuracy {evaluate()[1]:.0%}")

    print(f"before    held-out loss {evaluate()[0]:.4f} (log 2 is {math.log(2):.4f})")
    losses = train(model, [[pair(draw) for _ in range(64)] for _ in range(steps)], learning_rate=2e-3, each_step=report)
    return losses, evaluate()[1]


if __name__ == "__main__":
    main()
