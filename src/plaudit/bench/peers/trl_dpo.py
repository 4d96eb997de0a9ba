"""TRL's DPOTrainer on the job's pairs. The reference is a second copy of the model, or with adapters the base below them."""

import side
from datasets import Dataset
from trl import DPOConfig, DPOTrainer


class Trainer(side.Counting, DPOTrainer):
    pass


job = side.work()
args = side.arguments(DPOConfig, job, max_steps=job["warmup"] + job["steps"])
trainer = Trainer(
    side.language_model(job["folder"]),
    args=args,
    train_dataset=Dataset.from_list(job["rows"]),
    processing_class=side.tokenizer(job["folder"]),
    peft_config=side.adapters(job),
    callbacks=[side.callback(Trainer.clock)],
)
trainer.train()
side.finish("trl", side.dtype_of(args), Trainer.clock)
