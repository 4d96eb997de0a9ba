"""TRL's DPOTrainer: log-probabilities, every loss on one batch, five steps of some. Runs in the environment of trl-1.16.txt."""

import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

import record
import world

LOSSES = (
    *("sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
)
TRAJECTORIES = ("sigmoid", "sigmoid_norm", "ipo", "hinge", "robust", "apo_zero", "apo_down")


class Watched(DPOTrainer):
    """The trainer as it is; what it computes is written down."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.logps, self.losses = [], []

    def _compute_loss(self, model, inputs, return_outputs):
        self.logps.append(
            {
                name: [side.tolist() for side in self.compute_ref_log_probs(some, inputs)]
                for name, some in (("policy", model), ("reference", self.ref_model))
            }
        )
        loss = super()._compute_loss(model, inputs, return_outputs)
        self.losses.append(loss.item())
        return loss


def run(loss_type, steps):
    rows = [
        {
            "prompt": world.text(prompt),
            "chosen": world.text(chosen[:-1]) + " <end>",
            "rejected": world.text(rejected[:-1]) + " <end>",
        }
        for prompt, chosen, rejected in world.pairs(4 * world.STEPS)
    ]
    model = world.causal(1)
    before, digest = world.weights(model), world.digest(model)
    options = {"beta": 0.1, "label_smoothing": 0.1 if loss_type in ("robust", "exo_pair") else 0.0}
    trainer = Watched(
        model,
        ref_model=world.causal(3),
        args=record.arguments(DPOConfig, loss_type=[loss_type], max_steps=steps, **options),
        train_dataset=Dataset.from_list(rows),
        processing_class=world.tokenizer(),
    )
    encoded = [trainer.train_dataset[i] for i in range(len(rows))]
    for row, (prompt, chosen, rejected) in zip(encoded, world.pairs(4 * world.STEPS), strict=True):
        assert (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) == (prompt, chosen, rejected)
    trainer.train()
    found = {"options": {**record.OPTIMIZER, "algorithm": options}, "weights": digest, "first_loss": trainer.losses[0]}
    if steps == world.STEPS:
        found |= record.trajectory(trainer.losses, trainer.model, before)
    return found, trainer.logps[0]


torch.manual_seed(0)
found = {name: run(name, world.STEPS if name in TRAJECTORIES else 1) for name in LOSSES}
record.save("dpo", {"logps": found["sigmoid"][1], **{name: numbers for name, (numbers, _) in found.items()}})
