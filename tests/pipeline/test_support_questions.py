"""The customers: seeded, never the same twice, and held-out wording that no training template has."""

import re

import pytest

from plaudit.pipeline.support import INTENTS, questions
from plaudit.pipeline.support.pools import CITIES, COLOURS, HARD_DAMAGES, ITEMS, MAILS, NAMES, SOFT_DAMAGES
from plaudit.pipeline.support.templates import HELDOUT, OPENERS, TRAIN
from plaudit.schema import UserError


def runs(template: str, n: int) -> set[tuple[str, ...]]:
    """The runs of n words of the fixed text; a placeholder breaks a run."""
    found = set()
    for piece in re.split(r"\{\w+\}", template):
        words = re.findall(r"[\w']+", piece.lower())
        found |= {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
    return found


def test_held_out_templates_share_no_three_words_in_a_row_with_training_templates():
    trained = {run for bank in TRAIN.values() for t in bank for run in runs(t, 3)}
    held = {run for bank in HELDOUT.values() for t in bank for run in runs(t, 3)}
    assert trained and held
    assert not trained & held
    assert not set(OPENERS["train"]) & set(OPENERS["heldout"])


def test_every_intent_has_enough_templates_and_each_names_all_details():
    assert set(TRAIN) == set(HELDOUT) == set(INTENTS)
    for banks, least in ((TRAIN, 6), (HELDOUT, 4)):
        for intent, bank in banks.items():
            assert len(set(bank)) == len(bank) >= least, intent
            for template in bank:
                for detail in ("order", "item", "fact"):
                    assert re.search(rf"\{{(?:a_)?{detail}\}}", template), template


def test_the_pools_of_the_splits_share_no_detail():
    for pool in (ITEMS, CITIES, COLOURS, HARD_DAMAGES, SOFT_DAMAGES, NAMES, MAILS):
        assert not set(pool["train"]) & set(pool["heldout"])
    assert len(ITEMS["train"] + ITEMS["heldout"]) >= 60


def test_no_question_twice_inside_or_across_splits():
    splits = {split: questions(1500, seed=3, split=split) for split in ("train", "validation", "heldout")}
    ids = [p.id for prompts in splits.values() for p in prompts]
    assert len(set(ids)) == len(ids) == 4500
    orders = [{p.meta["details"]["order"] for p in prompts} for prompts in splits.values()]
    assert not orders[0] & orders[1] and not orders[0] & orders[2] and not orders[1] & orders[2]
    templates = {split: {p.meta["template"] for p in prompts} for split, prompts in splits.items()}
    assert templates["train"] == templates["validation"] and not templates["train"] & templates["heldout"]
    assert len(templates["train"]) == 56 and len(templates["heldout"]) == 32


def test_a_question_is_short_and_says_every_detail_in_its_text():
    for prompt in questions(600, seed=5, split="train") + questions(600, seed=5, split="heldout"):
        system, user = prompt.messages
        assert (system.role, user.role) == ("system", "user")
        assert 14 <= len(system.content.split()) + len(user.content.split()) <= 45
        assert "{" not in user.content and not re.search(r"\ba [aeiou]", user.content.lower())
        for detail in prompt.meta["details"].values():
            assert detail.lower() in user.content.lower()


def test_the_seed_decides_and_intents_come_in_equal_shares():
    first = questions(80, seed=1, split="train")
    assert first == questions(80, seed=1, split="train") != questions(80, seed=2, split="train")
    counts = [sum(p.meta["intent"] == intent for p in first) for intent in INTENTS]
    assert counts == [10] * 8


@pytest.mark.parametrize(("count", "split"), [(10, "test"), (-1, "train"), (10**6, "train")])
def test_a_wrong_split_or_count_is_the_users_mistake(count, split):
    with pytest.raises(UserError, match=r"split|count"):
        questions(count, seed=0, split=split)
