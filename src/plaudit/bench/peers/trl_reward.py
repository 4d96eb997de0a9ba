"""TRL's RewardTrainer on the job's pairs: the base with a new scalar head."""

import side
from datasets import Dataset
from trl import RewardConfig, RewardTrainer


class Trainer(side.Counting, RewardTrainer):
    pass


job = side.work()
tokenizer = side.tokenizer(job["folder"])
args = side.arguments(RewardConfig, job, max_steps=job["warmup"] + job["steps"])
trainer = Trainer(
    side.scorer(job["folder"], tokenizer.pad_token_id),
    args=args,
    train_dataset=Dataset.from_list(job["rows"]),
    processing_class=tokenizer,
    peft_config=side.adapters(job, "SEQ_CLS"),
    callbacks=[side.callback(Trainer.clock)],
)
trainer.train()
side.finish("trl", side.dtype_of(args), Trainer.clock)
