"""Accuracy by part: strength of the label, gap of the scores, length, annotator, source, kind of prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from plaudit.evaluation.card.baselines import share
from plaudit.evaluation.card.pairs import Pairs, request
from plaudit.evaluation.packages import needed
from plaudit.schema import JSON

NAMES = {"annotator": ("annotator", "annotator_id", "worker", "labeler"), "source": ("source", "dataset", "origin", "split")}
FEWEST, MOST_PARTS = 10, 12
CLUSTERS = 6


def slices(pairs: Pairs, seed: int = 0) -> dict[str, list[JSON]]:
    """Name of a cut -> its parts, largest first or in order; those below ten pairs are gathered in one."""
    found = {
        "label strength": _by_thirds(pairs, np.abs(pairs.strength), ("weak", "middle", "strong")),
        "score gap": _by_thirds(pairs, np.abs(pairs.gap), ("small", "middle", "large")),
        "length of the chosen answer": _by_name(pairs, [_longer(d) for d in pairs.longer]),
        "difference in length": _by_thirds(pairs, np.abs(pairs.longer), ("small", "middle", "large")),
    }
    for cut, columns in NAMES.items():
        values = [next((str(meta[c]) for c in columns if meta.get(c) is not None), None) for meta in pairs.meta]
        if len(set(values) - {None}) > 1:
            found[cut] = _by_name(pairs, [value or "(unknown)" for value in values])
    if (clusters := prompt_clusters([request(prompt) for prompt in pairs.prompts], seed)) is not None:
        found["kind of prompt"] = _by_name(pairs, clusters)
    return {cut: parts for cut, parts in found.items() if len(parts) > 1}


def prompt_clusters(texts: Sequence[str], seed: int = 0, clusters: int = CLUSTERS) -> list[str] | None:
    """Each text's cluster, named by the words that mark it; None for too few different texts. TF-IDF and k-means."""
    if len(set(texts)) < 10 * clusters:
        return None
    words = needed("sklearn.feature_extraction.text", "clusters of prompts").TfidfVectorizer(
        min_df=3, max_df=0.5, sublinear_tf=True, stop_words="english"
    )
    try:
        table = words.fit_transform(texts)
    except ValueError:
        return None
    means = needed("sklearn.cluster", "clusters of prompts").KMeans(clusters, n_init=3, random_state=seed).fit(table)
    vocabulary = words.get_feature_names_out()
    names = [", ".join(vocabulary[i] for i in np.argsort(-centre)[:3]) for centre in means.cluster_centers_]
    return [names[label] for label in means.labels_]


def _longer(difference: float) -> str:
    return "longer than the rejected" if difference > 0 else "shorter" if difference < 0 else "as long"


def _by_name(pairs: Pairs, names: Sequence[str]) -> list[JSON]:
    members: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        members.setdefault(name, []).append(place)
    large = sorted((n for n in members if len(members[n]) >= FEWEST), key=lambda n: (-len(members[n]), n))[:MOST_PARTS]
    rest = [place for name, places in members.items() if name not in large for place in places]
    parts = [_part(pairs, name, members[name]) for name in large]
    return parts + ([_part(pairs, f"(others, fewer than {FEWEST} pairs each)", rest)] if rest else [])


def _by_thirds(pairs: Pairs, values: np.ndarray, names: tuple[str, str, str]) -> list[JSON]:
    """Thirds by rank; nothing where all values are equal or there are too few pairs. Equal values stay together."""
    if len(pairs) < 3 * FEWEST or values.min() == values.max():
        return []
    low, high = np.quantile(values, [1 / 3, 2 / 3])
    third = np.where(values <= low, 0, np.where(values <= high, 1, 2))
    ranges = [
        f"{name} ({values[third == k].min():.3g} to {values[third == k].max():.3g})" if (third == k).any() else ""
        for k, name in enumerate(names)
    ]
    return [_part(pairs, ranges[k], np.flatnonzero(third == k).tolist()) for k in range(3) if (third == k).sum() >= FEWEST]


def _part(pairs: Pairs, name: str, places: Sequence[int]) -> JSON:
    told: dict[str, Any] = {"part": name, **share(pairs.right[list(places)])}
    return {**told, "mean_gap": float(pairs.gap[list(places)].mean())}
