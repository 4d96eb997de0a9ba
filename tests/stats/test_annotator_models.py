"""Models of annotators: independent implementations, known answers, and crowds where they must beat the majority."""

import math

import numpy as np
import pytest

from plaudit import stats


def slow_dawid_skene(votes, classes, one_coin, prior, rounds=300):
    """Dawid and Skene's EM with plain lists and products, written apart from the package."""
    items, people = sorted({v[0] for v in votes}), sorted({v[1] for v in votes})
    right, wrong = prior if one_coin else (prior[0] / classes, prior[1] / classes)
    start = right / (right + wrong)
    table = {
        w: [[start if k == c else (1 - start) / (classes - 1) for c in range(classes)] for k in range(classes)] for w in people
    }
    pi = [1 / classes] * classes
    for _ in range(rounds + 1):
        q = {}
        for item in items:
            chance = [pi[k] * math.prod(table[w][k][c] for i, w, c in votes if i == item) for k in range(classes)]
            q[item] = [one / sum(chance) for one in chance]
        last = table
        table = {}
        for w in people:
            mine = [(i, c) for i, who, c in votes if who == w]
            if one_coin:
                a = (right + sum(q[i][c] for i, c in mine)) / (right + wrong + len(mine))
                table[w] = [[a if k == c else (1 - a) / (classes - 1) for c in range(classes)] for k in range(classes)]
            else:
                rows = [
                    [
                        (right if k == c else wrong / (classes - 1)) + sum(q[i][k] for i, said in mine if said == c)
                        for c in range(classes)
                    ]
                    for k in range(classes)
                ]
                table[w] = [[x / sum(row) for x in row] for row in rows]
        pi = [(1 + sum(q[i][k] for i in items)) / (classes + len(items)) for k in range(classes)]
        if max(abs(table[w][k][c] - last[w][k][c]) for w in people for k in range(classes) for c in range(classes)) < 1e-9:
            break
    return q, table


@pytest.mark.parametrize("one_coin", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_dawid_skene_against_another_implementation(one_coin, classes):
    rng = np.random.default_rng(classes)
    truth = rng.integers(classes, size=25)
    votes = [
        (i, w, int(truth[i] if rng.random() < skill else rng.integers(classes)))
        for i in range(25)
        for w, skill in enumerate((0.9, 0.6, 0.3))
    ]
    found = stats.dawid_skene(votes, classes, one_coin=one_coin, prior=(8.0, 3.0))
    q, table = slow_dawid_skene(votes, classes, one_coin, (8.0, 3.0))
    assert found.posterior == pytest.approx(np.array([q[i] for i in range(25)]), abs=1e-6)
    assert found.confusion == pytest.approx(np.array([table[w] for w in range(3)]), abs=1e-6)
    assert found.confusion.sum(2) == pytest.approx(1) and found.posterior.sum(1) == pytest.approx(1)
    with pytest.raises(ValueError, match="class below"):
        stats.dawid_skene([(0, 0, classes)], classes)


def crowd(rng, skills, items, per_item):
    """Votes of `per_item` random annotators on each item, whose truth is 1 or 0."""
    truth = rng.integers(2, size=items)
    return truth, [
        (i, int(w), float(truth[i] if rng.random() < skills[w] else 1 - truth[i]))
        for i in range(items)
        for w in rng.choice(len(skills), per_item, replace=False)
    ]


CROWDS = [
    pytest.param(np.linspace(0.55, 0.9, 8), 0.01, id="mixed"),
    pytest.param(np.array([0.5, 0.5, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]), 0.005, id="two who guess"),
    pytest.param(np.full(8, 0.72), -0.01, id="all alike"),
]


@pytest.mark.parametrize(("skills", "gain"), CROWDS)
def test_reliability_beats_the_majority_on_a_mixed_crowd(skills, gain):
    """500 items, three of eight people each, as in docs/quality.md; where all are alike nothing is lost."""
    better = []
    for seed in range(8):
        truth, votes = crowd(np.random.default_rng(seed), skills, 500, 3)
        ahead = np.zeros(500)
        for item, _, value in votes:
            ahead[item] += 2 * value - 1
        posterior = stats.one_coin_dawid_skene(votes).posterior
        better.append(((posterior > 0.5) == truth).mean() - ((ahead > 0) == truth).mean())
    assert np.mean(better) > gain


def test_full_confusion_finds_who_mixes_up_two_classes():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=600)
    said = [[t if rng.random() < 0.85 else rng.integers(3) for t in truth] for _ in range(3)]
    said.append([1 if t == 2 else t for t in truth])  # never says 2, and says 1 for it
    votes = [(i, w, int(mine[i])) for w, mine in enumerate(said) for i in range(600)]
    found = stats.dawid_skene(votes, 3)
    assert found.confusion[3, 2] == pytest.approx([0, 1, 0], abs=0.06) and found.confusion[3, 0, 0] > 0.95
    assert (found.posterior.argmax(1) == truth).mean() > 0.96
    assert found.accuracy[:3] == pytest.approx(0.9, abs=0.04)


