"""What every token of an answer cost and earned: for the per-token view of a report."""

from __future__ import annotations

from plaudit.data.collate import collate_rollouts
from plaudit.schema import JSON
from plaudit.training.learner import Learner
from plaudit.training.sources import Rollouts

STREAMS = {
    "old": "logp",
    "ref": "ref_logp",
    "kl": "kl",
    "value": "value",
    "advantage": "advantage",
    "returns": "return",
    "token_reward": "reward",
}
"""Stream of a prepared batch -> what a reader calls it."""


def traces(source: Rollouts, learner: Learner, step: int, count: int = 4) -> list[JSON]:
    """Answers of the learner's weights to the first held-out prompts (training ones where none are held out).

    Each has prompt, answer, reward, tokens (as text) and a list of floats per stream that there is, aligned with the tokens.
    """
    scored = source.sampled((source.held_out or source.prompts)[:count], step, learner)
    scored = [item for item in scored if item.reward is not None]
    batch = learner.prepared(collate_rollouts(scored).to(learner.device))
    found = []
    for row, item in enumerate(scored):
        counted = batch.mask[row] > 0
        ids = batch.ids[row][counted].tolist()
        found.append(
            {
                **source.sample(item),
                "tokens": [learner.tokenizer.decode([i]) for i in ids],
                "streams": {
                    shown: batch[name][row][counted].tolist() for name, shown in STREAMS.items() if name in batch.streams
                },
            }
        )
    return found
