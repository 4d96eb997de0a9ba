"""Every layout on a small row made by hand: what is recognised, what comes out, what is refused."""

import json
import re

import pytest

from plaudit.data.layouts import layouts, recognise
from plaudit.data.readers import read
from plaudit.data.streaming import stream
from plaudit.schema import Demonstration, Label, Message, Prompt, Ranking, Steps, UserError

ASK, SAID, SYSTEM = Message("user", "Hi"), Message("assistant", "Hello"), Message("system", "Be kind")
USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
HUMAN, GPT = {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}
NO = Message("assistant", "No")


@pytest.fixture
def file(tmp_path):
    def write(*rows, name="data.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def pair(*better, to=(ASK,), worse=(NO,), **more):
    return Ranking(Prompt(messages=to), (better or (SAID,), worse), **more)


GOOD = Label(Prompt(messages=(ASK,)), (SAID,), 1.0)


def demo(*to, answer=(SAID,)):
    return Demonstration(Prompt(messages=to or (ASK,)), answer)


NODE = {"role": "assistant", "text": "Hello", "rank": 1, "replies": []}
TREE = {
    "message_tree_id": "t",
    "prompt": {
        "role": "prompter",
        "text": "Hi",
        "lang": "en",
        "replies": [
            NODE,
            NODE
            | {
                "text": "Best",
                "rank": 0,
                "replies": [{"role": "prompter", "text": "More", "replies": [NODE | {"rank": None}]}],
            },
            NODE | {"text": "Gone", "rank": 2, "deleted": True},
        ],
    },
}
POST = {"post": "I ran.", "title": "Run", "subreddit": "tifu"}
WRITTEN = "SUBREDDIT: r/tifu\n\nTITLE: Run\n\nPOST: I ran.\n\nTL;DR:"
HH = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: No"}
FEEDBACK = {
    "instruction": "Hi",
    "completions": [
        {"response": "No", "overall_score": 2.0},
        {"response": "Hello", "overall_score": "7.5"},
        {"response": "Hm", "annotations": {"a": {"Rating": "3"}, "b": {"Rating": "5"}}},
        {"response": "Same", "fine-grained_score": 4.0},
        {"response": "N/A", "overall_score": None},
    ],
}

CASES = [
    ("sharegpt", {"conversations": [HUMAN, GPT]}, "demonstrations", [demo()]),
    ("sharegpt", {"conversations": [HUMAN, GPT], "system": "Be kind"}, "demonstrations", [demo(SYSTEM, ASK)]),
    ("sharegpt", {"conversations": [HUMAN], "chosen": GPT, "rejected": GPT | {"value": "No"}}, "rankings", [pair()]),
    ("sharegpt", {"conversations": [HUMAN, GPT], "label": False}, "labels", [Label(Prompt(messages=(ASK,)), (SAID,), 0.0)]),
    ("sharegpt", {"conversation": [HUMAN, GPT, HUMAN]}, "prompts", [Prompt(messages=(ASK, SAID, ASK))]),
    ("dialogue", {"messages": [USER], "chosen": "Hello", "rejected": "No"}, "rankings", [pair()]),
    ("dialogue", {"messages": [USER, BOT], "rejected_response": "No"}, "rankings", [pair()]),
    ("dialogue", {"messages": [USER, BOT], "rejected_messages": [USER, BOT | {"content": "No"}]}, "rankings", [pair()]),
    ("dialogue", {"messages": [USER, BOT], "label": True}, "labels", [GOOD]),
    ("dialogue", {"messages": [USER, BOT], "label": True}, "demonstrations", [demo()]),
    ("openai", {"input": {"messages": [USER]}, "preferred_output": [BOT], "non_preferred_output": [BOT | {"content": "No"}]},
     "rankings", [pair()]),
    ("openai", {"messages": [USER, BOT | {"weight": 0}, USER, BOT | {"weight": 1}]}, "demonstrations", [demo(ASK, SAID, ASK)]),
    ("openai", {"messages": [USER, BOT, USER, BOT | {"weight": 0}, USER, BOT]}, "demonstrations",
     [demo(), demo(ASK, SAID, ASK, SAID, ASK)]),
    ("openai", {"messages": [SYSTEM.__dict__, USER, BOT | {"weight": 1}]}, "demonstrations", [demo(SYSTEM, ASK)]),
    ("alpaca", {"instruction": "Hi", "input": "there", "output": "Hello"}, "demonstrations",
     [demo(Message("user", "Hi\nthere"))]),
    ("alpaca", {"instruction": "Hi", "input": "", "output": "Hello", "system": "Be kind", "history": [["Hi", "Hello"]]},
     "demonstrations", [demo(SYSTEM, ASK, SAID, ASK)]),
    ("alpaca", {"instruction": "Hi", "response": "Hello"}, "demonstrations", [demo()]),
    ("alpaca", {"instruction": "Hi", "input": "", "output": "x", "chosen": "Hello", "rejected": "No"}, "rankings", [pair()]),
    ("alpaca", {"instruction": "Hi", "output": ["Hello", "No"]}, "rankings", [pair()]),
    ("alpaca", {"instruction": "Hi", "output": ["Hello", "Hm", "No"]}, "rankings",
     [Ranking(Prompt(messages=(ASK,)), ((SAID,), (Message("assistant", "Hm"),), (NO,)))]),
    ("alpaca", {"instruction": "Hi", "output": "Hello", "kto_tag": True}, "labels", [GOOD]),
    ("alpaca", {"instruction": "Hi", "instances": [{"input": "", "output": "Hello"}] * 2}, "demonstrations", [demo(), demo()]),
    ("alpaca", {"instruction": "Hi", "input": ""}, "prompts", [Prompt(messages=(ASK,))]),
    ("hh_rlhf", HH, "rankings", [pair()]),
    ("hh_rlhf", {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Hello", "rejected": "No"}, "rankings", [pair()]),
    ("hh_rlhf", HH, "prompts", [Prompt(messages=(ASK,))]),
    ("openai_comparisons", {"info": POST, "summaries": [{"text": " No"}, {"text": "Fell."}], "choice": 1}, "rankings",
     [Ranking(Prompt(text=WRITTEN), (" Fell.", " No"))]),
    ("openai_comparisons", {"info": {"article": "Long."}, "summary": {"text": "Short", "axes": {"overall": 6}}}, "labels",
     [Label(Prompt(text="ARTICLE: Long.\n\nTL;DR:"), " Short", 6.0)]),
    ("ultrafeedback", FEEDBACK, "rankings",
     [Ranking(Prompt(messages=(ASK,)), ((SAID,), (Message("assistant", "Hm"),), (NO,)))]),
    ("ultrafeedback", {"prompt": "Hi", "chosen": [USER, BOT], "rejected": [USER, BOT | {"content": "No"}], "messages": []},
     "rankings", [pair()]),
    ("open_assistant", TREE, "rankings", [pair(Message("assistant", "Best"), worse=(SAID,))]),
    ("open_assistant", TREE, "prompts", [Prompt(messages=(ASK,))]),
    ("open_assistant", TREE, "demonstrations", [
        demo(answer=(Message("assistant", "Best"),)),
        demo(ASK, Message("assistant", "Best"), Message("user", "More")),
    ]),
    ("questions", {"question_id": 1, "turns": ["Hi", "Again"]}, "prompts", [Prompt(messages=(ASK,))]),
    ("trl", {"prompt": "p", "completion": "c", "label": 1}, "labels", [Label(Prompt(text="p"), "c", 1.0)]),
    ("trl", {"prompt": "p", "completion": "c", "rating": 4, "weight": 2}, "labels", [Label(Prompt(text="p"), "c", 4.0, 2.0)]),
    ("trl", {"text": "t", "label": 3}, "labels", [Label(Prompt(text=""), "t", 3.0)]),
    ("trl", {"prompt": "p", "answers": ["a", "b", "c"]}, "rankings", [Ranking(Prompt(text="p"), ("a", "b", "c"))]),
    ("trl", {"prompt": "p", "completions": ["b", "a"], "ranks": [2, 1]}, "rankings", [Ranking(Prompt(text="p"), ("a", "b"))]),
    ("trl", {"prompt": "p", "completions": ["b", "a", "c"], "scores": [1, 3, 2]}, "rankings",
     [Ranking(Prompt(text="p"), ("a", "c", "b"))]),
    ("trl", {"prompt": "p", "completions": ["one", "two"], "labels": [True, False]}, "steps",
     [Steps(Prompt(text="p"), ("one", "two"), (1.0, 0.0))]),
    ("trl", {"prompt": "p", "chosen": "a", "rejected": "b"}, "demonstrations", [Demonstration(Prompt(text="p"), "a")]),
    ("trl", {"prompt": "p", "chosen": "a", "rejected": "b"}, "labels",
     [Label(Prompt(text="p"), "a", 1.0), Label(Prompt(text="p"), "b", 0.0)]),
    ("trl", {"messages": [USER, BOT]}, "prompts", [Prompt(messages=(ASK,))]),
    ("trl", {"messages": [USER, BOT, USER]}, "prompts", [Prompt(messages=(ASK, SAID, ASK))]),
    ("trl", {"prompt": "p", "text": "t"}, "prompts", [Prompt(text="p")]),
]  # fmt: skip


def bare(item):
    """The item without the other columns."""
    prompt = item if isinstance(item, Prompt) else item.prompt
    plain = Prompt(prompt.text, prompt.messages)
    if isinstance(item, Prompt):
        return plain
    return type(item)(**{**item.__dict__, "prompt": plain} | ({"meta": {}} if isinstance(item, Ranking) else {}))


@pytest.mark.parametrize(("name", "row", "wants", "items"), CASES, ids=[f"{i}-{c[0]}-{c[2]}" for i, c in enumerate(CASES)])
def test_a_row_of_every_layout(file, name, row, wants, items):
    assert recognise([row]).name == name
    found = read(file(row), wants)
    assert [bare(item) for item in found.items] == items
    assert found.layouts == [name]


def flat(node, parent=None, count=None):
    """A tree as the rows of a flat file, replies before their prompts now and then."""
    count = count if count is not None else iter(range(99))
    name = str(next(count))
    rows = [row for reply in node.get("replies", ()) for row in flat(reply, name, count)]
    own = {key: value for key, value in node.items() if key != "replies"}
    return [*rows, {**own, "message_id": name, "message_tree_id": "t", **({"parent_id": parent} if parent else {})}]


@pytest.mark.parametrize("wants", ["rankings", "demonstrations", "prompts"])
def test_flat_files_of_open_assistant_are_their_trees(file, wants):
    rows = flat(TREE["prompt"])
    assert len(rows) == 6 and recognise(rows).name == "open_assistant_messages"
    found, whole = read(file(*rows), wants), read(file(TREE, name="tree.jsonl"), wants)
    key = lambda item: str(bare(item))  # noqa: E731
    assert sorted(map(key, found.items)) == sorted(map(key, whole.items)) and found.tally == whole.tally
    with pytest.raises(UserError, match=r"its parent_id '\d' is no message of the file"):
        read(file(*rows[:-1]), wants)
    with pytest.raises(UserError, match="belong together and cannot be streamed"):
        stream(file(*rows), wants)


def test_every_layout_has_a_case_and_a_name_to_force_it(file):
    names = [layout.name for layout in layouts()]
    assert names[-1] == "trl" and {name for name, *_ in CASES} == set(names) - {"open_assistant_messages"}
    with pytest.raises(UserError, match="did you mean alpaca"):
        read(file({"text": "x"}), "demonstrations", dataset_format="alpacca")


def test_a_forced_layout_is_taken_and_its_columns_are_asked_for(file):
    assert read(file(HH), "rankings", dataset_format="trl").items[0].prompt.text == "\n\nHuman: Hi\n\nAssistant:"
    with pytest.raises(UserError, match="alpaca needs the column instruction; there are: text"):
        read(file({"text": "x"}), "demonstrations", dataset_format="alpaca")
    for name in [layout.name for layout in layouts()]:
        with pytest.raises(UserError, match=r"line 1"):
            read(file({"x": 1}), "rankings", dataset_format=name)


@pytest.mark.parametrize(
    ("row", "wants", "message"),
    [
        ({"conversations": [HUMAN, {"from": "robot", "value": "x"}]}, "demonstrations", "turn 2 has the unknown role 'robot'"),
        ({"conversations": [HUMAN, {"from": "function_call", "value": "x"}]}, "demonstrations", "turn 2 is a function_call"),
        ({"conversations": [HUMAN, {"from": "gpt"}]}, "demonstrations", "turn 2 must be an object with from and value"),
        ({"conversations": [HUMAN, GPT | {"value": 3}]}, "demonstrations", "content must be a string, not the number 3"),
        ({"conversations": [HUMAN], "label": True}, "labels", "must end with the assistant turn that the label speaks of"),
        ({"messages": [USER], "rejected_response": "No"}, "rankings", "has rejected_response but no chosen"),
        ({"messages": [USER, BOT | {"weight": 2}]}, "demonstrations", "weight: must be 0 or 1, not 2"),
        ({"instruction": "Hi", "output": "x", "history": [["one"]]}, "demonstrations", "history, pair 1"),
        ({"instruction": "Hi", "chosen": "x", "rejected": "x"}, "rankings", "chosen and rejected are equal"),
        ({"info": POST, "summaries": [{"text": "a"}], "choice": 0}, "rankings", "summaries must be a list of two"),
        ({"info": {}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 0}, "rankings", "neither a post nor an article"),
        ({"prompt": {"role": "robot", "text": "x"}}, "prompts", "role prompter or assistant, not 'robot'"),
        ({"question_id": 1, "turns": []}, "prompts", "turns: must be a list of strings"),
        ({"prompt": "p", "completion": "c", "label": None, "score": "much"}, "labels", "score: must be true, false or a"),
        ({"prompt": "p", "completion": "c", "label": [1]}, "labels", "label: must be true, false, a finite number or the name"),
        ({"prompt": "p", "completions": ["a"], "labels": [1, 0]}, "steps", "has 1 completions but 2 labels"),
        ({"prompt": "p", "completions": ["a"], "labels": [2]}, "steps", "labels, step 1: must be true, false or a number"),
        ({"prompt": "p", "completions": ["a", " "], "labels": [1, 1]}, "steps", "step 2 is empty"),
        ({"prompt": "p", "answers": "a"}, "rankings", "answers: must be a list of answers"),
        ({"prompt": "p", "completions": ["a", "b"], "scores": [1]}, "rankings", "one number for each of the 2 answers"),
        ({"prompt": "p", "answers": ["a", "a"]}, "rankings", "no rankings are left of 1 rows .*equal to a better one"),
        ({"prompt": "p", "completions": ["a", "b"], "scores": [1, 1]}, "rankings", "no rankings are left .*as good as another"),
        ({"prompt": "p", "completion": "c", "label": False}, "demonstrations", "no demonstrations are left .*labelled false"),
        ({"text": "x", "label": 1}, "rankings", r"there are: text, label \(classification, which serves .*sft"),
        ({"prompt": "p", "completions": ["a"], "labels": [1]}, "demonstrations", r"\(stepwise supervision, "),
    ],
)  # fmt: skip
def test_bad_rows_of_every_layout(file, row, wants, message):
    with pytest.raises(UserError) as caught:
        read(file(row), wants)
    assert re.search(message, str(caught.value)) and "\n" not in str(caught.value)
    assert "data.jsonl" in str(caught.value)


def test_what_is_converted_and_left_out_is_told(file):
    found = read(file(FEEDBACK), "rankings")
    assert found.lines()[1:] == ["1 answers left out of rankings: as good as another", "1 answers left out: without a score"]
    tree = read(file(TREE), "rankings")
    assert tree.tally == {"messages left out: deleted": 1}
    assert read(file({"prompt": "p", "completion": "c"}), "demonstrations").lines() == []


def test_classes_that_are_names_get_numbers_that_stay(file):
    rows = [{"text": "a", "label": "late"}, {"text": "b", "label": "broken"}, {"text": "c", "label": "late"}]
    found = read(file(*rows), "labels")
    assert found.classes == ("broken", "late") and [item.value for item in found.items] == [1.0, 0.0, 1.0]
    (other,) = read(file(rows[0], name="eval.jsonl"), "labels", classes=found.classes).items
    assert other.value == 1.0
    with pytest.raises(UserError, match=r"not 'lost'; the classes are broken, late"):
        read(file({"text": "x", "label": "lost"}), "labels", classes=found.classes)


def test_scores_make_a_margin_where_asked(file):
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 8, "score_rejected": 5.5},
        {"prompt": "p", "completions": ["a", "b"], "scores": [1, 3]},
        {"prompt": "p", "chosen": "a", "rejected": "b", "margin": 1},
    ]
    assert [item.margin for item in read(file(*rows), "rankings", score_margin=True).items] == [2.5, 2.0, 1.0]
    assert [item.margin for item in read(file(*rows), "rankings").items] == [0.0, 0.0, 1.0]


def test_refused_rows_can_be_left_out_and_are_told(file):
    found = read(file({"text": "a"}, {"text": 3}, {"text": "b"}), "demonstrations", skip_refused=True)
    assert len(found.items) == 2 and found.rows == 3 and "line 2, text must be a string" in found.refused[0]
    with pytest.raises(UserError, match=r"no demonstrations are left of 1 rows .1 cannot be read, the first"):
        read(file({"text": 3}), "demonstrations", skip_refused=True)


def test_columns_of_another_name(file):
    row = {"question": "Q", "solution": "S", "answer": "4"}
    (found,) = read(file(row), "demonstrations", columns={"prompt": "question", "completion": "solution"}).items
    assert found == Demonstration(Prompt(text="Q", meta={"answer": "4"}), "S")


INFO = {
    "pairs": {
        "file_name": "pairs.json",
        "ranking": True,
        "columns": {"prompt": "q", "query": "more", "chosen": "good", "rejected": "bad"},
    },
    "chat": {
        "file_name": "chat.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "turns", "system": "rules", "kto_tag": "ok"},
        "tags": {"role_tag": "who", "content_tag": "what", "user_tag": "me", "assistant_tag": "it"},
        "num_samples": 1,
    },
    "open": {"file_name": "open.jsonl", "formatting": "openai", "columns": {"messages": "messages"}},
    "far": {"hf_hub_url": "someone/something"},
}


def test_dataset_info(tmp_path, file):
    (tmp_path / "dataset_info.json").write_text(json.dumps(INFO))
    (tmp_path / "pairs.json").write_text(json.dumps([{"q": "Hi", "more": "", "good": "Hello", "bad": "No"}]))
    turns = [{"who": "me", "what": "Hi"}, {"who": "it", "what": "Hello"}]
    file({"turns": turns, "rules": "Be kind", "ok": True}, {"turns": turns, "ok": False}, name="chat.jsonl")
    file({"messages": [USER, BOT]}, name="open.jsonl")

    def take(name, wants):
        return read({"path": str(tmp_path), "dataset": name}, wants).items

    assert take("pairs", "rankings") == [pair()]
    assert take("chat", "labels") == [Label(Prompt(messages=(SYSTEM, ASK)), (SAID,), 1.0)]
    assert take("open", "demonstrations") == [demo()]
    for name, message in (
        (None, "name one with dataset; there are: pairs, chat, open, far"),
        ("none", "no dataset 'none'; there are"),
        ("far", r"lies on a hub \(hf_hub_url\)"),
    ):
        with pytest.raises(UserError, match=message):
            take(name, "rankings")
    file({"rules": 1}, name="chat.jsonl")
    with pytest.raises(UserError, match=r"expects a list of turns in the column turns; there are: rules"):
        take("chat", "labels")
    (tmp_path / "dataset_info.json").write_text(json.dumps({"a": {"file_name": "open.jsonl", "formatting": "odd"}}))
    with pytest.raises(UserError, match=r"formatting: must be alpaca, sharegpt or openai, not 'odd'"):
        take("a", "rankings")
