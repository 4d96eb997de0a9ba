"""The verdict claims what the figures show and no more."""

from plaudit.evaluation.report import Headline, Interval, RewardModel, render, verdict
from plaudit.evaluation.report.parts import Report

NAN = float("nan")


def test_better_only_where_the_whole_interval_lies_above_one_half():
    found = verdict(Headline(240, Interval(0.634, 0.572, 0.693), Interval(0.84, 0.8, 0.89)))
    assert found.word == "Better" and found.doubts == ()
    assert found.text == (
        "PPO made the answers better: against the SFT model it wins on 63% of 240 held-out prompts (95% interval 57% to 69%). "
        "Against the untouched model it wins on 84% (80% to 89%)."
    )


def test_worse():
    found = verdict(Headline(240, Interval(0.4, 0.34, 0.46), Interval(0.3, 0.25, 0.35)))
    assert found.word == "Worse" and "made the answers worse" in found.text
    assert "it loses: it wins on only 30%" in found.text


def test_an_interval_that_covers_one_half_decides_nothing():
    for rate in (Interval(0.56, 0.49, 0.63), Interval(0.56, 0.5, 0.62), Interval(0.45, 0.4, 0.5)):
        found = verdict(Headline(240, rate, Interval(0.5, 0.4, 0.6)))
        assert found.word == "Undecided"
        assert "does not show whether PPO helped" in found.text and "covers one half" in found.text
        assert "better" not in found.text and "decides nothing" in found.text


def test_nothing_measured():
    for rate in (None, Interval(NAN, NAN, NAN)):
        assert verdict(Headline(0, rate)).word == "Not measured"
        assert "nothing can be said" in render(Report("t", "r", "m", 1, "x", Headline(0, rate)))


def test_doubts_name_what_speaks_against_a_good_result():
    good = Interval(0.63, 0.57, 0.69)
    falling = verdict(Headline(240, good, gold_before=0.6, gold_after=0.5))
    assert falling.doubts == ("The mean gold score fell from 0.600 to 0.500.",)
    blind = verdict(Headline(240, good, reward_model=RewardModel(0.55, 0.56)))
    assert "no better than their length does (56%)" in blind.doubts[0]
    cut = verdict(Headline(240, good, truncated_before=0.02, truncated_after=0.2))
    assert "20%, before 2.0%" in cut.doubts[0]
    healthy = Headline(240, good, None, 0.5, 0.6, 0.3, RewardModel(0.7, 0.56, 0.75, 400), 5.0, 0.1, 0.12)
    assert verdict(healthy).doubts == ()
