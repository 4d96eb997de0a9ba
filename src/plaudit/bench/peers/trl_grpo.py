"""TRL's GRPOTrainer: every answer has the same length, since the model folder's end token is one that is not written."""

import side
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer


class Trainer(side.Counting, GRPOTrainer):
    """A step's answers are made at once, and cut into its passes by the trainer itself: the passes know their tokens."""

    def _compute_loss(self, model, inputs):
        self.latest = int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
        return super()._compute_loss(model, inputs)

    def tokens(self, inputs):
        return self.latest


job = side.work()
args = side.arguments(
    GRPOConfig,
    job,
    max_steps=job["warmup"] + job["steps"],
    num_generations=job["siblings"],
    max_completion_length=max(job["new_tokens"]),
    temperature=1.0,
    top_k=0,
    beta=0.0,
)
trainer = Trainer(
    side.language_model(job["folder"]),
    reward_funcs=side.variety,
    args=args,
    train_dataset=Dataset.from_list(job["rows"]),
    processing_class=side.tokenizer(job["folder"]),
    peft_config=side.adapters(job),
    callbacks=[side.callback(Trainer.clock)],
)
trainer.train()
side.finish("trl", side.dtype_of(args), Trainer.clock)
