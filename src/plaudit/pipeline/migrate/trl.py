"""TRL: the trainers' configs and scripts up to 1.16 (PPO up to 1.12, where it ended)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plaudit.pipeline.migrate.vocabulary import HF, JSONL, REWARD_FOLDER, Gone, Table, To, file_of, functions, one, scaled

TABLE: Table = {
    **HF,
    "dataset_name": To("train_file", f"was a data set's name; {JSONL}", file_of),
    "dataset_train_split": Gone("choose the split while writing the JSONL file"),
    "dataset_test_split": Gone("write the split into a JSONL file and name it in eval_file; else eval_fraction is split off"),
    "dataset_config": Gone("choose it while writing the JSONL file"),
    "dataset_config_name": Gone("choose it while writing the JSONL file"),
    "datasets": Gone(f"one JSONL file, mixed beforehand; {JSONL}"),
    "max_seq_length": "max_length",
    "max_new_tokens": "max_completion_length",
    "reward_model_name_or_path": "reward_model_path",
    "reward_funcs": To("reward_funcs", value=functions),
    "loss_type": To("loss_type", value=one),
    "scale_rewards": To("scale_rewards", value=scaled),
    "log_completions": Gone("answers are always in samples.jsonl"),
    "precompute_ref_log_probs": Gone("the reference shares the base with LoRA; it is run when it is needed"),
    "ref_model": Gone("the reference is the model that training starts from"),
    "sync_ref_model": Gone("the reference stays as it is; start the next stage from the new model instead"),
    "completion_only_loss": Gone("of rows with prompt and completion only the completion is trained on"),
    "assistant_only_loss": Gone("of messages only what the assistant says is trained on"),
    "dataset_text_field": Gone("the column is `text`; rename yours"),
    "packing_strategy": Gone("rows are laid end to end without seeing each other"),
    "use_vllm": Gone("answers come from our own engine"),
}
VERBS: Mapping[str, Table] = {
    "ppo": {
        "sft_model_path": To("model_name_or_path", "the policy, and as it is the reference"),
        "model_name_or_path": Gone("sft_model_path is the policy; TRL took only the tokenizer from here"),
        "reward_model_path": To("reward_model_path", REWARD_FOLDER),
        "response_length": "max_completion_length",
        "stop_token": Gone("answers end at the model's own end tokens; `stop` holds further texts"),
        "stop_token_id": Gone("answers end at the model's own end tokens; `stop` holds further texts"),
        "local_rollout_forward_batch_size": To("rollout_slots", "answers generated at one time; memory and speed only"),
        "num_sample_generations": Gone("samples come with each logged step and each evaluation"),
        "whiten_rewards": To("whiten_rewards", "deviation 1 with the mean kept, as TRL meant it"),
        "ds3_gather_for_generation": Gone("no DeepSpeed"),
        "exp_name": Gone("the stage's name"),
    },
    "reward": {"reward_model_path": Gone("training starts from model_name_or_path")},
    "grpo": {
        "vllm_importance_sampling_cap": "importance_sampling_cap",
        "reward_model_path": To("reward_model_path", REWARD_FOLDER),
        "steps_per_generation": Gone("num_mini_batches cuts a batch of answers into optimiser steps"),
        "generation_batch_size": Gone("per_device_train_batch_size x gradient_accumulation_steps prompts make a step"),
    },
    "rloo": {
        "rloo_k": "num_generations",
        "kl_coef": To("beta", "off the reward of the whole answer, as there"),
        "cliprange": "epsilon",
        "num_ppo_epochs": "num_iterations",
        "normalize_advantage": "normalize_advantages",
        "response_length": "max_completion_length",
        "sft_model_path": "model_name_or_path",
    },
    "kto": {"max_completion_length": Gone("max_length is of prompt and answer together")},
    "dpo": {"max_completion_length": Gone("max_length is of prompt and answer together")},
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "*": {"num_train_epochs": 3.0, "seed": 42},
    "sft": {"learning_rate": 2e-5},
    "reward": {"learning_rate": 1e-4},
    "dpo": {"learning_rate": 1e-6},
    "kto": {"learning_rate": 1e-6},
    "orpo": {"learning_rate": 1e-6},
    "simpo": {"learning_rate": 1e-6, "beta": 0.1, "simpo_gamma": 0.5},
    "grpo": {"learning_rate": 1e-6, "num_generations": 8, "max_completion_length": 512},
    "rloo": {"learning_rate": 1e-6, "num_generations": 2, "max_completion_length": 512},
    "online_dpo": {"learning_rate": 5e-7, "temperature": 0.9, "max_completion_length": 64},
    "ppo": {"learning_rate": 3e-6, "temperature": 0.7, "max_completion_length": 53},
}
"""What TRL takes where a file is silent; written out where we would take something else."""
