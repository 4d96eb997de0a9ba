"""DPO, SimPO, ORPO, KTO, online DPO and best of n on numbers worked by hand."""

import dataclasses
import math

import pytest
import torch

from plaudit.algorithms import pairs
from plaudit.algorithms.best_of_n import BestOfN, BestOfNConfig
from plaudit.algorithms.dpo import DPO, DPOConfig
from plaudit.algorithms.kto import KTO, KTOConfig
from plaudit.algorithms.online_dpo import OnlineDPO, OnlineDPOConfig
from plaudit.algorithms.orpo import ORPO, ORPOConfig
from plaudit.algorithms.simpo import SimPO, SimPOConfig
from plaudit.core.batch import Outputs, from_rows
from plaudit.data.collate import collate_labels
from plaudit.data.encode import Encoded
from plaudit.data.template import Row
from small_networks import learner, rollouts, weights

F64 = torch.float64
NOW = [[0.0, -1.0, -1.0], [0.0, -2.0]]
REF = [[0.0, -2.0, -1.5], [0.0, -1.0]]
"""Log ratios of the answers: 1.5 of the better one (2 tokens), -1 of the worse one (1 token)."""
H_W, H_L = 1.5, -1.0


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def nls(x):
    return math.log1p(math.exp(-x))


def pair(**more):
    sides = {"margin": [0.0] * 2, "probability": [1.0] * 2, **more}
    ids, mask = [[5, 6, 7], [5, 8]], [[0, 1, 1], [0, 1]]
    return from_rows(ids, mask, group=[0, 0], place=[0, 1], sides=sides, streams={"ref": REF}, dtype=F64)


def stream(rows):
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0.0] * (width - len(row))] for row in rows], dtype=F64)


def total(algorithm, prepared, rows=NOW):
    out = Outputs(logp=stream(rows), entropy=torch.zeros_like(stream(rows)))
    prepared = prepared.normalised({name: float(s) for name, s in prepared.sums().items()})
    return sum(float((term * prepared.weight[name]).sum()) for name, term in algorithm.loss(out, prepared).items())


B = 0.5
DPO_LOSSES = {
    "sigmoid": nls(B * 2.5),
    "sigmoid_norm": nls(B * (H_W / 2 - H_L)),
    "hinge": 0.0,
    "ipo": (H_W / 2 - H_L - 1 / (2 * B)) ** 2,
    "apo_zero": 1 - sigmoid(B * H_W) + sigmoid(B * H_L),
    "apo_down": sigmoid(B * H_W) + 1 - sigmoid(B * 2.5),
}


@pytest.mark.parametrize("kind", DPO_LOSSES)
def test_the_losses_of_dpo(kind):
    made = DPO(DPOConfig(beta=B, loss_type=kind))
    assert total(made, made.prepare(pair())) == pytest.approx(DPO_LOSSES[kind])


def test_hinge_where_the_pair_is_not_far_enough_apart():
    made = DPO(DPOConfig(beta=0.1, loss_type="hinge"))
    assert total(made, made.prepare(pair())) == pytest.approx(1 - 0.25)


def test_robust_undoes_the_mean_of_flipped_labels():
    """Over labels flipped with probability eps, the mean of the robust loss is the clean label's (Chowdhury et al., eq. 8)."""
    eps = 0.2
    made = DPO(DPOConfig(beta=B, loss_type="robust", label_smoothing=eps))
    right = total(made, made.prepare(pair()))
    turned = pair().placed(torch.tensor([1, 0]))
    wrong = total(made, made.prepare(turned))
    assert (1 - eps) * right + eps * wrong == pytest.approx(nls(B * 2.5))
    with pytest.raises(ValueError, match="label_smoothing"):
        DPOConfig(loss_type="robust")


def test_soft_labels_smoothing_and_the_log_likelihood_beside():
    made = DPO(DPOConfig(beta=B, label_smoothing=0.1, rpo_alpha=0.3))
    p = 0.8 * 0.9 + 0.2 * 0.1
    expected = p * nls(B * 2.5) + (1 - p) * nls(-B * 2.5) + 0.3 * 1.0
    assert total(made, made.prepare(pair(probability=[0.8, 0.8]))) == pytest.approx(expected)


def test_what_dpo_says_of_a_pair():
    made = DPO(DPOConfig(beta=B))
    found = made.metrics(Outputs(logp=stream(NOW)), made.prepare(pair()))
    means = {name: moment.mean for name, moment in found.items()}
    assert means == pytest.approx(
        {
            "rewards/chosen": B * H_W,
            "rewards/rejected": B * H_L,
            "rewards/accuracies": 1.0,
            "rewards/margins": B * 2.5,
            "logps/chosen": -2.0,
            "logps/rejected": -2.0,
        }
    )


def test_simpo_divides_by_the_length_and_asks_for_a_lead():
    made = SimPO(SimPOConfig(beta=2.0, simpo_gamma=0.5, cpo_alpha=0.1))
    assert total(made, made.prepare(pair())) == pytest.approx(nls(2.0 * (-1.0 + 2.0) - 0.5) + 0.1 * 1.0)


