"""How unsure a reward model is of a question, from the scores that a run wrote: what active selection asks first."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from plaudit.judgements.assign import pair_uncertainty

Scores = Mapping[str, Mapping[str, float]]
"""Model -> completion id -> score, the newest model last. `name/1`, `name/2` are the members of one ensemble."""


def uncertainty(scores: Scores, completion_ids: Sequence[str]) -> float | None:
    """From 0 to 1: of a pair `pair_uncertainty`, of more answers its mean over all pairs.

    The newest ensemble that scored all of the answers decides, with the deviation of its members; None where there is none.
    """
    members: list[Mapping[str, float]] = []
    name = None
    for model in reversed(list(scores)):
        ensemble = model.rpartition("/")[0] or model
        if name is not None and ensemble != name:
            break
        if all(one in scores[model] for one in completion_ids):
            name = ensemble
            members.append(scores[model])
    if not members or len(completion_ids) < 2:
        return None
    return fmean(_of_pair(members, first, second) for first, second in itertools.combinations(completion_ids, 2))


def _of_pair(members: Sequence[Mapping[str, float]], first: str, second: str) -> float:
    gaps = [scores[first] - scores[second] for scores in members]
    return pair_uncertainty(fmean(gaps), 0.0, stdev(gaps) if len(gaps) > 1 else 0.0)
