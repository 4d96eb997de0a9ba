"""TRL 1.12's PPOTrainer (trl.experimental.ppo): policy, critic, reference and reward model, all of one size.

With adapters the policy has LoRA and the reference is its base; critic and reward model stay whole models, and the critic is
trained whole: that is what `peft_config` does there.
"""

import side
from datasets import Dataset
from trl.experimental.ppo import PPOConfig, PPOTrainer


class Clock(side.Clock):
    """Every step has the same tokens: all prompts, and an answer of full length to each."""

    def stop(self):
        self.passed(total)
        super().stop()


job, clock = side.work(), Clock()
tokenizer = side.tokenizer(job["folder"])
tokenizer.padding_side = "left"
steps, length = job["warmup"] + job["steps"], max(job["new_tokens"])
args = side.arguments(
    PPOConfig,
    job,
    total_episodes=steps * len(job["rows"]),
    num_ppo_epochs=job["epochs"],
    num_mini_batches=1,
    response_length=length,
    temperature=1.0,
    num_sample_generations=0,
)
prompts = [{"input_ids": tokenizer(row["prompt"])["input_ids"]} for row in job["rows"]]
total = sum(len(row["input_ids"]) + length for row in prompts)
trainer = PPOTrainer(
    args,
    tokenizer,
    side.language_model(job["folder"]),
    None if job["peft"] else side.language_model(job["folder"]),
    side.scorer(job["reward"], tokenizer.pad_token_id),
    Dataset.from_list(prompts),
    side.scorer(job["reward"], tokenizer.pad_token_id),
    eval_dataset=Dataset.from_list(prompts[:1]),
    callbacks=[side.callback(clock)],
    peft_config=side.adapters(job),
)
trainer.train()
side.finish("trl", "bf16" if trainer.accelerator.mixed_precision == "bf16" else "fp32", clock)
