"""Who is asked what: overlap, leases, gold, repeats, the random arm, the frozen slice; the same seed, the same questions."""

from collections import Counter
from dataclasses import replace

import pytest
from judged_world import SAID, act, pair

from plaudit.judgements.assign import (
    Choice,
    Done,
    Item,
    Lease,
    Policy,
    Pool,
    Progress,
    choose,
    done_of,
    frozen,
    key,
    lease,
    pair_uncertainty,
    status,
    wanted,
)
from plaudit.schema import UserError

ITEMS = [Item(f"p{i}", (f"a{i}", f"b{i}"), uncertainty=(i % 50) / 50) for i in range(400)]
PLAIN = Policy(overlap_share=0.0, gold_early=0.0, gold_late=0.0, repeat_share=0.0, random_share=1.0)


def work(pool, people, *, most=10_000, step=30.0):
    """Everybody answers in turn until nothing is left: all choices with who made them, and the progress."""
    progress, now, found = Progress(), 0.0, []
    while len(found) < most:
        before = len(found)
        for who in people:
            now += step
            choice = choose(pool, progress, [], who, now)
            if choice is not None:
                found.append((who, choice))
                progress.add(Done(choice.item.key, who, now, choice.reason))
        if len(found) == before:
            break
    return found, progress


def test_everything_is_asked_as_often_as_wanted_and_nobody_twice():
    pool = Pool(ITEMS, replace(PLAIN, overlap_share=0.2, random_share=0.7))
    found, progress = work(pool, ["ada", "ben", "cleo", "dan"])
    asked = Counter(choice.item.key for _, choice in found)
    assert asked == Counter(pool.wanted) and set(asked.values()) == {1, 3}
    assert 0.13 < sum(count == 3 for count in asked.values()) / len(asked) < 0.27
    assert len({(who, choice.item.key) for who, choice in found}) == len(found)
    assert status(pool, progress) == {"items": 400, "begun": 400, "finished": 400, "judgements_left": 0}
    # What was begun is finished first: the second and third vote come within a few questions of the first.
    places = {}
    for place, (_, choice) in enumerate(found):
        places.setdefault(choice.item.key, []).append(place)
    assert max(each[-1] - each[0] for each in places.values() if len(each) == 3) <= 12
    assert all(choice.reason == "overlap" for who, choice in found if found[places[choice.item.key][0]][0] != who)


def test_the_same_arguments_give_the_same_question():
    one, two = (work(Pool(items, Policy(seed=3)), ["ada", "ben"], most=100)[0] for items in (ITEMS, ITEMS[::-1]))
    assert one == two
    other = work(Pool(ITEMS, Policy(seed=4)), ["ada", "ben"], most=100)[0]
    assert [c.item for _, c in one] != [c.item for _, c in other]


def test_a_lease_keeps_others_away_until_it_runs_out_and_brings_its_owner_back():
    pool, progress = Pool(ITEMS, PLAIN), Progress()
    first = choose(pool, progress, [], "ada", 0.0)
    held = [lease(first, "ada", 0.0, PLAIN)]
    assert held[0].until == 900.0
    assert choose(pool, progress, held, "ada", 10.0) == first  # a reload shows the same answers in the same order
    assert choose(pool, progress, held, "ben", 10.0).item != first.item
    assert choose(pool, progress, held, "ben", 901.0).item == first.item
    two = Pool(ITEMS[:1], replace(PLAIN, overlap_share=1.0, overlap=2))
    both = [Lease(ITEMS[0].key, "ada", 900.0), Lease(ITEMS[0].key, "ben", 900.0)]
    assert choose(two, progress, both, "cleo", 10.0) is None  # both votes that are wanted are under way
    assert choose(two, progress, both[:1], "cleo", 10.0).reason == "overlap"


def test_gold_questions_come_often_at_first_and_go_to_everybody():
    gold = [Item(f"g{i}", (f"x{i}", f"y{i}"), gold=True) for i in range(200)]
    pool = Pool([*ITEMS, *gold], Policy(overlap_share=0.0, repeat_share=0.0))
    found, _ = work(pool, ["ada", "ben"])
    mine = [choice.reason for who, choice in found if who == "ada"]
    assert 4 <= mine[:50].count("gold") <= 17 and mine[50:].count("gold") / len(mine[50:]) < 0.1
    assert not any(choice.item.gold and choice.reason != "gold" for _, choice in found)
    both = {choice.item.key for who, choice in found if who == "ben" and choice.item.gold}
    assert both & {choice.item.key for who, choice in found if who == "ada" and choice.item.gold}
    assert wanted(gold[0], Policy()) == 0


