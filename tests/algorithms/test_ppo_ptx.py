"""PPO-ptx: pre-training rows beside the answers add their likelihood to the loss, and touch nothing else."""

import json
import math

import pytest
import torch

from plaudit.algorithms.ppo import PPO, PPOConfig
from plaudit.config import load
from plaudit.core.batch import Outputs, from_rows, joined
from plaudit.schema import UserError
from plaudit.training.run import sections, train
from plaudit.training.sources import with_pretraining
from small_networks import demonstrations, gradients, learner, rollouts, weights

F64 = torch.float64
ON = {"ptx_coef": 0.7, "ptx_file": "x"}


def both(seed=0, count=7):
    return with_pretraining(rollouts(count, seed=seed), demonstrations(5, seed=seed + 50))


def test_joining_by_hand():
    one = from_rows([[5, 6]], [[0, 1]], streams={"sampler": [[0, -1]]}, sides={"reward": [2.0]}, group=[3])
    two = from_rows([[7, 8, 9], [4, 3]], [[0, 1, 1], [0, 1]], sides={"weight": [0.5, 1.0]})
    found = joined(one, two)
    assert found.ids.tolist() == [[5, 6, 0], [7, 8, 9], [4, 3, 0]] and found.length.tolist() == [2, 3, 2]
    assert found.group.tolist() == [3, 4, 5] and found["sampler"].tolist() == [[0, -1, 0], [0, 0, 0], [0, 0, 0]]
    assert found["reward"].tolist() == [2, 0, 0] and found["weight"].tolist() == [0, 0.5, 1.0]


def test_the_term_by_hand():
    """gamma times the mean of -log pi over all tokens of the pre-training rows, each row with its weight."""
    batch = with_pretraining(
        from_rows([[5, 6]], [[0, 1]], sides={"reward": [1.0]}, dtype=F64),
        from_rows([[7, 8, 9], [4, 3, 0]], [[0, 1, 1], [0, 1, 0]], sides={"weight": [1.0, 3.0]}, dtype=F64),
    )
    zero = torch.zeros(3, 3, dtype=F64)
    batch = batch.with_(streams=dict.fromkeys(("old", "ref", "value", "entropy"), zero))
    algorithm = PPO(PPOConfig(**ON))
    prepared = algorithm.prepare(batch)
    prepared = prepared.normalised({name: float(total) for name, total in prepared.sums().items()})
    logp = torch.tensor([[0, 0, 0], [0, math.log(0.5), math.log(0.2)], [0, math.log(0.1), 0]], dtype=F64)
    term = algorithm.loss(Outputs(logp=logp, entropy=zero), prepared)["ptx"]
    wanted = 0.7 * -(math.log(0.5) + math.log(0.2) + 3 * math.log(0.1)) / 5
    assert float((term * prepared.weight["ptx"]).sum()) == pytest.approx(wanted)
    assert prepared.weight["policy"].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_the_rows_change_nothing_else():
    """With a coefficient of next to nothing, a step on answers and pre-training rows is the step on the answers alone."""
    options = {"num_mini_batches": 2, "kl_target": 0.01, "kl_horizon": 20.0}
    alone, beside = learner("ppo", options=options), learner("ppo", options={**options, **ON, "ptx_coef": 1e-300})
    told = [made.step(batch) for made, batch in ((alone, rollouts(7)), (beside, both()))]
    assert set(told[1]) - set(told[0]) == {"ptx/nll", "loss/ptx_avg"}
    assert {name: told[1][name] for name in told[0]} == pytest.approx(told[0], rel=1e-9, abs=1e-12)
    assert torch.allclose(weights(alone), weights(beside), rtol=1e-9, atol=1e-12)
    assert alone.algorithm.state() == pytest.approx(beside.algorithm.state())


def test_the_gradient_is_that_of_ppo_plus_that_of_fine_tuning():
    tiny, once = {"learning_rate": 1e-300}, {"num_ppo_epochs": 1, "entropy_coef": 0.0}
    half = {**ON, "ptx_coef": 0.5}  # Llama's norms run in float32: another factor than a power of two would be rounded there
    ppo, ptx = (learner("ppo", options={**once, **extra}, optimizer=tiny) for extra in ({}, half))
    sft = learner("sft", options={"entropy_coef": 0.0}, optimizer=tiny)
    for made, batch in ((ppo, rollouts(7)), (ptx, both()), (sft, demonstrations(5, seed=50))):
        made.algorithm.temperature = 1.0
        made.step(batch)
    policy = sum(p.numel() for p in ppo.networks["policy"].parameters().values())
    wanted = gradients(ppo)[:policy] + 0.5 * gradients(sft)
    assert torch.allclose(gradients(ptx)[:policy], wanted, rtol=1e-9, atol=1e-12)
    assert torch.allclose(gradients(ptx)[policy:], gradients(ppo)[policy:], rtol=1e-9, atol=1e-12)


def test_every_mini_batch_gets_its_share():
    made = learner("ppo", options={**ON, "num_mini_batches": 3}, micro_batch=2)
    batch = both()
    minis = made.plan(batch)
    assert [sum(int(batch["ptx"][rows].sum()) for rows in mini) for mini in minis] == [2, 2, 1]
    for mini in minis:
        assert all(len({bool(x) for x in batch["ptx"][rows]}) == 1 for rows in mini), "none shares a micro-batch with answers"


@pytest.mark.parametrize("words", [["ptx_coef=1"], ["ptx_file=rows.jsonl"]])
def test_options_that_cannot_be_meant(words):
    with pytest.raises(UserError, match="ptx_file"):
        load([PPOConfig], None, words)


@pytest.mark.slow
def test_a_run_takes_a_portion_with_every_step(tmp_path):
    rows = [{"prompt": f"Where is order {i}?", "completion": f" On its way {i}."} for i in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    classes, defaults = sections("ppo")
    words = ["model_name_or_path=tiny", "use_peft=true", "bf16=false", "max_steps=20", "max_completion_length=4"]
    words += [
        f"train_file={tmp_path / 'rows.jsonl'}",
        f"ptx_file={tmp_path / 'rows.jsonl'}",
        "ptx_coef=5",
        "learning_rate=1e-2",
    ]
    words += ["reward_funcs=[length_penalty]", f"output_dir={tmp_path / 'run'}", "ptx_batch_size=6"]
    train("ppo", load(classes, None, words, defaults))
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    nll = [line["ptx/nll"] for line in log if "ptx/nll" in line]
    assert len(nll) == 20 and nll[-1] < nll[0] - 0.3
    assert all(line["val/first_pass_ratio_deviation"] == 0 for line in log if "ptx/nll" in line)
    assert "ptx_file: 12 of 12 demonstrations kept" in (tmp_path / "run" / "events.log").read_text()
    assert "ptx_file" in json.loads((tmp_path / "run" / "inputs.json").read_text())
