"""TRL's SFTTrainer: log-probabilities and five steps, each of two micro-batches. Runs in the environment of trl-1.16.txt."""

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

import record
import world


class Watched(SFTTrainer):
    """The trainer as it is; what it computes is written down."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.logprobs, self.losses = [], []

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        with torch.no_grad():
            logprobs = model(**inputs, fused_lm_head=True).log_probs
        self.logprobs += [row[label != -100].tolist() for row, label in zip(logprobs, inputs["labels"][:, 1:], strict=True)]
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        self.losses.append(loss.item())
        return loss


rows = world.demonstrations(4 * world.STEPS)
data = Dataset.from_list(
    [{"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)} for prompt, answer in rows]
)
model = world.causal(1)
before, digest = world.weights(model), world.digest(model)
options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "completion_only_loss": True}
trainer = Watched(
    model,
    args=record.arguments(SFTConfig, **options),
    train_dataset=data,
    processing_class=world.tokenizer(),
)
trainer.train()
halves = trainer.losses
record.save(
    "sft",
    {
        "options": {**record.OPTIMIZER, **options},
        "weights": digest,
        "logprobs": trainer.logprobs[:4],
        **record.trajectory([a + b for a, b in zip(halves[::2], halves[1::2], strict=True)], trainer.model, before),
    },
)
