"""Simulated annotators: they know a gold score, and err as people do. Their acts have `source="simulated"`.

They stand in for people in the demo and in tests, and go through the same store and the same conversions. What they write is
never evidence about people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from plaudit.judgements.pairwise import NAME, read, votes
from plaudit.schema import Assignment, Feedback, UserError


@dataclass(frozen=True)
class Annotator:
    """A simulated annotator of pairs.

    With probability |side_bias| the side alone decides (left where positive, right where negative), with probability
    `length_bias` the longer answer wins; otherwise the better answer is chosen with probability `reliability`.
    """

    name: str
    reliability: float
    side_bias: float = 0.0
    length_bias: float = 0.0

    def __post_init__(self) -> None:
        careless = abs(self.side_bias) + self.length_bias
        if not 0 <= self.reliability <= 1 or self.length_bias < 0 or careless > 1:
            raise UserError(
                f"simulated annotator {self.name}: reliability lies within [0, 1], and |side_bias| + length_bias is at most 1"
            )

    @property
    def flip_rate(self) -> float:
        """Expected share of choices against the gold score, where side and length are right half the time."""
        careless = abs(self.side_bias) + self.length_bias
        return (1 - careless) * (1 - self.reliability) + careless / 2


DEFAULT = tuple(
    Annotator(f"simulated-{name}", reliability)
    for name, reliability in (("ada", 0.9), ("ben", 0.8), ("cleo", 0.75), ("dan", 0.7), ("eve", 0.6))
)
"""Their mean reliability is .75: one label in four is flipped."""


@dataclass(frozen=True)
class Panel:
    """Simulated annotators who share the work evenly. The noise is fixed by the seed, the annotator and what is shown.

    So the same panel judges the same assignment alike, whatever else it judges and in whatever order. Gold scores that
    differ by no more than `tolerance` are a tie, said by everybody.
    """

    annotators: tuple[Annotator, ...] = DEFAULT
    seed: int = 0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        names = {annotator.name for annotator in self.annotators}
        if not names or len(names) < len(self.annotators):
            raise UserError("a simulated panel needs at least one annotator, and each a name of its own")

    @property
    def flip_rate(self) -> float:
        """Expected share of flipped labels among those that are no ties."""
        return sum(annotator.flip_rate for annotator in self.annotators) / len(self.annotators)

    def judge(
        self,
        assignment: Assignment,
        gold_scores: Mapping[str, float],
        *,
        annotator: Annotator | None = None,
        lengths: Mapping[str, int] | None = None,
    ) -> Feedback:
        """One act on a pair. `gold_scores` and `lengths` are by completion id; `lengths` only matter to a length bias.

        Without `annotator`, the one whose turn it is for this pair. UserError where a score is missing.
        """
        who = annotator or self._turns(assignment)[0]
        shown = assignment.completion_ids
        missing = [one for one in shown if one not in gold_scores]
        if assignment.kind != NAME or len(shown) != 2 or missing:
            raise UserError(
                f"the simulated panel judges pairs with gold scores, got {assignment.kind} of {list(shown)}, unscored {missing}"
            )
        left, right = (gold_scores[one] for one in shown)
        tied = abs(left - right) <= self.tolerance
        chosen = "tie" if tied else "ab"[self._choice(who, assignment, left > right, lengths)]
        return Feedback(assignment, read({"choice": chosen}), who.name, "simulated")

    def judge_all(
        self,
        assignments: Iterable[Assignment],
        gold_scores: Mapping[str, float],
        *,
        votes: int = 1,
        lengths: Mapping[str, int] | None = None,
    ) -> list[Feedback]:
        """`votes` different annotators on each pair, each shown the pair with its sides at random."""
        if not 1 <= votes <= len(self.annotators):
            raise UserError(
                f"votes per pair lie within 1 and {len(self.annotators)}, the size of the simulated panel, got {votes}"
            )
        acts = []
        for assignment in assignments:
            for who in self._turns(assignment)[:votes]:
                pair = tuple(sorted(assignment.completion_ids))
                order = pair[::-1] if self._chance(who.name, "side", assignment.prompt_id, *pair) < 0.5 else pair
                shown = Assignment(assignment.prompt_id, order, assignment.kind, assignment.reason)
                acts.append(self.judge(shown, gold_scores, annotator=who, lengths=lengths))
        return acts

    def _choice(self, who: Annotator, assignment: Assignment, left_better: bool, lengths: Mapping[str, int] | None) -> int:
        """0 for the left answer, 1 for the right one."""
        shown = assignment.completion_ids
        mood = self._chance(who.name, "mood", assignment.prompt_id, *shown)
        if mood < abs(who.side_bias):
            return int(who.side_bias < 0)
        if mood < abs(who.side_bias) + who.length_bias:
            if lengths is None:
                raise UserError(f"simulated annotator {who.name} has a length bias: give the lengths of the completions")
            if lengths[shown[0]] != lengths[shown[1]]:
                return int(lengths[shown[1]] > lengths[shown[0]])
        right = self._chance(who.name, "skill", assignment.prompt_id, *shown) < who.reliability
        return int(left_better != right)

    def _turns(self, assignment: Assignment) -> list[Annotator]:
        """The annotators in an order drawn for this pair."""
        pair = sorted(assignment.completion_ids)
        return sorted(self.annotators, key=lambda who: self._chance(who.name, "turn", assignment.prompt_id, *pair))

    def _chance(self, *content: str) -> float:
        """A uniform number in [0, 1) that depends on the seed and on `content` alone."""
        digest = hashlib.sha256(json.dumps([self.seed, *content]).encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


def flipped_share(feedback: Sequence[Feedback], gold_scores: Mapping[str, float], tolerance: float = 0.0) -> tuple[float, int]:
    """The share of choices against the gold score as it came about, and the number of choices; ties are left out."""
    against = [
        (vote.value == 1) != (gold_scores[vote.pair[0]] > gold_scores[vote.pair[1]])
        for vote in votes(feedback)
        if vote.value != 0.5 and abs(gold_scores[vote.pair[0]] - gold_scores[vote.pair[1]]) > tolerance
    ]
    return (sum(against) / len(against) if against else float("nan")), len(against)
