"""OpenRLHF: `cli/train_*.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plaudit.pipeline.migrate.vocabulary import JSONL, REWARD_FOLDER, Gone, Table, To, file_of, modules, positive

TABLE: Table = {
    "pretrain": "model_name_or_path",
    "reward_pretrain": To("reward_model_path", REWARD_FOLDER),
    "critic_pretrain": Gone("the critic starts from the reward model where that fits, else from the policy: critic_head"),
    "remote_rm_url": Gone("write a reward function that asks your server, and name it in reward_funcs"),
    "dataset": To("train_file", f"was a data set's name; {JSONL}", file_of),
    "prompt_data": To("train_file", f"was a data set's name; {JSONL}", file_of),
    "eval_dataset": To("eval_file", f"was a data set's name; {JSONL}", file_of),
    "pretrain_data": To("ptx_file", f"was a data set's name; {JSONL}", file_of),
    "input_key": Gone("the column is `prompt`; rename yours"),
    "output_key": Gone("the column is `completion`; rename yours"),
    "prompt_key": Gone("the column is `prompt`; rename yours"),
    "chosen_key": Gone("the column is `chosen`; rename yours"),
    "rejected_key": Gone("the column is `rejected`; rename yours"),
    "label_key": Gone("every further column is handed to the reward functions"),
    "input_template": Gone("the tokenizer's own chat template is used"),
    "apply_chat_template": Gone("prompts that are messages always take the tokenizer's chat template"),
    "max_len": "max_length",
    "prompt_max_len": To("max_prompt_length", "longer prompts are left out and counted, never cut"),
    "generate_max_len": "max_completion_length",
    "max_epochs": "num_train_epochs",
    "num_episodes": To("num_train_epochs", "passes over the prompts"),
    "n_samples_per_prompt": "num_generations",
    "micro_train_batch_size": To("per_device_train_batch_size", "rows (for RL: prompts) of one pass"),
    "micro_rollout_batch_size": To("rollout_slots", "answers generated at one time; memory and speed only"),
    "l2": To("weight_decay", "decoupled, on matrices only"),
    "max_norm": "max_grad_norm",
    "lr_scheduler": "lr_scheduler_type",
    "lr_warmup_ratio": Gone("write warmup_steps: the ratio times the steps of the run"),
    "actor_learning_rate": "learning_rate",
    "critic_learning_rate": "critic_learning_rate",
    "eps_clip": "cliprange",
    "value_clip": "cliprange_value",
    "lambd": "lam",
    "init_kl_coef": "kl_coef",
    "entropy_loss_coef": "entropy_coef",
    "normalize_reward": To("reward_normalization", "over each batch, not a running mean", lambda on: "batch" if on else "none"),
    "packing_samples": "packing",
    "lora_rank": "lora_r",
    "target_modules": To("lora_target_modules", value=modules),
    "eval_steps": To("eval_steps", value=positive),
    "save_steps": To("save_steps", value=positive),
    "max_ckpt_num": "save_total_limit",
    "save_path": Gone("the project sets it: runs/<project>/<stage>-<key>"),
    "ckpt_path": Gone("checkpoints lie in the run's folder"),
    "load_checkpoint": Gone("run the project again: it goes on"),
    "use_wandb": To("report_to", "WANDB_API_KEY or `wandb login` holds the key", lambda _: "wandb"),
    "use_tensorboard": To("report_to", "under tensorboard/ of the run's folder", lambda _: "tensorboard"),
    "adam_betas": Gone("adam_beta1 and adam_beta2"),
    "advantage_estimator": Gone("the stage's verb"),
    "zero_stage": Gone("no DeepSpeed"),
    "train_batch_size": Gone("per_device_train_batch_size x gradient_accumulation_steps"),
    "rollout_batch_size": Gone("per_device_train_batch_size x gradient_accumulation_steps prompts make a step"),
    "ref_pretrain": Gone("the reference is the model that training starts from"),
}
GRPO_NAMES: Table = {
    "eps_clip": "epsilon",
    "init_kl_coef": To("beta", "in the loss (k3), not in the reward"),
    "max_epochs": "num_iterations",
}
VERBS: Mapping[str, Table] = {
    "ppo": {"max_epochs": "num_ppo_epochs"},
    "reinforce_pp": {"max_epochs": "num_iterations"},
    "grpo": {**GRPO_NAMES, "dynamic_filtering": To("filter_groups", "leaves out equal rewards, not a range of mean rewards")},
    "rloo": {**GRPO_NAMES, "init_kl_coef": To("beta", "off the reward of the whole answer (k1)")},
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "*": {"seed": 42, "adam_beta2": 0.95, "lr_scheduler_type": "cosine_with_min_lr"},
    "ppo": {"learning_rate": 1e-6, "critic_learning_rate": 9e-6, "kl_coef": 0.01, "cliprange_value": 0.5, "lam": 1.0}
    | {"max_completion_length": 1024, "max_prompt_length": 1024, "num_ppo_epochs": 1, "reward_clip_range": [-10, 10]},
}
"""What OpenRLHF takes where a file is silent; written out where we would take something else."""
