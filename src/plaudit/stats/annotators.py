"""Models of annotators: how often each is right, and what the truth of each item probably is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from plaudit.stats.arrays import Floats, floats, sigmoid


class Consensus(NamedTuple):
    """`posterior[item]` = P(true label is 1); `accuracy[annotator]` = estimated P(a vote is right)."""

    posterior: Floats
    accuracy: Floats


def one_coin_dawid_skene(
    votes: Sequence[tuple[int, int, float]],
    prior: tuple[float, float] = (20.0, 6.5),
    prevalence: float = 0.5,
    iterations: int = 200,
    *,
    known: Mapping[int, float] | None = None,
    accuracy: Sequence[float] | None = None,
    items: int = 0,
) -> Consensus:
    """The one-coin annotator model of Dawid and Skene (1979) by EM: annotator w votes right with probability a_w, everywhere.

    `votes` are (item, annotator, value), numbered from 0; value 1 or 0, and a value between is split: v counts as v for 1
    and 1 - v for 0, so that a tie (1/2) says nothing of the item. E step: logit q_i = logit prevalence +
    sum (2v - 1) logit a_w. M step: a_w = (prior[0] + right votes expected) / (prior[0] + prior[1] + votes), where a vote weighs
    |2v - 1|: a tie is not held against who gave it. The Beta(20, 6.5) prior (mean .755) is strong on purpose: with few votes
    a weak one loses to the plain majority. Items without votes stay at `prevalence`.

    `known` holds the truth of some items (gold questions, adjudications): it is their posterior, whatever was voted. `accuracy`
    gives each annotator's instead of estimating it. `items` is their number where the last ones have no votes.
    """
    rows = floats(votes, "votes", 0).reshape(-1, 3)
    item, who, sign = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), 2 * floats(rows[:, 2], "values", 0, 1) - 1
    bias = float(np.log(prevalence / (1 - prevalence)))
    weight = np.bincount(who, np.abs(sign))
    fixed = None if accuracy is None else np.clip(floats(accuracy, "accuracy", 0, 1), 0.02, 0.98)
    estimate = np.full(len(weight), prior[0] / (prior[0] + prior[1])) if fixed is None else fixed
    places, truths = list(known or {}), list((known or {}).values())

    def posterior(accuracy: Floats) -> Floats:
        evidence = sign * np.log(accuracy / (1 - accuracy))[who]
        total = max([items, *(place + 1 for place in places)])
        q = sigmoid(bias + np.bincount(item, evidence, minlength=total).astype(np.float64))
        q[places] = truths
        return q

    for _ in range(iterations if fixed is None else 0):
        q = posterior(estimate)[item]
        right = np.bincount(who, np.abs(sign) * np.where(sign > 0, q, 1 - q))
        before = estimate
        estimate = np.clip((prior[0] + right) / (prior[0] + prior[1] + weight), 0.02, 0.98)
        if np.abs(estimate - before).max() < 1e-10:
            break
    return Consensus(posterior(estimate), estimate)


class ClassConsensus(NamedTuple):
    """`posterior[item, k]` = P(true class is k); `confusion[annotator, k, l]` = P(says l where k is true)."""

    posterior: Floats
    confusion: Floats
    prevalence: Floats

    @property
    def accuracy(self) -> Floats:
        """P(a vote is right) per annotator, over the classes as often as they occur."""
        return np.asarray((np.diagonal(self.confusion, axis1=1, axis2=2) * self.prevalence).sum(1))


def dawid_skene(
    votes: Sequence[tuple[int, int, int]],
    classes: int,
    *,
    one_coin: bool = False,
    prior: tuple[float, float] = (20.0, 6.5),
    iterations: int = 300,
) -> ClassConsensus:
    """Annotators of K classes by EM (Dawid and Skene 1979). `votes` are (item, annotator, class), numbered from 0.

    E step: log q_ik = log pi_k + sum over votes log c_wkl + constant. M step: c_wkl is proportional to prior_kl plus the votes
    expected, pi_k to 1 plus the items expected. `one_coin`: one accuracy per annotator, errors spread evenly, with the prior
    Beta(prior). Else a full confusion matrix, each row with the prior Dirichlet(prior[0] / K right, prior[1] / K wrong in all),
    so that both models see as much prior. With a weak prior and few votes the full one loses to a plain majority.
    """
    if classes < 2:
        raise ValueError("there must be two classes at least")
    rows = np.asarray(votes, dtype=np.int64).reshape(-1, 3)
    if not len(rows) or rows.min() < 0 or rows[:, 2].max() >= classes:
        raise ValueError(f"votes must hold at least one (item, annotator, class), numbered from 0, with class below {classes}")
    item, who, said = rows.T
    items, people = int(item.max()) + 1, int(who.max()) + 1
    right, wrong = (mass if one_coin else mass / classes for mass in prior)
    share = np.full((classes, classes), wrong / (classes - 1)) + np.eye(classes) * (right - wrong / (classes - 1))
    confusion = np.tile(share / share.sum(1, keepdims=True), (people, 1, 1))
    prevalence = np.full(classes, 1 / classes)

    def posterior(confusion: Floats, prevalence: Floats) -> Floats:
        evidence = np.tile(np.log(prevalence), (items, 1))
        np.add.at(evidence, item, np.log(confusion[who, :, said]))
        chance = np.exp(evidence - evidence.max(1, keepdims=True))
        return np.asarray(chance / chance.sum(1, keepdims=True))

    for _ in range(iterations):
        q = posterior(confusion, prevalence)
        counted = np.zeros((people, classes, classes))
        for value in range(classes):
            np.add.at(counted[:, :, value], who[said == value], q[item[said == value]])
        before = confusion
        if one_coin:
            hits = np.trace(counted, axis1=1, axis2=2)
            accuracy = (right + hits) / (right + wrong + counted.sum((1, 2)))
            miss = ((1 - accuracy) / (classes - 1))[:, None, None]
            confusion = miss + np.eye(classes) * (accuracy[:, None, None] - miss)
        else:
            confusion = (share + counted) / (share + counted).sum(2, keepdims=True)
        prevalence = (1 + q.sum(0)) / (classes + items)
        if np.abs(confusion - before).max() < 1e-9:
            break
    return ClassConsensus(posterior(confusion, prevalence), confusion, prevalence)


class RatingConsensus(NamedTuple):
    """`score[item]`, `bias[annotator]` (how much too high), `deviation[annotator]` (standard deviation of the errors)."""

    score: Floats
    bias: Floats
    deviation: Floats


def rating_consensus(
    votes: Sequence[tuple[int, int, float]], *, deviation: float = 1.0, strength: float = 10.0, iterations: int = 200
) -> RatingConsensus:
    """Ratings of annotators who are lenient or strict, and more or less exact: x_iw = s_i + b_w + noise of variance v_w.

    The mode by turns (Raykar et al. 2010, section 4, with a bias): s_i is the mean of x - b weighted by 1/v; b_w the mean
    residual, drawn to 0 as by `strength` ratings; v_w the mean squared residual, drawn to `deviation`^2 likewise. The prior is
    strong, so that a rater of three answers is taken as an ordinary one. The mean bias over ratings is 0.
    """
    rows = floats(votes, "votes").reshape(-1, 3)
    item, who, said = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2]
    counts = np.bincount(who).astype(np.float64)
    bias, variance = np.zeros(len(counts)), np.full(len(counts), deviation**2)
    for _ in range(iterations):
        weight = 1 / variance[who]
        score = np.bincount(item, weight * (said - bias[who])) / np.maximum(np.bincount(item, weight), 1e-12)
        rest = said - score[item]
        before, bias = bias, np.bincount(who, rest) / (counts + strength)
        bias = bias - float((bias * counts).sum() / counts.sum())
        variance = (strength * deviation**2 + np.bincount(who, (rest - bias[who]) ** 2)) / (strength + counts)
        if np.abs(bias - before).max() < 1e-9:
            break
    return RatingConsensus(np.asarray(score), np.asarray(bias), np.sqrt(variance))


class Verdict(NamedTuple):
    """What the gold questions say of an annotator so far."""

    decision: str
    """good, poor, or undecided."""
    evidence: float
    """Log of the likelihood ratio of good against poor; beyond +-log((1 - error) / error) it is decided."""


def gold_test(right: int, wrong: int, *, good: float = 0.85, poor: float = 0.60, error: float = 0.05) -> Verdict:
    """Wald's sequential test (1945): is this annotator right with probability `good`, or only with `poor`?

    About 20 gold questions to recognise a good annotator and 11 for one who guesses, at 5 % errors of both kinds.
    """
    evidence = right * float(np.log(good / poor)) + wrong * float(np.log((1 - good) / (1 - poor)))
    bound = float(np.log((1 - error) / error))
    return Verdict("good" if evidence >= bound else "poor" if evidence <= -bound else "undecided", evidence)
