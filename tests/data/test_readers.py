import json

import pytest

from plaudit.data.columns import to_row
from plaudit.data.readers import (
    dataset_digest,
    read_demonstrations,
    read_jsonl,
    read_prompts,
    read_rankings,
    write_jsonl,
)
from plaudit.schema import Demonstration, Message, Prompt, Ranking, UserError

USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
ASK, SAID = Message("user", "Hi"), Message("assistant", "Hello")
PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}


@pytest.fixture
def file(tmp_path):
    def write(*rows):
        path = tmp_path / "data.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def test_demonstrations_of_every_type(file):
    path = file(
        {"text": "The whole text."},
        {"messages": [{"role": "system", "content": "Be kind"}, USER, BOT, USER, BOT], "id": 7},
        {"prompt": "Q", "completion": "A", "weight": 0.5},
        {"prompt": [USER], "completion": [BOT]},
        {"prompt": [USER], "completion": "Hello"},
        {"messages": [BOT, USER, BOT]},
    )
    assert read_demonstrations(path) == [
        Demonstration(Prompt(text=""), "The whole text."),
        Demonstration(Prompt(messages=(Message("system", "Be kind"), ASK), meta={"id": 7}), (SAID, ASK, SAID)),
        Demonstration(Prompt(text="Q"), "A", weight=0.5),
        Demonstration(Prompt(messages=(ASK,)), (SAID,)),
        Demonstration(Prompt(messages=(ASK,)), (SAID,)),
        Demonstration(Prompt(), (SAID, ASK, SAID)),
    ]


def test_rankings_explicit_and_their_columns(file):
    path = file(
        PAIR | {"margin": 0.5, "topic": "late"},
        {"prompt": [USER], "chosen": [BOT], "rejected": "No", "probability": 0.75, "weight": 2},
    )
    one, other = read_rankings(path)
    assert one == Ranking(Prompt(text="p", meta={"topic": "late"}), ("a", "b"), margin=0.5, meta={"topic": "late"})
    assert one.prompt.meta == {"topic": "late"}
    assert other.answers == ((SAID,), (Message("assistant", "No"),)) and (other.probability, other.weight) == (0.75, 2.0)


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt", "answers"),
    [
        ("The sky is blue.", "The sky is green.", "The sky is", (" blue.", " green.")),
        ("It is good", "It is great", "It is", (" good", " great")),  # not cut inside a word
        ("Q: 1+1?\nyes", "Q: 1+1?\nno", "Q: 1+1?\n", ("yes", "no")),
        ("问题：好吗？很好", "问题：好吗？不好", "问题：好吗？", ("很好", "不好")),
        (
            "\n\nHuman: Hi\n\nAssistant: I am Bo",
            "\n\nHuman: Hi\n\nAssistant: I am Al",
            "\n\nHuman: Hi\n\nAssistant:",
            (" I am Bo", " I am Al"),
        ),
        (
            "\n\nHuman: Hi\n\nAssistant: A\n\nHuman: So\n\nAssistant: B",
            "\n\nHuman: Hi\n\nAssistant: C",
            "\n\nHuman: Hi\n\nAssistant:",
            (" A\n\nHuman: So\n\nAssistant: B", " C"),
        ),
        ("A b", "A b c", "A", (" b", " b c")),
    ],
)
def test_the_common_beginning_of_texts_is_the_prompt(file, chosen, rejected, prompt, answers):
    (found,) = read_rankings(file({"chosen": chosen, "rejected": rejected}), dataset_format="trl")
    assert (found.prompt.text, found.answers) == (prompt, answers)


def test_the_common_beginning_of_dialogues_is_the_prompt(file):
    worse = {"role": "assistant", "content": "No"}
    one, other = read_rankings(
        file(
            {"chosen": [USER, BOT], "rejected": [USER, worse]},
            {"chosen": [USER, BOT, USER, BOT], "rejected": [USER, BOT, USER, worse]},
        )
    )
    assert one.prompt.messages == (ASK,) and one.answers == ((SAID,), (Message("assistant", "No"),))
    assert other.prompt.messages == (ASK, SAID, ASK) and other.answers[1] == (Message("assistant", "No"),)


