"""Optimisers, schedules as options, and averaged weights: by hand, and the same to the last bit after a resume."""

import pytest
import torch

from nursery import At
from plaudit.training.optimizers import RATE, Optimizer
from plaudit.training.options import OptimizerConfig
from small_networks import BATCHES, learner, weights
from training_runs import SHARED, own, same, write_data

KINDS = {
    "adamw": {},
    "adafactor": {"optim": "adafactor", "weight_decay": 0.1},
    "sgd": {"optim": "sgd", "weight_decay": 0.1},
    "bare sgd": {"optim": "sgd", "sgd_momentum": 0.0},
    "muon": {"optim": "muon", "weight_decay": 0.1},
    "averaged": {"ema_decay": 0.9},
}


class Two:
    """A network of one matrix and one vector, by the names given."""

    def __init__(self, matrix="layers.0.up.weight"):
        self.named = {
            matrix: torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]])),
            "norm.weight": torch.nn.Parameter(torch.tensor([1.0, 2.0])),
        }
        for p in self.named.values():
            p.grad = torch.full_like(p, 0.5)

    def parameters(self):
        return self.named


def stepped(network, **options):
    made = Optimizer(network, OptimizerConfig(**options))
    made.step()
    return [p.detach() for p in network.named.values()]


@pytest.mark.parametrize("optimizer", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_a_restored_learner_goes_on_to_the_bit(optimizer, full):
    how = {"optimizer": {"learning_rate": 1e-2, **optimizer}, "full": full, "dtype": torch.float32}
    batch = BATCHES["reward"](dtype=torch.float32)
    whole, half, rest = (learner("reward", **how) for _ in range(3))
    for _ in range(4):
        whole.step(batch)
    for _ in range(2):
        half.step(batch)
    tensors, state = half.state()
    rest.restore({k: {n: t.clone() for n, t in group.items()} for k, group in tensors.items()}, state)
    for _ in range(2):
        rest.step(batch)
    assert torch.equal(weights(rest), weights(whole))
    with rest.averaged(), whole.averaged():
        assert torch.equal(weights(rest), weights(whole))
    assert not torch.equal(weights(half), weights(whole))


def test_sgd_by_hand_with_decay_off_the_gradient():
    """Twice: W <- W (1 - lr wd) - lr v, with v <- 0.9 v + g; the vector is not decayed."""
    network = Two()
    made = Optimizer(network, OptimizerConfig(optim="sgd", learning_rate=0.1, weight_decay=0.5))
    made.step()
    made.step()
    matrix, vector = (p.detach() for p in network.named.values())
    first = 1.0 * 0.95 - 0.1 * 0.5
    assert matrix[0, 0].item() == pytest.approx(first * 0.95 - 0.1 * (0.9 * 0.5 + 0.5), rel=1e-6)
    assert vector[0].item() == pytest.approx(1.0 - 0.1 * 0.5 - 0.1 * 0.95, rel=1e-6)
    assert [group["weight_decay"] for group in made.param_groups] == [0.5, 0.0]


def test_adafactors_first_step_by_hand():
    """All gradients alike: the scaled gradient is 1 everywhere, so a step is lr times the root mean square of the weights."""
    matrix, vector = stepped(Two(), optim="adafactor", learning_rate=0.01)
    size = (30 / 4) ** 0.5
    assert matrix.flatten().tolist() == pytest.approx([w - 0.01 * size for w in (1, 2, 3, 4)], rel=1e-5)
    assert vector.tolist() == pytest.approx([w - 0.01 * 2.5**0.5 for w in (1, 2)], rel=1e-5)


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest():
    made = Optimizer(Two(), OptimizerConfig(optim="muon", learning_rate=0.01))
    assert [type(part).__name__ for part, _ in made.parts] == ["Muon", "AdamW"]
    for name in ("model.embed_tokens.weight", "lm_head.weight", "head.weight", "prompt_embeddings"):
        made = Optimizer(Two(name), OptimizerConfig(optim="muon", learning_rate=0.01))
        assert [type(part).__name__ for part, _ in made.parts] == ["AdamW"]


def test_muons_step_has_the_size_of_adamws():
    """Orthogonalised and scaled: root mean square 0.2 lr (Liu et al. 2025), whatever the gradient's size."""
    network = Two()
    network.named = {"layers.0.up.weight": torch.nn.Parameter(torch.zeros(32, 16))}
    (p,) = network.named.values()
    p.grad = torch.randn(32, 16, generator=torch.Generator().manual_seed(0)) * 1e-3
    (after,) = stepped(network, optim="muon", learning_rate=0.01)
    assert after.square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.2)


