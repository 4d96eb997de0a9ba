"""What every token of an answer cost and earned: for the per-token view of a report."""

from __future__ import annotations

from plaudit.data.collate import collate_rollouts, completion_key
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

    Each has prompt, answer, reward, tokens (as text) and a list of floats per stream that the algorithm has, aligned with the
    tokens. An algorithm that compares siblings gets as many as it needs; of a prompt the first that it trains on is shown.
    """
    prompts = (source.held_out or source.prompts)[:count]
    scored = [item for item in source.sampled(prompts, step, learner, learner.algorithm.siblings) if item.reward is not None]
    by_key = {completion_key(item.completion): item for item in scored}
    batch = learner.prepared(collate_rollouts(scored).to(learner.device)) if scored else None
    found: dict[str, JSON] = {}
    for row, key in enumerate(batch.key.tolist() if batch is not None else ()):
        item = by_key[key]
        assert batch is not None
        whole = slice(int((batch.mask[row] > 0).int().argmax()), int(batch.length[row]))  # from the first token it wrote
        ids = batch.ids[row][whole].tolist()
        shown = {
            name: batch.streams[stream][row][whole].tolist() for stream, name in STREAMS.items() if stream in batch.streams
        }
        shown["mask"] = batch.mask[row][whole].tolist()
        one = {**source.sample(item), "tokens": [learner.tokenizer.decode([i]) for i in ids], "streams": shown}
        found.setdefault(item.completion.prompt_id, one)
    return list(found.values())
