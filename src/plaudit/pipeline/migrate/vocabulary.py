"""What a table says of another tool's name, and how values are written here; names of Hugging Face that several tools share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


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
REWARD_FOLDER = (
    "must be a model that `plaudit train reward` trained: a classifier of transformers lacks the folder's reward.json"
)
