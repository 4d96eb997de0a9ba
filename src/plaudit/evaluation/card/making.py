"""All figures of a reward model's card from pairs it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from plaudit.evaluation.card.baselines import baselines, share
from plaudit.evaluation.card.gate import CardConfig, Reason, gate
from plaudit.evaluation.card.pairs import Pairs, Score, request, scored_pairs
from plaudit.evaluation.card.probes import probes
from plaudit.evaluation.card.slices import slices
from plaudit.evaluation.ratings import fisher
from plaudit.schema import JSON, Ranking
from plaudit.stats import (
    accuracy_ceiling,
    bootstrap_mean,
    brier,
    calibration_error,
    ceiling,
    log_loss,
    reliability,
    score_temperature,
    spearman,
)

WORST = 12


@dataclass(frozen=True)
class Card:
    """The figures, the reasons of the gate, and the worst errors (hostile text: escape it)."""

    name: str
    data: str
    figures: JSON
    reasons: list[Reason]
    worst: list[JSON] = field(default_factory=list)

    @property
    def shut(self) -> bool:
        """Whether the gate stops a pipeline."""
        return any(reason.state == "act" for reason in self.reasons)

    def as_json(self) -> JSON:
        reasons = [asdict(reason) for reason in self.reasons]
        return {"reward_model": self.name, "data": self.data, "gate": "shut" if self.shut else "open"} | {
            "reasons": reasons,
            **self.figures,
            "worst": self.worst,
        }


def make_card(
    name: str,
    data: str,
    items: Sequence[Ranking],
    score: Score,
    options: CardConfig,
    others: Mapping[str, Score] | None = None,
    *,
    seed: int = 0,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Card:
    """Score the pairs, measure, probe, judge. `others` are further reward models on the same pairs: members of an ensemble,
    or the other half of the labels."""
    steps = 3 + len(others or {})
    pairs = scored_pairs(items, score)
    told(1, steps)
    figures = measures(pairs, options, seed)
    told(2, steps)
    figures["probes"] = probes(pairs, score, most=options.probe_answers, seed=seed)
    told(3, steps)
    figures["disagreement"] = {}
    for number, (other, scorer) in enumerate((others or {}).items(), 4):
        figures["disagreement"][other] = disagreement(pairs, scorer)
        told(number, steps)
    return Card(name, data, figures, gate(figures, options), worst(pairs))


def measures(pairs: Pairs, options: CardConfig, seed: int = 0) -> JSON:
    """Everything that needs the scores only."""
    by_length = np.where(pairs.longer == 0, 0.5, (pairs.longer > 0).astype(float))
    by_length = by_length if by_length.mean() >= 0.5 else 1 - by_length
    return {
        "pairs": len(pairs),
        "prompts": len(np.unique(pairs.groups)),
        "pairs_without_a_score": pairs.left_out,
        "accuracy": share(pairs.right),
        "baselines": baselines(pairs, seed),
        "lead_over_length": share(pairs.right - by_length),
        "ceiling": _ceiling(pairs, options),
        "calibration": calibration(pairs),
        "length_correlation": length_correlation(pairs),
        "scores": distribution(pairs),
        "slices": slices(pairs, seed),
    }


def _ceiling(pairs: Pairs, options: CardConfig) -> float | None:
    """From the agreement of labels where it is given, else from soft labels; None where nothing is known of the noise."""
    if options.label_agreement is not None:
        return ceiling(options.label_agreement)
    return accuracy_ceiling(pairs.probability) if (pairs.probability < 1).any() else None


def calibration(pairs: Pairs) -> JSON:
    """Of P(chosen) = sigmoid(gap); each pair is seen from both sides, so that probabilities cover 0 to 1."""
    gap, label = pairs.gap, pairs.probability  # the label says that the chosen answer is better, surely or with a probability
    inverse = score_temperature(gap, label)
    p = 0.5 * (1 + np.tanh(gap / 2))
    error = calibration_error(p, label, symmetric=True)
    both, outcomes = np.concatenate([p, 1 - p]), np.concatenate([label, 1 - label])
    return {
        "ece": error.mean,
        "ece_ci": [error.low, error.high],
        "log_loss": log_loss(p, label),
        "brier": brier(p, label),
        "temperature": None if inverse == 0 else 1 / inverse,
        "curve": [
            {"said": b.said, "found": b.found.mean, "ci": [b.found.low, b.found.high]} for b in reliability(both, outcomes, 12)
        ],
    }


def length_correlation(pairs: Pairs) -> JSON:
    """Spearman's correlation of r(chosen) - r(rejected) with their difference in words.

    The label is held fixed, so good answers that are longer do not count against a model; one that counts words has 1.
    """
    value = spearman(pairs.gap, pairs.longer)
    known = np.isfinite(value) and len(pairs) > 3
    return {"spearman": value if known else None, "ci": fisher(value, len(pairs), 1.06) if known else None}


def distribution(pairs: Pairs) -> JSON:
    """Where scores and gaps lie."""
    scores, gap = pairs.scores.ravel(), pairs.gap
    quantiles = np.quantile(scores, [0.005, 0.25, 0.5, 0.75, 0.995])
    return {
        "mean": float(scores.mean()),
        "deviation": float(scores.std()),
        "quantiles": {q: float(v) for q, v in zip(("0.5 %", "25 %", "50 %", "75 %", "99.5 %"), quantiles, strict=True)},
        "mean_gap": float(gap.mean()),
        "negative_gaps": float((gap < 0).mean()),
        "equal": float((gap == 0).mean()),
    }


def disagreement(pairs: Pairs, score: Score) -> JSON:
    """Another reward model on the same pairs: how often both name the same answer, and how their scores run together."""
    n = len(pairs)
    found = score([*pairs.prompts, *pairs.prompts], [*pairs.chosen, *pairs.rejected])
    kept = [i for i in range(n) if found[i] is not None and found[n + i] is not None]
    if not kept:
        return {"pairs": 0}
    other = np.array([[found[i], found[n + i]] for i in kept], dtype=float)
    mine, theirs = pairs.gap[kept], other[:, 0] - other[:, 1]
    same = bootstrap_mean(((mine > 0) == (theirs > 0)).astype(float), resamples=1000)
    right = np.where(theirs == 0, 0.5, (theirs > 0).astype(float))
    between = np.abs(mine - theirs) / 2
    wrong = pairs.right[kept] < 0.5
    return {
        "pairs": len(kept),
        "same_choice": same.mean,
        "same_choice_ci": [same.low, same.high],
        "accuracy": float(right.mean()),
        "spearman": spearman(pairs.scores[kept].ravel(), other.ravel()),
        "deviation_of_gaps_where_right": float(between[~wrong].mean()) if (~wrong).any() else None,
        "deviation_of_gaps_where_wrong": float(between[wrong].mean()) if wrong.any() else None,
    }


def worst(pairs: Pairs, most: int = WORST) -> list[JSON]:
    """The pairs it is wrong on with the largest gaps: its mistakes, or the labels'."""
    order = [i for i in np.argsort(pairs.gap, kind="stable").tolist() if pairs.gap[i] < 0][:most]

    def told(i: int) -> dict[str, Any]:
        return {"prompt": request(pairs.prompts[i]), "chosen": pairs.chosen[i], "rejected": pairs.rejected[i]} | {
            "score_chosen": float(pairs.scores[i, 0]),
            "score_rejected": float(pairs.scores[i, 1]),
            "label_strength": float(pairs.strength[i]),
        }

    return [told(i) for i in order]
