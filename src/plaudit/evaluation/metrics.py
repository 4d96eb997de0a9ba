"""Plain figures over completions: variety, repetition, length, truncation. No model, no torch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from plaudit.schema import Completion


def ngrams(items: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """The n-grams of one sequence in order; none where it has fewer than `n` items. ValueError where n < 1."""
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    return [tuple(items[i : i + n]) for i in range(len(items) - n + 1)]


def distinct_n(sequences: Sequence[Sequence[Hashable]], n: int) -> float:
    """Different n-grams over all n-grams of all sequences together, 0 to 1 (distinct-n, Li et al. 2016, arXiv:1510.03055).

    It falls as the corpus grows, so compare equal numbers of answers. NaN where there is no n-gram at all.
    """
    grams = [gram for sequence in sequences for gram in ngrams(sequence, n)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def repetition_share(sequence: Sequence[Hashable], n: int = 4) -> float:
    """Share of one sequence's n-grams that stood in it before, 0 to 1 (seq-rep-n, Welleck et al. 2020, arXiv:1908.04319).

    0 where the sequence is too short to have an n-gram: it repeats nothing.
    """
    grams = ngrams(sequence, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@dataclass(frozen=True)
class Lengths:
    """Lengths of answers in sampled tokens, the end token included. All NaN where there are no answers with tokens."""

    mean: float
    median: float
    low: float
    """10th percentile."""
    high: float
    """90th percentile."""
    shortest: float
    longest: float


def lengths(completions: Sequence[Completion]) -> Lengths:
    """How long the answers are, in tokens; those of an engine that returns text only have none and do not count."""
    counts = np.array([len(c.tokens) for c in completions if c.tokens], dtype=float)
    if not len(counts):
        return Lengths(*[float("nan")] * 6)
    low, median, high = (float(q) for q in np.quantile(counts, (0.1, 0.5, 0.9)))
    return Lengths(float(counts.mean()), median, low, high, float(counts.min()), float(counts.max()))


def truncation_share(completions: Sequence[Completion]) -> float:
    """Share of answers that ran into `max_new_tokens` instead of ending, 0 to 1. NaN where there are none."""
    return sum(c.truncated for c in completions) / len(completions) if completions else float("nan")


def describe(completions: Sequence[Completion]) -> dict[str, float]:
    """All figures of this file in one flat dict, over the answers of one model.

    Variety and repetition are over words split at white space, so that models with different tokenizers compare;
    `repetition_4` is the mean over answers, and an answer shorter than four words counts as 0.
    """
    words = [c.text.split() for c in completions]
    size = lengths(completions)
    repetition = [repetition_share(w) for w in words]
    return {
        "answers": float(len(completions)),
        "distinct_1": distinct_n(words, 1),
        "distinct_2": distinct_n(words, 2),
        "repetition_4": sum(repetition) / len(repetition) if repetition else float("nan"),
        "length_mean": size.mean,
        "length_median": size.median,
        "length_p10": size.low,
        "length_p90": size.high,
        "truncated": truncation_share(completions),
    }
