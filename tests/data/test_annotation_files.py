"""Files with several annotators: both layouts, what they are taken for, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from plaudit.data.annotations import read_ballots
from plaudit.data.readers import read_jsonl, write_jsonl
from plaudit.judgements.quality import assess_ballots
from plaudit.schema import UserError

PANDALM = Path(__file__).parents[3] / "shared" / "data" / "pandalm_testset" / "pairs.jsonl"


def written(path, rows):
    write_jsonl(path, rows)
    return path


def test_wide_files_hold_a_list_or_an_object(tmp_path):
    listed, rows = read_ballots(
        written(tmp_path / "a.jsonl", [{"id": "x", "annotators": [1, 2, 0]}, {"annotators": [1, None, 2]}])
    )
    assert rows == 2 and [(one.item, one.annotator, one.value) for one in listed] == [
        ("x", "human:annotator-1", "first"),
        ("x", "human:annotator-2", "second"),
        ("x", "human:annotator-3", "tie"),
        ("row 2", "human:annotator-1", "first"),
        ("row 2", "human:annotator-3", "second"),
    ]
    assert all(one.preference for one in listed) and [one.left for one in listed][:3] == [True, False, None]
    named, _ = read_ballots(written(tmp_path / "b.jsonl", [{"id": 1, "annotators": {"ada": "safe", "ben": "unsafe"}}]))
    assert [(one.annotator, one.value, one.level, one.preference) for one in named] == [
        ("human:ada", "safe", "nominal", False),
        ("human:ben", "unsafe", "nominal", False),
    ]


def test_long_files_tell_level_by_level(tmp_path):
    rows = [
        {"annotator": "ada", "item": 1, "label": 4, "question": "stars", "seconds": 3.5},
        {"annotator": "ben", "item": 1, "label": 5, "question": "stars"},
        {"annotator": "ada", "item": 1, "label": True, "question": "good"},
        {"annotator": "gpt", "item": 1, "label": False, "question": "good", "source": "judge"},
        {"annotator": "ada", "item": 1, "label": 0.5, "question": "share"},
        {"annotator": "ada", "item": 1, "label": "b", "question": "better"},
        {"annotator": "eve", "item": 1, "label": "a", "question": "better", "reason": "adjudication"},
        {"annotator": "ada", "item": 2, "label": None, "question": "better"},
    ]
    found, count = read_ballots(written(tmp_path / "long.jsonl", rows))
    assert count == 8 and [(one.question, one.value, one.level, one.preference) for one in found] == [
        ("stars", 4.0, "ordinal", False),
        ("stars", 5.0, "ordinal", False),
        ("good", "up", "nominal", False),
        ("good", "down", "nominal", False),
        ("share", 0.5, "interval", False),
        ("better", "second", "nominal", True),
        ("better", "first", "nominal", True),
    ]
    assert (found[0].seconds, found[3].annotator, found[6].settles) == (3.5, "judge:gpt", True)
    forced, _ = read_ballots(
        written(tmp_path / "forced.csv.jsonl", [{"annotator": "a", "item": 1, "label": i} for i in (1, 2)]), level="preference"
    )
    assert [one.value for one in forced] == ["first", "second"]
    renamed, _ = read_ballots(
        written(tmp_path / "other.jsonl", [{"who": "a", "item": 1, "label": 3}]), columns={"annotator": "who"}
    )
    assert renamed[0].annotator == "human:a"


@pytest.mark.parametrize(
    ("rows", "says", "level"),
    [
        ([{"annotators": "1,2"}], "line 1, annotators: must be a list of answers, or an object", None),
        ([{"annotators": [[1]]}], "an answer is a text or a number, not a list", None),
        (
            [{"annotator": "a", "label": 1}],
            "item is missing, there are: annotator, label. Name it as in dataset_columns.item",
            None,
        ),
        ([{"annotator": None, "item": 1, "label": 1}], "needs an annotator and an item", None),
        ([{"annotator": "a", "item": 1, "label": None}], "no row holds an answer", None),
        ([{"annotator": "a", "item": 1, "label": 1, "source": "cat"}], "source: must be one of human, judge", None),
        ([{"annotator": "a", "item": 1, "label": 1, "seconds": -1}], "seconds: must be a number of seconds", None),
        ([{"annotator": "a", "item": 1, "label": "x"}], "'x' is no number, which answers of level ordinal are", "ordinal"),
        ([{"annotator": "a", "item": 1, "label": "x"}], "'x' does not say which of two answers is better", "preference"),
        ([{"annotator": "a", "item": 1, "label": 1}], "--level odd: is not a level", "odd"),
    ],
)
def test_what_is_no_answer_is_said(tmp_path, rows, says, level):
    with pytest.raises(UserError) as caught:
        read_ballots(written(tmp_path / "bad.jsonl", rows), level=level)
    assert says in str(caught.value)


@pytest.fixture
def pandalm():
    if not PANDALM.exists():
        pytest.skip(f"{PANDALM} is not there")
    return list(read_jsonl(PANDALM))


def test_pandalm_agrees_as_published(pandalm):
    ballots, rows = read_ballots(PANDALM)
    quality = assess_ballots(ballots, resamples=200)
    (question,) = quality.questions
    assert rows == question.items == question.items_judged_twice == 486
    assert question.percent.mean == pytest.approx(0.930, abs=5e-4) and question.unanimity == pytest.approx(0.895, abs=5e-4)
    assert question.band == "suspicious" and not any(one.flags for one in quality.annotators)


def noisy(rows, share, rng):
    """The rows with a fourth annotator, who copies the first and guesses for a share of them."""
    for row in rows:
        guess = rng.random() < share
        yield {"id": row["id"], "annotators": [*row["annotators"], rng.choice([1, 2]) if guess else row["annotators"][0]]}


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_planted_noise_in_pandalm_is_found(pandalm, tmp_path, share):
    planted = written(tmp_path / "noisy.jsonl", noisy(pandalm, share, random.Random(0)))
    quality = assess_ballots(read_ballots(planted)[0], resamples=50)
    flagged = [one.name for one in quality.annotators if one.flags]
    assert flagged == ["human:annotator-4"]
    accuracy = [one.accuracy for one in quality.annotators]
    assert min(accuracy[:3]) > 0.95 and accuracy[3] < 0.85


def test_one_noisy_annotator_of_three_is_found(pandalm, tmp_path):
    rng = random.Random(1)
    rows = [{"id": row["id"], "annotators": [*row["annotators"][:2], rng.choice([0, 1, 2])]} for row in pandalm]
    quality = assess_ballots(read_ballots(written(tmp_path / "three.jsonl", rows))[0], resamples=50)
    assert [one.name for one in quality.annotators if one.flags] == ["human:annotator-3"]
