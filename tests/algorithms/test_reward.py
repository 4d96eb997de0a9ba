import math

import pytest
import torch

from plaudit.algorithms.reward import RewardModel, RewardModelConfig
from plaudit.core.batch import Outputs, from_rows

F64 = torch.float64


def batch(**more):
    """Two pairs, the second with its rejected answer first."""
    sides = {"margin": [0.0] * 4, "probability": [1.0] * 4, **more}
    ids, mask = [[5, 6], [5, 7, 8], [4, 3], [4, 2]], [[0, 1], [0, 1, 1], [0, 1], [0, 1]]
    return from_rows(ids, mask, group=[0, 0, 1, 1], place=[0, 1, 1, 0], sides=sides, dtype=F64)


SCORES = Outputs(score=torch.tensor([math.log(3), 0.0, 2.0, 1.0], dtype=F64))  # right by log 3; wrong by 1


def value(algorithm, prepared, out=SCORES):
    prepared = prepared.normalised({name: float(w.sum()) for name, w in prepared.weight.items()})
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
    prepared = rm.prepare(batch()).normalised({"bradley_terry": 2.0, "centre": 2.0})
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


def test_what_is_not_a_pair_is_refused():
    rm = RewardModel(RewardModelConfig())
    prepared = rm.prepare(batch())
    with pytest.raises(ValueError, match="pairs expected"):
        rm.loss(Outputs(score=SCORES.score[:3]), prepared.rows([0, 1, 2]))
