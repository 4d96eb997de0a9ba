"""Labels, steps, rankings of several answers and split texts as rows of tokens and as batches."""

import pytest
from data_tokenizers import build, trained_text

from plaudit.data.collate import collate_labels, collate_rankings, collate_steps
from plaudit.data.encode import (
    encode_demonstrations,
    encode_labels,
    encode_rankings,
    encode_stepwise,
)
from plaudit.data.template import encode_answer, encode_prompt
from plaudit.schema import Demonstration, Label, Message, Prompt, Ranking, Steps, UserError

ASK = Prompt(messages=(Message("user", "Where is order 1182?"),))


@pytest.fixture(scope="module")
def tokenizer():
    return build()


def test_labels_keep_their_value_and_collate_with_it(tokenizer):
    items = [Label(ASK, "It is late.", 0.0, 0.5), Label(Prompt(text=""), "Thank you!", 3.0)]
    rows, report = encode_labels(tokenizer, items)
    assert report.kept == 2 and [row.label for row in rows] == [0.0, 3.0] and [row.source for row in rows] == [0, 1]
    assert rows[0].rows[0] == encode_answer(tokenizer, ASK, "It is late.")
    batch = collate_labels(rows)
    assert batch["label"].tolist() == [0.0, 3.0] and batch["weight"].tolist() == [0.5, 1.0]
    assert batch.group.tolist() == [0, 1] and batch.ids.shape[0] == 2


def test_a_ranking_of_several_answers_stays_together(tokenizer):
    rows, _ = encode_rankings(tokenizer, [Ranking(ASK, ("Thank you!", "I am sorry", "foo")), Ranking(ASK, ("42", "7"))])
    batch = collate_rankings(rows)
    assert batch.group.tolist() == [0, 0, 0, 1, 1] and batch.place.tolist() == [0, 1, 2, 0, 1]
    texts = [trained_text(tokenizer, row)[0] for row in rows[0].rows]
    assert texts == ["Thank you!<|im_end|>", "I am sorry<|im_end|>", "foo<|im_end|>"]


def test_the_last_token_of_every_step_has_its_label(tokenizer):
    item = Steps(ASK, ("The answer is 42", "I am sorry"), (1.0, 0.25))
    rows, report = encode_stepwise(tokenizer, [item])
    row = rows[0].rows[0]
    head = encode_prompt(tokenizer, ASK)
    assert row.ids[: len(head)] == head and row.mask == [0] * len(head) + [1] * (len(row) - len(head))
    ends = [end for end, _ in rows[0].marks]
    assert tokenizer.decode(row.ids[len(head) : ends[0] + 1]) == "The answer is 42\n"
    assert tokenizer.decode(row.ids[ends[0] + 1 : ends[1] + 1]) == "I am sorry\n" and ends[1] == len(row) - 1
    batch = collate_steps(rows * 2)
    assert batch["step"].sum(1).tolist() == [2.0, 2.0]
    assert [batch["label"][1, end].item() for end in ends] == [1.0, 0.25] and batch["label"].sum().item() == 2.5
    short, report = encode_stepwise(tokenizer, [item], max_length=ends[0] + 2)
    assert short[0].marks == ((ends[0], 1.0),) and report.truncated == 1
    with pytest.raises(UserError, match=r"No answers in steps are left"):
        encode_stepwise(tokenizer, [item], max_length=ends[0])


def test_a_long_text_is_split_without_losing_a_token(tokenizer):
    long, short = Demonstration(Prompt(text=""), "I am sorry, it is late. " * 9), Demonstration(Prompt(text=""), "foo")
    (whole, one), plain = encode_demonstrations(tokenizer, [long, short])
    rows, report = encode_demonstrations(tokenizer, [long, short], max_length=16, truncation="split")
    assert [token for row in rows if row.source == 0 for token in row.rows[0].ids] == whole.rows[0].ids
    assert rows[-1] == one and all(len(row.rows[0]) == 16 for row in rows[:-2])
    assert all(row.rows[0].mask[0] == 0 and sum(row.rows[0].mask) == len(row.rows[0]) - 1 for row in rows)
    assert (report.total, report.kept, report.split) == (2, 2, len(rows) - 2) and report.tokens == plain.tokens
    assert f"{report.split} further rows, of texts longer than 16 tokens that were split" in report.lines()
    answer = Demonstration(Prompt(text="foo"), "I am sorry. " * 9)
    rows, report = encode_demonstrations(tokenizer, [answer], max_length=16, truncation="split")
    assert len(rows) == 1 and report.truncated == 1  # only texts without a prompt are split
