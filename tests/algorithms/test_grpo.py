"""GRPO, RLOO and REINFORCE++ on numbers worked by hand."""

import math

import pytest
import torch

from plaudit.algorithms.grpo import GRPO, GRPOConfig
from plaudit.algorithms.reinforce_pp import ReinforcePP, ReinforcePPConfig
from plaudit.algorithms.rloo import RLOO, RLOOConfig
from plaudit.core.batch import Outputs, from_rows

F64 = torch.float64
REWARD = [1.0, 3.0, 2.0]
"""Two siblings, and a lone answer."""


def batch(streams=None, truncated=(0.0, 0.0, 1.0)):
    """Answers of 1, 3 and 2 tokens behind one token of prompt."""
    ids, mask = [[5, 6], [5, 7, 8, 9], [4, 3, 2]], [[0, 1], [0, 1, 1, 1], [0, 1, 1]]
    sides = {"reward": REWARD, "truncated": list(truncated), "limit": [4.0] * 3}
    return from_rows(ids, mask, group=[0, 0, 1], place=[0, 1, 0], sides=sides, streams=streams, dtype=F64)


def flat(value):
    return [[0.0, value], [0.0, value, value, value], [0.0, value, value]]


def total(algorithm, prepared, logp):
    """The loss as the learner adds it up."""
    out = Outputs(logp=logp, entropy=torch.zeros_like(logp))
    prepared = prepared.normalised({name: float(s) for name, s in prepared.sums().items()})
    return sum(float((term * prepared.weight[name]).sum()) for name, term in algorithm.loss(out, prepared).items())


def logp_of(values):
    out = torch.zeros(3, 4, dtype=F64)
    for r, row in enumerate(values):
        out[r, : len(row)] = torch.tensor(row, dtype=F64)
    return out


SPREAD = math.sqrt(2.0) + 1e-4
"""Deviation (n - 1) of the rewards 1 and 3."""


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ("group", [-1 / SPREAD, 1 / SPREAD, 0.0]),
        ("batch", [-1 / (1.0 + 1e-4), 1 / (1.0 + 1e-4), 0.0]),  # deviation of 1, 3, 2 is 1
        ("none", [-1.0, 1.0, 0.0]),
    ],
)
def test_advantages_among_siblings(scale, expected):
    made = GRPO(GRPOConfig(scale_rewards=scale))
    assert made.prepare(batch())["advantage"].tolist() == pytest.approx(expected)


# On the first pass the ratio is 1, so each token's term is -A: answers of 1, 3 and 2 tokens with A = -1, 1, 0.
@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("grpo", (1.0 - 1.0 + 0.0) / 3),  # every answer the same
        ("dapo", (1.0 - 3.0) / 6),  # every token the same
        ("bnpo", (1.0 - 3.0) / 6),
        ("dr_grpo", (1.0 - 3.0) / (3 * 4.0)),  # a fixed number: 3 answers of at most 4 tokens
    ],
)
def test_how_tokens_are_weighed(loss_type, expected):
    made = GRPO(GRPOConfig(loss_type=loss_type, scale_rewards="none"))
    assert total(made, made.prepare(batch()), logp_of(flat(-0.3))) == pytest.approx(expected)


def test_truncated_answers_can_be_left_out():
    made = GRPO(GRPOConfig(mask_truncated_completions=True, scale_rewards="none"))
    prepared = made.prepare(batch(truncated=(1.0, 0.0, 0.0)))
    assert total(made, prepared, logp_of(flat(-0.3))) == pytest.approx(-3.0 / 5)
    nothing = made.prepare(batch(truncated=(1.0, 1.0, 1.0)))
    assert total(made, nothing, logp_of(flat(-0.3))) == 0.0


