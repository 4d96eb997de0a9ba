"""TRL 1.12's side of learning_curve.py: its PPOTrainer on the same policy, reward model and prompts.

    python recipes/learning_curve_trl.py WORK RESULT

Runs in the environment that `make bench-peers` makes for TRL 1.12, and imports nothing of Plaudit. WORK is the JSON file that
learning_curve.py writes.
"""

import json
import pathlib
import statistics
import sys
import tempfile
import time

import letters
import torch
import transformers
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer

work = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
transformers.set_seed(work["seed"])
tokenizer = AutoTokenizer.from_pretrained(work["policy"], padding_side="left")


def policy():
    return AutoModelForCausalLM.from_pretrained(work["policy"], dtype=torch.float32)


def scorer():
    model = AutoModelForSequenceClassification.from_pretrained(work["reward"], num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model


class Curve(TrainerCallback):
    """Gold score of the policy on held-out prompts; the time that this takes is not counted."""

    def __init__(self):
        self.points, self.seconds, self.last = [], 0.0, 0.0

    def measure(self, step):
        model = trainer.model.policy
        model.eval()
        asked = tokenizer(work["held_out"], return_tensors="pt", padding=True)
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(work["seed"] + step)
            said = model.generate(
                input_ids=asked["input_ids"],
                attention_mask=asked["attention_mask"],
                do_sample=True,
                top_k=0,
                max_new_tokens=work["length"],
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        texts = tokenizer.batch_decode(said[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        scores = letters.favoured(texts)
        error = statistics.stdev(scores) / len(scores) ** 0.5
        self.points.append({"step": step, "seconds": self.seconds, "gold": statistics.mean(scores), "error": error})
        model.train()

    def on_train_begin(self, args, state, control, **kwargs):
        self.measure(0)
        self.last = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds += time.perf_counter() - self.last
        if len(self.points) * work["every"] <= state.global_step:
            self.measure(state.global_step)
        self.last = time.perf_counter()


curve = Curve()
arguments = PPOConfig(
    output_dir=tempfile.mkdtemp(),
    use_cpu=True,
    bf16=False,
    gradient_checkpointing=False,
    report_to="none",
    save_strategy="no",
    logging_strategy="no",
    disable_tqdm=True,
    num_sample_generations=0,
    gradient_accumulation_steps=1,
    local_rollout_forward_batch_size=work["options"]["per_device_train_batch_size"],
    total_episodes=work["steps"] * work["options"]["per_device_train_batch_size"],
    response_length=work["length"],
    stop_token="eos",
    seed=work["seed"],
    **work["options"],
)
rows = [{"input_ids": tokenizer(text)["input_ids"]} for text in work["prompts"]]
trainer = PPOTrainer(
    arguments,
    tokenizer,
    policy(),
    policy(),
    scorer(),
    Dataset.from_list(rows),
    scorer(),
    eval_dataset=Dataset.from_list(rows[:1]),
    callbacks=[curve],
)
trainer.train()
pathlib.Path(sys.argv[2]).write_text(json.dumps({"points": curve.points}), encoding="utf-8")
