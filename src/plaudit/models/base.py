"""One frozen base, many adapters on it: policy, critic, reward model and reference share its weights in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from plaudit.models import attention
from plaudit.models.adapters import TUNED, AdapterConfig, linear_names, peft_config
from plaudit.models.bottleneck import Bottlenecks, Switch
from plaudit.models.dropout import Rows, put_dropout
from plaudit.models.forward import decoder_of, plain_layers
from plaudit.models.lean import Cast, lean_layers
from plaudit.models.logits import logit_rule
from plaudit.models.merge import merged_weights
from plaudit.models.parked import Parked, can_park
from plaudit.models.virtual import KEY, VirtualTokens
from plaudit.schema import UserError

__all__ = ["AdapterConfig", "Base"]

Tensor = torch.Tensor


class Base:
    """A Hugging Face causal LM whose weights stay as they are, with named adapters that are switched on one at a time.

    LoRA (with DoRA and rsLoRA) and IA3 are put into the layers by peft, one of the two on one base; virtual tokens and
    bottlenecks are modules of ours beside it (`own`), and go with either.
    """

    def __init__(self, model: Any, tokenizer: Any, digest: str, name: str, options: AdapterConfig) -> None:
        self.model, self.tokenizer, self.digest, self.name, self.options = model, tokenizer, digest, name, options
        model.requires_grad_(False).eval()
        made = plain_layers(model)
        self.plain = made is not None
        """Layers can be run one by one; else transformers runs the model whole."""
        self._known = lean_layers(made) and getattr(model, "quantization_method", None) is None
        self.cast = Cast()
        """The weights in the dtype that is computed in."""
        self.logits = logit_rule(model)
        if self.plain:
            attention.use(model)
        self._linear = linear_names(model)
        self._tuner: Any = None
        self._tuner_kind = ""
        self._active: str | None = None
        self._adapters: dict[str, AdapterConfig] = {}
        self.own: dict[str, torch.nn.Module] = {}
        self._switch = Switch()
        self._parked: Parked | None = None
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

    @property
    def lean(self) -> Cast | None:
        """What the layers are run with by `models/lean.py`; None where it does not know them, or one of their adapters."""
        strange = any(o.peft_type != "lora" or o.use_dora for o in self._adapters.values())
        return self.cast if self._known and not strange else None

    def settle(self, dtype: torch.dtype) -> None:
        """Hold the layers' matrices in the dtype that they are multiplied in anyway: for a base that is not trained."""
        decoder: Any = decoder_of(self.model)
        for layer in decoder.layers if self._known else ():
            for module in layer.modules():
                if isinstance(module, torch.nn.Linear):
                    module.to(dtype)

    def park(self, folder: Path) -> None:
        """Keep the weights in a file in `folder` while they are not read (`models/parked.py`), where that can be done.

        For a base whose weights, and those of its adapters, never change again. An adapter that is switched on stays in memory.
        """
        frozen = [parameter for parameter in self.model.parameters() if not parameter.requires_grad]
        if self._parked is None and can_park(frozen):
            with suppress(OSError):  # no room there, or no folder: then they stay in memory
                self._parked = Parked(frozen, folder)

    @property
    def parked(self) -> bool:
        """Whether the weights lie in a file."""
        return self._parked is not None

    def rest(self) -> None:
        """Nobody reads the weights for a while: those that are parked leave memory."""
        if self._parked is not None:
            self._parked.rest()

    def options_of(self, name: str) -> AdapterConfig:
        """The options that an adapter was made with."""
        return self._adapters[name]

    def takes(self, options: AdapterConfig) -> bool:
        """Whether such an adapter can sit beside those that are here: peft's LoRA and IA3 cannot share a base."""
        return options.peft_type not in TUNED or self._tuner_kind in ("", options.peft_type)

    def add_adapter(self, name: str, *, seed: int, options: AdapterConfig | None = None) -> None:
        """A new adapter, drawn from `seed` alone. It changes nothing at first, virtual tokens excepted (see `virtual`).

        `options` are the base's own unless the adapter was trained with others (kind, rank, scale, layers).
        """
        options = options or self.options
        if not self.takes(options):
            raise UserError(
                f"an adapter of peft_type {options.peft_type} cannot share its base with {self._tuner_kind} adapters; "
                "train all adapters of a run with one peft_type"
            )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft warns about every second adapter on one base, which is what we want
            torch.manual_seed(seed)
            if options.peft_type in TUNED:
                self._tune(name, options)
            elif options.peft_type == "bottleneck":
                self._switch.install(self.model)
                layers = range(max(0, self.depth - (options.lora_layers or self.depth)), self.depth)
                inside = int(decoder_of(self.model).config.hidden_size)
                self.own[name] = Bottlenecks(inside, options.bottleneck_size, layers).to(self.model.device)
            else:
                with self.using(None) as bare:
                    self.own[name] = VirtualTokens(options, bare, seed)
        self._adapters[name] = options
        for parameter in self.adapter_parameters(name).values():
            parameter.data = parameter.data.to(torch.promote_types(self.model.dtype, torch.float32))
        if options.lora_dropout:
            put_dropout(self.model, name, options.lora_dropout, self.dropout)
        self._active = None

    def _tune(self, name: str, options: AdapterConfig) -> None:
        from peft import get_peft_model
        from peft.tuners.tuners_utils import BaseTunerLayer

        if self._tuner is None:
            self._tuner = get_peft_model(self.model, self.peft_config(options), adapter_name=name)
            self._tuner_kind = options.peft_type
        else:
            self._tuner.add_adapter(name, self.peft_config(options))
        if self.model.dtype == torch.bfloat16:
            tuned: list[Any] = [module for module in self.model.modules() if isinstance(module, BaseTunerLayer)]
            for module in tuned:
                module.cast_input_dtype_enabled = False  # autocast casts anyway; peft's detour by float32 costs two copies

    def peft_config(self, options: AdapterConfig | None = None) -> Any:
        """Options (the base's own where none are given) as peft's configuration."""
        return peft_config(options or self.options, self.model, self._linear, self.name)

    def virtual(self, name: str | None) -> VirtualTokens | None:
        """The virtual tokens of an adapter; None where it has none."""
        own = self.own.get(name or "")
        return own if isinstance(own, VirtualTokens) else None

    def adapter_parameters(self, name: str) -> dict[str, torch.nn.Parameter]:
        """Parameters of one adapter by a name that does not hold the adapter's own."""
        if name in self.own:
            own = self.own[name]
            return {KEY: own.weight} if isinstance(own, VirtualTokens) else dict(own.named_parameters())
        mark = f".{name}"
        return {
            (key + ".").replace(mark + ".", ".").removesuffix(".").removeprefix("base_model.model."): parameter
            for key, parameter in (self._tuner.named_parameters() if self._tuner is not None else ())
            if mark + "." in key + "." and (".lora_" in key or ".ia3_l" in key)
        }

    @contextmanager
    def using(self, name: str | None) -> Iterator[Any]:
        """The model with this adapter alone switched on; None is the base as it is."""
        own = self.own.get(name or "")
        self._switch.active = own if isinstance(own, Bottlenecks) else None
        tuned = None if name in self.own else name
        if self._tuner is not None and self._active != (tuned or ""):
            tuner = self._tuner.base_model
            if tuned is None:
                tuner.disable_adapter_layers()
            else:
                if self._active in (None, ""):
                    tuner.enable_adapter_layers()
                tuner.set_adapter(tuned)
            self._active = tuned or ""
        self.cast.adapter = tuned
        yield self.model

    def merged(self, name: str | None) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, weight) of the whole model with one adapter merged in.

        What cannot be merged comes after the base's own weights, for engines that know it: `prompt_embeddings` [V, E],
        `prefix_embeddings` [V, layers x 2 x key-value heads x head size], `bottleneck.<layer>.<place>.<part>`.
        """
        yield from merged_weights(self.model, name if name not in self.own else None)
        own = self.own.get(name or "")
        if isinstance(own, VirtualTokens):
            yield ("prompt_embeddings" if own.inserted else "prefix_embeddings"), own.weight.detach()
        elif own is not None:
            for key, value in own.named_parameters():
                yield f"bottleneck.{key.removeprefix('layers.')}", value.detach()

    def check_digest(self, wanted: str, folder: Any) -> None:
        """UserError where an adapter was trained on another base than this."""
        if wanted != self.digest:
            raise UserError(
                f"the adapter in {folder} was trained on another base (digest {wanted[:12]}, this base {self.name!r} has "
                f"{self.digest[:12]}); give the base it was trained on"
            )