def test_orpo_by_hand():
    made = ORPO(ORPOConfig(beta=0.2))
    p_w, p_l = math.exp(-1.0), math.exp(-2.0)
    odds = math.log(p_w / (1 - p_w)) - math.log(p_l / (1 - p_l))
    assert total(made, made.prepare(pair())) == pytest.approx(1.0 + 0.2 * nls(odds))


# -- KTO -------------------------------------------------------------------------------------------------------------------


def thumbs():
    """A liked answer of two tokens and a disliked one of one token; behind them each other's prompts with their answers."""
    rows = [Row([5, 6, 7], [0, 1, 1], 1), Row([4, 8], [0, 1], 1)]
    encoded = [Encoded((row,), place, label=1.0 - place) for place, row in enumerate(rows)]
    return collate_labels(encoded, mismatched=True, dtype=F64)


def test_every_answer_stands_behind_the_next_prompt_too():
    batch = thumbs()
    assert batch.ids.tolist() == [[5, 6, 7], [4, 8, 0], [5, 8, 0], [4, 6, 7]]
    assert batch["auxiliary"].tolist() == [0, 0, 1, 1] and batch["label"].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(("apart", "z"), [((0.4, 0.2), 0.3), ((-0.4, 0.2), 0.0)])
def test_kto_compares_with_the_kl_which_is_never_negative(apart, z):
    """Log ratios 1.5 of the liked answer, -1 of the disliked one; `apart` of the mismatched rows."""
    ref = [[0.0] * 3] * 4
    logp = stream([[0.0, 1.0, 0.5], [0.0, -1.0], [0.0, apart[0]], [0.0, apart[1], 0.0]])
    made = KTO(KTOConfig(beta=B, desirable_weight=1.2))
    prepared = made.prepare(thumbs().with_(streams={"ref": torch.tensor(ref, dtype=F64)}))
    sums = made.statistics(Outputs(logp=logp), prepared)
    prepared = prepared.with_(sides={name: value.expand(4) for name, value in sums.items()})
    expected = (1.2 * (1 - sigmoid(B * (1.5 - z))) + 1 - sigmoid(B * (z + 1.0))) / 2
    assert total(made, prepared, logp.tolist()) == pytest.approx(expected)


# -- algorithms that choose among their own answers ------------------------------------------------------------------------


def siblings(reward):
    """Three answers to one prompt, and two to another."""
    ids = [[5, r] for r in range(5)]
    sides = {"reward": reward}
    return from_rows(ids, [[0, 1]] * 5, group=[0, 0, 0, 1, 1], place=[0, 1, 2, 0, 1], sides=sides, dtype=F64)


def test_online_dpo_pairs_the_best_with_the_worst_and_ties_weigh_nothing():
    made = OnlineDPO(OnlineDPOConfig())
    arranged = made.arrange(siblings([1.0, 3.0, 0.5, 2.0, 2.0]))
    assert arranged.ids[:, 1].tolist() == [1, 2, 3, 4] and arranged.place.tolist() == [0, 1, 0, 1]
    prepared = made.prepare(arranged)
    assert prepared.weight["pair"].tolist() == [1.0, 0.0, 0.0, 0.0]
    zeros = torch.zeros(4, 2, dtype=F64)
    said = made.describe(prepared.with_(streams={"old": zeros, "ref": zeros}))
    assert said["pairs/tied"] == 0.5 and said["objective/scores_margin"] == pytest.approx(2.5 / 2)


def test_best_of_n_keeps_the_best_and_can_ask_for_more():
    made = BestOfN(BestOfNConfig(min_reward=2.5))
    arranged = made.arrange(siblings([1.0, 3.0, 0.5, 2.0, 2.0]))
    assert arranged.ids[:, 1].tolist() == [1, 3]
    prepared = made.prepare(arranged)
    assert prepared.weight["nll"].sum(-1).tolist() == [1.0, 0.0]
    said = made.describe(prepared)
    assert said == {"best/reward": 2.5, "best/used": 0.5}
    two = BestOfN(BestOfNConfig(num_best=2)).arrange(siblings([1.0, 3.0, 0.5, 2.0, 2.0]))
    assert two.ids[:, 1].tolist() == [0, 1, 3, 4]


def test_a_ranking_of_three_is_refused_with_advice():
    from plaudit.schema import UserError
    from small_networks import rankings

    with pytest.raises(UserError, match="learns from pairs, but a row ranks more than two answers"):
        pairs.opponent(rankings((3,)))


def test_a_step_in_which_no_prompt_has_two_answers_changes_nothing():
    """Rewards that do not apply leave lone answers: each is its own opponent, a tie that weighs nothing."""
    made = learner("online_dpo")
    before = weights(made)
    batch = rollouts(4)
    alone = dataclasses.replace(batch, group=torch.arange(4), place=torch.zeros(4, dtype=torch.long))
    told = made.step(alone)
    assert told["pairs/tied"] == 1.0 and told["refused"] == 0.0
    assert torch.equal(weights(made), before)
