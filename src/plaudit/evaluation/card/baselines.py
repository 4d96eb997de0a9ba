"""What pairs can be told apart by without any language model: length alone, a few features of form, words."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from plaudit.evaluation.card.pairs import Pairs
from plaudit.evaluation.packages import needed
from plaudit.schema import JSON
from plaudit.stats import bootstrap_mean

FOLDS = 5


def baselines(pairs: Pairs, seed: int = 0) -> JSON:
    """Accuracies with 95 % intervals; fitted ones are cross-validated by prompt, five folds. None: too few prompts."""
    found: JSON = {"length": length_only(pairs)}
    features = np.array([form(a) - form(b) for a, b in zip(pairs.chosen, pairs.rejected, strict=True)])
    spread = features.std(0)
    found["form"] = fitted(features / np.where(spread > 0, spread, 1), pairs.groups, seed)
    words = needed("sklearn.feature_extraction.text", "the TF-IDF baseline").TfidfVectorizer(
        min_df=2, sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", max_features=50_000
    )
    try:
        table = words.fit_transform([*pairs.chosen, *pairs.rejected])
    except ValueError:  # no word stands in two answers
        return {**found, "tfidf": None}
    n = len(pairs)
    return {**found, "tfidf": fitted(table[:n] - table[n:], pairs.groups, seed)}


def length_only(pairs: Pairs) -> JSON:
    """ "The longer answer wins", or the shorter one, whichever is right more often; equal lengths are half right."""
    right = np.where(pairs.longer == 0, 0.5, (pairs.longer > 0).astype(float))
    better, rule = (right, "longer") if right.mean() >= 0.5 else (1 - right, "shorter")
    return {**share(better), "rule": rule}


def form(text: str) -> np.ndarray:
    """Words, sentences, lines, list marks and bold or headers of a text, as log(1 + count)."""
    marks = (r"\S+", r"[.!?。！？]", r"\n", r"(?m)^\s*(?:[-*•]|\d+[.)])\s", r"\*\*|^#+\s")
    return np.log1p([len(re.findall(mark, text)) for mark in marks])


def fitted(features: object, groups: np.ndarray, seed: int) -> JSON | None:
    """Held-out accuracy of a logistic model of the difference [N, features], each pair seen from both sides in training."""
    prompts = len(np.unique(groups))
    if prompts < 2 * FOLDS:
        return None
    linear = needed("sklearn.linear_model", "the baselines")
    stack = needed("scipy.sparse", "the baselines").vstack if not isinstance(features, np.ndarray) else np.vstack
    fold = np.random.default_rng(seed).permutation(prompts)[groups] % FOLDS
    right = np.zeros(len(groups))
    for k in range(FOLDS):
        train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        x = stack([features[train], -features[train]])  # type: ignore[index]
        y = np.repeat([1, 0], len(train))
        model = linear.LogisticRegression(C=1.0, max_iter=500, fit_intercept=False).fit(x, y)
        value = model.decision_function(features[held])  # type: ignore[index]
        right[held] = np.where(value == 0, 0.5, value > 0)
    return share(right)


def share(right: Sequence[float] | np.ndarray) -> JSON:
    """Accuracy with its bootstrap interval, and how many pairs it is of."""
    interval = bootstrap_mean(right, resamples=1000)
    return {"accuracy": interval.mean, "ci": [interval.low, interval.high], "pairs": len(right)}
