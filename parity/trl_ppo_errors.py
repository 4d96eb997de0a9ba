"""Where TRL 1.12's PPO errs: one small program for each error. Runs in the environment of trl-1.12.txt.

    .venv-trl112/bin/python parity/trl_ppo_errors.py score      the score is paid one token after the answer's last one
    .venv-trl112/bin/python parity/trl_ppo_errors.py whitening  advantages are whitened with the variance of a sample

Each prints what TRL computes, what the papers say in float64, and exits with 1 if TRL no longer errs.
"""

import math
import sys

from trl.experimental.ppo import ppo_trainer

import record_ppo
import world
from record_ppo import ROWS

ANSWER = [9, 14, 23, world.END]


def batch(longest):
    """Six rows; the first answer is ANSWER, the last has `longest` tokens, and all are padded to the longest."""
    prompts = [prompt for prompt, _ in world.full_rollouts(0, ROWS, 1)]
    answers = [ANSWER, *([7 + i, world.END] for i in range(ROWS - 2)), [*range(5, 4 + longest), world.END]]
    width = max(map(len, answers))
    return [(prompt, answer + [world.PAD] * (width - len(answer))) for prompt, answer in zip(prompts, answers, strict=True)]


def first_row(longest):
    """What TRL computes for ANSWER."""
    found = record_ppo.run([batch(longest)], 1, stop_token="eos")
    row = [place for _, place in found["order"]].index(0)
    names = ("values", "non_score_reward", "rewards", "raw", "logprobs")
    return {name: found[name][row] for name in names} | {"score": found["scores"][0][row]}


def by_the_papers(row, gamma=1.0, lam=0.95):
    """Advantages of ANSWER by eq. 16 of Schulman et al. 2016; the score belongs to the last token."""
    reward = row["non_score_reward"][: len(ANSWER)]
    reward[-1] += row["score"]
    ahead, following, found = 0.0, 0.0, []
    for r, v in reversed(list(zip(reward, row["values"][: len(ANSWER)], strict=True))):
        ahead = r + gamma * following - v + gamma * lam * ahead
        following = v
        found.insert(0, ahead)
    return found


def show(name, numbers):
    print(f"{name:60}", " ".join(f"{x:9.5f}" for x in numbers))


def score():
    """The same answer, weights, values and score; only another row of the batch gets longer."""
    alone, beside = first_row(len(ANSWER)), first_row(len(ANSWER) + 2)
    count = len(ANSWER)
    show("advantages, TRL, no answer of the batch is longer", alone["raw"][:count])
    show("advantages, TRL, another answer of the batch is longer", beside["raw"][:count])
    show("advantages, eq. 16 in float64", by_the_papers(alone))
    show("rewards, TRL, no answer of the batch is longer", alone["rewards"])
    show("rewards, TRL, another answer of the batch is longer", beside["rewards"])
    right = max(abs(a - b) for a, b in zip(alone["raw"], by_the_papers(alone), strict=True))
    wrong = max(abs(a - b) for a, b in zip(beside["raw"][:count], by_the_papers(beside), strict=True))
    return right < 1e-5 and wrong > 1e-2


def whitening():
    """Whitened numbers have a mean square of 1 by definition (Huang et al. 2024, and OpenAI's code: the biased variance)."""
    import torch

    x = torch.tensor([1.0, 2.0, 4.0, 8.0])
    theirs = ppo_trainer.masked_whiten(x, torch.ones(4, dtype=torch.bool)).double()
    mean, variance = 3.75, sum((v - 3.75) ** 2 for v in (1, 2, 4, 8)) / 4
    show("1 2 4 8 whitened, TRL", theirs.tolist())
    show("the same in float64", [(v - mean) / math.sqrt(variance) for v in (1, 2, 4, 8)])
    show("mean square, TRL", [float((theirs**2).mean())])
    return abs(float((theirs**2).mean()) - 0.75) < 1e-6


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("score", "whitening"):
        sys.exit(__doc__)
    sys.exit(0 if {"score": score, "whitening": whitening}[sys.argv[1]]() else 1)
