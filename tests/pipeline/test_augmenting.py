"""Rows written anew: what becomes a row, what is left out and counted, and that a new row never leaves its source's side."""

from __future__ import annotations

import json

import pytest

from openai_server import serving
from plaudit.cli import main as cli
from plaudit.data.augment import AugmentConfig, cleaned, read_rows, shared_words
from plaudit.data.check import check
from plaudit.data.inspect import natural
from plaudit.data.readers import read, read_jsonl, write_rows
from plaudit.data.split import half, home_key, split_by_prompt
from plaudit.data.streaming import stream
from plaudit.engines.http import HttpEngine
from plaudit.pipeline import augmenting
from plaudit.schema import Sampling, UserError

MARKER = "\n\n"
PROMPTS = {
    "Where is order 1182 today?": ("Please tell me where order 1182 has gone.", "stop"),
    "How do I get my money back?": ("how do I get  my money back?", "stop"),
    "Can I change the address now?": ("  ", "stop"),
    "The parcel came open, what now?": ("My package was already op", "length"),
    "Why did bill 77 cost 20 more?": ("Why was bill 77 so much more?", "stop"),
    "Could you say where order 1182 is right now?": ("where is order 1182 today?", "stop"),
    "Which size fits me best of all?": ('"What size would suit me?"', "stop"),
}
"""Each prompt, what the model makes of it, and how that ended."""
REASONS = {
    "nearly its source": 1,
    "empty": 1,
    "cut off at max_new_tokens": 1,
    "a number lost or invented": 1,
    "the prompt of another row": 1,
}


def say(request):
    """The table above; what is in no table comes back with its words turned round."""
    text = request.split(MARKER, 1)[1]
    return PROMPTS.get(text, (" ".join(reversed(text.split())), "stop"))


def file_of(path, rows):
    write_rows(path, rows)
    return str(path)


@pytest.fixture
def pairs(tmp_path):
    rows = [{"prompt": p, "chosen": f"Yes {i}.", "rejected": "No.", "id": i} for i, p in enumerate(PROMPTS)]
    return file_of(tmp_path / "pairs.jsonl", rows)


def rewritten(given, out, method="paraphrase", says=say, told=lambda done, total: None, read_as="prompt", **options):
    """(what came of it, the new rows, what the server was asked)."""
    with serving(says=says) as served:
        rows = read_rows(given, read_as)
        result = augmenting.augment(rows, out, HttpEngine(served.url), method, AugmentConfig(**options), Sampling(seed=3), told)
    return result, read_jsonl(out), [body for _, body in served.asked]


def test_what_becomes_a_row_and_why_the_rest_does_not(pairs, tmp_path):
    result, rows, asked = rewritten(pairs, tmp_path / "new.jsonl")
    assert result["left_out"] == REASONS and (result["rows"], result["rows_read"]) == (2, 7)
    by = rows[0]["augmented"]["by"]
    assert by.startswith("toy@127.0.0.1")
    assert rows == [
        {
            "prompt": "Please tell me where order 1182 has gone.",
            "chosen": "Yes 0.",
            "rejected": "No.",
            "id": 0,
            "augmented": {"method": "paraphrase", "row": 1, "by": by},
            "split_key": "where is order 1182 today?",
        },
        {
            "prompt": "What size would suit me?",
            "chosen": "Yes 6.",
            "rejected": "No.",
            "id": 6,
            "augmented": {"method": "paraphrase", "row": 7, "by": by},
            "split_key": "which size fits me best of all?",
        },
    ]
    assert len(asked) == 7 and asked[0]["messages"][0]["content"].startswith("Rewrite the following text in other words.")
    assert not (tmp_path / "new.jsonl.part").exists()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Ce train va de la gare à la ville et il part quand le soir est là", "another language"),
        ("Birds sing early and the river runs on past old stones", "too few words of its source"),
        ("When does that train leave for the city in the evening", None),
    ],
)
def test_a_text_that_says_something_else_is_left_out(said, reason, tmp_path):
    rows = [{"prompt": "When does the train to the city leave in the evening?", "completion": "At eight."}] * 2
    rows[1] = {**rows[1], "prompt": "What is it?"}
    given = file_of(tmp_path / "rows.jsonl", rows)

    def says(request):
        return (said if "train" in request else "what, pray, is it then"), "stop"

    result, _, _ = rewritten(given, tmp_path / "new.jsonl", says=says)
    assert result["left_out"] == ({reason: 1} if reason else {}) and result["rows"] == (1 if reason else 2)
    loose = {"keep_language": False, "min_shared_words": 0}
    assert rewritten(given, tmp_path / "loose.jsonl", says=says, **loose)[0]["rows"] == 2


