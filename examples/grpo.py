"""Group relative policy optimisation in one file: plain torch and transformers, readable top to bottom.

    A_i   = (r_i - mean of r over the answers to the same prompt) / (their deviation + 1e-4)   Shao et al. 2024, eq. 3 ff.
    rho_t = pi(y_t) / pi_old(y_t),  kl_t = pi_ref / pi - log(pi_ref / pi) - 1  (k3)            arXiv:2402.03300, eq. 4
    minimise  - E_t[min(rho_t A, clip(rho_t, 1 - eps_low, 1 + eps_high) A) - beta rho_t kl_t]

The siblings are the baseline, so there is no critic. What E_t means is `loss_type`:
    grpo     mean over the tokens of each answer, then over answers (the paper, eq. 3)
    dapo     mean over all tokens of the step (Yu et al. 2025, arXiv:2503.14476, eq. 8)
    dr_grpo  sum over all tokens / (answers x max_completion_length) (Liu et al. 2025, arXiv:2503.20783; with scale_rewards off)
rho_t before kl_t makes the gradient that of the KL (arXiv:2512.02556, DeepSeek-V3.2); the first paper has no such factor.
The deviation is that of a sample (n - 1), as in TRL.

What was left out: several rewards, adapters, several processes, the correction for a sampler with other numerics.

    python examples/grpo.py

makes a tiny random Llama and pays it for repeating the letter of its prompt. Three seconds on one core.
"""

import copy
import random
from dataclasses import dataclass

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

PAD, END = 0, 1
LETTERS = "abcdef"
VOCABULARY = ["<pad>", "<end>", *LETTERS]  # one token is one letter


@dataclass
class Options:
    learning_rate: float = 2e-3
    num_generations: int = 8
    num_iterations: int = 2
    max_completion_length: int = 4
    epsilon: float = 0.2
    epsilon_high: float = 0.2
    beta: float = 0.02
    use_bias_correction_kl: bool = True
    loss_type: str = "dapo"
    scale_rewards: bool = True
    temperature: float = 1.0
    max_grad_norm: float = 1.0
    adam_epsilon: float = 1e-8


# 1. Answers: sampled ids are kept, and text is never tokenised again. Siblings stand next to each other.


class Answers:
    """Rows of prompt and answer, right-padded: ids [R, T], mask [R, T] (1 on the answer), attention [R, T]."""

    def __init__(self, rows, prompt_lengths, scores=None, dtype=torch.float32):
        width = max(map(len, rows))
        place = torch.arange(width)
        length, start = torch.tensor([len(row) for row in rows]), torch.tensor(prompt_lengths)
        self.ids = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])
        self.attention = (place < length[:, None]).long()
        self.mask = ((place >= start[:, None]) & (place < length[:, None])).to(dtype)
        self.score = None if scores is None else torch.tensor(scores, dtype=dtype)


@torch.no_grad()
def sample(policy, prompts, max_new_tokens, temperature, generator):
    """Rows of prompt and sampled answer; a row ends after its end token, or at the limit."""
    rows, done = [list(prompt) for prompt in prompts], [False] * len(prompts)
    for _ in range(max_new_tokens):
        batch = Answers(rows, [0] * len(rows))
        logits = policy(input_ids=batch.ids, attention_mask=batch.attention).logits
        last = logits[torch.arange(len(rows)), batch.attention.sum(-1) - 1] / temperature
        for r, token in enumerate(torch.multinomial(last.softmax(-1), 1, generator=generator)[:, 0].tolist()):
            if not done[r]:
                rows[r].append(token)
                done[r] = token == END
        if all(done):
            break
    return rows


# 2. What is fixed before the update.


def logprobs(model, answers, temperature):
    """log pi of each token [R, T]; 0 at the first token, which nothing predicts."""
    logits = model(input_ids=answers.ids, attention_mask=answers.attention).logits[:, :-1] / temperature
    logp = logits.log_softmax(-1).gather(-1, answers.ids[:, 1:, None])[..., 0]
    return nn.functional.pad(logp, (1, 0))


