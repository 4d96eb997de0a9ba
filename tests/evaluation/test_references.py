"""Answers against references, variety, refusals: numbers by hand, and the libraries as they are."""

import math

import pytest

from plaudit.evaluation import reference
from plaudit.evaluation.diversity import compression, diversity, self_bleu, shared_opening, token_entropy
from plaudit.evaluation.refusal import refusal_report, refuses, toxic, toxicity
from plaudit.schema import Completion, UserError


def answer(text, logprobs=(-1.0, -2.0)):
    return Completion("p", text, (1,), (2, 3), logprobs, "stop")


def test_plain_metrics_by_hand():
    assert reference.score("exact_match", " Paris. ", ["London", "paris"]) == 1
    assert reference.score("contains", "It is Paris, I think", ["paris"]) == 1
    assert reference.score("number", "3 + 4, so 1,007.0", ["1007"]) == 1
    assert reference.score("number", "none", ["7"]) == 0
    # SQuAD: articles and punctuation out; 2 of 3 said and 2 of 2 wanted words
    assert reference.score("f1", "The red, big house", ["a red house"]) == pytest.approx(2 * 2 / (3 + 2))
    assert reference.score("f1", "北京 大", ["北京"]) == pytest.approx(2 * 2 / (3 + 2))
    assert reference.score("f1", "", [""]) == 1 and reference.score("f1", "", ["x"]) == 0


def test_rouge_by_hand():
    pytest.importorskip("rouge_score")
    said, wanted = "the cat sat on the mat", "the cat is on the mat"
    assert reference.score("rouge1", said, [wanted]) == pytest.approx(5 / 6)
    assert reference.score("rouge2", said, [wanted]) == pytest.approx(3 / 5)
    assert reference.score("rougeL", said, [wanted]) == pytest.approx(5 / 6)
    assert reference.score("rougeL", "天气好", ["天气很好"]) == pytest.approx(2 * 3 / 7), "signs without blanks are words"


def test_bleu_by_hand_and_chrf_of_the_same():
    pytest.importorskip("sacrebleu")
    # 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, no four of 1 (smoothed to 1/2); the answer is one word short
    by_hand = math.exp(1 - 5 / 4) * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25
    assert reference.score("bleu", "a b c x", ["a b c d e"]) == pytest.approx(by_hand)
    assert reference.corpus("chrf", ["same text"], [["same text"]]) == pytest.approx(1)
    assert reference.corpus("bleu", ["a b c d", "x"], [["a b c d"], ["y", "x"]]) == pytest.approx(1)


def test_a_missing_package_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(UserError, match=r"sacrebleu.*plaudit\[eval\]"):
        self_bleu(["a", "b"])


def test_variety():
    pytest.importorskip("sacrebleu")
    same, other = ["one two three four five"] * 3, ["one two three four five", "six seven eight nine ten", "a b c d e"]
    assert self_bleu(same) == pytest.approx(1) and self_bleu(other) < 0.1
    assert math.isnan(self_bleu(["alone"]))
    assert token_entropy([answer("x", (-1.0, -2.0)), answer("y", (-3.0,))]) == pytest.approx(2)
    assert compression(["again and again "] * 50) < 0.1 < compression(other)
    assert shared_opening(["a b c d e f", "a b c d e g", "other"]) == pytest.approx(2 / 3)
    found = diversity([answer(text) for text in ["a b c", "a b d", "", "x y z"]], 2)
    assert found["distinct_2_of_30"] == pytest.approx(5 / 6) and found["empty"] == 0.25 and 0 < found["self_bleu"] < 1


@pytest.mark.parametrize(
    ("text", "declines"),
    [
        ("I'm sorry, but I can’t help with that.", True),
        ("I cannot provide instructions for this.", True),
        ("As an AI language model, I do not give such advice.", True),
        ("抱歉，我无法回答这个问题。", True),
        ("Use `kill -9 PID` to stop the process.", False),
        ("I'm sorry to hear that your order is late. We will send a new one.", False),
        ("I can't wait to see your portraits! Use a tripod.", False),
        ("", False),
    ],
)
def test_refusals(text, declines):
    assert refuses(text) == declines


def test_refusal_report_by_hand():
    found = refusal_report(["I cannot help with that.", "Yes.", "", "I won't do it."], ["safe", "safe", "unsafe", "unsafe"])
    assert (found["over_refusal"], found["refusal"], found["empty"]) == (0.5, 0.5, 1)
    low, high = found["refusal_ci"]
    assert low == pytest.approx(0.0945, abs=1e-3) and high == pytest.approx(0.9055, abs=1e-3)
    with pytest.raises(UserError, match="neither safe nor unsafe"):
        refusal_report(["x"], ["maybe"])


def test_toxic_words_are_whole_words(tmp_path):
    assert toxic("You IDIOT!") and not toxic("The scrapyard is idiomatic.")
    mine = tmp_path / "words.txt"
    mine.write_text("# mine\nblub\n")
    assert toxicity(["blub", "idiot"], mine)["toxic"] == 0.5
    mine.with_name("empty.txt").write_text("# none\n")
    with pytest.raises(UserError, match="no words"):
        toxic("x", tmp_path / "empty.txt")
