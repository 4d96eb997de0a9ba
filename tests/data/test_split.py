import random

import numpy as np
import pytest

from plaudit.data.split import homes, normal, prompt_key, split_by_prompt
from plaudit.schema import Demonstration, Message, Prompt, Ranking, UserError

DEMOS = [Demonstration(Prompt(text=f"Question {i % 300}"), f"Answer {i}") for i in range(900)]


def test_a_prompt_is_in_one_split_only_and_nothing_is_lost():
    splits = split_by_prompt(DEMOS, seed=1)
    prompts = [{d.prompt.text for d in part} for part in splits]
    assert not (prompts[0] & prompts[1] or prompts[0] & prompts[2] or prompts[1] & prompts[2])
    assert sorted(d.answer for part in splits for d in part) == sorted(d.answer for d in DEMOS)
    assert [d.answer for d in splits.train] == [d.answer for d in DEMOS if d in splits.train], "order is kept"


def test_fractions_hold_within_four_standard_errors():
    prompts = [Prompt(text=str(i)) for i in range(10_000)]
    sizes = [len(part) for part in split_by_prompt(prompts, fractions=(0.7, 0.2, 0.1), seed=3)]
    for size, part in zip(sizes, (0.7, 0.2, 0.1), strict=True):
        assert abs(size - 10_000 * part) < 4 * (10_000 * part * (1 - part)) ** 0.5


def test_order_and_growth_move_no_prompt_but_the_seed_does():
    home = {d.prompt.id: i for i, part in enumerate(split_by_prompt(DEMOS, seed=1)) for d in part}
    mixed = random.Random(0).sample(DEMOS, len(DEMOS)) + [Demonstration(Prompt(text=f"New {i}"), "x") for i in range(500)]
    again = {d.prompt.id: i for i, part in enumerate(split_by_prompt(mixed, seed=1)) for d in part}
    assert all(again[name] == place for name, place in home.items())
    other = {d.prompt.id: i for i, part in enumerate(split_by_prompt(DEMOS, seed=2)) for d in part}
    assert sum(other[name] != place for name, place in home.items()) > 30


def test_near_identical_prompts_stay_together():
    variants = ["Where is order {}?", "where  is ORDER {}?", " Where is\norder {}? ", "Where is order {}？"]
    items = [Prompt(text=v.format(i)) for i in range(100) for v in variants]
    for part in split_by_prompt(items, fractions=(0.5, 0.25, 0.25)):
        assert len(part) == 4 * len({normal(p.text) for p in part})


def test_conversations_and_texts_without_prompt():
    chat = Ranking(
        Prompt(messages=(Message("user", "Hi  There"),)), ((Message("assistant", "a"),), (Message("assistant", "b"),))
    )
    assert prompt_key(chat) == prompt_key(Prompt(messages=(Message("user", "hi there"),))) == "user: hi there"
    texts = [Demonstration(Prompt(text=""), f"Text {i}") for i in range(100)]
    assert all(split_by_prompt(texts, fractions=(0.5, 0.25, 0.25))), "texts without a prompt do not count as one prompt"


@pytest.mark.parametrize("count", range(3, 12))
def test_small_data_fill_every_split(count):
    for seed in range(20):
        splits = split_by_prompt([Prompt(text=str(i)) for i in range(count)], fractions=(0.98, 0.01, 0.01), seed=seed)
        assert all(splits) and sum(map(len, splits)) == count


def test_a_split_of_nothing_is_empty():
    splits = split_by_prompt(DEMOS, fractions=(0.9, 0, 0.1))
    assert splits.validation == [] and splits.train and splits.test
    assert split_by_prompt(DEMOS, fractions=(1, 0, 0)).train == DEMOS


def test_bad_asks():
    with pytest.raises(UserError, match=r"There are 2 different prompts for 3 splits \(train, validation, test\)"):
        split_by_prompt([Prompt(text="a"), Prompt(text="b"), Prompt(text=" A")])
    for fractions in ((0.8, 0.1), (0.8, 0.3, -0.1), (0.5, 0.1, 0.1), (float("nan"), 0.5, 0.5)):
        with pytest.raises(UserError, match="three numbers of 0 or more"):
            split_by_prompt(DEMOS, fractions=fractions)


def test_an_empty_split_gets_the_nearest_prompt_by_hand():
    points = np.array([0.45, 0.1, 0.4, 0.45])
    assert homes(points, (0.5, 0.25, 0.25)).tolist() == [1, 0, 2, 1]  # .45 to validation, then .4 to test
