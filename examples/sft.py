"""Supervised fine-tuning in one file: plain torch and transformers, readable top to bottom.

    L = - sum_t m_t log pi(y_t | x, y_<t) / sum_t m_t            Ouyang et al. 2022, arXiv:2203.02155, step 1

m_t is 1 on the tokens of the answer, its end token included, and 0 on the prompt. The mean is over all answer tokens of the
optimiser step, so a long answer weighs more than a short one, and cutting the step into micro-batches changes nothing.

What was left out: text (a row is a list of token ids), dropout, row weights, packing, adapters, evaluation during training.

    python examples/sft.py

makes a tiny random Llama and teaches it to answer three letters with the same letters in upper case. Five seconds on one core.
"""

import random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

PAD, END = 0, 1
LOWER, UPPER = "abcdefgh", "ABCDEFGH"
VOCABULARY = ["<pad>", "<end>", *LOWER, *UPPER]  # one token is one letter, so that nothing needs a tokenizer
IDS = {token: number for number, token in enumerate(VOCABULARY)}


# 1. Data: rows of (ids, mask), both Python lists of one length. mask is 1 on what the demonstrator wrote.


def demonstration(letters):
    """`letters` as the prompt, the same in upper case and the end token as the answer."""
    prompt, answer = [IDS[c] for c in letters], [IDS[c.upper()] for c in letters]
    return [*prompt, *answer, END], [0] * len(prompt) + [1] * (len(answer) + 1)


def padded(rows):
    """Right-padded tensors ids [R, T], mask [R, T] and attention [R, T] (1 on every token that is not padding)."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([[*ids, *[PAD] * (width - len(ids))] for ids, _ in rows])
    mask = torch.tensor([[*mask, *[0] * (width - len(mask))] for _, mask in rows])
    attention = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows])
    return ids, mask, attention


# 2. The loss.


def loss(model, rows):
    """Mean negative log-likelihood over all answer tokens of these rows."""
    ids, mask, attention = padded(rows)
    logits = model(input_ids=ids, attention_mask=attention).logits
    # what token t is worth was decided at token t - 1: hence the shift by one
    logp = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    counts = mask[:, 1:].to(logp.dtype)
    return -(logp * counts).sum() / counts.sum()


# 3. Training: AdamW, gradients clipped to a norm, a learning rate that falls linearly to 0.


def train(model, batches, learning_rate, max_grad_norm=1.0, adam_epsilon=1e-8, each_step=None):
    """One optimiser step for each batch (a list of rows); returns the loss of each step, before its update."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, eps=adam_epsilon, weight_decay=0.0)
    losses = []
    for step, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - step / len(batches))
        value = loss(model, rows)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        losses.append(value.item())
        if each_step is not None:
            each_step(step, losses[-1])
    return losses


# 4. The toy.


def tiny_llama(seed):
    """Two layers of width 64, random weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(VOCABULARY),
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
    )


@torch.no_grad()
def answer(model, letters):
    """The likeliest answer, token by token."""
    ids = [IDS[c] for c in letters]
    while len(ids) < 3 * len(letters) and ids[-1] != END:
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return "".join(VOCABULARY[i] for i in ids[len(letters) :] if i != END)


def main(steps=300, seed=1):
    draw = random.Random(seed)
    model = tiny_llama(seed)
    held_out = {"".join(draw.choices(LOWER, k=3)) for _ in range(50)}

    def prompt():
        while (letters := "".join(draw.choices(LOWER, k=3))) in held_out:
            pass
        return letters

    def right():
        return sum(answer(model, letters) == letters.upper() for letters in held_out) / len(held_out)

    def report(step, value):
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step + 1:3d}  loss {value:.4f}  held-out prompts answered right {right():.0%}")

    batches = [[demonstration(prompt()) for _ in range(32)] for _ in range(steps)]
    losses = train(model, batches, learning_rate=3e-3, each_step=report)
    return losses, right()


if __name__ == "__main__":
    main()
