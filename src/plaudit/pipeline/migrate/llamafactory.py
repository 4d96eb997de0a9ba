"""LLaMA-Factory: `hparams/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plaudit.pipeline.migrate.vocabulary import HF, INFO, REWARD_FOLDER, Gone, Table, To, listed, modules

TABLE: Table = {
    **HF,
    "stage": Gone("the stage's verb"),
    "finetuning_type": Gone("use_peft says it"),
    "dataset": To("train_file", INFO, listed),
    "eval_dataset": To("eval_file", INFO, listed),
    "val_size": To("eval_fraction", "split by prompt, so that no prompt is on both sides"),
    "cutoff_len": To("max_length", "longer rows are cut at the end and counted"),
    "template": Gone("the tokenizer's own chat template is used"),
    "lora_rank": "lora_r",
    "lora_target": To("lora_target_modules", value=modules),
    "pref_beta": "beta",
    "pref_loss": To("loss_type", value=lambda value: None if value in ("kto_pair", "orpo", "simpo") else value),
    "pref_ftx": To("rpo_alpha", "weight of the log-likelihood of the chosen answer, per token"),
    "dpo_label_smoothing": "label_smoothing",
    "kto_chosen_weight": "desirable_weight",
    "kto_rejected_weight": "undesirable_weight",
    "simpo_gamma": To("simpo_gamma"),
    "ppo_epochs": "num_ppo_epochs",
    "ppo_buffer_size": To("num_mini_batches", "optimiser steps in each pass over a batch of answers"),
    "ppo_target": To("kl_target", "an adaptive kl_coef steers to it, from kl_coef and over kl_horizon answers"),
    "ppo_whiten_rewards": "whiten_rewards",
    "ppo_score_norm": To("reward_normalization", "over each batch, not a running mean", lambda on: "batch" if on else "none"),
    "reward_model": To("reward_model_path", REWARD_FOLDER),
    "reward_model_type": Gone("the folder of the reward model says it"),
    "max_new_tokens": "max_completion_length",
    "ref_model": Gone("the reference is the model that training starts from"),
    "dataset_dir": Gone("the path of each part of train_file"),
    "overwrite_cache": Gone("nothing is cached"),
    "max_samples": Gone("cut the JSONL file"),
    "plot_loss": Gone("report.html has the curves"),
    "adapter_name_or_path": Gone("name the merged model of the stage before in model_name_or_path"),
    "train_on_prompt": Gone("prompts are never trained on"),
    "mask_history": Gone("every turn of the assistant is trained on"),
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "*": {"num_train_epochs": 3.0, "seed": 42, "learning_rate": 5e-5, "max_length": 2048},
    "simpo": {"beta": 0.1, "simpo_gamma": 0.5},
    "ppo": {"kl_target": 6.0, "max_completion_length": 512},
}
"""What LLaMA-Factory takes where a file is silent; written out where we would take something else."""
