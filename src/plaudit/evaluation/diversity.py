"""How varied a model's answers are: what collapses when a policy is optimised too hard. Words split at white space."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from plaudit.evaluation.metrics import distinct_n
from plaudit.evaluation.packages import needed
from plaudit.schema import Completion

OPENING, DISTINCT_WORDS = 5, 30


def self_bleu(answers: Sequence[str]) -> float:
    """Mean BLEU-4 of each answer against the others of its prompt, 0 to 1 (Zhu et al. 2018, Texygen); nan for a single one.

    1: all the same. Smoothed by sacrebleu's `exp`, with effective order for short answers.
    """
    if len(answers) < 2:
        return float("nan")
    bleu = needed("sacrebleu.metrics", "self-BLEU").BLEU(effective_order=True)
    scores = [bleu.sentence_score(one, [*answers[:i], *answers[i + 1 :]]).score for i, one in enumerate(answers)]
    return float(np.mean(scores)) / 100


def token_entropy(completions: Sequence[Completion]) -> float:
    """Mean of -log p of the sampled tokens, nats: the entropy of what was drawn from, without bias (greedy answers give 0).

    nan where the engine gave no log-probabilities.
    """
    values = [p for one in completions for p in one.logprobs]
    return float(-np.mean(values)) if values else float("nan")


def compression(texts: Sequence[str]) -> float:
    """Compressed over raw bytes of all texts together (zlib), 0 to about 1: low where they repeat each other."""
    raw = "\n".join(texts).encode()
    return len(zlib.compress(raw, 9)) / len(raw) if raw else float("nan")


def shared_opening(texts: Sequence[str], words: int = OPENING) -> float:
    """Share of answers, over all prompts, that begin with the most frequent opening of `words` words."""
    openings = Counter(" ".join(text.split()[:words]) for text in texts)
    return openings.most_common(1)[0][1] / len(texts) if texts else float("nan")


def diversity(answers: Sequence[Completion], n: int, *, bleu: bool = True) -> dict[str, Any]:
    """All of it for the answers of one model, prompt-major, `n` to each prompt.

    `distinct_2_of_30` counts over the first 30 words of every answer, so that long answers do not look less varied. self_bleu
    is left out where `bleu` is false, and where there is one answer to each prompt.
    """
    texts = [one.text for one in answers]
    found = {
        "distinct_2_of_30": distinct_n([text.split()[:DISTINCT_WORDS] for text in texts], 2),
        "entropy": token_entropy(answers),
        "compression": compression(texts),
        "shared_opening": shared_opening(texts),
        "empty": sum(not text.strip() for text in texts) / len(texts) if texts else float("nan"),
    }
    if n > 1 and bleu:
        groups = [texts[i : i + n] for i in range(0, len(texts), n)]
        found["self_bleu"] = float(np.mean([self_bleu(group) for group in groups]))
    return found
