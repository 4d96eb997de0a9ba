"""How far answers lie from a model: their perplexity under it, beside that of the same tokens in random order.

Perplexity is exp of the mean negative log-probability of the answers' tokens (end tokens included), all tokens of a file
counted alike. Shuffled answers keep their prompts, their tokens and their lengths, so the model's knowledge of the words is
there and that of their order is not. A row is called far where its own mean is no better than the best 5 % of the shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from plaudit.core.batch import from_rows
from plaudit.data.packing import by_length
from plaudit.data.split import answers
from plaudit.data.template import Row, encode_answer
from plaudit.models import families
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.load import Loaded
from plaudit.models.machine import device
from plaudit.models.network import Network
from plaudit.schema import JSON, Prompt
from plaudit.stats import Interval, wilson

RESAMPLES, FAR, LOGIT_CHUNK, BATCH = 1000, 5.0, 256, 8


@dataclass(frozen=True)
class Distance:
    """Perplexities with 95 % intervals (rows drawn again), and the share of rows that are far."""

    answers: int
    """Answers that were scored."""
    of: int
    """Answers there are."""
    tokens: int
    perplexity: Interval
    shuffled: Interval
    far: Interval | None
    """Share of answers of two tokens or more that are no likelier, per token, than the best 5 % of the shuffled ones."""
    cut: int
    """Answers of which only the part that the model can read was scored."""

    def to_json(self) -> JSON:
        """Plain numbers; intervals as mean, low and high."""
        plain = asdict(self)
        return {name: list(value.values()) if isinstance(value, dict) else value for name, value in plain.items()}

    def lines(self) -> list[str]:
        """What a person should read."""
        out = [
            f"perplexity of {self.answers:,} of {self.of:,} answers ({self.tokens:,} tokens) under the model: "
            f"{_shown(self.perplexity)}; of the same tokens shuffled: {_shown(self.shuffled)}"
        ]
        if self.far is not None:
            ends = f"[{self.far.low:.0%}, {self.far.high:.0%}]"
            out.append(f"{self.far.mean:.0%} {ends} of the answers lie as far from it as shuffled text")
        if self.cut:
            out.append(f"{self.cut:,} answers are longer than the model can read and were scored up to there")
        return out


def distance(
    loaded: Loaded,
    items: Sequence[Any],
    *,
    rows: int = 100,
    seed: int = 0,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Distance | None:
    """The distance of items with answers from a model; None where they have none. Of a ranking the best answer counts.

    At most `rows` answers are scored, drawn by `seed`. `told(done, total)` counts forward passes over rows.
    """
    listed = [(item.prompt, answers(item)[0]) for item in items if not isinstance(item, Prompt)]
    random = np.random.Generator(np.random.Philox(key=[seed, 0]))
    chosen = sorted(random.permutation(len(listed))[:rows].tolist())
    context = families.context(loaded.model.config)
    whole = [encode_answer(loaded.tokenizer, *listed[i]) for i in chosen]
    cut = [row if len(row) <= context else replace(row, ids=row.ids[:context], mask=row.mask[:context]) for row in whole]
    kept = [row for row in cut if any(row.mask)]
    if not kept:
        return None
    own = answer_logprobs(loaded, [*kept, *(shuffled(row, random) for row in kept)], told)
    real, mixed = own[: len(kept)], own[len(kept) :]
    counts = np.array([sum(row.mask) for row in kept], dtype=float)
    long = counts >= 2
    far = None
    if long.any():
        limit = np.percentile(-mixed[long] / counts[long], FAR)
        far = wilson(float((-real[long] / counts[long] >= limit - 1e-6).sum()), float(long.sum()))
    return Distance(
        len(kept),
        len(listed),
        int(counts.sum()),
        perplexity(real, counts, seed),
        perplexity(mixed, counts, seed),
        far,
        sum(len(row) > context for row in whole),
    )


def perplexity(logprobs: np.ndarray, tokens: np.ndarray, seed: int = 0) -> Interval:
    """exp(-sum of log-probabilities / sum of tokens) over rows, with the 95 % percentile bootstrap over rows."""
    random = np.random.Generator(np.random.Philox(key=[seed, 1]))
    draws = random.integers(0, len(tokens), size=(RESAMPLES, len(tokens)))
    again = np.exp(-logprobs[draws].sum(1) / tokens[draws].sum(1))
    low, high = np.percentile(again, [2.5, 97.5])
    return Interval(float(np.exp(-logprobs.sum() / tokens.sum())), float(low), float(high))


def shuffled(row: Row, random: np.random.Generator) -> Row:
    """The row with the tokens of its answer in another order."""
    places = [t for t, trained in enumerate(row.mask) if trained]
    order = random.permutation(len(places))
    ids = list(row.ids)
    for place, source in zip(places, order, strict=True):
        ids[place] = row.ids[places[source]]
    return replace(row, ids=ids)


def answer_logprobs(
    loaded: Loaded, rows: Sequence[Row], told: Callable[[int, int], None] = lambda done, total: None
) -> np.ndarray:
    """The summed log-probability of each row's answer tokens, [R]."""
    base = Base(loaded.model.to(device()), loaded.tokenizer, loaded.digest, loaded.name, AdapterConfig())
    network = Network("reference", base, chunk=LOGIT_CHUNK)
    out = np.zeros(len(rows))
    done = 0
    for index in by_length([len(row) for row in rows], BATCH):
        batch = from_rows([rows[i].ids for i in index], [rows[i].mask for i in index]).to(device())
        with torch.no_grad():
            logp = network(batch, {"logp"}).logp
        assert logp is not None
        out[index] = (logp * batch.mask).sum(1).double().cpu().numpy()
        done += len(index)
        told(done, len(rows))
    if not all(map(math.isfinite, out)):
        raise ValueError("the model gives log-probabilities that are not finite")
    return out


def _shown(found: Interval) -> str:
    return f"{found.mean:.4g} [{found.low:.4g}, {found.high:.4g}]"
