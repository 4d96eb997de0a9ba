"""TRL's SFTTrainer on the job's demonstrations."""

import side
from datasets import Dataset
from trl import SFTConfig, SFTTrainer


class Trainer(side.Counting, SFTTrainer):
    pass


job = side.work()
args = side.arguments(SFTConfig, job, max_steps=job["warmup"] + job["steps"])
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
