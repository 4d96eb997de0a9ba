import pytest
from data_tokenizers import CHATML, LLAMA2, build

from plaudit.data.encode import encode_demonstrations, encode_rankings, fit_prompts
from plaudit.data.template import encode_answer, encode_prompt
from plaudit.schema import Demonstration, Message, Prompt, Ranking, UserError

TOKENIZER = build(None, eos="</s>")
SHORT, LONG = Prompt(text="Hello"), Prompt(text="Hello" * 20)


def size(prompt, answer):
    return len(encode_answer(TOKENIZER, prompt, answer))


def test_long_demonstrations_keep_their_start_and_are_counted():
    demos = [Demonstration(SHORT, " there", weight=0.5), Demonstration(SHORT, " there" * 30), Demonstration(LONG, " there")]
    limit = 8
    assert size(SHORT, " there") <= limit < len(encode_prompt(TOKENIZER, LONG))
    kept, report = encode_demonstrations(TOKENIZER, demos, max_length=limit)
    assert [e.source for e in kept] == [0, 1] and kept[0].weight == 0.5
    whole = encode_answer(TOKENIZER, SHORT, " there" * 30)
    (row,) = kept[1].rows
    assert (row.ids, row.mask, row.truncated) == (whole.ids[:limit], whole.mask[:limit], True)
    assert (report.total, report.kept, report.truncated, report.no_answer, report.left_out) == (3, 2, 1, 1, [2])
    assert report.tokens == sum(e.length for e in kept) and report.trained_tokens == sum(
        sum(r.mask) for e in kept for r in e.rows
    )
    assert report.lines()[0].startswith("2 of 3 demonstrations kept") and len(report.lines()) == 3


def test_long_demonstrations_can_be_dropped():
    demos = [Demonstration(SHORT, " there"), Demonstration(SHORT, " there" * 30)]
    kept, report = encode_demonstrations(TOKENIZER, demos, max_length=8, truncation="drop")
    assert [e.source for e in kept] == [0] and (report.too_long, report.truncated, report.left_out) == (1, 0, [1])


def test_a_ranking_leaves_as_a_whole():
    good = Ranking(SHORT, (" there", " you"), margin=0.5, probability=0.75, weight=2.0)
    long = Ranking(SHORT, (" there", " you" * 30))
    kept, report = encode_rankings(TOKENIZER, [long, good], max_length=8)
    (only,) = kept
    assert (only.source, only.margin, only.probability, only.weight, len(only.rows)) == (1, 0.5, 0.75, 2.0, 2)
    assert (report.too_long, report.left_out) == (1, [0])
    kept, report = encode_rankings(TOKENIZER, [long, good], max_length=8, truncation="keep_start")
    assert [e.source for e in kept] == [0, 1] and [row.truncated for row in kept[0].rows] == [False, True]


def test_rankings_with_the_same_tokens_say_nothing():
    cut = Ranking(SHORT, (" there" * 30 + "a", " there" * 30 + "b"))
    good = Ranking(SHORT, (" there", " you"))
    _, report = encode_rankings(TOKENIZER, [cut, good], max_length=8, truncation="keep_start")
    assert (report.same_tokens, report.kept) == (1, 1)
    # a template that strips makes "late" and "late " the same
    llama = build(LLAMA2, eos="</s>")
    turn = Prompt(messages=(Message("user", "Hi"),))
    _, report = encode_rankings(llama, [Ranking(turn, ("late", "late ")), Ranking(turn, ("a", "b"))])
    assert report.same_tokens == 1


def test_long_prompts_are_dropped_or_refused():
    kept, report = fit_prompts(TOKENIZER, [SHORT, LONG], max_prompt_length=8)
    assert kept == [SHORT] and (report.kept, report.too_long, report.left_out) == (1, 1, [1])
    with pytest.raises(UserError, match=r"Prompt 2 .* more than max_prompt_length=8"):
        fit_prompts(TOKENIZER, [SHORT, LONG], max_prompt_length=8, overlong_prompts="error")
    with pytest.raises(UserError, match=r"No prompts are left .*all 1 are longer than max_prompt_length=8"):
        fit_prompts(TOKENIZER, [LONG], max_prompt_length=8)
    with pytest.raises(UserError, match="none were given"):
        fit_prompts(TOKENIZER, [])
    with pytest.raises(UserError, match=r"Prompt 1 .* has no tokens"):
        fit_prompts(TOKENIZER, [Prompt(text="")])
    chat = Prompt(messages=(Message("user", "Hello"),))
    tokenizer = build(CHATML)
    exact = len(encode_prompt(tokenizer, chat))
    assert fit_prompts(tokenizer, [chat], max_prompt_length=exact)[0] == [chat]


def test_nothing_left_is_an_error_that_says_why():
    with pytest.raises(UserError, match=r"No demonstrations are left .*no answer token within 3 tokens"):
        encode_demonstrations(TOKENIZER, [Demonstration(LONG, " there")], max_length=3)
    with pytest.raises(UserError, match=r"No rankings are left .*longer than 3 tokens .*the longest row has"):
        encode_rankings(TOKENIZER, [Ranking(LONG, ("a", "b"))], max_length=3)
    with pytest.raises(UserError, match="none were given"):
        encode_demonstrations(TOKENIZER, [])
