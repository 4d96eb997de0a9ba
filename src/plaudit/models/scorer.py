"""Reward models: kept in a folder, put on a base, asked for scores.

A folder holds either an adapter in peft's layout (adapter_config.json, adapter_model.safetensors: it needs the base it was
trained on) or a whole model in Hugging Face's sequence-classification layout (score.weight, num_labels 1); and in both cases
head.safetensors (the head with its bias), reward.json and the tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from plaudit.core.batch import from_rows
from plaudit.models.adapter_folder import merged_model, put_adapter, read_tensors, write_adapter
from plaudit.models.adapters import TUNED, AdapterConfig
from plaudit.models.base import Base
from plaudit.models.folder import write_folder, write_model
from plaudit.models.heads import class_head, rescaled, rescaled_each, scalar_head
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
    aspects: dict[str, list[float]] = field(default_factory=dict)
    """Of a reward model of several aspects: their names in the order of the head -> mean and deviation of their scores."""
    step_separator: str = ""
    """Of a process reward model, the text that ends a step."""


def save_reward(
    folder: Path,
    network: Network,
    *,
    mean: float = 0.0,
    deviation: float = 1.0,
    aspects: Mapping[str, tuple[float, float]] | None = None,
    step_separator: str = "",
) -> None:
    """Write a trained reward model; the folder appears whole or not at all. UserError where it cannot be written.

    `aspects`: name -> mean and deviation of its scores, for a head of several. `step_separator`: of a process reward model.
    """
    base, adapter = network.base, network.adapter
    options = base.options if adapter is None else base.options_of(adapter)
    scales = {name: list(scale) for name, scale in (aspects or {}).items()}
    info = RewardInfo(base.name, base.digest, adapter is not None, mean, deviation, asdict(options), scales, step_separator)
    write_folder(folder, lambda place: _write_reward(place, network, info))


def _write_reward(folder: Path, network: Network, info: RewardInfo) -> None:
    from safetensors.torch import save_file

    base, head = network.base, network.head
    assert head is not None
    if network.adapter is not None:
        write_adapter(folder, base, network.adapter)
    else:
        write_model(base.model, base.tokenizer, folder)
        _as_classifier(folder, head, list(info.aspects) or ["score"])
    save_file({k: v.detach().contiguous() for k, v in head.state_dict().items()}, folder / "head.safetensors")
    (folder / ABOUT).write_text(json.dumps(asdict(info), indent=2) + "\n")


def _as_classifier(folder: Path, head: torch.nn.Linear, names: list[str]) -> None:
    """Make a saved causal LM readable as a sequence classifier with one label, or one for each aspect."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "score.weight": head.weight.detach().float()}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = [
        re.sub("ForCausalLM|LMHeadModel", "ForSequenceClassification", name) for name in config["architectures"]
    ]
    labels = {str(number): name for number, name in enumerate(names)}
    config |= {"num_labels": len(names), "id2label": labels, "label2id": {name: int(key) for key, name in labels.items()}}
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
    network = Network(name, base, adapter=name, head=_head(folder, info, base), **settings)
    network.aspects, network.step_separator = tuple(info.aspects), info.step_separator
    return network


def merge_reward(folder: Path, out: Path, *, base: str | None = None) -> None:
    """Write the adapter of a reward folder merged into its base, as a whole reward model; the scores stay as they were.

    `base` names the base where reward.json's entry cannot be found. UserError for a kind that cannot be merged.
    """
    info = reward_info(folder)
    options = AdapterConfig(**info.lora)
    if not options.mergeable:
        raise UserError(f"a reward model with peft_type {options.peft_type} cannot be merged; use the folder as it is")
    loaded = load(base or info.base)
    on = Base(loaded.model, loaded.tokenizer, loaded.digest, loaded.name, options)
    put_reward(folder, on, "reward")
    whole = merged_model(on, "reward")
    head = _saved_head(folder, info, on.width)
    merged = Network("reward", Base(whole, loaded.tokenizer, weights_digest(whole), str(out), AdapterConfig()), head=head)
    scales = {name: (mean, deviation) for name, (mean, deviation) in info.aspects.items()}
    save_reward(out, merged, mean=info.mean, deviation=info.deviation, aspects=scales, step_separator=info.step_separator)


