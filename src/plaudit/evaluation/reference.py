"""Answers against reference answers: one number from 0 to 1 for each answer, so that they can be paired and have intervals.

exact_match  equal but for case, white space and a full stop       f1       words in common (SQuAD, Rajpurkar et al. 2016)
contains     the reference stands in the answer                    number   the last number of both is the same
rouge1 rouge2 rougeL  F1 of rouge-score (Lin 2004)                 bleu chrf  of sacrebleu, by sentence (Post 2018)
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from plaudit.evaluation.packages import needed
from plaudit.rewards.rules import WORD

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold().removesuffix(".")


def _words(text: str) -> list[str]:
    """Lower case, punctuation and English articles out (SQuAD's rule); Chinese and Japanese signs are words of their own."""
    bare = "".join(" " if sign in string.punctuation else sign for sign in text.casefold())
    return [word for word in WORD.findall(bare) if word not in ("a", "an", "the")]


def exact_match(answer: str, reference: str) -> float:
    return float(_plain(answer) == _plain(reference))


def contains(answer: str, reference: str) -> float:
    return float(_plain(reference) in _plain(answer))


def number(answer: str, reference: str) -> float:
    """1 where the last number of the answer is that of the reference; commas between digits do not count."""
    said, wanted = (NUMBER.findall(text) for text in (answer, reference))
    return float(bool(said and wanted) and float(said[-1].replace(",", "")) == float(wanted[-1].replace(",", "")))


def f1(answer: str, reference: str) -> float:
    """2 P R / (P + R) over words; 1 where both have none."""
    said, wanted = _words(answer), _words(reference)
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))


class _Tokens:
    """rouge-score's tokenizer knows a-z and 0-9 only; this one knows the words of all scripts."""

    def tokenize(self, text: str) -> list[str]:
        return WORD.findall(text.casefold())


@cache
def _rouge(kind: str) -> Any:
    return needed("rouge_score.rouge_scorer", "ROUGE").RougeScorer([kind], tokenizer=_Tokens())


def _rouge_of(kind: str) -> Callable[[str, str], float]:
    def score(answer: str, reference: str) -> float:
        return float(_rouge(kind).score(reference, answer)[kind].fmeasure)

    return score


@cache
def _sacrebleu(kind: str) -> Any:
    metrics = needed("sacrebleu.metrics", "BLEU and chrF")
    return metrics.BLEU(effective_order=True) if kind == "bleu" else metrics.CHRF()


def _sacrebleu_of(kind: str) -> Callable[[str, str], float]:
    def score(answer: str, reference: str) -> float:
        return float(_sacrebleu(kind).sentence_score(answer, [reference]).score) / 100

    return score


METRICS: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "contains": contains,
    "number": number,
    "f1": f1,
    **{kind: _rouge_of(kind) for kind in ("rouge1", "rouge2", "rougeL")},
    **{kind: _sacrebleu_of(kind) for kind in ("bleu", "chrf")},
}


def score(metric: str, answer: str, references: Sequence[str]) -> float:
    """The best of several references, as SQuAD has it."""
    return max(METRICS[metric](answer, reference) for reference in references)


def corpus(metric: str, answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU or chrF over the whole corpus, which is what papers report, 0 to 1; rows with fewer references count theirs."""
    made = needed("sacrebleu.metrics", "BLEU and chrF")
    most = max(map(len, references))
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(most)]
    return float((made.BLEU() if metric == "bleu" else made.CHRF()).corpus_score(list(answers), streams).score) / 100
