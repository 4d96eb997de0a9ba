"""Names of TRL, LLaMA-Factory and OpenRLHF and what they are here. A name that stands in no table and is no option of ours is
told as having no counterpart.

TRL: the trainers' configs and scripts up to 1.16 (PPO up to 1.12, where it ended). LLaMA-Factory: `hparams/`.
OpenRLHF: `cli/train_*.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TOOLS = ("trl", "llamafactory", "openrlhf")


@dataclass(frozen=True)
class To:
    """Our option; what changed in its meaning; how the value is written here (None: it cannot be)."""

    option: str
    note: str = ""
    value: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Gone:
    """No counterpart, and why."""

    reason: str


Table = Mapping[str, str | To | Gone]
JSONL = "we read local files: write the data set into one with `datasets.load_dataset(...).to_json(FILE)`"
INFO = "the folder's dataset_info.json is read as there"


def optimizer(value: Any) -> Any:
    """Every kind of AdamW is the one of torch here."""
    return "adamw_torch" if str(value).startswith("adamw") else value


def positive(value: Any) -> Any:
    """-1 and 0 mean "not set" there; here that is none."""
    return value if isinstance(value, int | float) and value > 0 else None


def file_of(value: Any) -> str:
    """The place where a data set is looked for: itself where it is a local file, else data/<name>.jsonl."""
    name = str(value[0] if isinstance(value, list) and value else value).split(",")[0].strip()
    local = name.endswith((".jsonl", ".json", ".csv", ".parquet")) or name.startswith((".", "/", "~"))
    return name if local else f"data/{re.sub(r'[^0-9A-Za-z_.-]+', '_', name)}.jsonl"


def listed(value: Any) -> Any:
    """Names of a dataset_info.json, as the parts of our data."""
    names = value if isinstance(value, list) else str(value).split(",")
    found = [{"path": "data", "dataset": str(name).strip()} for name in names]
    return found[0] if len(found) == 1 else found


def modules(value: Any) -> Any:
    """Linear layers by name; all of them is none here."""
    names = value if isinstance(value, list) else [part.strip() for part in str(value).split(",")]
    return None if set(names) & {"all", "all-linear"} else names


def one(value: Any) -> Any:
    """The only entry of a list; several are no value of ours."""
    return (value[0] if len(value) == 1 else None) if isinstance(value, list) else value


def scaled(value: Any) -> Any:
    return {True: "group", False: "none", "true": "group", "false": "none"}.get(value, value)


REWARDS = {
    "think_format_reward": "think_format",
    "get_repetition_penalty_reward": "repetition_penalty",
    "get_soft_overlong_punishment": "soft_overlong_punishment",
}


def functions(value: Any) -> list[str]:
    """`package.module.function` is `package.module:function` here; TRL's own have names of ours."""
    names = value if isinstance(value, list) else [value]
    return [REWARDS.get(n, n) if ":" in n or "." not in n else ":".join(n.rsplit(".", 1)) for n in map(str, names)]


HF: Table = {
    "max_steps": To("max_steps", value=positive),
    "lora_target_modules": To("lora_target_modules", value=modules),
    "resume_from_checkpoint": Gone("add --resume on the command line, or run the project again"),
    "output_dir": Gone("the project sets it: runs/<project>/<stage>-<key>"),
    "eval_strategy": Gone("eval_steps alone says when; without it we evaluate at the beginning and the end"),
    "evaluation_strategy": Gone("eval_steps alone says when; without it we evaluate at the beginning and the end"),
    "save_strategy": Gone("save_steps alone says when; checkpoints also come with each evaluation"),
    "torch_dtype": Gone("trained weights are fp32; bf16 says whether matrix products are bf16"),
    "dtype": Gone("trained weights are fp32; bf16 says whether matrix products are bf16"),
    "fp16": Gone("bf16 or fp32 only: fp16 needs loss scaling"),
    "optim": To("optim", value=optimizer),
    "attn_implementation": Gone("chosen by looking at the machine"),
    "warmup_ratio": Gone("write warmup_steps: the ratio times the steps of the run"),
    "disable_dropout": Gone("RL never uses dropout; other algorithms use lora_dropout alone"),
}
TRL: Table = {
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
REWARD_FOLDER = (
    "must be a model that `plaudit train reward` trained: a classifier of transformers lacks the folder's reward.json"
)
TRL_VERBS: Mapping[str, Table] = {
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
LLAMAFACTORY: Table = {
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
OPENRLHF: Table = {
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
OPENRLHF_VERBS: Mapping[str, Table] = {
    "ppo": {"max_epochs": "num_ppo_epochs"},
    "reinforce_pp": {"max_epochs": "num_iterations"},
    "grpo": {**GRPO_NAMES, "dynamic_filtering": To("filter_groups", "leaves out equal rewards, not a range of mean rewards")},
    "rloo": {**GRPO_NAMES, "init_kl_coef": To("beta", "off the reward of the whole answer (k1)")},
}
TABLES: Mapping[str, tuple[Table, Mapping[str, Table]]] = {
    "trl": (TRL, TRL_VERBS),
    "llamafactory": (LLAMAFACTORY, {}),
    "openrlhf": (OPENRLHF, OPENRLHF_VERBS),
}

DEFAULTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "trl": {
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
    },
    "llamafactory": {
        "*": {"num_train_epochs": 3.0, "seed": 42, "learning_rate": 5e-5, "max_length": 2048},
        "simpo": {"beta": 0.1, "simpo_gamma": 0.5},
        "ppo": {"kl_target": 6.0, "max_completion_length": 512},
    },
    "openrlhf": {
        "*": {"seed": 42, "adam_beta2": 0.95, "lr_scheduler_type": "cosine_with_min_lr"},
        "ppo": {"learning_rate": 1e-6, "critic_learning_rate": 9e-6, "kl_coef": 0.01, "cliprange_value": 0.5, "lam": 1.0}
        | {"max_completion_length": 1024, "max_prompt_length": 1024, "num_ppo_epochs": 1, "reward_clip_range": [-10, 10]},
    },
}
"""What the other tool takes where a file is silent; written out where we would take something else."""

REASONS = (
    (r"(push_to_)?hub_|push_to_hub", "nothing is uploaded; the model's folder can be, with `hf upload`"),
    (r"vllm|async|enforce_eager|enable_prefix", "our own engine samples, in the same process"),
    (r"colocate|actor_num|ref_num|critic_num|reward_num|local_rank|num_processes|accelerate", "one process"),
    (r"ddp_|fsdp|deepspeed|ds_|zpg|zero|adam_offload|overlap_comm", "one process, no DeepSpeed"),
    (r"dataloader_|dataset_num_proc|preprocessing_|remove_unused|streaming", "data is read at once, in order of the seed"),
    (r"wandb_|swanlab|run_name|logging_dir|use_swanlab", "WANDB_PROJECT and WANDB_NAME name a run"),
    (r"do_train|do_eval|do_predict|overwrite_|save_only|save_hf|include_num", "not needed"),
    (r"load_in_|quantization|bnb_|double_quant", "load_in_4bit and load_in_8bit are what there is"),
    (r"flash_attn|use_liger|enable_liger|gradient_checkpointing_", "speed is found by looking at the machine"),
)  # fmt: skip


def reason(name: str) -> str:
    """Why a name has no counterpart, as far as it can be said of its kind."""
    return next((why for pattern, why in REASONS if re.match(pattern, name)), "this version has nothing like it")
