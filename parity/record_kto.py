"""TRL's KTOTrainer: the KL baseline and five steps of both losses. Runs in the environment of trl-1.16.txt."""

from datasets import Dataset
from trl import KTOConfig, KTOTrainer

import record
import world


class Watched(KTOTrainer):
    """The trainer as it is; what it computes is written down."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.logps, self.losses, self.kl = [], [], []

    def _compute_loss(self, model, inputs, return_outputs):
        sides = (("policy", model), ("reference", self.ref_model))
        self.logps.append({name: self._logps(some, inputs) for name, some in sides})
        loss = super()._compute_loss(model, inputs, return_outputs)
        self.losses.append(loss.item())
        self.kl.append(self._metrics["train"]["kl"][-1])
        return loss

    def _logps(self, model, inputs):
        import torch

        with torch.no_grad():
            labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
            some = {key: inputs[key] for key in ("input_ids", "attention_mask")}
            return model(**some, labels=labels, fused_lm_head=True, use_cache=False).log_probs.sum(-1).tolist()


def run(loss_type):
    rows = [
        {"prompt": world.text(prompt), "completion": world.text(answer[:-1]) + " <end>", "label": liked}
        for prompt, answer, liked in world.labelled(4 * world.STEPS)
    ]
    model = world.causal(1)
    before, digest = world.weights(model), world.digest(model)
    options = {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.5}
    trainer = Watched(
        model,
        ref_model=world.causal(3),
        args=record.arguments(KTOConfig, loss_type=loss_type, **options),
        train_dataset=Dataset.from_list(rows),
        processing_class=world.tokenizer(),
    )
    for row, (prompt, answer, _) in zip(trainer.train_dataset, world.labelled(4 * world.STEPS), strict=True):
        assert (row["prompt_ids"], row["completion_ids"]) == (prompt, answer)
    trainer.train()
    return {
        "options": {**record.OPTIMIZER, "algorithm": options},
        "weights": digest,
        "logps": trainer.logps[0],
        "kl": trainer.kl,
        **record.trajectory(trainer.losses, trainer.model, before),
    }


record.save("kto", {name: run(name) for name in ("kto", "apo_zero_unpaired")})
