"""TRL's GRPOTrainer: every answer has the same length, since the model folder's end token is one that is not written."""

import side
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer


def tokens(self, inputs):
    """Of this pass: the trainer cuts the generated batch into the passes of a step itself."""
    return self.passed


class Counting(GRPOTrainer):
    """The trainer as it is; how many tokens it trains on is noted on the way."""

    def _compute_loss(self, model, inputs):
        self.passed = int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
        return super()._compute_loss(model, inputs)


job, clock = side.work(), side.Clock()
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
trainer = side.counted(Counting, clock, tokens)(
    side.language_model(job["folder"]),
    reward_funcs=side.variety,
    args=args,
    train_dataset=Dataset.from_list(job["rows"]),
    processing_class=side.tokenizer(job["folder"]),
    peft_config=side.adapters(job),
    callbacks=[side.callback(clock)],
)
trainer.train()
side.finish("trl", side.dtype_of(args), clock)
