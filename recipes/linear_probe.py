"""What an untouched model's features know of a file's preferences, for lines of results.py that lie under their floor.

    python recipes/linear_probe.py DATA [--out FOLDER] [--only WORD ...] [--seeds 1 2 3] [--model NAME]

An answer's features are the model's last hidden state at its end and their mean over the answer. The regression sees the
difference of two answers' features, on the very training rows of results.py, and is measured on the same held-out rows. How
much it is held back is chosen among DECAYS by five folds of the training rows, by prompt. The same folds by pair say what a
measurement would show that lets answers of one prompt stand on both sides.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from results import EXPERIMENTS, fit, prepare

from plaudit.data.readers import read
from plaudit.data.template import encode_answer
from plaudit.models.load import Loaded
from plaudit.models.load import load as load_model
from plaudit.schema import Message, Ranking, UserError

DECAYS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
FOLDS, MOST = 5, 1024


class Features:
    """Of answers: the last hidden state, and the mean over the answer. An answer is read once, however many pairs it is in."""

    def __init__(self, loaded: Loaded) -> None:
        self.tokenizer, self.decoder = loaded.tokenizer, loaded.model.base_model.eval()
        self.seen: dict[tuple[str, object], torch.Tensor] = {}

    @torch.no_grad()
    def _of(self, pair: Ranking, answer: tuple[Message, ...] | str) -> torch.Tensor:
        key = (pair.prompt.id, answer)
        if key not in self.seen:
            row = encode_answer(self.tokenizer, pair.prompt, answer)
            hidden = self.decoder(torch.tensor([row.ids[:MOST]])).last_hidden_state[0].float()
            answered = hidden[min(row.prompt_length, len(hidden) - 1) :]
            self.seen[key] = torch.cat([hidden[-1], answered.mean(0)])
            if len(self.seen) % 50 == 0:
                print(f"{len(self.seen)} answers read", file=sys.stderr, flush=True)
        return self.seen[key]

    def differences(self, pairs: Sequence[Ranking]) -> torch.Tensor:
        """Features of the better answer less those of the other [pairs, 2 D]."""
        return torch.stack([self._of(pair, pair.answers[0]) - self._of(pair, pair.answers[1]) for pair in pairs])


def weights(x: torch.Tensor, decay: float) -> torch.Tensor:
    """Of a regression in which either answer may stand first."""
    made = fit(torch.cat([x, -x]), torch.cat([torch.ones(len(x)), torch.zeros(len(x))]).long(), 2, decay)
    return made[:, 1] - made[:, 0]


def accuracy(x: torch.Tensor, weight: torch.Tensor) -> float:
    return float((x @ weight > 0).double().mean())


def folded(x: torch.Tensor, groups: Sequence[int], decay: float) -> float:
    """Mean accuracy over five folds in which no group stands on both sides."""
    numbers = np.array(groups)
    fold = (np.random.Generator(np.random.Philox(key=[0, 11])).permutation(numbers.max() + 1) % FOLDS)[numbers]
    right = 0.0
    for number in range(FOLDS):
        held = torch.from_numpy(fold == number)
        right += float(((x[held] @ weights(x[~held], decay)) > 0).sum())
    return right / len(x)


def probe(train: torch.Tensor, asked: Sequence[str], test: torch.Tensor) -> tuple[float, float]:
    """(accuracy on held-out rows, accuracy of folds by pair); `asked` are the prompts of the training rows."""
    scale = train.std(0).clamp_min(1e-6)
    train, test = train / scale, test / scale
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(asked))}
    groups = [numbers[prompt] for prompt in asked]
    decay = max(DECAYS, key=lambda one: folded(train, groups, one))
    return accuracy(test, weights(train, decay)), folded(train, range(len(train)), decay)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument(
        "--only", nargs="*", default=["pandalm", "oasst"], help="Experiments whose name holds one of these words."
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    given = parser.parse_args()
    features = Features(load_model(given.model))
    print("| what | seed | training prompts (pairs) | held-out prompts (pairs) | probe | folds by pair |")
    print("|---|---|---|---|---|---|")
    for one in EXPERIMENTS:
        if one.algorithm != "reward" or not any(word in one.name for word in given.only):
            continue
        for seed in given.seeds:
            files = prepare(one, given.data, given.out / re.sub(r"\W+", "-", one.name) / f"seed{seed}", seed)
            train, test = (read(str(path), "rankings").items for path in files)
            asked = [[pair.prompt.id for pair in part] for part in (train, test)]
            found, by_pair = probe(features.differences(train), asked[0], features.differences(test))
            counts = [f"{len(set(part))} ({len(part)})" for part in asked]
            print(f"| {one.name} | {seed} | {counts[0]} | {counts[1]} | {found:.3f} | {by_pair:.3f} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"linear_probe: {error}")
