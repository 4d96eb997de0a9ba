import math

import pytest
import torch

from plaudit.algorithms.reward import RewardModel, RewardModelConfig
from plaudit.core.batch import Outputs, from_rows
from plaudit.schema import UserError

F64 = torch.float64


def batch(**more):
    """Two pairs, the second with its rejected answer first."""
    sides = {"margin": [0.0] * 4, "probability": [1.0] * 4, **more}
    ids, mask = [[5, 6], [5, 7, 8], [4, 3], [4, 2]], [[0, 1], [0, 1, 1], [0, 1], [0, 1]]
    return from_rows(ids, mask, group=[0, 0, 1, 1], place=[0, 1, 1, 0], sides=sides, dtype=F64)


SCORES = Outputs(score=torch.tensor([math.log(3), 0.0, 2.0, 1.0], dtype=F64))  # right by log 3; wrong by 1


def value(algorithm, prepared, out=SCORES):
    prepared = prepared.normalised({name: float(w) for name, w in prepared.sums().items()})
    return sum(float((term * prepared.weight[name]).sum()) for name, term in algorithm.loss(out, prepared).items())


RIGHT, WRONG = -math.log(0.75), math.log(1 + math.e)


def test_each_pair_counts_once_however_long_its_answers():
    rm = RewardModel(RewardModelConfig())
    assert value(rm, rm.prepare(batch())) == pytest.approx((RIGHT + WRONG) / 2)


def test_pairs_can_be_weighted():
    rm = RewardModel(RewardModelConfig())
    assert value(rm, rm.prepare(batch(weight=[3.0, 3.0, 1.0, 1.0]))) == pytest.approx((3 * RIGHT + WRONG) / 4)


def test_soft_labels_and_margins():
    rm = RewardModel(RewardModelConfig())
    got = value(rm, rm.prepare(batch(probability=[0.8, 0.8, 1, 1], margin=[0, 0, 0.5, 0.5])))
    soft = -0.8 * math.log(0.75) - 0.2 * math.log(0.25)
    assert got == pytest.approx((soft + math.log(1 + math.exp(1.5))) / 2)


def test_centring_by_hand():
    rm = RewardModel(RewardModelConfig(center_rewards_coefficient=0.01))
    extra = 0.01 * (math.log(3) ** 2 + 3.0**2) / 2
    assert value(rm, rm.prepare(batch())) == pytest.approx((RIGHT + WRONG) / 2 + extra)


def test_the_gradient_pushes_the_pair_apart_and_nothing_else():
    rm = RewardModel(RewardModelConfig())
    score = SCORES.score.clone().requires_grad_()
    prepared = rm.prepare(batch()).normalised({"bradley_terry": 2.0, "plackett_luce": 2.0, "centre": 2.0})
    (rm.loss(Outputs(score=score), prepared)["bradley_terry"] * prepared.weight["bradley_terry"]).sum().backward()
    wrong = 1 / (1 + math.exp(-1.0))  # how sure the model is of the wrong order
    assert score.grad.tolist() == pytest.approx([-0.125, 0.125, wrong / 2, -wrong / 2])


def test_metrics_by_hand():
    rm = RewardModel(RewardModelConfig())
    prepared = rm.prepare(batch())
    found = rm.summarise(rm.metrics(SCORES, prepared))
    log3 = math.log(3)
    wanted = {"accuracy": 0.5, "margin": (log3 - 1) / 2, "min_reward": 0.0, "mean_reward": (log3 + 3) / 4, "max_reward": 2.0}
    assert found == pytest.approx(wanted)


def test_a_tie_is_half_right():
    rm = RewardModel(RewardModelConfig())
    found = rm.summarise(rm.metrics(Outputs(score=torch.zeros(4, dtype=F64)), rm.prepare(batch())))
    assert found["accuracy"] == 0.5


def test_a_ranking_that_was_torn_apart_is_refused():
    rm = RewardModel(RewardModelConfig())
    prepared = rm.prepare(batch())
    with pytest.raises(ValueError, match="every group needs two rows or more"):
        rm.loss(Outputs(score=SCORES.score[:3]), prepared.rows([0, 1, 2]))


