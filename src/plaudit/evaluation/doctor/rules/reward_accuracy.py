"""Does the reward model rank held-out pairs better than their length does, and no better than the labels allow?"""

from __future__ import annotations

from plaudit.evaluation.doctor.evidence import Evidence, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, Status, unknown, worse
from plaudit.stats import wilson

USELESS, AHEAD, GAP = 0.55, 0.03, 0.15
LEAST = 30
BY_LENGTH = (
    "do not train against it: it knows little more than length; judge pairs whose answers are of like length, add them to the "
    "training file, and train anew: plaudit train reward"
)
BY_HEART = "train for fewer steps or on more pairs: plaudit train reward num_train_epochs=1 early_stopping_patience=3"


def examine(evidence: Evidence) -> Reading:
    """From scored pairs where there are some; else from the evaluations of the run."""
    longer = evidence.dataset.longer if evidence.dataset else None
    length_only = max(longer[0], longer[1] - longer[0]) / longer[1] if longer and longer[1] else None
    if evidence.pairs is not None:
        pairs = evidence.pairs
        gap = pairs.chosen - pairs.rejected
        if len(gap) < LEAST:
            return unknown(f"{LEAST} held-out pairs; there are {len(gap)}")
        right = wilson(float((gap > 0).sum() + 0.5 * (gap == 0).sum()), len(gap))
        accuracy, ends = right.mean, (right.low, right.high)
        more, less = (pairs.chosen_length > pairs.rejected_length).mean(), (pairs.chosen_length < pairs.rejected_length).mean()
        length_only = float(max(more, less) + 0.5 * (1 - more - less))
    elif points := evidence.points("eval_accuracy"):
        accuracy, ends = points[-1][1], None
    else:
        return unknown("the accuracy on held-out pairs (held_out_scores.jsonl, eval_accuracy)")
    return _judged(evidence, accuracy, ends, length_only)


def _judged(evidence: Evidence, accuracy: float, ends: tuple[float, float] | None, length_only: float | None) -> Reading:
    causes: list[str] = []
    advice = ""
    status: Status = "act" if accuracy < USELESS else "ok"
    if length_only is not None and accuracy < length_only + AHEAD:
        causes.append(f"choosing by length alone is right on {length_only:.2f} of them")
        advice = BY_LENGTH if accuracy >= USELESS else ""
        status = worse(status, "act" if accuracy <= length_only else "watch")
    trained, _ = recent(evidence.points("train_accuracy"))
    if trained - accuracy > GAP:
        causes.append(f"it is right on {trained:.2f} of what it was trained on: learnt by heart")
        advice = BY_HEART
        status = worse(status, "watch")
    quality = evidence.dataset.quality if evidence.dataset else None
    if quality and quality.ceiling is not None and accuracy > quality.ceiling + AHEAD:
        causes.append(f"labels as noisy as these allow {quality.ceiling:.2f}: held-out pairs may be trained on")
        advice = f"look for held-out pairs among those trained on: plaudit data check {evidence.rows} HELD_OUT"
        status = worse(status, "watch")
    return Reading(status, accuracy, ends, tuple(causes), advice)


RULE = Rule(
    name="reward_accuracy",
    number=5,
    about="Does the reward model rank held-out pairs better than length does?",
    threshold="accuracy on held-out pairs: act below 0.55 or not above what length alone reaches, watch within 0.03 of that, "
    "0.15 below the accuracy in training, or above what the labels' agreement allows",
    source="below 2,000 comparisons reward models are near chance (Gao et al. 2210.10760); 0.55, 0.03 and 0.15: house rules",
    causes=("too few pairs", "labels are noisy (see agreement)", "too low or too high a learning rate"),
    next="do not train against it yet; judge more pairs, or train longer: plaudit train reward num_train_epochs=2; sweep the "
    "rate: plaudit find-lr reward",
    examine=examine,
    metrics=("eval_accuracy", "train_accuracy"),
    kinds=("run", "model"),
)