def load_reward(folder: Path, *, dtype: torch.dtype, device: torch.device, **settings: Any) -> Network:
    """A reward model with its own base beside whatever is in memory."""
    info = reward_info(folder)
    if info.adapter:
        loaded = load(info.base, dtype=dtype)
        base = Base(loaded.model.to(device), loaded.tokenizer, loaded.digest, loaded.name, AdapterConfig(**info.lora))
        return put_reward(folder, base, "reward", **settings)
    loaded = load(folder, dtype=dtype)
    base = Base(loaded.model.to(device), loaded.tokenizer, loaded.digest, str(folder), AdapterConfig())
    network = Network("reward", base, head=_head(folder, info, base), **settings)
    network.aspects, network.step_separator = tuple(info.aspects), info.step_separator
    return network


def load_rewards(folders: Sequence[Path], *, dtype: torch.dtype, device: torch.device) -> list[Network]:
    """Several reward models; adapters that were trained on one base share it in memory."""
    found: list[Network] = []
    for folder in folders:
        info = reward_info(folder)
        kind = info.lora.get("peft_type", "lora")
        shared = [
            n.base
            for n in found
            if info.adapter and n.adapter and n.base.digest == info.base_digest
            if {kind, n.base.options_of(n.adapter).peft_type} != set(TUNED)
        ]
        if shared:
            found.append(put_reward(folder, shared[0], f"reward_{len(found) + 1}"))
        else:
            found.append(load_reward(folder, dtype=dtype, device=device))
    return found


def _head(folder: Path, info: RewardInfo, base: Base) -> torch.nn.Linear:
    """The saved head, rescaled so that scores on the training answers have mean 0 and deviation 1."""
    if info.aspects:
        scales = [(mean, deviation) for mean, deviation in info.aspects.values()]
        return rescaled_each(_saved_head(folder, info, base.width), scales).to(base.model.device)
    return rescaled(_saved_head(folder, info, base.width), info.mean, info.deviation).to(base.model.device)


def _saved_head(folder: Path, info: RewardInfo, width: int) -> torch.nn.Linear:
    head = class_head(width, len(info.aspects)) if info.aspects else scalar_head(width)
    head.load_state_dict(read_tensors(folder, "head.safetensors", "scalar head"))
    return head


class Scorer:
    """Scores token rows with a reward network, in batches of like length. Callable: list of id rows -> list of scores.

    Where the network shares beginnings, answers to one prompt that stand next to each other are read behind one copy of it.
    """

    def __init__(self, network: Network, batch_size: int = 16) -> None:
        self.network, self.batch_size = network, batch_size

    def __call__(self, rows: Sequence[Sequence[int]]) -> list[float]:
        return self._asked(rows, "score")

    def each(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """All outputs of the head for each row: of several aspects."""
        return self._asked(rows, "classes")

    @torch.no_grad()
    def _asked(self, rows: Sequence[Sequence[int]], want: str) -> list[Any]:
        scores: list[Any] = [0.0] * len(rows)
        group = alike([list(row) for row in rows]) if self.network.sharing else list(range(len(rows)))
        longest = {g: max(len(rows[r]) for r in members) for g, members in _members(group).items()}
        order = sorted(range(len(rows)), key=lambda r: (longest[group[r]], group[r]))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            batch = from_rows(
                [rows[r] for r in chosen], [[0] * len(rows[r]) for r in chosen], group=[group[r] for r in chosen]
            ).to(self.network.base.model.device)
            found = getattr(self.network(batch, {want}), want)
            for r, score in zip(chosen, found.tolist(), strict=True):
                scores[r] = score
        self.network.base.rest()
        return scores


def _members(group: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for row, name in enumerate(group):
        found.setdefault(name, []).append(row)
    return found
