"""`plaudit data`: what it says of files, what it writes, and that it leaves with 0 or 2."""

from __future__ import annotations

import json

import pytest

from plaudit.cli import main as cli
from plaudit.data.convert import TARGETS
from plaudit.data.readers import read, read_jsonl, write_rows

USER, BOT = {"role": "user", "content": "Where is my order?"}, {"role": "assistant", "content": "It is on the way."}
PAIRS = [{"prompt": f"Where is order {i}?", "chosen": f"Order {i} is on its way to you.", "rejected": "No."} for i in range(8)]
TURNS = [USER, BOT, {"role": "user", "content": "When?"}]


def run(capsys, *words):
    """Run the command line in this process: (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as end:
        cli.main(("data", *map(str, words)))
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


def answer(capsys, *words):
    """The JSON that the command prints."""
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    write_rows(path, PAIRS)
    return path


def test_inspect_says_what_a_file_is(capsys, pairs):
    found = answer(capsys, "inspect", pairs)
    assert found["rows"] == found["rankings"] == 8 and (found["layout"], found["type"]) == ("trl", "preference")
    assert found["columns"]["chosen"] == {"rows": 8, "type": "text"}
    assert {"reward", "dpo", "sft", "kto", "ppo"} <= set(found["serves"]) and found["serves"].index("dpo") < found[
        "serves"
    ].index("sft")
    assert found["lengths"]["answer"]["unit"] == "characters" and found["lengths"]["answer"]["min"] == 3
    assert found["languages"] == {"en": 8} and found["examples"][0] == PAIRS[0]
    code, out, _ = run(capsys, "inspect", pairs)
    assert code == 0 and "type: preference" in out and "8 rankings, 8 different prompts" in out


def test_inspect_counts_rows_that_cannot_be_read_and_shows_text_safely(capsys, tmp_path):
    path = tmp_path / "odd.jsonl"
    write_rows(path, [{"text": "\x1b[31mred [bold] \u202e"}, {"text": 3}])
    code, out, _ = run(capsys, "inspect", path)
    assert code == 0 and "1 rows cannot be read; the first" in out and "[31mred [bold]" in out
    assert "\x1b" not in out and "\u202e" not in out
    write_rows(path, [{"question": "a", "solution": "b"}])
    found = answer(capsys, "inspect", path)
    assert found["type"] is None and found["columns"]["solution"]["rows"] == 1
    assert "dataset_columns.prompt=question" in run(capsys, "inspect", path)[1]
    named = answer(capsys, "inspect", path, "dataset_columns.prompt=question", "dataset_columns.completion=solution")
    assert named["type"] == "prompt-completion"


def test_inspect_counts_tokens_of_a_model(capsys, pairs):
    lengths = answer(capsys, "inspect", pairs, "--model", "tiny")["lengths"]
    assert lengths["answer"]["unit"] == "tokens" and 1 <= lengths["answer"]["min"] < 8


ROUNDS = {
    "demonstrations": [
        {"prompt": [{"role": "system", "content": "Be kind."}, *TURNS], "completion": [BOT], "id": 1},
        {"prompt": [USER], "completion": [BOT], "id": 2},
    ],
    "rankings": [{"prompt": TURNS, "chosen": [BOT], "rejected": [{"role": "assistant", "content": "No."}], "id": 1}],
    "labels": [
        {"prompt": "p", "completion": "c", "label": True},
        {"prompt": "p", "completion": "d", "label": 0.5, "weight": 2.0},
    ],
    "prompts": [{"prompt": "p", "id": 3}, {"prompt": [USER]}],
    "steps": [{"prompt": "p", "completions": ["one", "two"], "labels": [True, 0.5], "id": 1}],
}


@pytest.mark.parametrize("to", [name for name in TARGETS if not name.startswith("judge")])  # these read as something else
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".json"])
def test_convert_there_and_back(capsys, tmp_path, to, suffix):
    """What is read back is what was read first, in every layout and format."""
    wants = TARGETS[to][0]
    first, there = tmp_path / "first.jsonl", tmp_path / f"there{suffix}"
    write_rows(first, ROUNDS[wants])
    done = answer(capsys, "convert", first, "--to", to, "--out", there)
    assert done["rows"] == done["rows_read"] == len(ROUNDS[wants])
    before, after = read(first, wants).items, read(there, wants).items
    if to in ("messages", "sharegpt"):  # the dialogue is whole there: what was the prompt's end is not told
        assert [(*i.prompt.messages, *i.answer) for i in before] == [(*i.prompt.messages, *i.answer) for i in after]
    else:
        strip = json.loads if suffix == ".csv" else lambda text: text  # a CSV has text where there was a number
        assert [item.__class__ for item in after] == [item.__class__ for item in before]
        assert strip(json.dumps([vars_of(item) for item in after])) == strip(json.dumps([vars_of(item) for item in before]))


def vars_of(item):
    """An item's content without the other columns, as plain JSON."""
    from plaudit.schema import to_json

    plain = to_json(item)
    plain.get("prompt", plain).pop("meta", None)
    plain.pop("meta", None)
    return plain


