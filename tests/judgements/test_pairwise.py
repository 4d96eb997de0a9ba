"""Forms, votes and preference pairs."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.judgements.base import current, identified
from plaudit.judgements.pairwise import KIND, assignments, convert, rankings, read
from plaudit.schema import Assignment, Completion, Feedback, Prompt, UserError

ASK = [Prompt(text="Where is my order?"), Prompt(text="I forgot my password.")]
SAID = [
    Completion(prompt.id, f"answer {i}", (1,), (i,), (-1.0,), "stop" if i else "length", index=i)
    for prompt in ASK
    for i in range(3)
]
GOOD, BAD, WORSE = SAID[:3]


def act(choice, left=GOOD, right=BAD, who="ada", source="human", **changes):
    return replace(
        Feedback(
            Assignment(left.prompt_id, (left.id, right.id)), {"choice": choice, "strength": int(choice != "tie")}, who, source
        ),
        **changes,
    )


@pytest.mark.parametrize(
    ("form", "judgement"),
    [
        ({"choice": "a"}, {"choice": "a", "strength": 1}),
        ({"choice": "b", "strength": "3"}, {"choice": "b", "strength": 3}),
        ({"choice": "tie"}, {"choice": "tie", "strength": 0}),
    ],
)
def test_a_form_is_read(form, judgement):
    assert read(form) == judgement == read(judgement)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({}, "'choice' .* one of a, b, tie, both_bad, got nothing"),
        ({"choice": "c"}, "got 'c'"),
        ({"choice": ["a"]}, "got"),
        ({"choice": "a", "strength": 4}, "'strength' .* from 0 to 3, got 4"),
        ({"choice": "a", "strength": True}, "got True"),
        ({"choice": "a", "strength": "very"}, "got 'very'"),
        ({"choice": "tie", "strength": 2}, "a tie has no strength"),
        ({"choice": "a", "note": "x"}, "no field 'note'"),
        ("a", "is a mapping .* got str"),
    ],
)
def test_a_wrong_form_is_said(form, says):
    with pytest.raises(UserError, match=says):
        read(form)


def test_one_vote_is_as_sure_as_an_unknown_annotator():
    (pair,) = rankings([act("b")], SAID, ASK)
    assert (pair.prompt, pair.answers) == (ASK[0], (BAD.text, GOOD.text))
    assert pair.probability == pytest.approx(20 / 26.5)  # the mean of the Beta(20, 6.5) prior
    assert (pair.meta["chosen_id"], pair.meta["truncated"], pair.meta["sources"]) == (BAD.id, [False, True], ["human"])


def test_the_side_shown_does_not_matter():
    assert rankings([act("a", GOOD, BAD)], SAID, ASK)[0].answers == rankings([act("b", BAD, GOOD)], SAID, ASK)[0].answers


def test_votes_add_up_and_oppose_each_other():
    agree = convert([act("a"), act("b", BAD, GOOD, "bob")], SAID, ASK)
    # Each of the two agreeing annotators has a = (20 + q) / 27.5 with q = a^2 / (a^2 + (1 - a)^2): solved by iterating.
    a = 0.75
    for _ in range(100):
        a = (20 + a * a / (a * a + (1 - a) ** 2)) / 27.5
    assert agree.rows[0].probability == pytest.approx(a * a / (a * a + (1 - a) ** 2))
    oppose = convert([act("a"), act("b", who="bob")], SAID, ASK)
    assert (oppose.rows, oppose.feedback_ids, oppose.counts["tied"]) == ([], (), 2)
    with_tie = convert([act("a"), act("tie", who="bob")], SAID, ASK)
    assert with_tie.rows[0].probability == pytest.approx(20 / 26.5)  # a tie says nothing of the pair
    assert convert([act("a"), act("tie", who="bob")], SAID, ASK, aggregate="majority").rows[0].probability == 1.0


def test_annotators_who_agree_with_others_weigh_more():
    """On the last pair the two good annotators are not there to help: one against one, decided by who they have been."""
    rng = random.Random(0)
    prompts = [Prompt(text=str(i)) for i in range(60)]
    said = [
        Completion(p.id, side, (), (i,), (0.0,), "stop", index=i) for p in prompts for i, side in enumerate(("good", "bad"))
    ]
    acts = []
    for i in range(59):
        for who, skill in (("one", 0.95), ("two", 0.95), ("coin", 0.5)):
            acts.append(act("a" if rng.random() < skill else "b", said[2 * i], said[2 * i + 1], who))
    acts += [act("a", said[-2], said[-1], "one"), act("b", said[-2], said[-1], "coin")]
    last = next(row for row in rankings(acts, said, prompts) if row.prompt == prompts[-1])
    assert last.answers == ("good", "bad") and last.probability > 0.75


def test_only_the_last_edit_counts_and_nothing_is_lost_in_the_counts():
    first = act("a")
    edit = act("b", supersedes=first.id)
    gone = Completion(ASK[0].id, "gone", (), (9,), (0.0,), "stop", index=9)
    twin = replace(GOOD, index=7)
    acts = [
        first,
        edit,
        edit,
        act("a", GOOD, WORSE),
        act("a", GOOD, WORSE, seconds=3.0),
        act("tie", BAD, WORSE),
        act("a", GOOD, gone),
        act("a", GOOD, twin),
        replace(act("a"), assignment=Assignment(ASK[0].id, (GOOD.id,), kind="thumb")),
    ]
    assert next(iter(current(identified(acts)).values())) == edit
    made = convert(acts, [*SAID, twin], ASK)
    assert made.counts == {
        "acts": 8,
        "superseded": 1,
        "other_kind": 1,
        "missing": 1,
        "equal_texts": 1,
        "tied": 1,
        "overruled": 0,
        "used": 3,
        "repeats": 1,
        "pairs": 2,
    }
    assert sum(made.counts[name] for name in ("superseded", "other_kind", "missing", "equal_texts", "tied", "used")) == 8
    assert made.feedback_ids == (edit.id, acts[3].id, acts[4].id)
    assert "equal texts: 1" in made.lines() and len(made.lines()) == 9
    assert {row.answers for row in made.rows} == {(BAD.text, GOOD.text), (GOOD.text, WORSE.text)}


def test_an_annotator_has_one_vote_on_a_pair_and_a_judge_of_the_same_name_another():
    twice = convert([act("a"), act("a", seconds=2.0)], SAID, ASK)
    assert twice.rows[0].probability == pytest.approx(20 / 26.5) and twice.counts["repeats"] == 1
    both = convert([act("a"), act("a", source="judge")], SAID, ASK)
    assert both.rows[0].probability > 0.85 and both.rows[0].meta["sources"] == ["human", "judge"]


pair_acts = st.lists(
    st.tuples(st.sampled_from([0, 3]), st.permutations([0, 1, 2]), st.sampled_from(["a", "b", "tie"]), st.sampled_from("xyz")),
    max_size=12,
)


@settings(deadline=None)
@given(pair_acts, st.randoms(use_true_random=False))
def test_order_of_acts_and_sides_change_nothing(drawn, rng):
    acts = [act(choice, SAID[base + order[0]], SAID[base + order[1]], who) for base, order, choice, who in drawn]
    mirrored = [
        act({"a": "b", "b": "a", "tie": "tie"}[choice], SAID[base + order[1]], SAID[base + order[0]], who)
        for base, order, choice, who in {(base, tuple(order), choice, who) for base, order, choice, who in drawn}
    ]
    rows = rankings(acts, SAID, ASK)
    assert rankings(rng.sample(acts, len(acts)), SAID, ASK) == rows
    if {(a.assignment.completion_ids, a.annotator) for a in acts}.isdisjoint(
        {(a.assignment.completion_ids, a.annotator) for a in mirrored}
    ):
        seen = [(row.answers, pytest.approx(row.probability)) for row in rows]
        assert [(row.answers, row.probability) for row in rankings(mirrored, SAID, ASK)] == seen
    assert all(0.5 < row.probability <= 1 for row in rows)


def test_acts_that_make_no_sense_are_said():
    with pytest.raises(UserError, match="2 different completions"):
        rankings([act("a", GOOD, GOOD)], SAID, ASK)
    with pytest.raises(UserError, match="do not answer its prompt"):
        rankings([act("a", GOOD, SAID[3])], SAID, ASK)
    with pytest.raises(UserError, match=r"feedback \w+: field 'choice'"):
        rankings([replace(act("a"), judgement={"choice": "left"})], SAID, ASK)
    with pytest.raises(UserError, match="posterior or majority"):
        convert([], SAID, ASK, aggregate="mean")
    assert convert([], SAID, ASK).rows == []


def test_assignments_are_random_pairs_of_different_texts_repeatable_and_fair_to_both_sides():
    prompts = [Prompt(text=str(i)) for i in range(300)]
    said = [Completion(p.id, "same" if i > 2 else f"{i}", (), (i,), (0.0,), "stop", index=i) for p in prompts for i in range(5)]
    asked = assignments(said, per_prompt=4, seed=1)
    assert asked == assignments(said, per_prompt=4, seed=1) != assignments(said, per_prompt=4, seed=2)
    assert len({(a.prompt_id, frozenset(a.completion_ids)) for a in asked}) == len(asked) == 1200
    by_id = {c.id: c for c in said}
    shown = [[by_id[one] for one in a.completion_ids] for a in asked]
    assert all(left.text != right.text and left.prompt_id == right.prompt_id for left, right in shown)
    assert 0.45 < sum(left.index < right.index for left, right in shown) / 1200 < 0.55
    assert assignments([replace(c, text="same") for c in said], per_prompt=4) == []


def test_the_kind_names_its_parts():
    assert (KIND.name, KIND.makes, KIND.read({"choice": "a"})["strength"], KIND.convert([], [], []).rows) == (
        "pairwise",
        "rankings",
        1,
        [],
    )
