"""TRL's DPOTrainer on the job's pairs. The reference is a second copy of the model, or with adapters the base below them."""

import side
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

job, clock = side.work(), side.Clock()
args = side.arguments(DPOConfig, job, max_steps=job["warmup"] + job["steps"])
trainer = side.counted(DPOTrainer, clock, lambda self, inputs: int(inputs["attention_mask"].sum()))(
    side.language_model(job["folder"]),
    args=args,
    train_dataset=Dataset.from_list(job["rows"]),
    processing_class=side.tokenizer(job["folder"]),
    peft_config=side.adapters(job),
    callbacks=[side.callback(clock)],
)
trainer.train()
side.finish("trl", side.dtype_of(args), clock)
