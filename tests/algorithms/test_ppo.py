import math

import pytest
import torch

from plaudit.algorithms.ppo import PPO, PPOConfig
from plaudit.core.batch import Outputs, from_rows

F64 = torch.float64


def ppo(**options):
    return PPO(PPOConfig(**{"kl_coef": 0.1, "whiten_advantages": False, **options}))


def one():
    """A prompt of one token and an answer of two; the score is 1."""
    streams = {"old": [[0, -1.0, -2.0]], "ref": [[0, -1.5, -1.0]], "value": [[0, 0.2, 0.4]], "entropy": [[0, 1.0, 3.0]]}
    return from_rows([[5, 6, 7]], [[0, 1, 1]], streams=streams, sides={"reward": [1.0]}, dtype=F64)


def near(wanted):
    return [pytest.approx(row, rel=1e-12, abs=1e-15) for row in wanted]


def test_prepare_end_to_end_by_hand():
    """kl = old - ref = (0.5, -1); r = -0.1 kl, + 1 at the end = (-0.05, 1.1);
    delta_2 = 1.1 - 0.4 = 0.7, delta_1 = -0.05 + 0.4 - 0.2 = 0.15; A_1 = 0.15 + 0.95 * 0.7 = 0.815; R = A + V."""
    got = ppo().prepare(one())
    assert got["kl"].tolist() == near([[0, 0.5, -1.0]])
    assert got["token_reward"].tolist() == near([[0, -0.05, 1.1]])
    assert got["advantage"].tolist() == near([[0, 0.815, 0.7]])
    assert got["returns"].tolist() == near([[0, 1.015, 1.1]])
    assert {name: w.tolist() for name, w in got.weight.items()} == {key: [[0, 1, 1]] for key in ("policy", "value", "entropy")}


def test_prepare_with_k3_and_discount():
    got = ppo(kl_estimator="k3", gamma=0.5, lam=0.5).prepare(one())
    k3 = [math.exp(-0.5) - 1 + 0.5, math.exp(1.0) - 1 - 1.0]
    assert got["kl"].tolist() == near([[0, *k3]])
    last = 1 - 0.1 * k3[1] - 0.4
    assert got["advantage"].tolist() == near([[0, -0.1 * k3[0] + 0.5 * 0.4 - 0.2 + 0.25 * last, last]])


def test_advantages_are_whitened_and_returns_are_not():
    plain, white = ppo().prepare(one()), ppo(whiten_advantages=True).prepare(one())
    assert white["advantage"].tolist() == [pytest.approx([0, 1, -1], rel=1e-4)]  # two numbers: one deviation each way
    assert torch.equal(white["returns"], plain["returns"]) and torch.equal(white["token_reward"], plain["token_reward"])


def test_whitened_rewards_keep_their_mean():
    plain, white = ppo().prepare(one()), ppo(whiten_rewards=True).prepare(one())
    mean, deviation = 0.525, 0.575
    wanted = [mean + (r - mean) / deviation for r in (-0.05, 1.1)]
    assert white["token_reward"][0, 1:].tolist() == pytest.approx(wanted, rel=1e-6)
    assert float(white["token_reward"].sum()) == pytest.approx(float(plain["token_reward"].sum()))


NOW = Outputs(
    logp=torch.tensor([[0, -0.9, -2.3]], dtype=F64),
    entropy=torch.tensor([[0, 2.0, 4.0]], dtype=F64),
    value=torch.tensor([[0, 0.5, 0.5]], dtype=F64),
)


def test_the_losses_by_hand():
    algorithm = ppo(entropy_coef=0.01, vf_coef=0.1)
    terms = algorithm.loss(NOW, algorithm.prepare(one()))
    assert terms["policy"][0, 1:].tolist() == pytest.approx([-math.exp(0.1) * 0.815, -math.exp(-0.3) * 0.7])
    # V_1 moved by 0.3, clipped to 0.4: (0.4 - 1.015)^2 is the larger; V_2 moved by 0.1: (0.5 - 1.1)^2
    assert terms["value"][0, 1:].tolist() == pytest.approx([0.05 * 0.615**2, 0.05 * 0.36])
    assert terms["entropy"][0, 1:].tolist() == pytest.approx([-0.02, -0.04])


def test_one_network_at_a_time():
    algorithm = ppo(entropy_coef=0.01)
    prepared = algorithm.prepare(one())
    assert set(algorithm.loss(Outputs(logp=NOW.logp, entropy=NOW.entropy), prepared)) == {"policy", "entropy"}
    assert set(algorithm.loss(Outputs(value=NOW.value), prepared)) == {"value"}
    assert set(ppo().loss(Outputs(logp=NOW.logp, entropy=NOW.entropy), prepared)) == {"policy"}


def test_metrics_by_hand():
    algorithm = ppo()
    prepared = algorithm.prepare(one())
    found = algorithm.summarise(algorithm.metrics(NOW, prepared))
    ratios = [math.exp(0.1), math.exp(-0.3)]
    mean = sum(ratios) / 2
    assert found == pytest.approx(
        {
            "policy/approxkl_avg": 0.5 * (0.01 + 0.09) / 2,
            "policy/clipfrac_avg": 0.0,
            "policy/entropy_avg": 3.0,
            "val/ratio": mean,
            "val/ratio_var": sum((r - mean) ** 2 for r in ratios) / 2,
            "val/clipfrac_avg": 0.5,
        }
    )
    tight = ppo(cliprange=0.05)
    assert tight.summarise(tight.metrics(NOW, prepared))["policy/clipfrac_avg"] == 0.5  # the first went up, and may


