"""Two answers side by side: rows for a judge, and the same rows in the other order."""

from __future__ import annotations

import json

import pytest

from plaudit.cli import main as cli
from plaudit.data.convert import rows_as
from plaudit.data.readers import read, read_jsonl, write_rows
from plaudit.data.sides import swap
from plaudit.data.split import split_by_prompt

SIDES = ("response_a", "response_b")
ROW = {
    "prompt": "Which is better?\nA: It left today.\nB: No idea.",
    "completion": "A",
    "response_a": "It left today.",
    "response_b": "No idea.",
    "id": 7,
}


def test_a_row_in_the_other_order_by_hand():
    assert swap(ROW, SIDES, None) == {
        "prompt": "Which is better?\nA: No idea.\nB: It left today.",
        "completion": "B",
        "response_a": "No idea.",
        "response_b": "It left today.",
        "id": 7,
    }
    assert swap(swap(ROW, SIDES, None), SIDES, None) == ROW


@pytest.mark.parametrize(
    ("label", "turned"),
    [("A", "B"), ("b", "a"), ("model_a", "model_b"), ("response_b", "response_a"), ("tie", "tie"), ("C", "C")],
)
def test_labels_are_turned(label, turned):
    new = swap({"winner": label, "response_a": "x", "response_b": "y"}, SIDES, None)
    assert new["winner"] == turned


def test_labels_and_columns_of_ones_own():
    row = {"label": "left", "one": "x", "two": "y"}
    assert swap(row, ("one", "two"), {"left": "right", "right": "left"}) == {"label": "right", "one": "y", "two": "x"}
    assert swap({**row, "label": 1}, ("one", "two"), {"0": "1", "1": "0"})["label"] == 0  # a number stays one
    assert swap({**row, "label": 1}, ("one", "two"), None) == "label names no side"


def test_an_answer_within_the_other_is_told_apart():
    row = {**ROW, "response_a": "No.", "response_b": "No. It is late.", "prompt": "A: No.\nB: No. It is late."}
    assert swap(row, SIDES, None)["prompt"] == "A: No. It is late.\nB: No."


def test_messages_are_swapped_too():
    turns = [{"role": "system", "content": "Judge."}, {"role": "user", "content": ROW["prompt"]}]
    new = swap({**ROW, "prompt": turns}, SIDES, None)["prompt"]
    assert new == [turns[0], {"role": "user", "content": "Which is better?\nA: No idea.\nB: It left today."}]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"response_b": "It left today. "}, "both sides the same"),
        ({"completion": "A is better, since it is kinder."}, "completion names no side"),
        ({"completion": True}, "completion names no side"),
        ({"prompt": "It left today. It left today. No idea."}, "a side stands in prompt more than once"),
        ({"prompt": "No idea. It left today. No idea."}, "a side stands in prompt more than once"),
        ({"prompt": "Only this: No idea."}, "a side stands in prompt more than once"),
    ],
)
def test_what_cannot_be_swapped_without_doubt_is_not(change, reason):
    assert swap({**ROW, **change}, SIDES, None).startswith(reason)


PAIRS = [{"prompt": f"Where is {w}?", "chosen": f"Here is {w}.", "rejected": "No.", "id": w} for w in "abcdefgh"]
PAIRS += [{"prompt": f"Where is {w}?", "chosen": f"{w} left.", "rejected": "Why?", "probability": 0.8} for w in "abcdefgh"]


@pytest.fixture
def pairs(tmp_path):
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    return tmp_path / "pairs.jsonl"


def test_pairs_become_judge_rows_whose_label_is_right(pairs):
    rows = list(rows_as("judge", read(str(pairs), "rankings").items))
    for pair, row in zip(PAIRS, rows, strict=True):
        assert row[f"response_{row['completion'].lower()}"] == pair["chosen"]
        request = row["prompt"][0]["content"]
        assert f"Request:\n{pair['prompt']}" in request and request.index(row["response_a"]) < request.index(row["response_b"])
        assert row.get("id") == pair.get("id") and row.get("probability") == pair.get("probability")
    assert {row["completion"] for row in rows} == {"A", "B"}
    classes = list(rows_as("judge-classes", read(str(pairs), "rankings").items))
    assert [row["label"] for row in classes] == [row["completion"] for row in rows]


def test_both_orders_by_the_commands_and_all_of_a_request_on_one_side(pairs, tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            cli.main(("data", *map(str, words)))
        out, err = capsys.readouterr()
        assert not end.value.code, err
        return json.loads(out)

    judge, swapped = tmp_path / "judge.jsonl", tmp_path / "swapped.jsonl"
    run("convert", pairs, "--to", "judge-classes", "--out", judge, "--json")
    found = run("augment", judge, "--method", "swap_sides", "--out", swapped, "--json")
    assert (found["rows"], found["left_out"]) == (16, {})
    one, other = read_jsonl(judge), read_jsonl(swapped)
    for a, b in zip(one, other, strict=True):
        assert {a["label"], b["label"]} == {"A", "B"} and a["split_key"] == b["split_key"] and a["text"] != b["text"]
        assert b["augmented"] == {"method": "swap_sides", "row": one.index(a) + 1}
    data = read([str(judge), str(swapped)], "labels")
    assert data.classes == ("A", "B")
    parts = split_by_prompt(data.items, fractions=(0.5, 0.25, 0.25))
    keys = [{item.prompt.meta["split_key"] for item in part} for part in parts]
    assert all(keys) and sum(map(len, keys)) == 8
