"""The doctor: what is wrong with a run, a data set or a reward model, with the figure, the threshold and what to do.

`examine(look(path))` gives a `Finding` for every rule. A rule is one file (doctor/rules/, or a package of one's own) under the
entry point `plaudit.doctor`. No torch, but to score a reward model's pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

from plaudit.evaluation.doctor.evidence import Evidence
from plaudit.evaluation.doctor.finding import ORDER, Finding, Rule, Status
from plaudit.evaluation.doctor.reading import look
from plaudit.registry import find, names
from plaudit.schema import UserError

__all__ = ["ORDER", "Evidence", "Finding", "Rule", "Status", "chosen_rules", "examine", "look"]


def chosen_rules(chosen: Sequence[str] = ()) -> tuple[Rule, ...]:
    """All rules in their order, or the `chosen` ones. UserError for a name that no rule has."""
    found: list[Rule] = [find("doctor", name) for name in chosen or names("doctor")]
    for name, rule in zip(chosen or names("doctor"), found, strict=True):
        if not isinstance(rule, Rule):
            raise UserError(f"doctor {name} is no rule: it must be a plaudit.evaluation.doctor.Rule")
    return tuple(sorted(found, key=lambda rule: rule.number))


def examine(evidence: Evidence, chosen: Sequence[str] = ()) -> list[Finding]:
    """What every rule (or the `chosen` ones) says of the evidence, in their order."""
    return [rule(evidence) for rule in chosen_rules(chosen)]