def test_what_is_told_of_the_batch_by_hand():
    algorithm = ppo()
    found = algorithm.describe(algorithm.prepare(one().with_(streams={"sampler": torch.tensor([[0, -1.1, -1.7]], dtype=F64)})))
    assert found == pytest.approx(
        {
            "sampling/sampling_logp_difference/mean": 0.2,
            "sampling/sampling_logp_difference/max": 0.3,
            "objective/kl": -0.5,
            "objective/entropy": 2.0,
            "objective/non_score_reward": 0.05,
            "objective/rlhf_reward": 1.05,
            "objective/scores": 1.0,
            "objective/scores_std": 0.0,
            "objective/kl_coef": 0.1,
            # returns - values = (0.815, 0.7): variance 0.0575^2; returns (1.015, 1.1): variance 0.0425^2
            "val/explained_variance": 1 - (0.0575 / 0.0425) ** 2,
        }
    )


def several(garbage=None):
    """Three ragged answers; `garbage` stands wherever the mask is 0: in prompts and padding of every stream."""
    generator = torch.Generator().manual_seed(0)
    ids = [[5, 6, 7, 8, 9], [4, 3, 2], [5, 6, 7, 8]]
    made = from_rows(ids, [[0, 0, 1, 1, 1], [0, 1, 1], [0, 1, 0, 1]], sides={"reward": [1.0, -1.0, 0.5]}, dtype=F64)
    streams = {
        name: torch.randn(3, 5, generator=generator, dtype=F64) for name in ("old", "ref", "value", "entropy", "sampler")
    }
    out = {name: torch.randn(3, 5, generator=generator, dtype=F64) for name in ("logp", "entropy", "value")}
    filler = torch.full((3, 5), garbage or 0.0, dtype=F64)
    streams, out = ({k: torch.where(made.mask > 0, v, filler) for k, v in d.items()} for d in (streams, out))
    return made.with_(streams=streams), Outputs(**out)


@pytest.mark.parametrize("whitened", [False, True])
def test_padding_never_enters(whitened):
    algorithm = ppo(whiten_advantages=whitened, whiten_rewards=whitened, entropy_coef=0.1)
    found = []
    for garbage in (0.0, 33.0):
        batch, out = several(garbage)
        prepared = algorithm.prepare(batch)
        losses = {k: (term * prepared.weight[k]).tolist() for k, term in algorithm.loss(out, prepared).items()}
        streams = {k: prepared[k].tolist() for k in ("kl", "token_reward", "advantage", "returns")}
        found.append((losses, streams, algorithm.describe(prepared), algorithm.metrics(out, prepared)))
    assert found[0] == found[1]


def test_statistics_are_over_tokens_and_answers_as_named():
    batch, _ = several()
    prepared = ppo().prepare(batch)
    found = ppo().describe(prepared)
    kept = batch.mask > 0
    gap = (batch["old"] - batch["ref"])[kept]
    assert found["objective/kl"] == pytest.approx(float(gap.sum()) / 3)  # nats an answer
    assert found["objective/entropy"] == pytest.approx(float(batch["entropy"][kept].mean()))  # nats a token
    assert found["objective/scores_std"] == pytest.approx(float(batch["reward"].std(correction=0)))


def test_the_score_stands_on_the_last_token_of_each_answer():
    batch, _ = several()
    paid = ppo(kl_coef=0.0).prepare(batch)["token_reward"]
    assert paid.tolist() == [[0, 0, 0, 0, 1.0], [0, 0, -1.0, 0, 0], [0, 0, 0, 0.5, 0]]


def test_a_kl_budget_is_used_up_when_it_is_exceeded():
    batch, out = several()
    algorithm = ppo()
    moments = algorithm.metrics(out, algorithm.prepare(batch))
    spent = moments["policy/approxkl_avg"].mean
    assert ppo(target_kl=spent * 0.99).enough(moments) and not ppo(target_kl=spent * 1.01).enough(moments)
    assert not algorithm.enough(moments)


def test_the_adaptive_coefficient_moves_and_is_kept():
    algorithm = ppo(kl_target=2.0, kl_horizon=100.0)
    algorithm.after({"objective/kl": 2.2}, rows=10)
    assert algorithm.controller.coefficient == pytest.approx(0.1 * (1 + 0.1 * 10 / 100))
    again = ppo(kl_target=2.0, kl_horizon=100.0)
    again.restore(algorithm.state())
    assert again.controller == algorithm.controller
    paid = again.prepare(one())["token_reward"]
    assert float(paid[0, 1]) == pytest.approx(-0.101 * 0.5)  # the moved coefficient is what is paid
    fixed = ppo()
    fixed.after({"objective/kl": 50.0}, rows=10)
    assert fixed.controller.coefficient == 0.1