def test_the_average_by_hand():
    """Decay min(0.5, (1 + t) / (10 + t)): 2/11 after the first step, 3/12 after the second."""
    made = learner("sft", optimizer={"ema_decay": 0.5, "learning_rate": 1e-2})
    seen = [weights(made)]
    for _ in range(2):
        made.step(BATCHES["sft"]())
        seen.append(weights(made))
    first = 2 / 11 * seen[0] + 9 / 11 * seen[1]
    with made.averaged():
        assert torch.allclose(weights(made), 0.25 * first + 0.75 * seen[2], rtol=1e-12)
    assert torch.equal(weights(made), seen[2])


def test_a_refused_step_leaves_the_average_alone():
    made = learner("sft", optimizer={"ema_decay": 0.5})
    batch = BATCHES["sft"]()
    bad = batch.with_(sides={"weight": torch.full_like(batch["weight"], float("nan"))})
    assert made.step(bad)["refused"] == 1 and made.average.steps == 0


def test_the_options_of_the_schedule_reach_it():
    o = OptimizerConfig(lr_scheduler_type="warmup_stable_decay", warmup_steps=1, num_decay_steps=2, decay_type="linear")
    assert [o.factor(step, 6) for step in range(7)] == pytest.approx([1, 1, 1, 1, 1, 0.5, 0])
    assert OptimizerConfig(lr_scheduler_type="cosine_with_min_lr").factor(4, 4) == pytest.approx(0.1)
    assert OptimizerConfig(lr_scheduler_type="cosine", min_lr_rate=0.3).factor(4, 4) == pytest.approx(0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [["optim=adafactor"], ["optim=sgd"], ["optim=muon", "ema_decay=0.9", "lr_scheduler_type=warmup_stable_decay"]],
    ids=lambda words: words[0],
)
def test_a_killed_run_ends_the_same(words, nursery, tmp_path):
    write_data(tmp_path)
    for place, at in (("whole", None), ("killed", At("metrics.jsonl", 3)), ("killed", None)):
        (tmp_path / place).mkdir(exist_ok=True)
        resume = ["--resume"] if place == "killed" else []
        done = nursery.run("train", "sft", *SHARED, *own("sft"), *words, *resume, cwd=tmp_path / place, at=at)
        assert at or done.code == 0, done.err
    same(tmp_path / "killed" / "run", tmp_path / "whole" / "run")


@pytest.mark.slow
def test_the_average_is_what_is_saved(nursery, tmp_path):
    """The saved weights are those of `<role>.average` in the checkpoint, not the trained ones beside it."""
    from safetensors.torch import load_file

    write_data(tmp_path)
    (tmp_path / "one").mkdir()
    words = ["ema_decay=0.9", "load_best_model_at_end=false"]
    done = nursery.run("train", "sft", *SHARED, *own("sft"), *words, cwd=tmp_path / "one")
    assert done.code == 0, done.err
    run = tmp_path / "one" / "run"
    saved, last = load_file(run / "model" / "model.safetensors"), run / "checkpoint-5"
    average, trained = (load_file(next(last.glob(f"{name}.safetensors"))) for name in ("policy.average", "policy"))
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(saved[name], average[name]) and not torch.equal(saved[name], trained[name])


@pytest.mark.slow
@pytest.mark.parametrize("optim", ["adafactor", "sgd", "muon"])
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_the_default_rate_of_each_optimiser_learns(optim, full):
    """AdamW's rate times the factor: the loss falls by a tenth of AdamW's fall, or more: the mean of ten, for SGD leaps."""
    fallen = {}
    for name, factor in (("adamw_torch", 1.0), (optim, RATE.get(optim, 1.0))):
        made = learner(
            "sft",
            options={"entropy_coef": 0.0},
            optimizer={"optim": name, "learning_rate": 3e-3 * factor, "max_grad_norm": 1.0, "lr_scheduler_type": "constant"},
            dtype=torch.float32,
            full=full,
        )
        batch = BATCHES["sft"](dtype=torch.float32)
        losses = [made.step(batch)["loss"] for _ in range(30)]
        fallen[name] = losses[0] - sum(losses[-10:]) / 10
    assert fallen["adamw_torch"] > 0.3 and fallen[optim] > 0.1 * fallen["adamw_torch"]
