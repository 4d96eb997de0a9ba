"""TRL's RewardTrainer on the job's pairs: the base with a new scalar head."""

import side
from datasets import Dataset
from trl import RewardConfig, RewardTrainer

job, clock = side.work(), side.Clock()
tokenizer = side.tokenizer(job["folder"])
args = side.arguments(RewardConfig, job, max_steps=job["warmup"] + job["steps"])
trainer = side.counted(RewardTrainer, clock, lambda self, inputs: int(inputs["attention_mask"].sum()))(
    side.scorer(job["folder"], tokenizer.pad_token_id),
    args=args,
    train_dataset=Dataset.from_list(job["rows"]),
    processing_class=tokenizer,
    peft_config=side.adapters(job, "SEQ_CLS"),
    callbacks=[side.callback(clock)],
)
trainer.train()
side.finish("trl", side.dtype_of(args), clock)
