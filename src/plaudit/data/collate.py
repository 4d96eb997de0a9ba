"""Rows of tokens to the one `Batch` of a step. Encoding is done once (data/encode.py), collating in every step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from plaudit.core.batch import Batch, from_rows
from plaudit.data.encode import Encoded
from plaudit.data.template import Row
from plaudit.schema import Completion, Scored, UserError


def collate_demonstrations(encoded: Sequence[Encoded], *, dtype: torch.dtype = torch.float32) -> Batch:
    """A row for each demonstration: [R, T] with `group` 0..R-1, `place` 0, sides `weight` and `truncated`."""
    return _collate(encoded, ("weight",), dtype)


def collate_rankings(encoded: Sequence[Encoded], *, dtype: torch.dtype = torch.float32) -> Batch:
    """The rows of each ranking together, best first: `group` is the ranking's index, `place` 0 the best.

    Sides `margin`, `probability` and `weight` are the ranking's, repeated on each of its rows; `truncated` is the row's.
    """
    return _collate(encoded, ("margin", "probability", "weight"), dtype)


def collate_labels(encoded: Sequence[Encoded], *, mismatched: bool = False, dtype: torch.dtype = torch.float32) -> Batch:
    """A row for each labelled answer: sides `label` (its value), `weight`, `truncated` and `auxiliary` (0).

    mismatched: as many rows more, with each answer behind the prompt of the next row (the last behind the first), marked
    `auxiliary` 1: KTO estimates the KL on them, by TRL's own pairing.
    """
    rows = [item.rows[0] for item in encoded]
    pairs = list(zip(encoded, [rows[-1], *rows[:-1]], strict=True)) if mismatched else []
    apart = [_behind(item.rows[0], answer) for item, answer in pairs]
    both = [*rows, *apart]
    items = [*encoded, *encoded[: len(apart)]]
    return from_rows(
        [row.ids for row in both],
        [row.mask for row in both],
        key=[row.key for row in both],
        sides={
            "label": [item.label for item in items],
            "weight": [item.weight for item in items],
            "truncated": [float(row.truncated) for row in both],
            "auxiliary": [0.0] * len(rows) + [1.0] * len(apart),
        },
        dtype=dtype,
    )


def _behind(row: Row, other: Row) -> Row:
    """The answer of `other` behind the prompt of `row`."""
    ids, mask = other.ids[other.prompt_length :], other.mask[other.prompt_length :]
    head = row.prompt_length
    return Row([*row.ids[:head], *ids], [*row.mask[:head], *mask], head, other.truncated)


def collate_steps(encoded: Sequence[Encoded], *, dtype: torch.dtype = torch.float32) -> Batch:
    """A row for each answer in steps. Stream `step` [R, T] is 1 on the last token of a step, `label` its label there."""
    batch = _collate(encoded, ("weight",), dtype)
    step, label = torch.zeros(batch.ids.shape, dtype=dtype), torch.zeros(batch.ids.shape, dtype=dtype)
    for row, item in enumerate(encoded):
        for token, value in item.marks:
            step[row, token], label[row, token] = 1.0, value
    return batch.with_(streams={"step": step, "label": label})


def collate_rollouts(
    scored: Sequence[Scored], *, group: Sequence[int] | None = None, dtype: torch.dtype = torch.float32
) -> Batch:
    """Sampled completions with their rewards, by the very ids that were sampled: mask 1 on the completion's tokens.

    `group` [R], where it is not given, counts the prompts in the order in which they first come up (a prompt drawn twice is
    two groups); `place` is the sibling's index. Stream `sampler` [R, T]: the recorded log-probabilities, 0 on the prompt; and
    where tokens earned rewards of their own, the stream `dense` with them (they are part of `reward`). Sides `reward`,
    `truncated` (1 where the answer ran into its length limit) and `limit` (that limit, in tokens).
    UserError for a completion without reward, or with other than one log-probability for each token.
    """
    rewards = [_reward(item) for item in scored]
    done = [item.completion for item in scored]
    return from_rows(
        [[*c.prompt_tokens, *c.tokens] for c in done],
        [[0] * len(c.prompt_tokens) + [1] * len(c.tokens) for c in done],
        group=_groups(done) if group is None else group,
        place=[c.index for c in done],
        key=[completion_key(c) for c in done],
        streams={"sampler": [[0.0] * len(c.prompt_tokens) + list(c.logprobs) for c in done], **_dense(scored)},
        sides={
            "reward": rewards,
            "truncated": [float(c.truncated) for c in done],
            "limit": [float(c.sampling.max_new_tokens) for c in done],
        },
        dtype=dtype,
    )


def completion_key(completion: Completion) -> int:
    """The number in [0, 2^63) that names a completion's row in a batch."""
    return int(completion.id, 16) >> 1


def _collate(encoded: Sequence[Encoded], names: Sequence[str], dtype: torch.dtype) -> Batch:
    flat = [(group, place, item, row) for group, item in enumerate(encoded) for place, row in enumerate(item.rows)]
    sides = {name: [float(getattr(item, name)) for _, _, item, _ in flat] for name in names}
    return from_rows(
        [row.ids for *_, row in flat],
        [row.mask for *_, row in flat],
        group=[group for group, *_ in flat],
        place=[place for _, place, *_ in flat],
        key=[row.key for *_, row in flat],
        sides={**sides, "truncated": [float(row.truncated) for *_, row in flat]},
        dtype=dtype,
    )


def _dense(scored: Sequence[Scored]) -> dict[str, list[list[float]]]:
    """The stream of the rewards that belong to tokens; none where no answer has any."""
    if not any(item.dense for item in scored):
        return {}
    rows = []
    for item in scored:
        c = item.completion
        if item.dense and len(item.dense) != len(c.tokens):
            raise ValueError(f"{len(item.dense)} token rewards for the {len(c.tokens)} tokens of completion {c.id}")
        rows.append([0.0] * len(c.prompt_tokens) + list(item.dense or [0.0] * len(c.tokens)))
    return {"dense": rows}


def _reward(item: Scored) -> float:
    c = item.completion
    if item.reward is None:
        raise UserError(f"Completion {c.index} of prompt {c.prompt_id} has no reward: give every completion at least one.")
    if len(c.logprobs) != len(c.tokens):
        raise UserError(
            f"Completion {c.index} of prompt {c.prompt_id} has {len(c.tokens)} tokens but {len(c.logprobs)} log-probabilities; "
            "policy gradients need an engine that returns one for each sampled token."
        )
    return item.reward


def _groups(done: Sequence[Completion]) -> list[int]:
    """The index of each completion's group; a group ends where a prompt's sibling comes up again."""
    current: dict[str, int] = {}
    seen: set[tuple[int, int]] = set()
    count, out = 0, []
    for c in done:
        group = current.get(c.prompt_id)
        if group is None or (group, c.index) in seen:
            group = current[c.prompt_id] = count
            count += 1
        seen.add((group, c.index))
        out.append(group)
    return out
