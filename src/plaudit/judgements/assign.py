"""What to ask next, and whom. Pure functions: the time is passed in, and every draw follows from the policy's seed.

The order of business for one person: what they already hold a lease on; now and then a gold question or a repeat of their own;
an item that others have begun and that several people are to judge; then a fresh one, at random or, for a share of the
questions, the one of which the reward model is least sure. A frozen slice of the prompts is only ever asked at random, so that
accuracy measured on it is not biased.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from plaudit.judgements.base import ADJUDICATION, current, identified
from plaudit.schema import Assignment, Feedback, UserError


@dataclass(frozen=True)
class Policy:
    """How questions are shared out. The defaults are those of docs/quality.md."""

    overlap: int = 3
    """People who judge an item of the overlap."""
    overlap_share: float = 0.15
    """Share of the items that `overlap` people judge; one person judges each of the others."""
    gold_early: float = 0.20
    """Share of gold questions among a person's first `gold_early_acts` answers."""
    gold_early_acts: int = 50
    gold_late: float = 0.04
    """Share of gold questions afterwards."""
    repeat_share: float = 0.04
    """Share of questions that a person is asked a second time."""
    repeat_after: float = 86_400.0
    """Seconds before a question may be repeated."""
    lease_seconds: float = 900.0
    random_share: float = 0.7
    """Share of the fresh questions that are drawn at random; the others are those of which the reward model is least sure."""
    frozen_share: float = 0.10
    """Share of the prompts that are only ever asked at random, and kept for evaluation."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("overlap_share", "gold_early", "gold_late", "repeat_share", "random_share", "frozen_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} of an assignment policy lies within 0 and 1, got {getattr(self, name)}")
        if self.overlap < 1 or self.lease_seconds <= 0:
            raise UserError("overlap of an assignment policy is at least 1, and lease_seconds above 0")


@dataclass(frozen=True)
class Item:
    """Something that can be asked."""

    prompt_id: str
    completion_ids: tuple[str, ...]
    kind: str = "pairwise"
    gold: bool = False
    """True where the answer is known: an adjudication settles it."""
    uncertainty: float | None = None
    """Of the reward model, from 0 to 1; see `pair_uncertainty`."""
    authors: tuple[str, ...] = ()
    """People who wrote one of the answers: they are never asked."""

    @property
    def key(self) -> str:
        """The same whatever the order of the completions."""
        return key(self.kind, self.prompt_id, self.completion_ids)


def key(kind: str, prompt_id: str, completion_ids: Iterable[str]) -> str:
    """What an item is known by."""
    return "|".join((kind, prompt_id, *sorted(completion_ids)))


@dataclass(frozen=True)
class Done:
    """One act that has come in. `at` in POSIX seconds."""

    key: str
    annotator: str
    at: float
    reason: str = "random"


@dataclass(frozen=True)
class Lease:
    """An item that a person has on the screen, until a time in POSIX seconds."""

    key: str
    annotator: str
    until: float
    reason: str = "random"


@dataclass(frozen=True)
class Choice:
    """What to ask, why, and with which completions in which order."""

    item: Item
    reason: str
    shown: tuple[str, ...]

    @property
    def assignment(self) -> Assignment:
        return Assignment(self.item.prompt_id, self.shown, self.item.kind, self.reason)


@dataclass
class Progress:
    """What has been asked so far. Kept up to date with `add`; adding one act costs the same whatever came before."""

    people: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Item -> person -> times of the acts."""
    acts: dict[str, int] = field(default_factory=dict)
    """Person -> acts."""
    once: dict[str, dict[str, float]] = field(default_factory=dict)
    """Person -> items judged once -> when; in the order in which they came."""

    @classmethod
    def of(cls, done: Iterable[Done]) -> Progress:
        progress = cls()
        for one in done:
            progress.add(one)
        return progress

    def add(self, done: Done) -> None:
        """Takes one act in; adjudications are no votes and are left out."""
        if done.reason == ADJUDICATION:
            return
        times = self.people.setdefault(done.key, {}).setdefault(done.annotator, [])
        times.append(done.at)
        mine = self.once.setdefault(done.annotator, {})
        if len(times) == 1:
            mine[done.key] = done.at
        else:
            mine.pop(done.key, None)
        self.acts[done.annotator] = self.acts.get(done.annotator, 0) + 1


def done_of(feedback: Iterable[Feedback]) -> list[Done]:
    """Acts of people (and of simulated ones) as they count for assignment: edits once, judge models and events not at all."""
    return [
        Done(
            key(act.assignment.kind, act.assignment.prompt_id, act.assignment.completion_ids),
            act.annotator,
            _seconds(act.created_at),
            act.assignment.reason,
        )
        for act in current(identified(feedback)).values()
        if act.source in ("human", "simulated")
    ]


def _seconds(created_at: str) -> float:
    if not created_at:
        return 0.0
    when = datetime.fromisoformat(created_at)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


class Pool:
    """Items with their draws made once, so that `choose` is quick: which are judged by several, and in which order."""

    def __init__(self, items: Iterable[Item], policy: Policy) -> None:
        self.policy = policy
        self.items: dict[str, Item] = {item.key: item for item in items}
        drawn = sorted(self.items, key=lambda one: _chance(policy.seed, "order", one))
        ordinary = [one for one in drawn if not self.items[one].gold]
        self.wanted = {one: wanted(self.items[one], policy) for one in drawn}
        self.overlapped = [one for one in ordinary if self.wanted[one] > 1]
        self.at_random = ordinary
        unsure = {one: u for one in ordinary if (u := self.items[one].uncertainty) is not None}
        self.active = sorted((one for one in unsure if not frozen(self.items[one].prompt_id, policy)), key=lambda i: -unsure[i])
        self.gold = [one for one in drawn if self.items[one].gold]


