"""DAPO's dynamic sampling: a step goes on sampling prompts until it is full of those whose answers earned differently.

Yu et al. 2025, arXiv:2503.14476, section 3.2 (eq. 11): where all answers to a prompt earn the same, their advantages are 0, so
the prompt takes a place in the batch and teaches nothing. What is sampled follows from seed, step and rewards alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from plaudit.schema import Scored
from plaudit.training.feed import Feed

Group = list[Scored]
"""The answers to one prompt."""
Ask = Callable[[Sequence[int], int], list[Group]]
"""Sample and reward answers to the prompts of these rows, in this round (0-based): a group for each row."""


@dataclass(frozen=True)
class Filled:
    """What a step sampled, and what of it is trained on; every group that is not is counted in `metrics`."""

    trained: list[Group]
    sampled: list[Group]
    metrics: dict[str, float]


def flat(group: Group) -> bool:
    """Whether no two answers earned differently; answers without a reward do not count."""
    return len({item.reward for item in group if item.reward is not None}) < 2


def fill(feed: Feed, step: int, rounds: int, ask: Ask) -> Filled:
    """A portion of groups that are not flat, from at most `rounds` rounds of sampling.

    A further round asks as many prompts as were needed so far for the groups that are missing, a portion at most. Where the
    last round leaves some missing, flat groups of the earlier ones fill their places, so that a step is always as large: with
    one round it is GRPO without dynamic sampling.
    """
    rows, order, taken = feed.at(step), feed.further(step), 0
    sampled: list[Group] = []
    useful: list[Group] = []
    for number in range(rounds):
        groups = ask(rows, number)
        sampled += groups
        useful += [group for group in groups if not flat(group)]
        missing = feed.portion - len(useful)
        if missing <= 0:
            break
        count = math.ceil(missing * len(sampled) / len(useful)) if useful else feed.portion
        rows = [order[place % len(order)] for place in range(taken, taken + min(count, feed.portion))]
        taken += len(rows)
    left = [group for group in sampled if flat(group)]
    rewarded = sorted(left, key=lambda group: all(item.reward is None for item in group))
    filler = rewarded[: max(0, feed.portion - len(useful))]
    return Filled(
        [*useful[: feed.portion], *filler],
        sampled,
        {
            "filter_groups/num_gen_batches": float(number + 1),
            "filter_groups/flat": float(len(left) - len(filler)),
            "filter_groups/surplus": float(max(0, len(useful) - feed.portion)),
            "filter_groups/filler": float(len(filler)),
        },
    )
