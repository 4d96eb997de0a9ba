"""One frozen base, many adapters on it: policy, critic, reward model and reference share its weights in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt

from plaudit.config import config
from plaudit.models import attention
from plaudit.models.dropout import Rows, put_dropout
from plaudit.models.forward import decoder_of, has_plain_layers
from plaudit.models.logits import logit_rule
from plaudit.schema import UserError

Tensor = torch.Tensor


@config
class AdapterConfig:
    """Parameter-efficient tuning, with TRL's option names."""

    use_peft: bool = False
    """Train LoRA adapters on a frozen base instead of all weights."""
    lora_r: Annotated[int, Ge(1)] = 16
    """Rank of the adapters."""
    lora_alpha: Annotated[float, Gt(0)] = 32.0
    """Scale of the adapters: their output is multiplied with lora_alpha / lora_r."""
    lora_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout before the adapters while training on demonstrations or pairs, drawn for each row; RL never uses dropout."""
    lora_target_modules: list[str] | None = None
    """Names of the linear layers that get adapters; none means all of them, the output head left out."""
    lora_layers: Annotated[int, Ge(1)] | None = None
    """Only the last so many layers get adapters. The layers below are then the same for policy, critic, reward model and
    reference, and are run once for all of them."""


class Base:
    """A Hugging Face causal LM whose weights stay as they are, with named LoRA adapters that are switched on one at a time."""

    def __init__(self, model: Any, tokenizer: Any, digest: str, name: str, options: AdapterConfig) -> None:
        self.model, self.tokenizer, self.digest, self.name, self.options = model, tokenizer, digest, name, options
        model.requires_grad_(False).eval()
        self.plain = has_plain_layers(model)
        """Layers can be run one by one; else transformers runs the model whole."""
        self.logits = logit_rule(model)
        if self.plain:
            attention.use(model)
        self._linear = _linear_layers(decoder_of(model))
        self._tuner: Any = None
        self._active: str | None = None
        self._adapters: dict[str, AdapterConfig] = {}
        self.dropout = Rows()

    @property
    def depth(self) -> int:
        return int(decoder_of(self.model).config.num_hidden_layers)

    @property
    def width(self) -> int:
        """Numbers in a last hidden state, which is what heads read; OPT may project it to fewer than its layers have."""
        return int(self.model.get_output_embeddings().weight.shape[1])

    @property
    def shared_layers(self) -> int:
        """How many of the lowest layers no adapter touches; 0 where layers cannot be run one by one."""
        reach = [options.lora_layers or self.depth for options in (self.options, *self._adapters.values())]
        return max(0, self.depth - max(reach)) if self.plain else 0

    def options_of(self, name: str) -> AdapterConfig:
        """The options that an adapter was made with."""
        return self._adapters[name]

    def add_adapter(self, name: str, *, seed: int, options: AdapterConfig | None = None) -> None:
        """A new LoRA adapter whose output is 0 at first (B = 0); A is drawn from `seed` alone.

        `options` are the base's own unless the adapter was trained with others (rank, scale, layers).
        """
        from peft import get_peft_model
        from peft.tuners.tuners_utils import BaseTunerLayer

        self._adapters[name] = options = options or self.options
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft warns about every second adapter on one base, which is what we want
            torch.manual_seed(seed)
            if self._tuner is None:
                self._tuner = get_peft_model(self.model, self.lora_config(options), adapter_name=name)
            else:
                self._tuner.add_adapter(name, self.lora_config(options))
        for parameter in self.adapter_parameters(name).values():
            parameter.data = parameter.data.to(torch.promote_types(self.model.dtype, torch.float32))
        if self.model.dtype == torch.bfloat16:
            tuned: list[Any] = [module for module in self.model.modules() if isinstance(module, BaseTunerLayer)]
            for module in tuned:
                module.cast_input_dtype_enabled = False  # autocast casts anyway; peft's detour by float32 costs two copies
        if options.lora_dropout:
            put_dropout(self.model, name, options.lora_dropout, self.dropout)
        self._active = None

    def lora_config(self, options: AdapterConfig | None = None) -> Any:
        """Options (the base's own where none are given) as peft's LoraConfig."""
        from peft import LoraConfig

        o = options or self.options
        layers = None if o.lora_layers is None else list(range(max(0, self.depth - o.lora_layers), self.depth))
        return LoraConfig(
            r=o.lora_r,
            lora_alpha=o.lora_alpha,  # type: ignore[arg-type]  # peft divides by it; it need not be whole
            lora_dropout=0.0,  # put_dropout does it, row by row
            target_modules=list(o.lora_target_modules or self._linear),
            layers_to_transform=layers,
            bias="none",
        )

    def adapter_parameters(self, name: str) -> dict[str, torch.nn.Parameter]:
        """Parameters of one adapter by a name that does not hold the adapter's own."""
        mark = f".{name}."
        return {
            key.replace(mark, ".").removeprefix("base_model.model."): parameter
            for key, parameter in (self._tuner.named_parameters() if self._tuner is not None else ())
            if mark in key and ".lora_" in key
        }

    @contextmanager
    def using(self, name: str | None) -> Iterator[Any]:
        """The model with this adapter alone switched on; None is the base as it is."""
        if self._tuner is not None and self._active != (name or ""):
            tuner = self._tuner.base_model
            if name is None:
                tuner.disable_adapter_layers()
            else:
                if self._active in (None, ""):
                    tuner.enable_adapter_layers()
                tuner.set_adapter(name)
            self._active = name or ""
        yield self.model

    def merged(self, name: str | None) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, weight) of the whole model with one adapter merged in: W + (alpha / r) B A."""
        from peft.tuners.lora import LoraLayer

        adapted: dict[str, Any] = {key: module for key, module in self.model.named_modules() if isinstance(module, LoraLayer)}
        for key, value in self.model.state_dict().items():
            if ".lora_" in key:
                continue
            owner = key.rsplit(".", 1)[0].removesuffix(".base_layer")
            plain = key.replace(".base_layer.", ".")
            if key.endswith(".weight") and owner in adapted and name is not None and name in adapted[owner].lora_A:
                delta = adapted[owner].get_delta_weight(name)
                yield plain, value.to(torch.promote_types(value.dtype, delta.dtype)) + delta
            else:
                yield plain, value

    def check_digest(self, wanted: str, folder: Any) -> None:
        """UserError where an adapter was trained on another base than this."""
        if wanted != self.digest:
            raise UserError(
                f"the adapter in {folder} was trained on another base (digest {wanted[:12]}, this base {self.name!r} has "
                f"{self.digest[:12]}); give the base it was trained on"
            )


def _linear_layers(decoder: Any) -> list[str]:
    """Names of the layers that take adapters; GPT-2 stores its matrices transposed, in a class of its own."""
    from transformers.pytorch_utils import Conv1D

    found = {
        name.rsplit(".", 1)[-1] for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)
    }
    return sorted(found)
