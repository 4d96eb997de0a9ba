"""Names of TRL, LLaMA-Factory and OpenRLHF and what they are here, a file for each tool. A name that stands in no table and is
no option of ours is told as having no counterpart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from plaudit.pipeline.migrate import llamafactory, openrlhf, trl
from plaudit.pipeline.migrate.vocabulary import Table

TOOLS = ("trl", "llamafactory", "openrlhf")
TABLES: Mapping[str, tuple[Table, Mapping[str, Table]]] = {
    "trl": (trl.TABLE, trl.VERBS),
    "llamafactory": (llamafactory.TABLE, {}),
    "openrlhf": (openrlhf.TABLE, openrlhf.VERBS),
}
"""The names of every verb, and those of single ones, which come first."""
DEFAULTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "trl": trl.DEFAULTS,
    "llamafactory": llamafactory.DEFAULTS,
    "openrlhf": openrlhf.DEFAULTS,
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
