"""What algorithms that learn from pairs have in common: log-probabilities of whole answers, and what is logged of a pair."""

from __future__ import annotations

from plaudit.algorithms.base import Moments, Tensor
from plaudit.core import preference
from plaudit.core.batch import Batch
from plaudit.schema import UserError


def answer_logp(logp: Tensor | None, batch: Batch) -> Tensor:
    """Log-probability of each whole answer: the sum over its tokens, [R, T] -> [R], in nats."""
    assert logp is not None
    return (logp * batch.mask).sum(-1)


def lengths(batch: Batch) -> Tensor:
    """Answer tokens of each row, [R]; at least 1."""
    return batch.mask.sum(-1).clamp(min=1)


def opponent(batch: Batch) -> Tensor:
    """Index [R] of the other row of each pair. UserError for a ranking of more than two answers."""
    if bool((batch.place > 1).any()):
        raise UserError(
            "this algorithm learns from pairs, but a row ranks more than two answers; write its pairs out as rows of their own "
            "(chosen, rejected), or train a reward model, which takes rankings of any length"
        )
    return preference.opponent(batch.group, batch.place)


def winners(batch: Batch) -> Tensor:
    """Weight [R] of a loss over pairs: 1 (or the pair's own) on the better row, 0 on the other, so that a pair counts once."""
    first = (batch.place == 0).to(batch.mask.dtype)
    return first * batch["weight"] if "weight" in batch.sides else first


def smoothed(batch: Batch, share: float) -> Tensor:
    """How sure we are of the order of each pair, [R], where a `share` of all labels is taken to be wrong (cDPO)."""
    return batch["probability"] * (1 - share) + (1 - batch["probability"]) * share


def metrics(reward: Tensor, logp: Tensor, batch: Batch) -> dict[str, Moments]:
    """TRL's names for implicit rewards [R] and log-probabilities of answers [R]; a tie counts half in the accuracy."""
    first = (batch.place == 0).to(batch.mask.dtype)
    gap = (reward - reward[opponent(batch)]).detach()
    return {
        "rewards/chosen": Moments.of(reward, first),
        "rewards/rejected": Moments.of(reward, 1 - first),
        "rewards/accuracies": Moments.of((gap > 0).to(gap.dtype) + 0.5 * (gap == 0).to(gap.dtype), first),
        "rewards/margins": Moments.of(gap, first),
        "logps/chosen": Moments.of(logp, first),
        "logps/rejected": Moments.of(logp, 1 - first),
    }
