"""Every rule on every planted defect and on healthy runs: from stored logs of trained runs, and from files made anew."""

from __future__ import annotations

import json

import make_runs
import pytest

from plaudit.evaluation.doctor import chosen_rules

CASES = make_runs.cases()
NAMES = [rule.name for rule in chosen_rules()]


@pytest.fixture(scope="module")
def statuses():
    """Case -> rule -> status."""
    return make_runs.looked()


def test_every_rule_has_two_cases_and_ten_runs_are_healthy():
    planted = [(case.rule, case.severity) for case in CASES if case.rule]
    assert sorted(planted) == sorted((name, severity) for name in NAMES for severity in ("mild", "severe"))
    assert len(set(planted)) == len(planted)
    trained = [json.loads(line) for line in make_runs.LOGS.read_text("utf-8").splitlines()]
    assert sum(one["rule"] is None for one in trained) >= 10
    assert len({one["seed"] for one in trained}) == len(trained)


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