def test_prompts_of_any_file_that_has_them_keep_the_other_columns(file):
    assert read_prompts(file(PAIR, {"prompt": [USER], "answer": "4"})) == [
        Prompt(text="p", meta={"chosen": "a", "rejected": "b"}),
        Prompt(messages=(ASK,), meta={"answer": "4"}),
    ]


def test_nulls_that_arrow_invents_are_not_there(file):
    null = {"name": None, "tool_calls": None}
    (found,) = read_rankings(
        file(
            {"prompt": [USER | null], "chosen": [BOT | null], "rejected": "No", "margin": None, "tools": None, "x": {"y": None}}
        )
    )
    assert found == Ranking(Prompt(messages=(ASK,), meta={"x": {}}), ((SAID,), (Message("assistant", "No"),)), meta={"x": {}})


def test_blank_lines_a_byte_order_mark_and_line_separators(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a\xe2\x80\xa8b"}\r\n\r\n{"text": "c"}')
    assert read_jsonl(path) == [{"text": "a\u2028b"}, {"text": "c"}]


def test_rows_come_back_as_they_were(file, tmp_path):
    path = tmp_path / "again.jsonl"
    figures = PAIR | {"margin": -1, "probability": 0.5, "weight": 0, "t": [1]}
    demos = [{"text": "t"}, {"messages": [USER, BOT]}, {"messages": [BOT]}, {"prompt": "p", "completion": "c", "weight": 0.5}]
    pairs = [figures, {"chosen": [USER, BOT], "rejected": [USER, BOT, USER, BOT, BOT]}]
    prompts = [{"prompt": "p", "x": {"y": 1}}, {"prompt": [USER]}]
    for read, rows in ((read_demonstrations, demos), (read_rankings, pairs), (read_prompts, prompts)):
        items = read(file(*rows))
        write_jsonl(path, map(to_row, items))
        assert read(path) == items and dataset_digest(read(path)) == dataset_digest(items)
    with pytest.raises(UserError, match="ranking of 3"):
        to_row(Ranking(Prompt(text="p"), ("a", "b", "c")))


def test_digest_is_of_content_and_order():
    one, two = Prompt(text="a"), Prompt(text="b", meta={"k": 1})
    digests = {dataset_digest(items) for items in ([one, two], [two, one], [one], [one, Prompt(text="b", meta={"k": 2})], [])}
    assert len(digests) == 5 and dataset_digest([one, two]) == dataset_digest(
        [Prompt(text="a"), Prompt(text="b", meta={"k": 1})]
    )


DEMO, RANK, ASKED = read_demonstrations, read_rankings, read_prompts


@pytest.mark.parametrize(
    ("read", "row", "message"),
    [
        (DEMO, {"question": "a", "solution": "b"},
         r"tuning needs the columns prompt and completion, or messages, or text; there are: question, solution\.$"),
        (RANK, {"prompt": "a", "completion": "b"},
         r"preferences needs the columns prompt and chosen and rejected, or chosen and rejected, .*; there are: prompt, comp"),
        (RANK, {"prompt": "a", "completion": "b"}, r"\(prompt-completion, which serves sft, .*ppo"),
        (ASKED, {"text": "a"}, r"answers needs the columns prompt; there are: text"),
        (ASKED, {}, r"there are: none"),
        (DEMO, {"prompt": None, "completion": "b"}, r"there are: completion"),
        (DEMO, '{"text": "a"', r"line 1: broken JSON \(Expecting ',' delimiter at character 13\)"),
        (DEMO, "[" * 100_000, r"line 1: broken JSON"),
        (DEMO, '[{"text": "a"}]', r"line 1: must be a JSON object, not a list; write one object a line"),
        (DEMO, {"text": 3}, r"text must be a string, not the number 3"),
        (DEMO, {"text": " "}, r"text: is empty"),
        (DEMO, '{"text": "\\ud83d"}', r"surrogate"),
        (DEMO, {"messages": "Hi"}, r"messages must be a list of messages, not a string"),
        (DEMO, {"messages": []}, r"empty list of messages"),
        (DEMO, {"messages": [USER]}, r"no assistant turn"),
        (DEMO, {"messages": ["Hi"]}, r"message 1 must be an object with role and content, not a string"),
        (DEMO, {"messages": [USER, {"role": "assistant", "content": [{"type": "text"}]}]},
         r"message 2, content must be a string, not a list"),
        (DEMO, {"messages": [USER, {"from": "gpt", "value": "x"}]},
         r"message 2 has no role and no content \(it has: from, value\)"),
        (DEMO, {"messages": [USER, {"role": "bot", "content": "x"}]}, r"unknown role 'bot'; the roles are system"),
        (DEMO, {"messages": [USER, BOT | {"tool_calls": [{"x": 1}]}]}, r"message 2 has 'tool_calls'"),
        (DEMO, {"messages": [USER, BOT], "tools": [{"name": "f"}]}, r"column 'tools' cannot be used yet"),
        (DEMO, {"prompt": "a", "completion": [BOT]}, r"completion is a list of messages but the prompt is a string"),
        (DEMO, {"prompt": [USER], "completion": [USER]}, r"completion starts with a user turn"),
        (DEMO, {"prompt": [USER, BOT], "completion": [BOT]}, r"prompt ends with an assistant turn"),
        (DEMO, {"prompt": "a", "completion": "b", "weight": -1}, r"weight: must be 0 or more, not -1"),
        (RANK, PAIR | {"rejected": "a"}, r"line 1: chosen and rejected are equal"),
        (RANK, {"prompt": [USER], "chosen": [BOT], "rejected": "Hello"}, r"chosen and rejected are equal"),
        (RANK, {"chosen": [USER, BOT], "rejected": "Hi"}, r"both be strings or both be lists"),
        (RANK, {"chosen": [USER, BOT], "rejected": [USER]}, r"each go on with an assistant turn"),
        (RANK, PAIR | {"margin": "much"}, r"margin: must be a finite number, not a string"),
        (RANK, '{"prompt": "p", "chosen": "a", "rejected": "b", "margin": NaN}', r"margin: must be a finite number"),
        (RANK, PAIR | {"probability": 1.5}, r"probability: must be between 0 and 1, not 1.5"),
        (ASKED, {"prompt": " "}, r"prompt: is empty"),
        (ASKED, {"prompt": 7}, r"prompt must be a string or a list of messages, not the number 7"),
        (ASKED, {"prompt": {"role": "user"}}, r"not an object"),
    ],
)  # fmt: skip
def test_bad_rows_are_refused_in_one_sentence(file, read, row, message):
    with pytest.raises(UserError, match=message) as caught:
        read(file(row))
    assert "data.jsonl, line 1" in str(caught.value) and "\n" not in str(caught.value)


def test_the_line_is_named(file):
    with pytest.raises(UserError, match="line 3: broken JSON"):
        read_prompts(file({"prompt": "a"}, "", "{"))


def test_bad_files(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_prompts(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="cannot be read: it is a folder without data files"):
        read_prompts(tmp_path)
    path = tmp_path / "data.jsonl"
    for empty in (b"", b"\n \n"):
        path.write_bytes(empty)
        with pytest.raises(UserError, match="is empty"):
            read_prompts(path)
    path.write_bytes(b'{"prompt": "a"}\n{"prompt": "\xff"}\n')
    with pytest.raises(UserError, match="line 2: byte 13 is not UTF-8"):
        read_prompts(path)