def test_clip_higher_and_the_sequence_ratio():
    """Second pass, tokens of the winner (A = 1) at ratios 2, 1, 1/2: token by token they are clipped to 1.3, 1, .5."""
    old = [[0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    now = logp_of([[0.0, 0.0], [0.0, math.log(2), 0.0, -math.log(2)], [0.0, 0.0, 0.0]])
    made = GRPO(GRPOConfig(num_iterations=2, epsilon_high=0.3, scale_rewards="none", loss_type="grpo"))
    assert made.reads == {"old"}
    prepared = made.prepare(batch({"old": old}))
    assert total(made, prepared, now) == pytest.approx((1.0 - (1.3 + 1.0 + 0.5) / 3) / 3)
    whole = GRPO(GRPOConfig(num_iterations=2, importance_sampling_level="sequence", scale_rewards="none", loss_type="grpo"))
    assert total(whole, whole.prepare(batch({"old": old})), now) == pytest.approx((1.0 - 1.0) / 3)


def test_the_kl_is_k3_in_the_loss():
    made = GRPO(GRPOConfig(beta=0.5, scale_rewards="none"))
    assert made.reads == {"ref"} and made.reference
    prepared = made.prepare(batch({"ref": flat(0.0)}))
    plain = (1.0 - 3.0) / 6
    assert total(made, prepared, logp_of(flat(-0.3))) == pytest.approx(plain + 0.5 * (math.exp(0.3) - 1 - 0.3))


def test_truncated_importance_sampling_weighs_tokens():
    made = GRPO(GRPOConfig(importance_sampling_cap=2.0, scale_rewards="none"))
    prepared = made.prepare(batch({"sampler": flat(-0.3 + math.log(2))}))  # the sampler was twice as sure
    assert total(made, prepared, logp_of(flat(-0.3))) == pytest.approx((1.0 - 3.0) / 6 / 2)


def test_cispo_needs_its_largest_weight():
    with pytest.raises(ValueError, match="epsilon_high"):
        GRPOConfig(loss_type="cispo")
    made = GRPO(GRPOConfig(loss_type="cispo", epsilon_high=5.0, scale_rewards="none"))
    assert total(made, made.prepare(batch()), logp_of(flat(-0.3))) == pytest.approx((1.0 * -0.3 - 3 * -0.3) / 6)


# -- RLOO ------------------------------------------------------------------------------------------------------------------


def test_rloo_takes_the_kl_off_the_answer_and_the_siblings_mean_off_that():
    made = RLOO(RLOOConfig(beta=0.1))
    prepared = made.prepare(batch({"old": flat(-0.3), "ref": flat(-0.5)}))
    worth = [1.0 - 0.1 * 0.2, 3.0 - 0.1 * 0.6]
    assert prepared["advantage"].tolist() == pytest.approx([worth[0] - worth[1], worth[1] - worth[0], 0.0])


def test_rloo_treats_an_answer_as_one_action():
    """The winner's ratio is 2 * 1 * 2 = 4 as a whole, clipped to 1.2."""
    made = RLOO(RLOOConfig(beta=0.0))
    prepared = made.prepare(batch({"old": flat(-0.7), "ref": flat(-0.7)}))
    now = logp_of(flat(-0.7)) + logp_of([[0, 0], [0.0, math.log(2), 0.0, math.log(2)], [0, 0, 0]])
    assert total(made, prepared, now) == pytest.approx((2.0 - 2.0 * 1.2 + 0.0) / 3)


def test_rloo_normalised_advantages():
    made = RLOO(RLOOConfig(beta=0.0, normalize_advantages=True))
    a = made.prepare(batch({"old": flat(0.0), "ref": flat(0.0)}))["advantage"]
    assert a.tolist() == pytest.approx([-2 / (2 + 1e-4), 2 / (2 + 1e-4), 0.0])  # -2, 2, 0 have deviation 2 (n - 1)


# -- REINFORCE++ -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
def test_reinforce_pp_whitens_rewards_to_go(grouped):
    made = ReinforcePP(ReinforcePPConfig(kl_coef=0.1, use_group_baseline=grouped))
    prepared = made.prepare(batch({"old": flat(-0.3), "ref": flat(-0.5)}))
    scores = [-1.0, 1.0, 0.0] if grouped else REWARD
    raw = [scores[0] - 0.02] + [scores[1] - 0.02 * k for k in (3, 2, 1)] + [scores[2] - 0.02 * k for k in (2, 1)]
    mean = sum(raw) / 6
    spread = math.sqrt(sum((x - mean) ** 2 for x in raw) / 6 + 1e-8)
    got = prepared["advantage"][prepared.mask > 0].tolist()
    assert got == pytest.approx([(x - mean) / spread for x in raw])


def test_the_clip_metrics_speak_of_the_ratio_that_is_clipped():
    """The winner's tokens at ratios 2, 2, 1/2 (bound 1.2): token by token two of the 6 are cut, as a whole answer (ratio 2,
    or by the token 2^(1/3) = 1.26) all three; CISPO's bound is the largest weight itself."""
    old = {name: [[0.0, 0.0], [0.0] * 4, [0.0] * 3] for name in ("old", "ref")}
    two = math.log(2)
    out = Outputs(logp=logp_of([[0.0, 0.0], [0.0, two, two, -two], [0.0, 0.0, 0.0]]))
    twice = {"num_iterations": 2}

    def cut(algorithm):
        return algorithm.metrics(out, algorithm.prepare(batch(old)))["clip_ratio/high_mean"].mean

    assert cut(GRPO(GRPOConfig(**twice))) == pytest.approx(2 / 6)
    assert cut(GRPO(GRPOConfig(**twice, importance_sampling_level="sequence"))) == pytest.approx(3 / 6)
    assert cut(RLOO(RLOOConfig(**twice))) == pytest.approx(3 / 6)
    assert cut(GRPO(GRPOConfig(**twice, loss_type="cispo", epsilon_high=1.9))) == pytest.approx(2 / 6)
    assert cut(GRPO(GRPOConfig(**twice, loss_type="cispo", epsilon_high=2.1))) == 0.0
