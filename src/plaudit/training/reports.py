"""What the trained model says of the held-out rows, row by row: figures that no sum over micro-batches can give."""

from __future__ import annotations

import torch

from plaudit.algorithms.classify import Classify
from plaudit.algorithms.rating import Rating
from plaudit.algorithms.reward import RewardModel
from plaudit.core.batch import Batch, Outputs
from plaudit.evaluation.classification import ClassificationReport
from plaudit.evaluation.ratings import rating_report
from plaudit.models.scorer import Scorer
from plaudit.schema import JSON
from plaudit.training.loop import Loop
from plaudit.training.sources import Rows


def held_out_scores(loop: Loop) -> list[JSON]:
    """Scores (as trained: logits) and lengths (tokens, prompt included) of the held-out pairs; none but of reward models."""
    algorithm, source = loop.learner.algorithm, loop.source
    if not isinstance(source, Rows) or not isinstance(algorithm, RewardModel):
        return []
    pairs = [item for item in source.held_out if len(item.rows) == 2]
    network = next(iter(loop.learner.networks.values()))
    scores = Scorer(network, loop.options.per_device_eval_batch_size)([row.ids for item in pairs for row in item.rows])
    sizes = [len(row.ids) for item in pairs for row in item.rows]
    names = ("chosen", "rejected", "chosen_length", "rejected_length")
    return [dict(zip(names, (*scores[i : i + 2], *sizes[i : i + 2]), strict=True)) for i in range(0, len(scores), 2)]


def held_out_report(loop: Loop) -> JSON | None:
    """The report of the algorithm's kind on the held-out rows; None where it has none, or nothing was held out."""
    algorithm, source = loop.learner.algorithm, loop.source
    if not isinstance(source, Rows) or not source.held_out or not isinstance(algorithm, Classify | Rating):
        return None
    asked = _asked(loop, source)
    labels = [value for batch, _ in asked for value in batch["label"].tolist()]
    if isinstance(algorithm, Classify):
        said = [number for _, found in asked if found.classes is not None for number in found.classes.argmax(-1).tolist()]
        return ClassificationReport.of([int(value) for value in labels], said, algorithm.classes).as_json()
    scores = [algorithm.predicted(found) for _, found in asked]
    return rating_report(labels, torch.cat(scores).tolist())


@torch.no_grad()
def _asked(loop: Loop, source: Rows) -> list[tuple[Batch, Outputs]]:
    """The held-out batches and what the first role's network makes of them."""
    role, wants = next(iter(loop.learner.algorithm.networks.items()))
    batches = [batch.to(loop.learner.device) for batch in source.batches()]
    return [(batch, loop.learner.networks[role](batch, wants)) for batch in batches]
