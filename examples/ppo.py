"""Proximal policy optimisation of a language model in one file: plain torch and transformers, readable top to bottom.

    r_t   = - beta (log pi_old(y_t) - log pi_ref(y_t)) + [t is the last token] score         Ziegler et al. 2019, eq. 2
    A_t   = sum_l (gamma lambda)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l}),  R_t = A_t + V_t   Schulman et al. 2016, eq. 16
    rho_t = pi(y_t) / pi_old(y_t)
    minimise  - E_t[min(rho_t A_t, clip(rho_t, 1 - eps, 1 + eps) A_t)] - c_H E_t[H(pi)]      Schulman et al. 2017, eq. 7
    and c_V E_t[max((V_t - R_t)^2, (clip(V_t, V_old +- eps_V) - R_t)^2)] / 2

E_t is the mean over all answer tokens of one optimiser step. The details are those of Huang et al. 2024, arXiv:2403.17031:
a critic of its own, whitened advantages with the variance of a population, AdamW with epsilon 1e-5, a learning rate that falls
linearly to 0, dropout off. Padding is in no statistic, and ends are known by length and not by a token's id.

What was left out: a reward model (the score is a Python function here), adapters, KL controllers, several processes.

    python examples/ppo.py

makes a tiny random Llama and pays it for repeating the letter of its prompt. Ten seconds on one core.
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
    critic_learning_rate: float = 2e-3
    num_ppo_epochs: int = 4
    num_mini_batches: int = 2
    cliprange: float = 0.2
    cliprange_value: float = 0.2
    vf_coef: float = 0.5
    entropy_coef: float = 0.0
    kl_coef: float = 0.02
    gamma: float = 1.0
    lam: float = 0.95
    whiten_advantages: bool = True
    temperature: float = 1.0
    max_grad_norm: float = 1.0
    adam_epsilon: float = 1e-5


# 1. Networks: the policy is a causal language model, the critic a stack of layers with a linear head.


class Critic(nn.Module):
    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder
        self.head = nn.Linear(decoder.config.hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


def logprobs(model, answers, temperature):
    """log pi of each token [R, T] and the entropy before it, both 0 at the first token, which nothing predicts."""
    logits = model(input_ids=answers.ids, attention_mask=answers.attention).logits[:, :-1] / temperature
    every = logits.log_softmax(-1)
    logp = every.gather(-1, answers.ids[:, 1:, None])[..., 0]
    entropy = -(every.exp() * every).sum(-1)
    return nn.functional.pad(logp, (1, 0)), nn.functional.pad(entropy, (1, 0))


def values(critic, answers):
    """V of each token [R, T]: what the critic expects before the token is written, so it reads the token before."""
    hidden = critic.decoder(input_ids=answers.ids, attention_mask=answers.attention).last_hidden_state
    return nn.functional.pad(critic.head(hidden)[:, :-1, 0], (1, 0))


# 2. Answers: sampled ids are kept, and text is never tokenised again.


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

    def rows(self, index):
        """Some of the rows."""
        some = copy.copy(self)
        for name, value in vars(self).items():
            if value is not None:
                setattr(some, name, value[index])
        return some


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


# 3. Advantages.


def advantages_and_returns(reward, value, mask, gamma, lam):
    """Generalised advantage estimation, row by row, from the last token of the answer to its first."""
    advantage = torch.zeros_like(reward)
    for r in range(len(reward)):
        ahead = next_value = 0.0
        for t in reversed(mask[r].nonzero()[:, 0].tolist()):
            delta = reward[r, t] + gamma * next_value - value[r, t]
            ahead = delta + gamma * lam * ahead
            next_value = value[r, t]
            advantage[r, t] = ahead
    return advantage, (advantage + value) * mask


def whitened(x, mask):
    """Mean 0 and deviation 1 over the tokens that count."""
    mean = (x * mask).sum() / mask.sum()
    variance = ((x - mean) ** 2 * mask).sum() / mask.sum()
    return (x - mean) / torch.sqrt(variance + 1e-8) * mask


@torch.no_grad()
def prepared(policy, reference, critic, answers, o):
    """The answers with old log-probabilities, values, rewards per token, advantages and returns, fixed for all epochs."""
    mask = answers.mask
    answers.old, answers.entropy = logprobs(policy, answers, o.temperature)
    answers.kl = (answers.old - logprobs(reference, answers, o.temperature)[0]) * mask
    answers.value = values(critic, answers) * mask
    reward = -o.kl_coef * answers.kl
    last = answers.attention.sum(-1) - 1
    reward[torch.arange(len(last)), last] += answers.score
    answers.token_reward = reward
    advantage, answers.returns = advantages_and_returns(reward, answers.value, mask, o.gamma, o.lam)
    answers.advantage = whitened(advantage, mask) if o.whiten_advantages else advantage
    return answers


# 4. The update.


def policy_loss(policy, answers, o):
    """The clipped surrogate, and the entropy bonus where it is on."""
    logp, entropy = logprobs(policy, answers, o.temperature)
    ratio = ((logp - answers.old) * answers.mask).exp()
    clipped = ratio.clamp(1 - o.cliprange, 1 + o.cliprange)
    surrogate = torch.minimum(ratio * answers.advantage, clipped * answers.advantage)
    return -((surrogate + o.entropy_coef * entropy) * answers.mask).sum() / answers.mask.sum()


def value_loss(critic, answers, o):
    """Half the larger of the plain and the clipped squared error."""
    value = values(critic, answers)
    near = torch.clamp(value, answers.value - o.cliprange_value, answers.value + o.cliprange_value)
    error = torch.maximum((value - answers.returns) ** 2, (near - answers.returns) ** 2)
    return o.vf_coef * 0.5 * (error * answers.mask).sum() / answers.mask.sum()


def optimizers(policy, critic, o):
    """One AdamW for each network."""
    return [
        torch.optim.AdamW(network.parameters(), lr=rate, eps=o.adam_epsilon, weight_decay=0.0)
        for network, rate in ((policy, o.learning_rate), (critic, o.critic_learning_rate))
    ]


def update(policy, critic, both, answers, o, left, orders):
    """All epochs over one batch of prepared answers; returns (policy loss, value loss) of each optimiser step.

    left is the share of the training that is still to come (1 at first); orders[epoch] is a list of row indices for each
    optimiser step.
    """
    losses = []
    for optimizer, rate in zip(both, (o.learning_rate, o.critic_learning_rate), strict=True):
        optimizer.param_groups[0]["lr"] = rate * left
    for epoch in orders:
        for index in epoch:
            some = answers.rows(index)
            pair = policy_loss(policy, some, o), value_loss(critic, some, o)
            for network, optimizer, value in zip((policy, critic), both, pair, strict=True):
                optimizer.zero_grad()
                value.backward()
                nn.utils.clip_grad_norm_(network.parameters(), o.max_grad_norm)
                optimizer.step()
            losses.append((pair[0].item(), pair[1].item()))
    return losses


# 5. The toy: "c" is to be answered "c c c c".


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


def main(steps=60, seed=1, rows=64):
    o, draw, generator = Options(), random.Random(seed), torch.Generator().manual_seed(seed)
    policy, reference = tiny_llama(seed), tiny_llama(seed)
    critic = Critic(copy.deepcopy(policy.model))
    both = optimizers(policy, critic, o)
    history = []
    for step in range(steps):
        prompts = [[VOCABULARY.index(draw.choice(LETTERS))] for _ in range(rows)]
        texts = sample(policy, prompts, 4, o.temperature, generator)
        scores = [score(prompt, text[1:]) for prompt, text in zip(prompts, texts, strict=True)]
        answers = prepared(policy, reference, critic, Answers(texts, [1] * rows, scores), o)
        orders = [torch.randperm(rows, generator=generator).chunk(o.num_mini_batches) for _ in range(o.num_ppo_epochs)]
        losses = update(policy, critic, both, answers, o, 1 - step / steps, orders)
        history.append(sum(scores) / rows)
        if step % 10 == 0 or step == steps - 1:
            kl = answers.kl.sum(-1).mean()
            text = " ".join(VOCABULARY[token] for token in texts[0])
            print(f"step {step + 1:3d}  score {history[-1]:.3f}  KL {kl:.2f} nats  value loss {losses[-1][1]:.4f}  {text}")
    return history


if __name__ == "__main__":
    main()
