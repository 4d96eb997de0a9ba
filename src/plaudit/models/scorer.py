"""Reward models: kept in a folder, put on a base, asked for scores.

A folder holds either an adapter in peft's layout (adapter_config.json, adapter_model.safetensors: it needs the base it was
trained on) or a whole model in Hugging Face's sequence-classification layout (score.weight, num_labels 1); and in both cases
head.safetensors (the head with its bias), reward.json and the tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from plaudit.core.batch import from_rows
from plaudit.models.adapter_folder import put_adapter, read_tensors, write_adapter
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.folder import write_folder, write_model
from plaudit.models.heads import rescaled, scalar_head
from plaudit.models.load import load, weights_digest
from plaudit.models.network import Network
from plaudit.models.sharing import alike
from plaudit.schema import UserError

ABOUT = "reward.json"


@dataclass(frozen=True)
class RewardInfo:
    """reward.json: what the folder needs and how its scores lie on its training answers (mean and deviation)."""

    base: str
    base_digest: str
    adapter: bool
    mean: float
    deviation: float
    lora: dict[str, Any]


def save_reward(folder: Path, network: Network, *, mean: float, deviation: float) -> None:
    """Write a trained reward model; the folder appears whole or not at all. UserError where it cannot be written."""
    base, adapter = network.base, network.adapter
    options = base.options if adapter is None else base.options_of(adapter)
    info = RewardInfo(base.name, base.digest, adapter is not None, mean, deviation, asdict(options))
    write_folder(folder, lambda place: _write_reward(place, network, info))


def _write_reward(folder: Path, network: Network, info: RewardInfo) -> None:
    from safetensors.torch import save_file

    base, head = network.base, network.head
    assert head is not None
    if network.adapter is not None:
        write_adapter(folder, base, network.adapter)
    else:
        write_model(base.model, base.tokenizer, folder)
        _as_classifier(folder, head)
    save_file({k: v.detach().contiguous() for k, v in head.state_dict().items()}, folder / "head.safetensors")
    (folder / ABOUT).write_text(json.dumps(asdict(info), indent=2) + "\n")


def _as_classifier(folder: Path, head: torch.nn.Linear) -> None:
    """Make a saved causal LM readable as a sequence classifier with one label."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "score.weight": head.weight.detach().float()}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = [
        re.sub("ForCausalLM|LMHeadModel", "ForSequenceClassification", name) for name in config["architectures"]
    ]
    config |= {"num_labels": 1, "id2label": {"0": "score"}, "label2id": {"score": 0}}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def reward_info(folder: Path) -> RewardInfo:
    """Read reward.json. UserError where the folder is no reward model of ours."""
    try:
        return RewardInfo(**json.loads((folder / ABOUT).read_text()))
    except FileNotFoundError as problem:
        reason = "it does not exist" if not folder.exists() else "it has no scalar head (reward.json is missing)"
        raise UserError(
            f"reward_model_path {folder} cannot be used: {reason}; give the model folder of a `train reward` run"
        ) from problem
    except (ValueError, TypeError) as problem:
        raise UserError(f"{folder / ABOUT} is damaged ({problem}); train the reward model again") from problem


def reward_digest(folder: Path) -> str:
    """SHA-256 over everything that decides the scores: the folder's weights, its head, what it says of its base."""
    total = hashlib.sha256()
    for path in (*sorted(folder.glob("*.safetensors")), folder / ABOUT):
        with open(path, "rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    return total.hexdigest()


def put_reward(folder: Path, base: Base, name: str, **settings: Any) -> Network:
    """The reward model of a folder as adapter `name` on a base that is in memory; UserError where it needs another base."""
    info = reward_info(folder)
    if not info.adapter:
        raise UserError(f"{folder} holds a whole model, not an adapter")
    base.check_digest(info.base_digest, folder)
    put_adapter(folder, base, name, AdapterConfig(**info.lora))
    return Network(name, base, adapter=name, head=_head(folder, info, base), **settings)


def merge_reward(folder: Path, out: Path, *, base: str | None = None) -> None:
    """Write the adapter of a reward folder merged into its base, as a whole reward model; the scores stay as they were.

    `base` names the base where reward.json's entry cannot be found. UserError for a kind that cannot be merged.
    """
    from transformers import AutoModelForCausalLM

    info = reward_info(folder)
    options = AdapterConfig(**info.lora)
    if not options.mergeable:
        raise UserError(f"a reward model with peft_type {options.peft_type} cannot be merged; use the folder as it is")
    loaded = load(base or info.base)
    on = Base(loaded.model, loaded.tokenizer, loaded.digest, loaded.name, options)
    put_reward(folder, on, "reward")
    whole = AutoModelForCausalLM.from_config(on.model.config, dtype=torch.float32)
    whole.load_state_dict({key: value.float() for key, value in on.merged("reward")})
    head = scalar_head(on.width)
    head.load_state_dict(read_tensors(folder, "head.safetensors", "scalar head"))
    merged = Network("reward", Base(whole, loaded.tokenizer, weights_digest(whole), str(out), AdapterConfig()), head=head)
    save_reward(out, merged, mean=info.mean, deviation=info.deviation)


def load_reward(folder: Path, *, dtype: torch.dtype, device: torch.device, **settings: Any) -> Network:
    """A reward model with its own base beside whatever is in memory."""
    info = reward_info(folder)
    if info.adapter:
        loaded = load(info.base, dtype=dtype)
        base = Base(loaded.model.to(device), loaded.tokenizer, loaded.digest, loaded.name, AdapterConfig(**info.lora))
        return put_reward(folder, base, "reward", **settings)
    loaded = load(folder, dtype=dtype)
    base = Base(loaded.model.to(device), loaded.tokenizer, loaded.digest, str(folder), AdapterConfig())
    return Network("reward", base, head=_head(folder, info, base), **settings)


def _head(folder: Path, info: RewardInfo, base: Base) -> torch.nn.Linear:
    """The saved head, rescaled so that scores on the training answers have mean 0 and deviation 1."""
    head = scalar_head(base.width)
    head.load_state_dict(read_tensors(folder, "head.safetensors", "scalar head"))
    return rescaled(head, info.mean, info.deviation).to(base.model.device)


class Scorer:
    """Scores token rows with a reward network, in batches of like length. Callable: list of id rows -> list of scores.

    Where the network shares beginnings, answers to one prompt that stand next to each other are read behind one copy of it.
    """

    def __init__(self, network: Network, batch_size: int = 16) -> None:
        self.network, self.batch_size = network, batch_size

    @torch.no_grad()
    def __call__(self, rows: Sequence[Sequence[int]]) -> list[float]:
        scores = [0.0] * len(rows)
        group = alike([list(row) for row in rows]) if self.network.sharing else list(range(len(rows)))
        longest = {g: max(len(rows[r]) for r in members) for g, members in _members(group).items()}
        order = sorted(range(len(rows)), key=lambda r: (longest[group[r]], group[r]))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            batch = from_rows(
                [rows[r] for r in chosen], [[0] * len(rows[r]) for r in chosen], group=[group[r] for r in chosen]
            ).to(self.network.base.model.device)
            outputs = self.network(batch, {"score"})
            assert outputs.score is not None
            for r, score in zip(chosen, outputs.score.tolist(), strict=True):
                scores[r] = score
        return scores


def _members(group: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for row, name in enumerate(group):
        found.setdefault(name, []).append(row)
    return found
