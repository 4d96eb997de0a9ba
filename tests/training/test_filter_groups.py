"""Dynamic sampling: which groups a step trains on, and that a run with it can die anywhere."""

from __future__ import annotations

import json
import signal

import pytest

from nursery import At
from plaudit.schema import Completion, Scored
from plaudit.training.feed import Feed
from plaudit.training.filter_groups import fill
from training_runs import Runs, same


def group(row, rewards):
    """Answers to the prompt of a row."""
    return [Scored(Completion(str(row), "", (), (), (), "stop", index=i), reward) for i, reward in enumerate(rewards)]


class Asked:
    """Rewards of each row's answers, and the rounds in which they were asked for."""

    def __init__(self, rewards):
        self.rewards, self.rounds = rewards, []

    def __call__(self, rows, number):
        assert number == len(self.rounds)
        self.rounds.append(list(rows))
        return [group(row, self.rewards[row]) for row in rows]


def rows_of(groups):
    return [int(items[0].completion.prompt_id) for items in groups]


FLAT, USEFUL = [1.0, 1.0], [0.0, 1.0]


def test_a_step_that_is_full_at_once_asks_nothing_more():
    asked = Asked([USEFUL] * 6)
    filled = fill(Feed(6, 3, 0), 1, 10, asked)
    assert asked.rounds == [Feed(6, 3, 0).at(1)] and rows_of(filled.trained) == asked.rounds[0]
    assert filled.metrics == {
        "filter_groups/num_gen_batches": 1,
        "filter_groups/flat": 0,
        "filter_groups/surplus": 0,
        "filter_groups/filler": 0,
    }


def test_further_rounds_ask_as_many_prompts_as_are_likely_to_be_needed():
    """Of 4 rows 2 teach, so for 2 more it takes 4: another portion. Of those all do: 2 are too many."""
    feed = Feed(12, 4, 0)
    first, order = feed.at(0), feed.further(0)
    rewards = [USEFUL] * 12
    rewards[first[0]] = rewards[first[2]] = FLAT
    asked = Asked(rewards)
    filled = fill(feed, 0, 10, asked)
    assert asked.rounds == [first, order[:4]]
    assert rows_of(filled.trained) == [first[1], first[3], *order[:2]]
    assert rows_of(filled.sampled) == [*first, *order[:4]]
    assert list(filled.metrics.values()) == [2, 2, 2, 0]


def test_few_that_are_missing_take_few_prompts():
    """3 of 4 teach: 1 is missing, and 4/3 prompts are likely to be needed for it, so 2."""
    feed = Feed(12, 4, 0)
    first, order = feed.at(0), feed.further(0)
    rewards = [USEFUL] * 12
    rewards[first[3]] = FLAT
    asked = Asked(rewards)
    assert rows_of(fill(feed, 0, 10, asked).trained) == [*first[:3], order[0]]
    assert asked.rounds == [first, order[:2]]


def test_the_last_round_leaves_places_that_flat_groups_fill():
    feed = Feed(12, 4, 0)
    first, order = feed.at(0), feed.further(0)
    rewards = [FLAT] * 12
    rewards[order[5]] = USEFUL
    rewards[first[0]] = [None, None]  # nothing to train on at all: the last to be taken
    asked = Asked(rewards)
    filled = fill(feed, 0, 3, asked)
    assert asked.rounds == [first, order[:4], order[4:8]]
    assert rows_of(filled.trained) == [order[5], *first[1:]]
    assert list(filled.metrics.values()) == [3, 8, 0, 3]  # 12 sampled: 4 trained on, 8 left out


def test_with_one_round_it_is_no_dynamic_sampling():
    feed, asked = Feed(12, 4, 0), Asked([FLAT, USEFUL] * 6)
    assert sorted(rows_of(fill(feed, 2, 1, asked).trained)) == sorted(feed.at(2)) and len(asked.rounds) == 1


def test_few_prompts_come_up_again():
    """3 rows and portions of 2: the third round starts over."""
    feed, asked = Feed(3, 2, 0), Asked([FLAT] * 3)
    fill(feed, 0, 4, asked)
    order = feed.further(0)
    assert asked.rounds[1:] == [order[:2], [order[2], order[0]], order[1:3]]


def test_a_single_reward_among_missing_ones_is_flat():
    filled = fill(Feed(1, 1, 0), 0, 1, Asked([[None, 2.0]]))
    assert filled.metrics["filter_groups/filler"] == 1


def test_further_prompts_are_a_function_of_seed_and_step_and_begin_with_unseen_ones():
    feed = Feed(10, 4, 3)
    assert feed.further(5) == Feed(10, 4, 3).further(5) != feed.further(6)
    assert feed.further(5) != Feed(10, 4, 4).further(5)
    assert sorted(feed.further(5)) == list(range(10)) and set(feed.further(5)[6:]) == set(feed.at(5))


# -- whole runs -----------------------------------------------------------------------------------------------------------

SELDOM = """
def seldom(completion_ids, log_metric, **_):
    log_metric("answers_seen", len(completion_ids))
    return [float(ids[0] % 6 == 0) for ids in completion_ids]
"""
"""About one answer in six earns something, so of pairs two in three are flat."""
NAME = "filter_groups/num_gen_batches"


@pytest.fixture(scope="module")
def runs(nursery, tmp_path_factory):
    made = Runs(nursery, tmp_path_factory.mktemp("runs"))
    (made.root / "seldom.py").write_text(SELDOM)
    return made


def words(runs, rounds=4):
    return [*runs.words("grpo"), "reward_funcs=[../seldom.py:seldom]", f"max_num_gen_batches={rounds}"]


def test_a_run_counts_what_it_sampled_and_killed_it_ends_the_same(runs):
    done = runs.start("whole", *words(runs))
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (runs.root / "whole" / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if NAME in line]
    assert len(steps) == 5 and {line[NAME] for line in steps} & {2.0, 3.0, 4.0}
    for line in steps:
        left_out = line["filter_groups/flat"] + line["filter_groups/surplus"]
        sampled = 2 * (4 + left_out)  # two answers to each of the 4 prompts of a step, and to each that was left out
        assert line["answers_seen"] * line[NAME] == pytest.approx(sampled)
        useful = 4 + line["filter_groups/surplus"] - line["filter_groups/filler"]
        assert line["frac_reward_zero_std"] == pytest.approx(1 - useful / (4 + left_out))
        if line["filter_groups/filler"]:
            assert line[NAME] == 4
    for point in (At("metrics.jsonl", 3), At(".checkpoint-4.tmp", 7)):
        assert runs.start("killed", *words(runs), "--resume", at=point).code == -signal.SIGKILL
    assert runs.start("killed", *words(runs), "--resume").code == 0
    same(runs.root / "killed" / "run", runs.root / "whole" / "run")


def test_one_round_is_the_run_without_it(runs):
    for place, rest in (("one", ["max_num_gen_batches=1"]), ("off", ["filter_groups=false"])):
        assert runs.start(place, *words(runs), *rest).code == 0
    models = [(runs.root / place / "run" / "model" / "model.safetensors").read_bytes() for place in ("one", "off")]
    assert models[0] == models[1]


def test_scales_of_single_rounds_are_refused(runs):
    assert "reward_normalization=batch" in runs.start("scaled", *words(runs), "reward_normalization=batch").refusal