def test_shared_words_by_hand():
    assert shared_words("Ask me: when?", "when do you ask") == 2 / 3 and shared_words("东西好", "好东西吗") == 1
    assert shared_words("", "a") == 0


def test_a_second_text_must_differ_from_the_first(pairs, tmp_path):
    result, rows, asked = rewritten(pairs, tmp_path / "new.jsonl", num_augmentations=2, keep_numbers=False)
    assert result["left_out"]["nearly an earlier one of the same row"] == 3 and len(rows) == 3
    assert len({body["seed"] for body in asked}) == 14  # each text is drawn by itself
    assert "Why was bill 77 so much more?" in [row["prompt"] for row in rows]


def test_back_translation_goes_there_and_back(tmp_path):
    said = {"a b c": "un deux", "un deux": "a c then b", "d e f": "  ", "g h i": "trois", "trois": "g"}

    def says(request):
        text = request.split(MARKER, 1)[1]
        return said[text], "length" if text == "trois" else "stop"

    given = file_of(tmp_path / "texts.jsonl", [{"text": t, "label": "late"} for t in ("a b c", "d e f", "g h i")])
    result, _, asked = rewritten(given, tmp_path / "new.csv", "back_translation", says, pivot_languages=["Danish"])
    assert result["left_out"] == {"empty": 1, "cut off at max_new_tokens": 1}
    assert rows_of(tmp_path / "new.csv")[0]["label"] == "late"  # the name of the class, not its number
    assert json.loads(rows_of(tmp_path / "new.csv")[0]["augmented"])["language"] == "Danish"
    requests = [body["messages"][0]["content"] for body in asked]
    assert len(requests) == 5 and sum("into Danish" in text for text in requests) == 3
    assert sum("into English" in text for text in requests) == 2


def rows_of(path):
    from plaudit.data.files import rows

    return [row for _, row in rows(path)]


def test_the_second_text_goes_through_the_second_language(tmp_path):
    given = file_of(tmp_path / "texts.jsonl", [{"text": "one two three four"}])
    places = iter(["x", "four one three two", "y", "two four one three"])
    _, rows, _ = rewritten(
        given, tmp_path / "new.jsonl", "back_translation", lambda _: (next(places), "stop"), num_augmentations=2
    )
    assert [row["augmented"]["language"] for row in rows] == ["French", "German"]


USER, BOT = {"role": "user", "content": "Which one is it then?"}, {"role": "assistant", "content": "The blue one, I think."}
KINDS = [
    ({"prompt": [{"role": "system", "content": "s"}, USER, BOT, USER], "completion": [BOT]}, "prompt", 3),
    ({"messages": [USER, BOT, {"role": "user", "content": "Sure about that?"}, BOT]}, "messages", 0),
    ({"prompt": "Which one is it then?", "completions": ["Blue.", "Sky."], "labels": [True, False]}, "prompt", None),
    ({"prompt": "Which one is it then?", "completion": "Blue.", "label": False}, "prompt", None),
    ({"text": "Which one is it then?"}, "text", None),
]


