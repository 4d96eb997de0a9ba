"""Law 1 with regularisation: noise, adversarial passes and R-Drop belong to the rows, not to the micro-batches. Float64."""

import pytest
import torch

from plaudit.training.regularise import RegularisationConfig
from small_networks import BATCHES, gradients, learner

KINDS = {
    "neftune": ({"neftune_noise_alpha": 5.0}, {}),
    "fgm": ({"adversarial_epsilon": 0.05}, {}),
    "r-drop": ({"r_drop_alpha": 1.0}, {"lora_dropout": 0.3}),
    "all": ({"neftune_noise_alpha": 5.0, "adversarial_epsilon": 0.05, "r_drop_alpha": 1.0}, {"lora_dropout": 0.3}),
    "all before a prompt": (
        {"neftune_noise_alpha": 5.0, "adversarial_epsilon": 0.05, "r_drop_alpha": 1.0},
        {"peft_type": "prompt_tuning", "num_virtual_tokens": 2},
    ),
    "all on the last layer": (
        {"neftune_noise_alpha": 5.0, "adversarial_epsilon": 0.05, "r_drop_alpha": 1.0},
        {"lora_dropout": 0.3, "lora_layers": 1},
    ),
}


def gradient(kind, batch, options, lora, **settings):
    made = learner(kind, optimizer={"learning_rate": 1e-300}, lora=lora, **settings)
    made.regularisation = RegularisationConfig(**options)
    assert made.step(batch)["refused"] == 0
    return gradients(made)


def apart(a, b):
    """max |a - b| / max |b|."""
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize(("options", "lora"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("kind", ["sft", "reward"])
def test_regularisation_keeps_the_law(kind, options, lora):
    batch = BATCHES[kind]()
    whole = gradient(kind, batch, options, lora, micro_batch=99)
    assert apart(gradient(kind, batch, {}, lora, micro_batch=99), whole) > 0.003  # it does something
    for how in ({"micro_batch": 1}, {"micro_batch": 2, "packing": True}, {"micro_batch": 3, "checkpointing": True}):
        assert apart(gradient(kind, batch, options, lora, **how), whole) < 1e-10
    assert apart(gradient(kind, batch.pad_to(batch.ids.shape[1] + 7), options, lora, micro_batch=3), whole) < 1e-10
    shuffled = batch.rows(torch.randperm(len(batch), generator=torch.Generator().manual_seed(5)))
    assert apart(gradient(kind, shuffled, options, lora, micro_batch=2), whole) < 1e-10


@pytest.mark.parametrize("kind", ["sft", "reward"])
def test_regularisation_works_on_all_weights_too(kind):
    batch, options = BATCHES[kind](), {"neftune_noise_alpha": 5.0, "adversarial_epsilon": 0.05}
    whole = gradient(kind, batch, options, {}, micro_batch=99, full=True)
    assert apart(gradient(kind, batch, options, {}, micro_batch=1, full=True), whole) < 1e-10
