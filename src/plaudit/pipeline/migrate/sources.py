"""Read a config of another tool: YAML or JSON with flat keys, or the command line that starts it (a shell script)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from plaudit.flatyaml import Loader, word_value
from plaudit.registry import names
from plaudit.schema import UserError

SCRIPTS = {"reward_modeling": "reward", "rm": "reward", "cpo": "simpo", "ppo_ray": "ppo"}
STAGES = {"pt": "sft", "rm": "reward"}
ESTIMATORS = {"gae": "ppo", "reinforce": "reinforce_pp", "reinforce_baseline": "reinforce_pp", "rloo": "rloo"}
ESTIMATORS |= {"group_norm": "grpo", "dr_grpo": "grpo"}
TELLING = (
    ("kto", {"desirable_weight", "undesirable_weight"}),
    ("rloo", {"rloo_k", "normalize_advantages"}),
    ("ppo", {"num_ppo_epochs", "cliprange_value", "vf_coef", "sft_model_path"}),
    ("grpo", {"scale_rewards", "epsilon", "epsilon_high", "num_generations"}),
    ("reward", {"center_rewards_coefficient"}),
    ("simpo", {"simpo_gamma", "cpo_alpha"}),
    ("dpo", {"beta", "loss_type", "label_smoothing", "rpo_alpha", "precompute_ref_log_probs"}),
    ("sft", {"packing", "completion_only_loss", "assistant_only_loss", "max_seq_length", "dataset_text_field"}),
)
"""Option names by which a file of TRL that does not say its trainer is known, in this order."""


def read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The options of a config by name, and the words of the command before them (none where it is YAML).

    UserError where the file cannot be read as either.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from None
    if path.suffix in (".yaml", ".yml", ".json"):
        return _mapping(text, path), []
    given, words = _flags(text, path)
    if "config" in given:
        inner = path.parent / str(given.pop("config"))
        given = {**_mapping(inner.read_text(encoding="utf-8"), inner), **given} if inner.is_file() else given
    return given, words


def _mapping(text: str, path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path} holds no options: expected lines of `option: value`")
    return {str(name): value for name, value in content.items()}


def _flags(text: str, path: Path) -> tuple[dict[str, Any], list[str]]:
    """`--name value`, `--name=value`, `--name a b`, and `--name` alone, which is true."""
    try:
        joined = re.sub(r"\\\s*\n", " ", text)
        words = shlex.split("\n".join(line for line in joined.splitlines() if not line.lstrip().startswith("#")))
    except ValueError as error:
        raise UserError(f"{path} is neither YAML (by its name) nor a command that can be read: {error}") from None
    given: dict[str, list[str]] = {}
    before: list[str] = []
    name = ""
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            given[name] = [value] if equals else []
        elif name:
            given[name].append(word)
        else:
            before.append(word)
    if not given:
        raise UserError(f"{path} holds no options: expected YAML, or a command with `--option value`")
    if "module" in given:  # deepspeed --module openrlhf.cli.train_dpo
        before += given.pop("module")
    values = {key: [word_value(one) for one in found] for key, found in given.items()}
    return {key: True if not found else found[0] if len(found) == 1 else found for key, found in values.items()}, before


def verb_of(tool: str, given: Mapping[str, Any], words: list[str]) -> str:
    """The verb that a config asks for. UserError where it does not say, and cannot be told from its options."""
    known = names("algorithms")
    if tool == "llamafactory":
        stage = str(given.get("stage", "sft"))
        loss = str(given.get("pref_loss", ""))
        found = loss if stage == "dpo" and loss in ("orpo", "simpo") else STAGES.get(stage, stage)
    elif tool == "openrlhf" and "advantage_estimator" in given:
        found = ESTIMATORS.get(str(given["advantage_estimator"]), "")
    else:
        stems = [re.sub(r"^(train_|run_)", "", Path(word).stem.rpartition(".")[2] or word) for word in words]
        stems = [re.sub(r"^train_", "", stem) for word in words for stem in (word.rpartition(".train_")[2], *stems)]
        stems = [SCRIPTS.get(stem, stem) for stem in stems]
        found = next((stem for stem in stems if stem in known), "")
        if not found and tool == "trl":
            found = next((verb for verb, telling in TELLING if telling & set(given)), "")
    if found not in known:
        raise UserError(f"it cannot be told which algorithm this config is for; add --verb, one of {', '.join(known)}")
    return found
