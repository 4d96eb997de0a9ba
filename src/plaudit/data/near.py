"""Near duplicates by MinHash (Broder 1997): texts whose sets of word triples overlap by a share, found without comparing all.

A signature is the minimum of each of 64 hash functions over a text's shingles; two texts agree in one with the probability
of their Jaccard similarity. Texts that agree in all four of some band of a signature are compared exactly, so nothing is
reported that is not so similar; a pair of similarity s is missed with probability (1 - s^4)^16: 0.0002 at 0.8.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

SHINGLE, BANDS, IN_BAND = 3, 16, 4
# A letter of a script that is written without blanks counts as a word.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def shingles(text: str) -> np.ndarray:
    """The different triples of neighbouring words (case does not count), as sorted 32-bit hashes; of short texts, the whole."""
    words = WORD.findall(text.casefold())
    parts = {" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))} if words else set()
    return np.array(sorted({zlib.crc32(part.encode()) for part in parts}), dtype=np.uint64)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Shared shingles over all shingles of two texts; 0 where both have none."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - shared
    return shared / union if union else 0.0


def similar_pairs(
    texts: Sequence[str], threshold: float = 0.8, told: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[int, int, float]]:
    """(earlier, later, similarity) for each text that is at least so similar to an earlier one: the most similar of those.

    `told(done, total)` is called as it goes.
    """
    random = np.random.Generator(np.random.Philox(key=[0, 0]))
    a, b = random.integers(1, 2**63, size=(2, BANDS * IN_BAND, 1), dtype=np.uint64)
    buckets: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in range(BANDS)]
    kept: dict[int, np.ndarray] = {}
    found = []
    for i, text in enumerate(texts):
        mine = shingles(text)
        if len(mine):
            signature = ((a | np.uint64(1)) * mine + b >> np.uint64(32)).min(axis=1).reshape(BANDS, IN_BAND)
            names = [band.tobytes() for band in signature]
            others = sorted({j for bucket, name in zip(buckets, names, strict=True) for j in bucket.get(name, ())})
            best = max(((jaccard(kept[j], mine), -j) for j in others), default=(0.0, 0))
            if best[0] >= threshold:
                found.append((-best[1], i, best[0]))
            for bucket, name in zip(buckets, names, strict=True):
                bucket[name].append(i)
            kept[i] = mine
        told(i + 1, len(texts))
    return found