def advantages(score, siblings, scale):
    """Scores [R] less the mean of their group, over its deviation where `scale` is on."""
    group = score.view(-1, siblings)
    centred = group - group.mean(-1, keepdim=True)
    return (centred / (group.std(-1, keepdim=True) + 1e-4) if scale else centred).flatten()


@torch.no_grad()
def prepared(policy, reference, answers, o):
    """The answers with old and reference log-probabilities and advantages, fixed for all iterations."""
    answers.old = logprobs(policy, answers, o.temperature)
    answers.ref = logprobs(reference, answers, o.temperature) if o.beta else None
    answers.advantage = advantages(answers.score, o.num_generations, o.scale_rewards)[:, None]
    return answers


# 3. The update.


def loss(policy, answers, o):
    """One number to go backward from."""
    logp, mask = logprobs(policy, answers, o.temperature), answers.mask
    ratio = (logp - answers.old).exp()
    clipped = ratio.clamp(1 - o.epsilon, 1 + o.epsilon_high)
    per_token = -torch.minimum(ratio * answers.advantage, clipped * answers.advantage)
    if o.beta:
        log_ratio = answers.ref - logp
        kl = log_ratio.exp() - log_ratio - 1
        per_token = per_token + o.beta * (ratio * kl if o.use_bias_correction_kl else kl)
    if o.loss_type == "grpo":
        return ((per_token * mask).sum(-1) / mask.sum(-1)).mean()
    if o.loss_type == "dapo":
        return (per_token * mask).sum() / mask.sum()
    if o.loss_type == "dr_grpo":
        return (per_token * mask).sum() / (len(mask) * o.max_completion_length)
    raise ValueError(f"loss_type is grpo, dapo or dr_grpo, not {o.loss_type!r}")


def update(policy, optimizer, answers, o, left):
    """All iterations over one batch of prepared answers; returns the loss of each. `left`: share of training still to come."""
    losses = []
    optimizer.param_groups[0]["lr"] = o.learning_rate * left
    for _ in range(o.num_iterations):
        value = loss(policy, answers, o)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), o.max_grad_norm)
        optimizer.step()
        losses.append(value.item())
    return losses


def adamw(policy, o):
    return torch.optim.AdamW(policy.parameters(), lr=o.learning_rate, eps=o.adam_epsilon, weight_decay=0.0)


# 4. The toy: "c" is to be answered "c c c c".


def score(prompt, answer):
    """A quarter for each of the four tokens that is the prompt's letter; whoever ends early loses what is left."""
    return sum(token == prompt[0] for token in answer) / 4


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


def main(steps=80, seed=1, prompts=8):
    o, draw, generator = Options(), random.Random(seed), torch.Generator().manual_seed(seed)
    policy = tiny_llama(seed)
    reference = copy.deepcopy(policy)
    optimizer = adamw(policy, o)
    history = []
    for step in range(steps):
        asked = [[VOCABULARY.index(draw.choice(LETTERS))] for _ in range(prompts)]
        asked = [prompt for prompt in asked for _ in range(o.num_generations)]
        texts = sample(policy, asked, o.max_completion_length, o.temperature, generator)
        scores = [score(prompt, text[1:]) for prompt, text in zip(asked, texts, strict=True)]
        answers = prepared(policy, reference, Answers(texts, [1] * len(texts), scores), o)
        losses = update(policy, optimizer, answers, o, 1 - step / steps)
        history.append(sum(scores) / len(scores))
        if step % 10 == 0 or step == steps - 1:
            alike = (answers.score.view(-1, o.num_generations).std(-1) == 0).float().mean()
            text = " ".join(VOCABULARY[token] for token in texts[0])
            print(f"step {step + 1:3d}  score {history[-1]:.3f}  groups all alike {alike:.0%}  loss {losses[-1]:7.4f}  {text}")
    return history


if __name__ == "__main__":
    main()
