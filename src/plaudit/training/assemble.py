"""From a config to the networks that an algorithm trains."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from plaudit.config import config
from plaudit.models.adapters import TUNED, AdapterConfig
from plaudit.models.base import Base
from plaudit.models.families import context
from plaudit.models.heads import OrdinalHead, class_head, mixed, scalar_head
from plaudit.models.load import cast, load
from plaudit.models.machine import device, fast_bf16
from plaudit.models.network import Network
from plaudit.models.quantize import quantization
from plaudit.models.scorer import load_reward, put_reward, reward_info
from plaudit.training.options import TrainingConfig


@config
class ModelConfig:
    """Which model is trained."""

    model_name_or_path: str = "smollm2-135m-instruct"
    """A Hugging Face folder or hub name, a .gguf file, smollm2-135m-instruct (embedded), or tiny (random, for tests)."""
    model_revision: str | None = None
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = False
    """Run code that comes with the model: only for sources you trust."""


@dataclass(frozen=True)
class Precision:
    """What the machine was found to do well; part of a run's state, so that a resumed run computes the same."""

    device: torch.device
    bf16: bool


def precision(options: TrainingConfig) -> Precision:
    """bf16 as asked for, or by looking at the machine where it is auto."""
    where = device()
    return Precision(where, fast_bf16(where) if options.bf16 == "auto" else bool(options.bf16))


class Assembly:
    """Builds networks for one run: adapters share one base; with full fine-tuning each trained network owns its weights."""

    def __init__(self, model: ModelConfig, adapter: AdapterConfig, training: TrainingConfig) -> None:
        self.adapter, self.training, self.precision = adapter, training, precision(training)
        self.loaded = load(
            model.model_name_or_path,
            revision=model.model_revision,
            trust_remote_code=model.trust_remote_code,
            quantization=quantization(adapter, self.precision.device),
        )
        self.tokenizer = self.loaded.tokenizer
        self.lora = adapter.use_peft
        self.base = self._base(self.loaded.model if self.lora else copy.deepcopy(self.loaded.model), frozen=True)
        """Frozen: what adapters sit on, and the reference."""

    def _base(self, model: Any, *, frozen: bool) -> Base:
        dtype = torch.bfloat16 if frozen and self.precision.bf16 and self.adapter.use_peft else torch.float32
        if self.loaded.model.dtype == torch.float64:
            dtype = torch.float64
        if getattr(model, "quantization_method", None) is None:  # a quantised model is where and what it must be
            model = cast(model, dtype, self.precision.device)
        return Base(model, self.tokenizer, self.loaded.digest, self.loaded.name, self.adapter)

    @property
    def context(self) -> int:
        """Most tokens of a row that the model was made for, virtual tokens taken off."""
        return context(self.base.model.config) - self.adapter.virtual_tokens

    @property
    def settings(self) -> dict[str, Any]:
        """What every network of the run has in common."""
        t = self.training
        return {
            "autocast": self.precision.bf16,
            "packing": t.packing,
            "sharing": t.share_prompts and not self.adapter.lora_dropout,  # dropout is drawn for each row by itself
            "checkpointing": t.gradient_checkpointing,
            "chunk": t.logit_chunk or (512 if self.precision.device.type == "cpu" else 1024),
        }

    def trained(self, role: str, *, head: bool = False, classes: int = 0, thresholds: Sequence[float] = ()) -> Network:
        """A network that starts as the base: a new adapter on it, or a copy of all its weights; with a head where asked for."""
        scalar = scalar_head(self.base.width).to(self.precision.device) if head else None
        if classes:
            scalar = class_head(self.base.width, classes).to(self.precision.device)
        if thresholds:
            scalar = OrdinalHead(self.base.width, thresholds).to(self.precision.device)
        if self.lora:
            self.base.add_adapter(role, seed=self.training.seed + sum(map(ord, role)))
            return Network(role, self.base, adapter=role, head=scalar, **self.settings)
        return Network(
            role, self._base(copy.deepcopy(self.loaded.model), frozen=False), whole=True, head=scalar, **self.settings
        )

    def reference(self) -> Network:
        """The base as it is; its matrices are no longer held in more than the products read of them."""
        if not self.lora:
            if self.precision.bf16:
                self.base.settle(torch.bfloat16)
            self.base.park(Path(self.training.output_dir))
        return Network("reference", self.base, **self.settings)

    def reward(self, folder: Path, others: Sequence[Network] = ()) -> Network:
        """A trained reward model: on the shared base where it was trained on it, else with a base of its own beside it.

        Also of its own where its kind of adapter cannot share a base with another's (LoRA with IA3). `others` are the
        ensemble's members so far: adapters that were trained on the same base share it with them.
        """
        info = reward_info(folder)
        name, kind = f"reward_{len(others) + 1}" if others else "reward", info.lora.get("peft_type", "lora")
        beside = [other for other in others if other.adapter is not None]
        bases = [(self.base, self.adapter.peft_type)] if self.lora else []
        bases += [(other.base, other.base.options_of(str(other.adapter)).peft_type) for other in beside]
        for base, theirs in bases:
            if info.adapter and info.base_digest == base.digest and {kind, theirs} != set(TUNED):
                return put_reward(folder, base, name, **self.settings)
        own = torch.bfloat16 if self.precision.bf16 else torch.float32
        network = load_reward(folder, dtype=own, device=self.precision.device, **self.settings)
        network.base.park(Path(self.training.output_dir))
        return network

    def critic(self, reward: Network | None, folder: Path | None, *, new_head: bool, weights: Sequence[float] = ()) -> Network:
        """A critic started from the reward model where that is possible, else from the base with a head at 0.

        Possible: an adapter trained on this very base; with full fine-tuning, a model of the same width and depth.

        new_head: the head starts at 0 all the same; a reward model's own head was only ever asked at the end of answers.
        weights: of a reward model's aspects, whose heads become the one of their weighted sum.
        """
        if reward is None or folder is None:
            return self.trained("critic", head=True)
        network = self._critic_from(reward, folder, weights)
        if new_head or reward.step_separator:  # a process reward model's head gives the logit of a chance, not a reward
            network.head = scalar_head(self.base.width).to(self.precision.device)
        return network

    def _critic_from(self, reward: Network, folder: Path, weights: Sequence[float]) -> Network:
        if self.lora and reward.base is self.base:
            network = put_reward(folder, self.base, "critic", **self.settings)
            if weights:
                assert network.head is not None
                network.head, network.aspects = mixed(network.head, weights), ()
            return network
        network = self.trained("critic", head=True)
        alike = (reward.base.width, reward.base.depth) == (self.base.width, self.base.depth)
        if self.lora or not alike:  # the reward model's head reads features that this base does not make
            return network
        network.base.model.load_state_dict({k: v.float() for k, v in reward.base.merged(reward.adapter)})
        assert network.head is not None and reward.head is not None
        network.head.load_state_dict((mixed(reward.head, weights) if weights else reward.head).state_dict())
        return network
