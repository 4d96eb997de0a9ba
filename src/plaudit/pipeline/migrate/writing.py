"""From another tool's options to a project of ours, with a comment on each line that changed, and a list of what is lost."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaudit.config import checked, options
from plaudit.flatyaml import Given, one_line
from plaudit.hints import plain
from plaudit.pipeline.migrate.sources import read, verb_of
from plaudit.pipeline.migrate.tables import DEFAULTS, TABLES, reason
from plaudit.pipeline.migrate.vocabulary import Gone, To
from plaudit.schema import UserError
from plaudit.training.run import sections


@dataclass
class Migration:
    """A config on its way: our lines (option -> value and note), and what has no counterpart (name -> reason)."""

    tool: str
    verb: str
    lines: dict[str, tuple[Any, str]] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)

    def put(self, option: str, value: Any, note: str = "") -> None:
        """A line; the first that sets an option stays."""
        self.lines.setdefault(option, (value, note))


def migrate(tool: str, path: Path, verb: str | None = None) -> Migration:
    """Read a config and say what it is here. UserError where the file cannot be read or its algorithm cannot be told."""
    if tool not in TABLES:
        raise UserError(f"there is no way from {tool!r}; there are {', '.join(TABLES)}")
    given, words = read(path)
    made = Migration(tool, verb or verb_of(tool, given, words))
    classes, defaults = sections(made.verb)
    known = options(classes, defaults)
    shared, own = TABLES[tool]
    table = {**shared, **own.get(made.verb, {})}
    for name, value in given.items():
        rule = table.get(name, name if name in known else Gone(reason(name)))
        rule = To(rule) if isinstance(rule, str) else rule
        if isinstance(rule, Gone):
            made.without[name] = rule.reason
            continue
        kept = rule.value(value) if rule.value and value is not None else value
        if rule.option not in known:
            made.without[name] = f"{made.verb} has no {rule.option} here"
        elif (wrong := _misfit(classes, defaults, rule.option, kept)) is not None:
            made.without[name] = f"{one_line(plain(value))} is no value here: {wrong}"
        elif kept is not None:
            renamed = f"was {name}" if name != rule.option else ""
            made.put(rule.option, kept, "; ".join(filter(None, (renamed, rule.note))))
        elif value is not None and known[rule.option].default is not None:
            made.without[name] = f"{one_line(plain(value))} has no counterpart among the values of {rule.option}"
    _together(made, given)
    for option, value in {**DEFAULTS[tool].get("*", {}), **DEFAULTS[tool].get(made.verb, {})}.items():
        if (
            option in known
            and plain(known[option].default) != value
            and not (option == "num_train_epochs" and "max_steps" in made.lines)
        ):
            made.put(option, value, f"what {tool} takes where nothing is said")
    required = "train_file"
    if required in known and required not in made.lines:
        made.put(required, "data/train.jsonl", "the config names no data set: put your file here")
    return made


def _misfit(classes: list[type], defaults: Mapping[str, Any], option: str, value: Any) -> str | None:
    """What is wrong with one value of ours, all other options aside."""
    if value is None:
        return None
    _, mistakes = checked(classes, {option: Given(plain(value), None, "")}, defaults)
    return next((mistake for mistake in mistakes if mistake.startswith(f"{option} must be")), None)


def _together(made: Migration, given: Mapping[str, Any]) -> None:
    """What needs more than one option to be said."""
    if made.tool == "llamafactory" and given.get("finetuning_type", "lora") in ("lora", "full"):
        lora = given.get("finetuning_type", "lora") == "lora"
        made.put("use_peft", lora, "was finetuning_type")
        if lora:
            rank = given.get("lora_rank", 8)
            made.put("lora_r", rank, "what llamafactory takes where nothing is said")
            made.put("lora_alpha", 2 * rank, "what llamafactory takes where nothing is said: twice the rank")
    elif made.tool == "llamafactory":
        made.without["finetuning_type"] = f"{given['finetuning_type']}: all weights (use_peft: false) or LoRA only"
    if made.tool == "llamafactory" and "dataset_dir" in given:
        for option in {"train_file", "eval_file"} & set(made.lines):
            value, note = made.lines[option]
            parts = [{**part, "path": given["dataset_dir"]} for part in (value if isinstance(value, list) else [value])]
            made.lines[option] = (parts if isinstance(value, list) else parts[0], f"{note}; was dataset_dir too")
    if made.tool == "llamafactory" and made.verb in ("orpo", "simpo"):
        made.without["pref_loss"] = "the stage's verb"
    if made.tool == "openrlhf":
        _openrlhf(made, given)
    strategy = given.get("eval_strategy", given.get("evaluation_strategy", "no"))
    if made.tool != "openrlhf" and "eval_steps" in made.lines and strategy != "steps":
        del made.lines["eval_steps"]
        made.without["eval_steps"] = f"eval_strategy is {strategy}, so it had no effect"
    if "warmup_ratio" in given and isinstance(given.get("max_steps"), int) and given["max_steps"] > 0:
        made.put("warmup_steps", round(given["warmup_ratio"] * given["max_steps"]), "was warmup_ratio, times max_steps")
        made.without.pop("warmup_ratio")
    if made.tool == "trl" and made.verb in ("grpo", "rloo"):
        _prompts_of_completions(made, given)
    if made.tool == "trl" and made.verb == "ppo" and "total_episodes" in given:
        step = given.get("per_device_train_batch_size", 8) * given.get("gradient_accumulation_steps", 1)
        made.put(
            "max_steps",
            max(1, given["total_episodes"] // step),
            f"was total_episodes, over {step} prompts of a step on one device",
        )
        made.without.pop("total_episodes", None)


def _prompts_of_completions(made: Migration, given: Mapping[str, Any]) -> None:
    """TRL counts completions in a batch, we count prompts."""
    each = given.get("num_generations", given.get("rloo_k", DEFAULTS["trl"][made.verb]["num_generations"]))
    rows, passes = given.get("per_device_train_batch_size", 8), given.get("gradient_accumulation_steps", 1)
    prompts = max(1, rows * passes // each)
    in_pass = max(1, min(prompts, rows // each))
    made.lines["per_device_train_batch_size"] = (in_pass, f"prompts; was {rows} completions, {each} of each prompt")
    made.lines["gradient_accumulation_steps"] = (max(1, prompts // in_pass), f"{prompts} prompts make a step, as before")


def _openrlhf(made: Migration, given: Mapping[str, Any]) -> None:
    rank = given.get("lora_rank", 0)
    made.put("use_peft", rank > 0, "was lora_rank above 0" if rank else "no lora_rank")
    if not rank:
        for name in ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"):
            made.lines.pop(name, None)
        if "lora_rank" in given:
            made.without.pop("lora_rank", None)
    if given.get("lr_scheduler", "cosine_with_min_lr") == "cosine_with_min_lr":
        made.put("min_lr_rate", 0.1, "openrlhf ends at a tenth of the peak")
    if isinstance(betas := given.get("adam_betas"), list) and len(betas) == 2:
        made.without.pop("adam_betas")
        made.put("adam_beta1", betas[0], "was adam_betas")
        made.put("adam_beta2", betas[1], "was adam_betas")
    micro = given.get("micro_train_batch_size", 4)
    batch = given.get("rollout_batch_size", given.get("train_batch_size"))
    if batch:
        name = "rollout_batch_size" if "rollout_batch_size" in given else "train_batch_size"
        made.put("per_device_train_batch_size", micro)
        made.put("gradient_accumulation_steps", max(1, batch // micro), f"was {name} {batch}, on one device")
        made.without.pop(name, None)
        if name == "rollout_batch_size" and "train_batch_size" in given and made.verb not in ("online_dpo", "best_of_n"):
            made.put(
                "num_mini_batches",
                max(1, batch * given.get("n_samples_per_prompt", 1) // given["train_batch_size"]),
                "was train_batch_size",
            )
            made.without.pop("train_batch_size", None)
    if "ptx_coef" in made.lines and "ptx_file" not in made.lines:
        del made.lines["ptx_coef"]
        made.without["ptx_coef"] = "it had no effect without pretrain_data"
    if given.get("ipo"):
        made.put("loss_type", "ipo", "was ipo")
        made.without.pop("ipo")
    if given.get("advantage_estimator") == "reinforce_baseline":
        made.put("use_group_baseline", True, "was advantage_estimator reinforce_baseline")
    if made.verb == "grpo":
        made.put("loss_type", "dr_grpo" if given.get("advantage_estimator") == "dr_grpo" else "grpo", "was advantage_estimator")


def text(made: Migration, source: Path, project: str) -> str:
    """plaudit.yaml with one stage."""
    head = f"# From {made.tool}, {source.name}, by `plaudit migrate`. Read the comments: they say what changed in meaning."
    lines = [head, "", f"project: {project}", "stages:", f"  {made.verb}:", f"    verb: {made.verb}"]
    for option, (value, note) in made.lines.items():
        line = f"    {option}: {one_line(plain(value))}"
        lines.append(f"{line}   # {note}" if note else line)
    if made.without:
        lines += ["", "# Without a counterpart here:"]
        for name, why in made.without.items():
            lines += textwrap.wrap(f"{name}: {why}", 110, initial_indent="#   ", subsequent_indent="#     ")
    return "\n".join(lines) + "\n"
