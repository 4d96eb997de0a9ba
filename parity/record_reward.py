"""TRL's RewardTrainer: scores and five steps, without and with its centring term. Runs in the environment of trl-1.16.txt."""

import torch
from datasets import Dataset
from trl import RewardConfig, RewardTrainer

import record
import world


class Watched(RewardTrainer):
    """The trainer as it is; what it computes is written down."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scores, self.losses = [], []

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        with torch.no_grad():
            self.scores.append(model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, 0])
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        self.losses.append(loss.item())
        return loss


def run(centre, margins):
    rows = [
        {"chosen_ids": prompt + chosen, "rejected_ids": prompt + rejected, "margin": 0.1 * (i % 3)}
        for i, (prompt, chosen, rejected) in enumerate(world.pairs(4 * world.STEPS))
    ]
    data = Dataset.from_list(rows if margins else [{k: v for k, v in row.items() if k != "margin"} for row in rows])
    model = world.scorer(2)
    before, digest = world.weights(model), world.digest(model)
    trainer = Watched(
        model,
        args=record.arguments(RewardConfig, center_rewards_coefficient=centre),
        train_dataset=data,
        processing_class=world.tokenizer(),
    )
    trainer.train()
    return {
        "options": {**record.OPTIMIZER, "center_rewards_coefficient": centre or 0.0, "margins": margins},
        "weights": digest,
        "scores": trainer.scores[0].tolist(),
        **record.trajectory(trainer.losses, trainer.model, before),
    }


record.save("reward", {"plain": run(None, False), "centred, with margins": run(0.01, True)})