def test_convert_makes_pairs_of_ratings_and_of_longer_rankings(capsys, tmp_path):
    path, out = tmp_path / "rated.jsonl", tmp_path / "pairs.jsonl"
    write_rows(path, [{"prompt": "p", "completion": c, "rating": r} for c, r in (("a", 1), ("b", 4), ("c", 4), ("d", 2))])
    assert answer(capsys, "convert", path, "--to", "preference", "--out", out)["rows"] == 5
    assert [(row["chosen"], row["rejected"], row["margin"]) for row in read_jsonl(out)] == [
        ("b", "a", 3), ("c", "a", 3), ("d", "a", 1), ("b", "d", 2), ("c", "d", 2)
    ]  # fmt: skip
    write_rows(path, [{"prompt": "p", "answers": ["a", "b", "c"]}])
    assert answer(capsys, "convert", path, "--to", "preference", "--out", out)["rows"] == 3


def test_split_keeps_prompts_together(capsys, tmp_path, pairs):
    write_rows(pairs, [*PAIRS, *({**row, "chosen": "Soon.", "id": 1} for row in PAIRS)])
    out = tmp_path / "parts"
    found = answer(capsys, "split", pairs, "--fractions", ".5,.25,.25", "--seed", "1", "--out", out)
    prompts = {name: [row["prompt"] for row in read_jsonl(out / f"{name}.jsonl")] for name in ("train", "validation", "test")}
    assert sum(map(len, prompts.values())) == 16 and {name: len(rows) for name, rows in prompts.items()} == {
        name: part["rows"] for name, part in found.items() if name != "notes"
    }
    assert not set(prompts["train"]) & set(prompts["test"]) and not set(prompts["train"]) & set(prompts["validation"])
    before = (out / "train.jsonl").read_bytes()
    answer(capsys, "split", pairs, "--fractions", ".5,.25,.25", "--seed", "1", "--out", out)
    assert (out / "train.jsonl").read_bytes() == before


def test_check_finds_what_is_wrong(capsys, tmp_path, pairs):
    other = tmp_path / "test.jsonl"
    long = "My parcel was sent last week and it has not come to my house since then, what can I do about it"
    write_rows(other, [
        PAIRS[0],
        {**PAIRS[0], "chosen": "No.", "rejected": PAIRS[0]["chosen"]},
        {"prompt": long, "chosen": "We look <|im_end|> into it.", "rejected": "x"},
        {"prompt": long + " now", "chosen": "We look <|im_end|> into it.", "rejected": "x"},
        {"prompt": "x", "chosen": "same", "rejected": "same"},
    ])  # fmt: skip
    found = answer(capsys, "check", pairs, other, "--model", "tiny", "--rows", "20")
    assert found["items"] == {str(pairs): 8, str(other): 4} and found["refused"][str(other)]["rows"] == 1
    assert (found["duplicates"], found["leaked_prompts"], found["contradictions"]) == (1, 1, 3)
    assert found["similar"] == 1 and found["control_tokens"] == 2 and not found["clean"]
    apart = found["perplexity"][str(pairs)]
    assert apart["answers"] == 8 and apart["perplexity"][1] <= apart["perplexity"][0] <= apart["perplexity"][2]
    code, out, _ = run(capsys, "check", pairs, other)
    assert code == 0 and "1 prompts in more than one split" in out and "1 rows of" in out and "perplexity" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("inspect", "none.jsonl"), "none.jsonl: there is no such file"),
        (("inspect", "bad.jsonl"), "bad.jsonl, line 1: broken JSON"),
        (("inspect", "pairs.jsonl", "dataset_formt=trl"), "dataset_format"),
        (("convert", "pairs.jsonl", "--to", "alpacca", "--out", "x.jsonl"), "--to alpacca: is not a layout; there are sft"),
        (("convert", "pairs.jsonl", "--to", "stepwise", "--out", "x.jsonl"), "A process reward model needs the columns"),
        (("convert", "pairs.jsonl", "--to", "kto", "--out", "x.xls"), "x.xls cannot be written: its name must end with"),
        (("convert", "text.jsonl", "--to", "messages", "--out", "x.jsonl"), "is plain text without turns"),
        (("split", "pairs.jsonl", "--fractions", "a,b", "--out", "y"), "--fractions a,b: must be three numbers"),
        (("split", "pairs.jsonl", "--fractions", "1,1,1", "--out", "y"), "add up to 1"),
        (("check", "dataset_format=trl"), "needs a file to look at"),
        (("check", "pairs.jsonl", "pairs.jsonl"), "is given twice"),
        (("check", "odd.jsonl"), "there are: question, solution"),
    ],
)
def test_mistakes_are_one_sentence(capsys, tmp_path, monkeypatch, pairs, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text("{")
    write_rows(tmp_path / "text.jsonl", [{"text": "Once."}])
    write_rows(tmp_path / "odd.jsonl", [{"question": "a", "solution": "b"}])
    code, out, err = run(capsys, *words)
    assert code == 2 and out == "" and said in err and err.count("\n") == 1, err
    assert not (tmp_path / "x.jsonl").exists()
