"""The report on labels, worked by hand."""

import json

import pytest

from plaudit.judgements.quality import assess
from plaudit.schema import Assignment, Feedback
from plaudit.stats import ceiling, wilson


def act(pair, choice, who, seconds=None, swap=False):
    ids = (f"{pair}-2", f"{pair}-1") if swap else (f"{pair}-1", f"{pair}-2")
    return Feedback(Assignment(f"p{pair}", ids), {"choice": choice, "strength": int(choice != "tie")}, who, "human", seconds)


def test_a_small_set_by_hand():
    acts = [
        # Five pairs: agree, agree (sides swapped), disagree, a tie against a choice, and one judged once.
        act(1, "a", "ada", 2.0),
        act(1, "a", "bob"),
        act(2, "a", "ada", 4.0),
        act(2, "b", "bob", swap=True),
        act(3, "a", "ada", 9.0),
        act(3, "b", "bob"),
        act(4, "tie", "ada"),
        act(4, "b", "bob"),
        act(5, "a", "ada"),
    ]
    quality = assess(acts)
    assert (quality.acts, quality.pairs, quality.pairs_judged_twice, quality.ties, quality.sources) == (
        9,
        5,
        4,
        1,
        {"human": 9},
    )
    assert quality.agreement == pytest.approx(2 / 3) and quality.ceiling == pytest.approx(ceiling(2 / 3))
    # Nominal alpha of the units 11, 11, 12, t2: D_o = 4/8; of 8 ratings 5 are 1, 2 are 2, 1 is t: D_e = 1 - (20 + 2) / 56
    assert quality.alpha == pytest.approx(1 - 0.5 / (34 / 56))
    assert quality.left == wilson(5, 8)
    ada, bob = quality.annotators
    assert (ada.name, ada.acts, ada.ties, ada.seconds, ada.left) == ("human:ada", 5, 1, 4.0, wilson(4, 4))
    assert (bob.seconds, bob.left) == (None, wilson(1, 4))
    assert any("ties left out 0.667" in line for line in quality.lines())
    assert json.loads(json.dumps(quality.to_json(), allow_nan=False))["pairs"] == 5


def test_nothing_to_say_is_said_as_such():
    quality = assess([act(1, "tie", "ada")])
    assert (quality.agreement, quality.alpha, quality.ceiling, quality.left) == (None, None, None, None)
    assert not quality.side_bias and "not known yet" in "\n".join(quality.lines())
    json.dumps(quality.to_json(), allow_nan=False)
    assert assess([]).annotators == ()


def test_a_superseded_act_does_not_count():
    first = act(1, "a", "ada")
    edit = Feedback(first.assignment, {"choice": "b", "strength": 1}, "ada", "human", supersedes=first.id)
    assert assess([first, edit, act(1, "b", "bob")]).agreement == 1.0