# -- rankings of more than two ------------------------------------------------------------------------------------------------


def ranked(*sizes, **sides):
    """Rankings of these sizes, best first."""
    where = [(group, place) for group, size in enumerate(sizes) for place in range(size)]
    usual = {"margin": [0.0] * len(where), "probability": [1.0] * len(where)}
    group, place = zip(*where, strict=True)
    return from_rows(
        [[5, 6]] * len(where), [[0, 1]] * len(where), group=group, place=place, sides={**usual, **sides}, dtype=F64
    )


def scores(*values):
    return Outputs(score=torch.tensor(values, dtype=F64))


LOGS = scores(math.log(3), math.log(1), math.log(2))  # exp: 3, 1, 2; the last two stand in the wrong order


def test_a_ranking_of_three_by_plackett_luce():
    """P = 3/6 x 1/3 = 1/6."""
    rm = RewardModel(RewardModelConfig())
    assert value(rm, rm.prepare(ranked(3)), LOGS) == pytest.approx(math.log(6))


def test_a_ranking_of_three_by_all_its_pairs_counts_once():
    """3 beats 1 (3/4), 3 beats 2 (3/5), 1 beats 2 (1/3); their mean, as InstructGPT weighs them."""
    rm = RewardModel(RewardModelConfig(loss_type="bradley_terry"))
    wanted = -(math.log(3 / 4) + math.log(3 / 5) + math.log(1 / 3)) / 3
    assert value(rm, rm.prepare(ranked(3)), LOGS) == pytest.approx(wanted)


def test_pairs_and_longer_rankings_together_each_count_once_by_their_weight():
    both = scores(*LOGS.score.tolist(), math.log(3), 0.0)
    pair, three = -math.log(3 / 4), math.log(6)
    weights = {"weight": [2.0, 2.0, 2.0, 1.0, 1.0]}
    auto = RewardModel(RewardModelConfig())
    assert value(auto, auto.prepare(ranked(3, 2)), both) == pytest.approx((three + pair) / 2)
    assert value(auto, auto.prepare(ranked(3, 2, **weights)), both) == pytest.approx((2 * three + pair) / 3)
    only = RewardModel(RewardModelConfig(loss_type="plackett_luce"))
    assert value(only, only.prepare(ranked(3, 2, **weights)), both) == pytest.approx((2 * three + pair) / 3)
    split = RewardModel(RewardModelConfig(loss_type="bradley_terry"))
    three = -(math.log(3 / 4) + math.log(3 / 5) + math.log(1 / 3)) / 3
    assert value(split, split.prepare(ranked(3, 2, **weights)), both) == pytest.approx((2 * three + pair) / 3)


def test_centring_of_a_ranking_is_that_of_a_pair_with_its_mean():
    rm = RewardModel(RewardModelConfig(center_rewards_coefficient=0.01))
    plain = RewardModel(RewardModelConfig())
    extra = value(rm, rm.prepare(ranked(3)), LOGS) - value(plain, plain.prepare(ranked(3)), LOGS)
    assert extra == pytest.approx(0.01 * (2 * math.log(6) / 3) ** 2)


def test_metrics_are_over_all_ordered_pairs():
    rm = RewardModel(RewardModelConfig())
    found = rm.summarise(rm.metrics(LOGS, rm.prepare(ranked(3))))
    gaps = [math.log(3), math.log(3 / 2), math.log(1 / 2)]
    assert found["accuracy"] == pytest.approx(2 / 3) and found["margin"] == pytest.approx(sum(gaps) / 3)


def test_plackett_luce_refuses_margins_and_soft_labels():
    rm = RewardModel(RewardModelConfig(loss_type="plackett_luce"))
    for spoilt in ({"margin": [0.5] * 3}, {"probability": [0.9] * 3}):
        with pytest.raises(UserError, match="no place for margins and soft labels"):
            rm.prepare(ranked(3, **spoilt))
