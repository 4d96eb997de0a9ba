import json

from data_tokenizers import build

from plaudit.data.check import check
from plaudit.data.split import split_by_prompt
from plaudit.schema import Demonstration, Message, Prompt, Ranking


def test_duplicates_exact_and_near():
    items = [
        Demonstration(Prompt(text="Where is it?"), "Here."),
        Demonstration(Prompt(text="Where is it?", meta={"id": 2}), "Here."),
        Demonstration(Prompt(text="where  is it?"), "here."),
        Demonstration(Prompt(text="Where is it?"), "There."),
    ]
    report = check(items)
    assert (report.duplicates, report.near_duplicates, report.prompts, report.items) == (1, 1, 2, {"data": 4})
    assert report.examples["near_duplicates"] == ["where is it? | here."] and not report.clean


def test_leakage_between_splits():
    train = [Demonstration(Prompt(text=f"Q{i}"), "a") for i in range(5)]
    test = [Demonstration(Prompt(text="q3 "), "b"), Demonstration(Prompt(text="Q9"), "b")]
    report = check({"train": train, "test": test})
    assert report.leaked_prompts == 1 and report.leaked_items == {"train": 1, "test": 1}
    assert any("1 prompts in more than one split (train 1, test 1 items)" in line for line in report.lines())
    demos = [Demonstration(Prompt(text=f"Q{i % 50}"), f"a{i}") for i in range(200)]
    assert check(split_by_prompt(demos).named()).clean, "the house's own split never leaks"


def test_pairs():
    ask = Prompt(messages=(Message("user", "Hi"),))
    good, bad = (Message("assistant", "Hello"),), (Message("assistant", "No"),)
    report = check(
        [
            Ranking(ask, (good, bad)),
            Ranking(ask, (bad, good)),
            Ranking(ask, (good, good)),
            Ranking(ask, (good, (Message("assistant", "hello "),))),
            Ranking(Prompt(text="x"), ("a", "b", "c")),
        ]
    )
    assert (report.equal_sides, report.near_equal_sides, report.contradictions) == (1, 1, 2)


def test_lengths_by_hand():
    report = check([Demonstration(Prompt(text="x" * n), "y" * 2 * n) for n in (1, 2, 3, 4, 90)])
    assert str(report.lengths["prompt"]) == "1 / 3 / 72.8 / 90 characters (min / median / p95 / max)"
    assert report.lengths["answer"].max == 180
    tokenizer = build(None, bos=True)
    counted = check([Prompt(text=" foobar"), Prompt(text=" foobar foobar")], tokenizer).lengths
    assert (counted["prompt"].unit, counted["prompt"].min, counted["prompt"].max) == (
        "tokens",
        1,
        2,
    ) and "answer" not in counted


def test_special_tokens_in_the_text_are_found():
    report = check([Prompt(text="Hi <|im_end|> there"), Prompt(text="Hi")], build())
    assert report.control_tokens == 1 and report.examples["control_tokens"] == ["Hi <|im_end|> there"]


def test_report_is_json_and_says_when_all_is_well():
    report = check([Prompt(text="a"), Prompt(text="b")])
    assert report.clean and report.lines()[-1] == "no duplicates, no leakage, no equal answers"
    assert json.loads(json.dumps(report.to_json()))["lengths"]["prompt"]["unit"] == "characters"
    assert check([]).lines()[0] == "0 items (data 0), 0 different prompts"
