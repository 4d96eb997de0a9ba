"""Near duplicates against an exact slow twin; languages on sentences made for this."""

import itertools
import random

import pytest

from plaudit.data.check import check
from plaudit.data.language import guess
from plaudit.data.near import jaccard, shingles, similar_pairs
from plaudit.schema import Demonstration, Label, Prompt, Steps

SENTENCE = "the order came late and my refund is not here yet so please tell me when it will be sent to us again"
WORDS = SENTENCE.split()


def exact(text):
    """Word triples as a set of strings."""
    words = text.split()
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def texts(count=160):
    """Random texts, a third of them an earlier one with a few words changed."""
    draw = random.Random(5)
    made = []
    for _ in range(count):
        words = [draw.choice(WORDS) + str(draw.randrange(40)) for _ in range(40)]
        if made and draw.random() < 0.35:
            words = draw.choice(made).split()
            for _ in range(draw.randrange(4)):
                words[draw.randrange(len(words))] = "changed"
        made.append(" ".join(words))
    return made


def test_similar_texts_are_those_of_comparing_all():
    made = texts()
    slow = {}
    for i, j in itertools.combinations(range(len(made)), 2):
        a, b = exact(made[i]), exact(made[j])
        share = len(a & b) / len(a | b)
        if share >= 0.8:
            slow[j] = max(slow.get(j, 0.0), share)
    found = similar_pairs(made, 0.8)
    assert {later: round(share, 9) for _, later, share in found} == {j: round(share, 9) for j, share in slow.items()}
    assert len(found) > 20 and all(earlier < later for earlier, later, _ in found)
    assert all(jaccard(shingles(made[i]), shingles(made[j])) == share for i, j, share in found)


def test_case_blanks_and_scripts_without_blanks():
    assert jaccard(shingles("One two  three four"), shingles("one TWO three\nfour")) == 1.0
    assert jaccard(shingles("我的订单在哪里"), shingles("我的订单在哪儿")) == pytest.approx(4 / 6)
    assert similar_pairs(["", " ", "?!", "a", "a"]) == [(3, 4, 1.0)] and jaccard(shingles(""), shingles("")) == 0.0


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is my order? I have been waiting for it.", "en"),
        ("Wo ist meine Bestellung? Sie ist noch nicht da.", "de"),
        ("Où est ma commande ? Je ne la trouve pas dans la liste.", "fr"),
        ("¿Dónde está mi pedido? No lo encuentro en la lista.", "es"),
        ("我的订单在哪里？ SKU-1182", "zh"),
        ("注文はどこですか", "ja"),
        ("주문은 어디에 있나요", "ko"),
        ("Где мой заказ?", "ru"),
        ("Де моє замовлення, його немає", "uk"),
        ("سفارش من کجاست پیگیری", "fa"),
        ("Hello", "und"),
        ("12 + 30 = 42", "und"),
        ("", "und"),
    ],
)
def test_a_guess_at_the_language(text, language):
    assert guess(text) == language


def test_a_close_check_counts_similar_items_once_and_the_languages():
    said = "We are sorry that the parcel has not come and we will send it to you again this week"
    items = [
        Demonstration(Prompt(text="Where is it?"), said),
        Demonstration(Prompt(text="Where is it?"), said.upper()),  # a near duplicate already
        Demonstration(Prompt(text="Where is it?"), said + " now"),
        Label(Prompt(text="a"), "我的订单在哪里", 1.0),
        Label(Prompt(text="a"), "我的订单在哪里", 0.0),
        Steps(Prompt(text="What is the sum of it and of that?"), ("It is the first.", "And that is the other."), (1.0, 0.0)),
    ]
    report = check(items, closely=True)
    assert (report.duplicates, report.near_duplicates, report.similar, report.contradictions) == (1, 1, 1, 2)
    assert report.languages == {"data": {"en": 4, "zh": 2}}
    assert any("language of data (a guess; und: undetermined): en 67%, zh 33%" in line for line in report.lines())
    assert check(items).similar == 0 and check(items).languages == {}