def test_repeats_wait_a_day_and_come_once():
    pool = Pool(ITEMS, replace(PLAIN, repeat_share=0.2, repeat_after=3600.0))
    found, _ = work(pool, ["ada"], step=60.0)
    times = {}
    for place, (_, choice) in enumerate(found):
        times.setdefault(choice.item.key, []).append((place, choice.reason))
    again = [each for each in times.values() if len(each) > 1]
    assert len(again) > 30 and all(len(each) == 2 and each[1][1] == "repeat" for each in again)
    assert min(each[1][0] - each[0][0] for each in again) >= 60  # an hour of a minute each
    sides = [[c.shown for _, c in found if c.item.key == k] for k, each in times.items() if len(each) > 1]
    assert {one != two for one, two in sides} == {True, False}  # the sides are drawn anew


def test_the_random_arm_stays_beside_the_active_one():
    pool = Pool(ITEMS, replace(PLAIN, random_share=0.7, frozen_share=0.25))
    found, _ = work(pool, ["ada", "ben"], most=150)
    reasons = Counter(choice.reason for _, choice in found)
    assert 0.15 < reasons["active"] / 150 < 0.45
    active = [choice.item for _, choice in found if choice.reason == "active"]
    assert min(item.uncertainty for item in active) > 0.7  # the least sure first
    assert not any(frozen(item.prompt_id, pool.policy) for item in active)
    slice_of = sum(frozen(item.prompt_id, pool.policy) for item in ITEMS) / len(ITEMS)
    assert 0.18 < slice_of < 0.32
    every, _ = work(pool, ["ada", "ben"])
    assert {c.reason for _, c in every if frozen(c.item.prompt_id, pool.policy)} == {"random"}


def test_sides_are_even_and_nobody_judges_their_own_answer_or_what_they_skipped():
    pool = Pool(ITEMS, PLAIN)
    found, _ = work(pool, ["ada"])
    left = sum(choice.shown == choice.item.completion_ids for _, choice in found)
    assert 160 < left < 240
    own = Pool([replace(ITEMS[0], authors=("ada",))], PLAIN)
    assert choose(own, Progress(), [], "ada", 0.0) is None and choose(own, Progress(), [], "ben", 0.0) is not None
    assert choose(Pool(ITEMS[:1], PLAIN), Progress(), [], "ada", 0.0, skipped={ITEMS[0].key}) is None
    choice = found[0][1]
    assert choice.assignment.completion_ids == choice.shown and choice.assignment.reason == "random"
    assert Choice(ITEMS[0], "random", ("b0", "a0")).assignment.prompt_id == "p0"


def test_acts_of_people_count_once():
    first = pair("a", created_at="2026-11-01T00:00:00+00:00")
    acts = [
        first,
        pair("b", supersedes=first.id, created_at="2026-11-01T00:01:00+00:00"),
        pair("b", who="gpt", source="judge"),
        act("thumb", {"value": 1}, 0, who="ben", reason="adjudication"),
    ]
    done = done_of(acts)
    assert [(one.annotator, one.reason) for one in done] == [("ada", "random"), ("ben", "adjudication")]
    assert done[0].key == key("pairwise", SAID[0].prompt_id, (SAID[1].id, SAID[0].id)) and done[0].at == 1793491260.0
    progress = Progress.of(done)
    assert progress.acts == {"ada": 1}  # an adjudication is no vote


def test_a_policy_that_makes_no_sense_is_said():
    with pytest.raises(UserError, match="random_share of an assignment policy lies within 0 and 1, got 2"):
        Policy(random_share=2)


def test_uncertainty_of_a_pair():
    assert pair_uncertainty(1.0, 1.0) == 1.0
    assert pair_uncertainty(2.0, 0.0) == pytest.approx(1 - (2 / (1 + 2.718281828**-2) - 1))
    assert pair_uncertainty(2.0, 0.0) == pair_uncertainty(0.0, 2.0) < pair_uncertainty(2.0, 0.0, deviation=3.0)
