"""Planted defects that need no training: files with a known flaw, made anew from a seed by whoever asks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

Rows = list[dict[str, Any]]
THINGS = ("order", "refund", "parcel", "bill", "ticket", "invoice")
WORDS = ("soon", "kindly", "today", "again", "surely", "now", "quickly", "gladly")


def write(path: Path, rows: Rows) -> Path:
    """Rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def prompts(seed: int, count: int, first: int = 0) -> Rows:
    """Different questions."""
    random = np.random.default_rng(seed)
    return [{"prompt": f"Where is {random.choice(THINGS)} {first + i}?"} for i in range(count)]


def leak(folder: Path, seed: int, leaked: int, held_out: int) -> list[str]:
    """A test file of which `leaked` prompts are in the training file."""
    train, test = prompts(seed, 200), prompts(seed, held_out, first=1000)
    test[:leaked] = train[:leaked]
    return [str(write(folder / "train.jsonl", train)), "--held-out", str(write(folder / "test.jsonl", test))]


def doubles(folder: Path, seed: int, share: float) -> list[str]:
    """A file of which this share of the rows came up before."""
    rows = prompts(seed, 200)
    return [str(write(folder / "train.jsonl", rows + rows[: round(200 * share / (1 - share))]))]


def pairs(seed: int, count: int, longer: float) -> Rows:
    """Pairs whose better answer is the longer one with this probability."""
    random = np.random.default_rng(seed)
    found = []
    for i in range(count):
        short, long = (" ".join(random.choice(WORDS, size=n)) for n in (4, 4 + int(random.integers(1, 6))))
        better, worse = (long, short) if random.random() < longer else (short, long)
        found.append({"prompt": f"Where is {random.choice(THINGS)} {i}?", "chosen": better, "rejected": worse})
    return found


def lengthy(folder: Path, seed: int, longer: float) -> list[str]:
    return [str(write(folder / "pairs.jsonl", pairs(seed, 300, longer)))]


def judged(folder: Path, seed: int, accuracies: list[float], *, lefties: int = 0, items: int = 300) -> list[str]:
    """A file in which every annotator judges every item, right with their accuracy; the last `lefties` choose by side."""
    random = np.random.default_rng(seed)
    rows: Rows = []
    for item in range(items):
        truth = random.random() < 0.5
        for number, accuracy in enumerate(accuracies):
            right = (random.random() < accuracy) == truth
            if number >= len(accuracies) - lefties:
                right = random.random() < 0.95
            rows.append({"annotator": f"a{number}", "item": f"i{item}", "label": "first" if right else "second"})
    return [str(write(folder / "judged.jsonl", rows))]


def best_of_n(folder: Path, seed: int, exploit: float, cost: float, prompts: int = 100, sampled: int = 64) -> list[str]:
    """Best-of-n by a proxy that pays a rare flaw which the independent measure takes `cost` off for.

    The expectation over all subsets of n: sum over ranks i of C(i - 1, n - 1) / C(N, n) times the i-th score.
    """
    random = np.random.default_rng(seed)
    truth = random.normal(size=(prompts, sampled))
    flaw = random.random((prompts, sampled)) < exploit
    proxy, gold = truth + 0.5 * random.normal(size=truth.shape) + 3 * flaw, truth - cost * flaw
    order = np.argsort(proxy, axis=1)
    proxy, gold = np.take_along_axis(proxy, order, 1), np.take_along_axis(gold, order, 1)
    rows: Rows = []
    for n in (1, 2, 4, 8, 16, 32, 64):
        weight = np.array([math.comb(i, n - 1) / math.comb(sampled, n) for i in range(sampled)])
        each = gold @ weight
        error = float(each.std(ddof=1)) / math.sqrt(prompts)
        rows.append({"n": n, "proxy": float((proxy @ weight).mean()), "independent": float(each.mean()), "stderr": error})
    write(folder / "best_of_n.jsonl", rows)
    return [str(folder)]


def forgotten(folder: Path, seed: int, before: float, after: float, items: int = 200) -> list[str]:
    """Three tasks, of which one fell from one share of right answers to another; items keep their difficulty."""
    random = np.random.default_rng(seed)
    rows: Rows = []
    for task, share in (("facts", before), ("sums", after), ("names", before)):
        easy = random.random(items)
        rows += [
            {"task": task, "before": int(e < before), "after": int(min(1.0, e + 0.02 * random.normal()) < share)} for e in easy
        ]
    write(folder / "tasks.jsonl", rows)
    return [str(folder)]