@pytest.mark.parametrize(("row", "column", "message"), KINDS)
def test_the_part_that_is_rewritten(tmp_path, row, column, message):
    """The last user turn before the answer; everything else stays, and the new row reads as what the old one was."""
    _, (new,), _ = rewritten(file_of(tmp_path / "rows.jsonl", [{**row, "id": 4}]), tmp_path / "new.jsonl")
    said = new[column] if message is None else new[column][message]["content"]
    assert said == "then? it is one Which"
    expected = json.loads(json.dumps({**row, "id": 4}))
    if message is None:
        expected[column] = said
    else:
        expected[column][message]["content"] = said
    assert {k: v for k, v in new.items() if k not in ("augmented", "split_key")} == expected
    assert natural(str(tmp_path / "new.jsonl")) == natural(str(tmp_path / "rows.jsonl"))


def test_completions_are_rewritten_where_nobody_judged_them(pairs, tmp_path):
    given = file_of(tmp_path / "rows.jsonl", [{"prompt": [USER], "completion": [BOT]}])
    _, (new,), _ = rewritten(given, tmp_path / "new.jsonl", read_as="completion")
    assert new["prompt"] == [USER] and new["completion"] == [{"role": "assistant", "content": "think. I one, blue The"}]
    with pytest.raises(UserError, match=r"pairs.jsonl, line 1: rewrite=completion is for .* this one is preference"):
        read_rows(pairs, "completion")


def test_an_implicit_prompt_becomes_a_column(tmp_path):
    both = {"chosen": [USER, BOT], "rejected": [USER, {"role": "assistant", "content": "No idea."}]}
    _, (new,), _ = rewritten(file_of(tmp_path / "rows.jsonl", [both]), tmp_path / "new.jsonl")
    assert new["prompt"] == [{"role": "user", "content": "then? it is one Which"}] and new["chosen"] == [BOT]


def test_a_text_cannot_name_a_place_of_the_request():
    from plaudit.data.augment import filled

    assert filled("To {language}: {text}", "say {language} and {text}", "Danish") == "To Danish: say {language} and {text}"
    with pytest.raises(ValueError, match=r"translate_prompt must hold \{language\}"):
        AugmentConfig(translate_prompt="Translate {text}")


def test_quotation_marks_of_the_model_are_taken_off():
    assert cleaned(' "He left." \n', "She left.") == "He left."
    assert cleaned('"He left."', '"She left."') == '"He left."' and cleaned('"a" or "b"?', "x") == '"a" or "b"?'


# -- the split --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def both(tmp_path):
    """Forty rows, and forty more with other prompts."""
    rows = [{"prompt": f"Tell me now where parcel {i} is", "completion": f"Here {i}."} for i in range(40)]
    given = file_of(tmp_path / "rows.jsonl", rows)
    rewritten(given, tmp_path / "new.jsonl")
    return [given, str(tmp_path / "new.jsonl")]


def test_a_new_row_is_on_its_sources_side_whatever_the_seed(both):
    items = read(both, "demonstrations").items
    sources = dict(zip([home_key(item) for item in items[:40]], items[:40], strict=True))
    assert len(items) == 80 and len(sources) == 40
    for seed in range(5):
        parts = split_by_prompt(items, fractions=(0.5, 0.3, 0.2), seed=seed)
        home = {item.prompt.id: name for name, part in parts.named().items() for item in part}
        assert len(set(home.values())) == 3
        for new in items[40:]:
            assert home[new.prompt.id] == home[sources[home_key(new)].prompt.id]
    assert {place % 40 for place in half(items, "a")}.isdisjoint(place % 40 for place in half(items, "b"))
    assert check(parts.named()).leaked_prompts == 0


def test_streamed_rows_have_the_same_home(both, tmp_path):
    streamed = stream(both, "demonstrations", seed=2, cache=tmp_path / "index")
    assert streamed.points[:40].tolist() == streamed.points[40:].tolist()


def test_a_source_on_the_other_side_is_leakage(both):
    items = read(both, "demonstrations").items
    report = check({"train": items[:39], "test": items[79:]})
    assert report.leaked_prompts == 0
    assert check({"train": items[:40], "test": items[79:]}).leaked_prompts == 1


