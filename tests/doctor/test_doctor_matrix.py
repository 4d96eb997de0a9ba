"""Every rule on every planted defect and on healthy runs: from stored logs of trained runs, and from files made anew."""

from __future__ import annotations

import make_runs
import pytest
from planted_runs import EVERY

from plaudit.evaluation.doctor import chosen_rules

CASES = make_runs.cases()
NAMES = [rule.name for rule in chosen_rules()]


@pytest.fixture(scope="module")
def statuses():
    """Case -> rule -> status."""
    return make_runs.looked()


def test_two_cases_are_planned_for_every_rule_and_ten_runs_are_healthy():
    planned = [(case.rule, case.severity) for case in [*make_runs.files(), *EVERY] if case.rule]
    assert sorted(planned) == sorted((name, severity) for name in NAMES for severity in ("mild", "severe"))
    assert sum(run.rule is None for run in EVERY) >= 10


def test_the_log_of_every_planned_run_is_stored():
    assert make_runs.missing() == []


@pytest.mark.parametrize("case", [case for case in CASES if case.rule], ids=lambda case: case.name)
def test_a_rule_fires_on_its_own_case(statuses, case):
    assert statuses[case.name][case.rule] in (("act",) if case.severity == "severe" else ("watch", "act"))


@pytest.mark.parametrize("case", [case for case in CASES if not case.rule], ids=lambda case: case.name)
def test_no_rule_says_act_on_what_is_healthy(statuses, case):
    assert {name for name, status in statuses[case.name].items() if status == "act"} == set()
    assert "ok" in statuses[case.name].values()


def test_the_page_shows_this_matrix(statuses):
    block = make_runs.BLOCK.search(make_runs.PAGE.read_text("utf-8"))
    assert block is not None and block[0].partition("```text\n")[2].removesuffix("\n```") == make_runs.matrix(statuses)