def test_known_truth_and_given_accuracies():
    votes = [(0, 0, 1.0), (0, 1, 0.0), (1, 0, 1.0), (1, 1, 0.0)]
    fair = stats.one_coin_dawid_skene(votes)
    assert fair.posterior == pytest.approx([0.5, 0.5])
    known = stats.one_coin_dawid_skene(votes, known={0: 1.0})
    # Item 0 is known to be 1: annotator 0 was right, annotator 1 wrong; so item 1 leans to annotator 0.
    assert known.posterior[0] == 1.0 and known.posterior[1] > 0.5
    assert known.accuracy[0] > 20 / 26.5 > known.accuracy[1]
    given = stats.one_coin_dawid_skene(votes[2:], accuracy=[0.9, 0.6], items=3)
    odds = (0.9 / 0.1) / (0.6 / 0.4)
    assert given.posterior == pytest.approx([0.5, odds / (1 + odds), 0.5])


def test_raters_lenient_and_careless_are_told_apart():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1.5, 4.5, 300)
    bias, noise = np.array([0.6, -0.6, 0.0]), np.array([0.3, 0.3, 1.5])
    votes = [(i, w, truth[i] + bias[w] + rng.normal(0, noise[w])) for i in range(300) for w in range(3)]
    found = stats.rating_consensus(votes)
    assert found.bias[:2] == pytest.approx(bias[:2], abs=0.12) and abs(found.bias[2]) < 0.2
    assert found.deviation[2] > 3 * found.deviation[0]
    plain = np.array([np.mean([v for j, _, v in votes if j == i]) for i in range(300)])
    assert np.abs(found.score - truth).mean() < 0.6 * np.abs(plain - truth).mean()
    # Two raters of one answer, 2 and 4 stars: nothing tells them apart but the strong prior, so the middle.
    assert stats.rating_consensus([(0, 0, 2.0), (0, 1, 4.0)]).score[0] == pytest.approx(3.0)


def test_gold_questions_decide_step_by_step():
    # log(.85 / .6) = .3483 a right one, log(.15 / .4) = -.9808 a wrong one; the bound is log 19 = 2.944
    assert stats.gold_test(8, 0).decision == "undecided" and stats.gold_test(9, 0).decision == "good"
    assert stats.gold_test(0, 3).decision == "undecided" and stats.gold_test(0, 4).decision == "poor"
    assert stats.gold_test(3, 1).evidence == pytest.approx(3 * math.log(0.85 / 0.6) + math.log(0.15 / 0.4))


def test_gold_questions_err_as_seldom_as_they_say():
    rng = np.random.default_rng(0)

    def share_called(skill, verdict):
        called, asked = 0, []
        for _ in range(400):
            right = wrong = 0
            while (decision := stats.gold_test(right, wrong).decision) == "undecided":
                hit = rng.random() < skill
                right, wrong = right + hit, wrong + (not hit)
            called += decision == verdict
            asked.append(right + wrong)
        return called / 400, np.mean(asked)

    wrongly, asked = share_called(0.85, "poor")
    assert wrongly <= 0.07 and asked == pytest.approx(20, abs=4)
    wrongly, _ = share_called(0.60, "good")
    assert wrongly <= 0.07
    rightly, asked = share_called(0.50, "poor")
    assert rightly > 0.95 and asked == pytest.approx(11, abs=3)