def test_two_sources_never_get_one_prompt(tmp_path):
    """They may lie on two sides, where the one prompt would be on both."""
    rows = [{"prompt": p, "completion": "It is."} for p in ("Is it blue or green?", "Is it red or yellow?")]
    result, new, _ = rewritten(
        file_of(tmp_path / "rows.jsonl", rows), tmp_path / "new.jsonl", says=lambda _: ("What colour has it?", "stop")
    )
    assert len(new) == 1 and result["left_out"] == {"the prompt of another row": 1}


def turn(request):
    """The words, the last one first."""
    words = request.split(MARKER, 1)[1].split()
    return " ".join([words[-1], *words[:-1]]), "stop"


# -- killed, and the command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["paraphrase", "back_translation"])
def test_stopped_half_way_it_goes_on_and_ends_the_same(tmp_path, monkeypatch, method):
    monkeypatch.setattr(augmenting, "CHUNK", 4)
    rows = [{"prompt": f"Tell me now where parcel {i % 9} is", "completion": f"Here {i}."} for i in range(10)]
    given, out = file_of(tmp_path / "rows.jsonl", rows), tmp_path / "new.jsonl"
    whole = rewritten(given, tmp_path / "whole.jsonl", method, turn, num_augmentations=2)

    def stop(done, total):
        if done > 0.8 * total:
            raise KeyboardInterrupt

    with serving(says=turn) as served:
        engine, sampling = HttpEngine(served.url, "toy"), Sampling(seed=3)
        engine.version = "toy"

        def go(told, **options):
            config = AugmentConfig(num_augmentations=2, **options)
            return augmenting.augment(read_rows(given, "prompt"), out, engine, method, config, sampling, told)

        with pytest.raises(KeyboardInterrupt):
            go(stop)
        part = tmp_path / "new.jsonl.part"
        assert part.read_text().count("\n") == 3 and not out.exists()  # the head, and two chunks of four rows
        with part.open("a", encoding="utf-8") as file:
            file.write('[{"place": 8, "text": "half é'[:-1])  # a process that was killed while it wrote
        before = len(served.asked)
        with pytest.raises(UserError, match=r"begun with something else: keep_numbers was true and is now false"):
            go(stop, keep_numbers=False)
        seen = []
        result = go(lambda done, total: seen.append((done, total)))
    passes = 2 if method == "back_translation" else 1
    assert len(served.asked) - before == 2 * 2 * passes  # the two rows that were missing, twice
    assert seen[-1] == (20 * passes, 20 * passes) and min(done for done, _ in seen) > 16 * passes - 1

    def plain(made):
        return [{**row, "augmented": {**row["augmented"], "by": ""}} for row in made]

    assert plain(read_jsonl(out)) == plain(whole[1]) and result["left_out"] == whole[0]["left_out"]


def test_the_command(capsys, pairs, tmp_path):
    out = tmp_path / "new" / "rows.jsonl"

    def run(*words):
        with pytest.raises(SystemExit) as end:
            cli.main(("data", "augment", pairs, "--out", str(out), *words))
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    assert "and paraphrase needs it" in run("--method", "paraphrase")[2]
    assert "which swap_sides does not need" in run("--method", "swap_sides", "--model", "tiny")[2]
    assert "the loss of a pair is the same in either order" in run("--method", "swap_sides")[2]
    with serving(says=say) as served:
        words = ("--method", "paraphrase", "--model", f"{served.url}#toy")
        assert "did you mean num_augmentations" in run(*words, "num_augmentation=2")[2]
        code, told, err = run(*words, "--json", "max_new_tokens=50")
        assert code == 0, err
        assert json.loads(told)["left_out"] == REASONS and served.asked[0][1]["max_tokens"] == 50
        code, _, err = run(*words)
        assert code == 2 and "is there already" in err
        out.unlink()
        served.says = lambda _: ("", "stop")
        code, _, err = run(*words)
        assert code == 2 and "no text became a new row: 7 empty" in err