def wanted(item: Item, policy: Policy) -> int:
    """How many people are to judge an item. Gold questions go to everybody and have no such number: 0."""
    if item.gold:
        return 0
    return policy.overlap if _chance(policy.seed, "overlap", item.key) < policy.overlap_share else 1


def frozen(prompt_id: str, policy: Policy) -> bool:
    """True where the prompt belongs to the slice that is only asked at random and kept for evaluation."""
    return _chance(policy.seed, "frozen", prompt_id) < policy.frozen_share


def live(leases: Iterable[Lease], now: float) -> list[Lease]:
    """The leases that have not run out."""
    return [lease for lease in leases if lease.until > now]


def lease(choice: Choice, annotator: str, now: float, policy: Policy) -> Lease:
    """The lease that goes with a choice."""
    return Lease(choice.item.key, annotator, now + policy.lease_seconds, choice.reason)


def choose(
    pool: Pool,
    progress: Progress,
    leases: Sequence[Lease],
    annotator: str,
    now: float,
    *,
    skipped: Collection[str] = (),
) -> Choice | None:
    """What to ask this person now; None where nothing is left for them. The same arguments give the same answer.

    `skipped`: keys of items that this person left out, and is not asked again.
    """
    held = live(leases, now)
    mine = next((one for one in held if one.annotator == annotator and one.key in pool.items), None)
    if mine is not None:
        return _chosen(pool, progress, mine.key, mine.reason, annotator)
    policy, count = pool.policy, progress.acts.get(annotator, 0)
    taken: dict[str, int] = {}
    for one in held:
        taken[one.key] = taken.get(one.key, 0) + 1
    draw = _chance(policy.seed, "what", annotator, str(count))
    share = policy.gold_early if count < policy.gold_early_acts else policy.gold_late
    found = None
    if draw < share:
        found = _first((k for k in pool.gold if k not in skipped), pool, progress, annotator), "gold"
    elif draw < share + policy.repeat_share:
        found = _repeat(pool, progress, annotator, now), "repeat"
    taken |= dict.fromkeys(skipped, len(pool.items))  # taken, as far as this person goes
    if found is None or found[0] is None:
        found = _begun(pool, progress, taken, annotator), "overlap"
    if found[0] is None:
        found = _fresh(pool, progress, taken, annotator, _chance(policy.seed, "arm", annotator, str(count)))
    return None if found[0] is None else _chosen(pool, progress, found[0], found[1], annotator)


def _first(keys: Iterable[str], pool: Pool, progress: Progress, annotator: str) -> str | None:
    """The first item that this person has not judged and did not write."""
    people, items = progress.people, pool.items
    return next((k for k in keys if annotator not in people.get(k, ()) and annotator not in items[k].authors), None)


def _begun(pool: Pool, progress: Progress, taken: Mapping[str, int], annotator: str) -> str | None:
    """An item of the overlap that others have begun: it is finished first, so that agreement is known early."""
    people = progress.people
    begun = (k for k in pool.overlapped if (k in people or k in taken))
    return _first((k for k in begun if len(people.get(k, ())) + taken.get(k, 0) < pool.wanted[k]), pool, progress, annotator)


def _fresh(pool: Pool, progress: Progress, taken: Mapping[str, int], annotator: str, arm: float) -> tuple[str | None, str]:
    people = progress.people
    if arm >= pool.policy.random_share:
        found = _first((k for k in pool.active if k not in people and k not in taken), pool, progress, annotator)
        if found is not None:
            return found, "active"
    return _first((k for k in pool.at_random if k not in people and k not in taken), pool, progress, annotator), "random"


def _repeat(pool: Pool, progress: Progress, annotator: str, now: float) -> str | None:
    """An item that this person judged once, long enough ago: the first that they did."""
    for one, at in progress.once.get(annotator, {}).items():
        if now - at >= pool.policy.repeat_after and one in pool.items and not pool.items[one].gold:
            return one
    return None


def _chosen(pool: Pool, progress: Progress, chosen: str, reason: str, annotator: str) -> Choice:
    """The order shown is drawn for each person and time, and stays the same until they have answered."""
    item = pool.items[chosen]
    times = len(progress.people.get(chosen, {}).get(annotator, ()))
    shown = sorted(item.completion_ids, key=lambda one: _chance(pool.policy.seed, "side", annotator, str(times), chosen, one))
    return Choice(item, reason, tuple(shown))


def status(pool: Pool, progress: Progress) -> dict[str, int]:
    """Items in all, begun, and judged by as many people as wanted; and the judgements that are still to come. Gold left out."""
    counts = {one: min(wanted, len(progress.people.get(one, ()))) for one, wanted in pool.wanted.items() if wanted}
    return {
        "items": len(counts),
        "begun": sum(count > 0 for count in counts.values()),
        "finished": sum(count == pool.wanted[one] for one, count in counts.items()),
        "judgements_left": sum(pool.wanted[one] - count for one, count in counts.items()),
    }


def pair_uncertainty(first: float, second: float, deviation: float = 0.0) -> float:
    """1 where the reward model holds two answers for equally good, near 0 where it is sure: 1 - |2 P - 1|.

    P = sigmoid(gap / sqrt(1 + pi d^2 / 8)), with d the standard deviation of the gap in an ensemble (MacKay 1992).
    """
    gap = (first - second) / math.sqrt(1 + math.pi * deviation**2 / 8)
    return 1 - abs(math.tanh(gap / 2))


def _chance(seed: int, *content: str) -> float:
    """A uniform number in [0, 1) that depends on the seed and on `content` alone."""
    digest = hashlib.sha256(json.dumps([seed, *content]).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
