"""Held-out rows in batches."""

import pytest

from plaudit.data.collate import collate_labels
from plaudit.data.encode import Encoded
from plaudit.data.template import Row
from plaudit.training.feed import Feed
from plaudit.training.sources import Rows


def held_out(count):
    """Labelled answers of different lengths, each behind a prompt of its own (token 10 + its number)."""
    return [Encoded((Row([10 + n, 5, *[6] * n, 7], [0, *[1] * (n + 2)], 1),), n) for n in range(count)]


@pytest.mark.parametrize(("size", "expected"), [(2, [2, 3]), (1, [2, 3]), (4, [5]), (8, [5])])
def test_no_answer_is_held_against_its_own_prompt(size, expected):
    """A row that would be left alone joins the batch before it: KTO estimates its KL from other prompts."""

    def collate(rows):
        return collate_labels(rows, mismatched=True)

    source = Rows([], held_out(5), collate, Feed(1, 1, 0), size, least=2)
    batches = list(source.batches())
    assert [len(batch) // 2 for batch in batches] == expected
    for batch in batches:
        own = {tuple(row) for row in batch.ids[: len(batch) // 2].tolist()}
        assert not own & {tuple(row) for row in batch.ids[len(batch) // 2 :].tolist()}


def test_every_row_comes_up_once():
    source = Rows([], held_out(5), collate_labels, Feed(1, 1, 0), 2)
    assert [len(batch) for batch in source.batches()] == [2, 2, 1]
