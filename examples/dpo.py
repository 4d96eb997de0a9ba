"""Direct preference optimisation in one file: plain torch and transformers, readable top to bottom.

    h = beta (log pi(y_w|x) / pi_ref(y_w|x) - log pi(y_l|x) / pi_ref(y_l|x))
    L = - mean over pairs of log sigmoid(h)                            Rafailov et al. 2023, arXiv:2305.18290, eq. 7

log pi(y|x) is the sum over the tokens of the answer, its end token included. beta log pi / pi_ref is the answer's implicit
reward, so L is the reward model's Bradley-Terry loss without a reward model. The first loss is log 2, since pi = pi_ref.

Also here: ipo, with log-ratios per token, (h / beta - 1 / (2 beta))^2 (Azar et al. 2023, arXiv:2310.12036, eq. 17), and label
smoothing, (1 - s) L(h) + s L(-h), for labels of which a share s is wrong (Mitchell 2023, "cDPO").

What was left out: text (a row is a list of token ids), dropout, adapters, reference log-probabilities kept from before.

    python examples/dpo.py

makes a tiny random Llama, teaches it a little to answer three letters in upper case, and then makes it prefer the right
answer to a wrong one. Five seconds on one core.
"""

import copy
import random

import torch
from torch.nn.functional import logsigmoid
from transformers import LlamaConfig, LlamaForCausalLM

PAD, END = 0, 1
LOWER, UPPER = "abcdefgh", "ABCDEFGH"
VOCABULARY = ["<pad>", "<end>", *LOWER, *UPPER]  # one token is one letter, so that nothing needs a tokenizer
IDS = {token: number for number, token in enumerate(VOCABULARY)}


# 1. The log-probability of whole answers. A row is (ids, mask); mask is 1 on the tokens of the answer.


def answer_logprobs(model, rows):
    """Sum of log pi over each answer [R], and the number of its tokens [R]."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([[*ids, *[PAD] * (width - len(ids))] for ids, _ in rows])
    mask = torch.tensor([[*mask, *[0] * (width - len(mask))] for _, mask in rows])
    attention = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows])
    logits = model(input_ids=ids, attention_mask=attention).logits
    logp = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return (logp * mask[:, 1:]).sum(-1), mask[:, 1:].sum(-1)


# 2. The loss. A pair is (chosen row, rejected row).


def loss(model, reference, pairs, beta, loss_type="sigmoid", label_smoothing=0.0):
    """The mean over pairs, and the implicit rewards [pairs, 2] of chosen and rejected answers."""
    rows = [row for pair in pairs for row in pair]
    logp, tokens = answer_logprobs(model, rows)
    with torch.no_grad():
        ref, _ = answer_logprobs(reference, rows)
    log_ratio = (logp - ref).view(-1, 2)
    if loss_type == "ipo":
        per_token = log_ratio / tokens.view(-1, 2)
        value = (per_token[:, 0] - per_token[:, 1] - 1 / (2 * beta)) ** 2
    else:
        h = beta * (log_ratio[:, 0] - log_ratio[:, 1])
        value = -(1 - label_smoothing) * logsigmoid(h) - label_smoothing * logsigmoid(-h)
    return value.mean(), beta * log_ratio.detach()


# 3. Training: AdamW, gradients clipped to a norm, a learning rate that falls linearly to 0.


def train(
    model,
    reference,
    batches,
    learning_rate,
    beta=0.1,
    loss_type="sigmoid",
    label_smoothing=0.0,
    max_grad_norm=1.0,
    adam_epsilon=1e-8,
    each_step=None,
):
    """One optimiser step for each batch (a list of pairs); returns the loss of each step, before its update."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, eps=adam_epsilon, weight_decay=0.0)
    losses = []
    for step, pairs in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - step / len(batches))
        value, rewards = loss(model, reference, pairs, beta, loss_type, label_smoothing)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        losses.append(value.item())
        if each_step is not None:
            each_step(step, losses[-1], rewards)
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


def row(prompt, answer):
    ids = [IDS[c] for c in prompt] + [IDS[c] for c in answer] + [END]
    return ids, [0] * len(prompt) + [1] * (len(answer) + 1)


def pair(draw):
    """A prompt with its right answer, and with one that has a wrong letter at each place with probability 1/2."""
    prompt = "".join(draw.choices(LOWER, k=3))
    right = wrong = prompt.upper()
    while wrong == right:
        wrong = "".join(draw.choice(UPPER) if draw.random() < 0.5 else letter for letter in right)
    return row(prompt, right), row(prompt, wrong)


def warm_up(model, draw, steps=100):
    """Some supervised fine-tuning on answers of which half are wrong: what preferences are to mend."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        logp, tokens = answer_logprobs(model, [draw.choice(pair(draw)) for _ in range(32)])
        optimizer.zero_grad()
        (-logp.sum() / tokens.sum()).backward()
        optimizer.step()


@torch.no_grad()
def chance_of_right(model, prompts):
    """Mean probability of the right answer."""
    logp, _ = answer_logprobs(model, [row(prompt, prompt.upper()) for prompt in prompts])
    return logp.exp().mean().item()


def main(steps=150, seed=1):
    draw = random.Random(seed)
    model = tiny_llama(seed)
    warm_up(model, draw)
    reference = copy.deepcopy(model)
    held_out = ["".join(draw.choices(LOWER, k=3)) for _ in range(100)]
    chances = [chance_of_right(model, held_out)]
    print(f"before    chance of the right answer {chances[0]:.3f}")

    def report(step, value, rewards):
        if step % 25 == 0 or step == steps - 1:
            chances.append(chance_of_right(model, held_out))
            accuracy = (rewards[:, 0] > rewards[:, 1]).float().mean()
            margin = (rewards[:, 0] - rewards[:, 1]).mean()
            print(
                f"step {step + 1:3d}  loss {value:.4f}  pairs in order {accuracy:.0%}  margin {margin:5.2f}  "
                f"chance of the right answer {chances[-1]:.3f}"
            )

    batches = [[pair(draw) for _ in range(32)] for _ in range(steps)]
    losses = train(model, reference, batches, learning_rate=3e-4, beta=0.2, each_step=report)
    return losses, chances


if __name__ == "__main__":
    main()
