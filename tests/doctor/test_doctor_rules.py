"""The rules on figures that are worked by hand, and what holds for all of them."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from plaudit.config import options
from plaudit.evaluation.doctor import Evidence, chosen_rules, examine
from plaudit.evaluation.doctor.evidence import BestOfN, Evaluation, ScoredPairs, greatest, recent
from plaudit.registry import names
from plaudit.training.run import sections

RULES = chosen_rules()


def of(rule, **series):
    """The finding of one rule on series of plain values, at steps 1, 2, 3 ..."""
    points = {name: tuple((i + 1.0, float(v)) for i, v in enumerate(values)) for name, values in series.items()}
    return examine(Evidence("here", "run", series=points), [rule])[0]


def test_the_rules_in_order_with_threshold_source_causes_and_advice():
    assert [rule.number for rule in RULES] == list(range(1, 23))
    assert all(rule.threshold and rule.source and rule.causes and rule.next and rule.about for rule in RULES)


def test_what_a_rule_says_to_do_can_be_done():
    """Every option, reward function and verb that an advice names is there."""
    known = {name for verb in names("algorithms") for name in options(*sections(verb))}
    verbs = {"data", "train", "find-lr", "tune", "feedback", "card"}
    for rule in RULES:
        functions = re.findall(r"reward_funcs=\[([a-z_]+)\]", rule.next)
        assert set(re.findall(r"\b([a-z_]+)=", rule.next)) <= known and set(functions) <= {*names("rewards")}, rule.name
        assert set(re.findall(r"plaudit ([a-z-]+)", rule.next)) <= verbs, rule.name
        assert set(re.findall(r"plaudit train ([a-z_]+)", rule.next)) <= {*names("algorithms")}, rule.name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_without_its_figures_a_rule_says_unknown_and_what_is_missing(rule):
    for evidence in (Evidence("", "run"), Evidence("", "run", series={"step_seconds": ((1.0, 0.1),)})):
        found = rule(evidence)
        assert (found.status, found.value, found.next) == ("unknown", None, "") and found.causes


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_figures_that_are_no_numbers_never_make_a_rule_say_ok(rule):
    names = {name for other in RULES for name in other.metrics} | {"reward", "length", "ratio", "refused", "eval_accuracy"}
    nan = tuple((float(step), math.nan) for step in range(30))
    found = rule(Evidence("", "run", series=dict.fromkeys(names, nan)))
    assert (found.status in ("unknown", "act") and found.value is None) or (rule.name == "numbers" and found.status == "act")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("value", [0.0, -1.0, 1e100])
def test_odd_figures_break_no_rule(rule, value):
    names = {name for other in RULES for name in other.metrics} | {"reward", "length", "ratio", "refused", "eval_accuracy"}
    for count in (1, 2, 30):
        points = tuple((float(step), value) for step in range(count))
        rule(Evidence("", "run", series=dict.fromkeys(names, points)))


def test_three_of_five_decide():
    points = tuple(enumerate([0.0, 9, 9, 9, 0]))
    assert recent(points) == (9, (0, 9)) and greatest((*points, *((5 + i, 0.0) for i in range(9)))) == (9, (0, 9))
    assert of("kl_budget", kl_answer=[0, 0, 0, 11, 11, 11]).status == "watch"
    assert of("kl_budget", kl_answer=[0, 0, 0, 0, 11, 11]).status == "ok"
    assert of("kl_budget", kl_answer=[30] * 5).status == "act"


def test_a_kl_per_token_is_multiplied_with_the_length():
    """0.3 nats a token on 50 tokens are 15 nats an answer: watch. Without a length nothing is known."""
    found = of("kl_budget", kl_token=[0.3] * 5, length=[50] * 5)
    assert (found.status, found.value) == ("watch", pytest.approx(15.0))
    assert of("kl_budget", kl_token=[0.3] * 5).status == "unknown"


def test_a_budget_of_ones_own_takes_the_place_of_the_threshold():
    series = {"kl_answer": tuple((float(i), 4.0) for i in range(5))}
    status = [
        examine(Evidence("", "run", series=series, options={"guard_kl_budget": b}), ["kl_budget"])[0].status for b in (3, 6, 9)
    ]
    assert status == ["act", "watch", "ok"]


def test_the_largest_update_counts_also_where_the_run_calmed_down():
    assert of("update_size", approx_kl=[0.01, 0.2, 0.2, 0.2, 0.01, *[0.01] * 20]).status == "act"
    assert of("update_size", approx_kl=[0.01, 0.2, 0.01, 0.01, 0.2, *[0.01] * 20]).status == "ok"
    assert of("update_size", approx_kl=[0.01] * 5, clip_fraction=[0.6] * 5).status == "act"


def test_a_critic_is_judged_after_twenty_updates():
    assert of("value_function", explained_variance=[-0.5] * 19).status == "watch"
    assert of("value_function", explained_variance=[-0.5] * 20).status == "act"
    assert of("value_function", explained_variance=[0.1] * 19).status == "unknown"
    assert of("value_function", explained_variance=[0.1] * 20).status == "watch"
    assert of("value_function", explained_variance=[0.6] * 3).status == "ok"


def test_the_sampler_by_its_gap_its_first_step_and_the_sign_of_the_kl():
    assert of("sampler", sampler_gap=[1e-6] * 9).status == "ok"
    assert of("sampler", sampler_gap=[0.02] * 9).status == "watch"
    assert of("sampler", sampler_gap=[1e-6] * 7 + [0.3, 0.3] + [1e-6] * 7).status == "act", "it drifted in between"
    assert of("sampler", kl_answer=[-3.0] * 9, length=[20] * 9).status == "act"
    assert of("sampler", kl_answer=[0.5, 1, 1], length=[20] * 3).status == "watch", "policy and reference differ at step 1"


def test_the_entropy_counts_in_both_directions():
    assert of("diversity", entropy=[2.0] * 9 + [0.05] * 9).status == "act"
    assert of("diversity", entropy=[2.0] * 9 + [4.5] * 9).status == "watch"
    assert of("diversity", entropy=[2.0] * 9 + [1.5] * 9).status == "ok"
    assert of("diversity", distinct_2=[0.5, 0.19, 0.18, 0.19]).status == "act"
    assert of("diversity", distinct_2=[0.5, 0.3, 0.3, 0.3]).value == pytest.approx(0.4)


def scored(chosen, rejected, longer):
    chosen, rejected = np.array(chosen, float), np.array(rejected, float)
    return ScoredPairs(chosen, rejected, 10 + np.array(longer, float), np.full(len(chosen), 10.0))


def test_accuracy_beside_length_by_hand():
    """30 of 40 right, the better one longer in 31: length alone is ahead."""
    pairs = scored([1] * 30 + [0] * 10, [0] * 30 + [1] * 10, [1] * 31 + [-1] * 9)
    found = examine(Evidence("", "model", pairs=pairs), ["reward_accuracy"])[0]
    assert (found.status, found.value, found.causes[0]) == ("act", 0.75, "choosing by length alone is right on 0.78 of them")
    assert found.interval == pytest.approx((0.598, 0.858), abs=1e-3), (
        "Wilson: (p + z2/2n -+ z sqrt(pq/n + z2/4n2)) / (1 + z2/n)"
    )
    pairs = scored([1] * 30 + [0] * 10, [0] * 30 + [1] * 10, [1] * 20 + [-1] * 20)
    assert examine(Evidence("", "model", pairs=pairs), ["reward_accuracy"])[0].status == "ok"


def test_calibration_of_a_model_that_is_always_sure_and_right_in_three_of_four():
    """Sure of 0.9999 and right in 0.75: an error of 0.25, of which chance has no part."""
    pairs = scored([9.2] * 300 + [0] * 100, [0] * 300 + [9.2] * 100, [0] * 400)
    found = examine(Evidence("", "model", pairs=pairs), ["reward_calibration"])[0]
    assert found.status == "act" and found.value == pytest.approx(0.25, abs=2e-3) and "too sure" in found.causes[0]


def test_a_calibrated_model_is_ok_with_as_few_as_hundred_pairs():
    """The plain error of such few pairs is near 0.1 by chance alone."""
    random = np.random.default_rng(5)
    status = []
    for _ in range(20):
        gap = random.normal(size=100)
        right = random.random(100) < 1 / (1 + np.exp(-np.abs(gap)))
        pairs = scored(np.where(right, np.abs(gap), 0), np.where(right, 0, np.abs(gap)), [0] * 100)
        status.append(examine(Evidence("", "model", pairs=pairs), ["reward_calibration"])[0].status)
    assert status.count("act") <= 1


def test_reward_and_length_of_pairs_by_hand():
    """Differences (1, 1, -1, 1) and (2, 1, -1, -2): sum of products 2, roots of squares 2 and sqrt 10: r = 2 / 6.3246."""
    pairs = scored([1, 1, 0, 1] * 20, [0, 0, 1, 0] * 20, [2, 1, -1, -2] * 20)
    found = examine(Evidence("", "model", pairs=pairs), ["reward_length"])[0]
    assert (found.status, found.value) == ("watch", pytest.approx(0.31623, abs=1e-5))


def test_the_peak_of_best_of_n_in_standard_errors():
    """From 0.8 down to 0.5 with errors 0.1 and 0.1: 0.3 / 0.1414 = 2.12."""
    n = np.array([1.0, 4, 16, 64])
    curve = BestOfN(n, n, np.array([0.2, 0.8, 0.7, 0.5]), np.full(4, 0.1))
    found = examine(Evidence("", "run", best_of_n=curve), ["best_of_n"])[0]
    assert (
        found.status == "act"
        and found.value == pytest.approx(2.1213, abs=1e-4)
        and "n = 4, a KL of 0.6 nats" in found.causes[0]
    )


def evaluations(*rows):
    return tuple(Evaluation(i, np.array(r, float), np.array(s, float), None) for i, (r, s) in enumerate(rows))


def test_wins_that_are_all_length_and_wins_that_are_not():
    reward, size = np.linspace(0, 1, 40), np.full(40, 10.0)
    grown = size + np.where(np.arange(40) % 4 == 0, -4, 8)
    by_length = evaluations((reward, size), (reward + np.where(grown > size, 1, -1), grown))
    by_merit = evaluations(
        (reward, size), (reward + np.where(np.arange(40) % 3 == 0, -1, 1), size + np.where(np.arange(40) % 2, 4, -4))
    )
    found = [examine(Evidence("", "run", evaluations=one), ["length_control"])[0] for one in (by_length, by_merit)]
    assert [one.status for one in found] == ["act", "ok"] and found[0].value > 0.1


def test_a_policy_below_its_start_is_a_collapse_and_noise_is_none():
    random = np.random.default_rng(2)
    start, size = random.normal(size=40), np.full(40, 5.0)
    for shift, status in ((-0.8, "act"), (0.8, "ok")):
        after = start + shift + 0.1 * random.normal(size=40)
        assert (
            examine(Evidence("", "run", evaluations=evaluations((start, size), (after, size))), ["collapse"])[0].status
            == status
        )


def test_numbers_are_counted():
    found = of("numbers", loss=[0.1, math.nan, 0.1, math.inf], refused=[0, 1, 0, 1])
    assert (found.status, found.value) == ("act", 4.0)
    assert found.causes[:2] == ("loss is not finite in 2 steps", "2 optimiser steps were refused")
    assert of("numbers", grad_norm=[1.0] * 20 + [30.0, 1, 30]).status == "watch"
    assert of("numbers", loss=[1.0], step_seconds=[1.0] * 10 + [2.5] * 10).status == "watch"


def test_a_loss_that_blew_up_counts_only_where_it_is_learnt_from_files():
    """From 2 to 7, in medians of five: 3.5 times."""
    losses = [2.0] * 5 + [3.0] * 5 + [7.0] * 5
    found = of("numbers", loss=losses)
    assert (found.status, found.value, found.causes[0]) == ("act", 0.0, "the loss is 3.5 times what it began with")
    assert of("numbers", loss=losses, reward=[0.0] * 15).status == "ok", "of sampled answers it means little"
    assert of("numbers", loss=[0.02] * 10 + [0.1] * 5).status == "ok", "five times next to nothing"


FALLING = [2.0 - 0.05 * i for i in range(40)]
"""A training loss at steps 1 to 40; evaluations of `of_files` are at 1, 2, 3 ... too, so the early ones see the high losses."""


def of_files(held, loss=FALLING, **series):
    return of("overfitting", eval_loss=held, loss=loss, **series)


@pytest.mark.parametrize(
    ("held", "status", "value"),
    [
        ((1.0, 0.8, 0.82, 0.84, 0.88), "act", 0.1),  # three rises in a row, 0.08 of 0.8
        ((1.0, 0.8, 0.82, 0.83), "watch", 0.0375),  # two of them
        ((1.0, 0.8, 0.805, 0.81, 0.815), "ok", 0.01875),  # hardly any rise
        ((1.0, 0.8, 1.0, 0.95, 0.99), "act", 0.2375),  # up and down, but far above
        ((1.0, 0.9, 0.8, 0.85), "ok", 0.0625),  # one rise
        ((1.0, 0.01, 0.012, 0.014, 0.017), "act", 0.07),  # 0.007 of a loss that counts as 0.1: three rises, above 0.05
    ],
)
def test_overfitting_by_hand(held, status, value):
    found = of_files(held)
    assert (found.status, found.value) == (status, pytest.approx(value))


def test_overfitting_needs_a_training_loss_that_fell_and_no_accuracy_that_still_gains():
    held = (1.0, 0.8, 0.82, 0.84, 0.9)
    assert of_files(held, loss=[2.0 + 0.01 * i for i in range(40)]).status == "ok", "both rise: that is not learning by heart"
    assert of_files(held, eval_accuracy=(0.5, 0.6, 0.7, 0.8, 0.9)).status == "watch"
    assert of_files(held, eval_accuracy=(0.5, 0.9, 0.7, 0.8, 0.9)).status == "act"
    assert of_files(held, reward=[0.0] * 5).status == "unknown"
    assert of_files((1.0, 0.8, 0.9)).status == "unknown"
    assert "from 0.8 to 0.9" in of_files(held).causes[0]


@pytest.mark.parametrize(
    ("chosen", "right", "status"),
    [
        ((-10, -11, -12, -14), (0.7, 0.7, 0.7, 0.7), "act"),  # 0.4 of 10, no gain
        ((-10, -10.2, -10.5, -11.5), (0.7, 0.6, 0.7, 0.7), "watch"),
        ((-10, -11, -12, -14), (0.7, 0.7, 0.7, 0.8), "ok"),  # it gains
        ((-10, -16, -15, -14, -13.5), (0.7, 0.7, 0.7, 0.7, 0.7), "ok"),  # it goes up again
        ((-10, -9, -8, -7), (0.7, 0.7, 0.7, 0.7), "ok"),
    ],
)
def test_displacement_by_hand(chosen, right, status):
    found = of("displacement", eval_chosen_logp=chosen, eval_accuracy=right)
    assert (found.status, found.value) == (status, pytest.approx((chosen[0] - chosen[-1]) / 10))
