"""The kinds of parameter-efficient tuning: their options, and the same in peft's own configuration classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Lt

from plaudit.config import config
from plaudit.models.forward import decoder_of
from plaudit.schema import UserError

Kind = Literal["lora", "ia3", "prefix_tuning", "prompt_tuning", "bottleneck"]
TUNED = ("lora", "ia3")
"""Kinds that peft puts into the layers, and that can be merged into their weights. The others are modules of ours."""
VIRTUAL = ("prefix_tuning", "prompt_tuning")
"""Kinds that put virtual tokens before a row."""

RATE: dict[str, float] = {"ia3": 10.0, "prefix_tuning": 10.0, "prompt_tuning": 10.0}
"""Default learning rate of a kind over LoRA's: few numbers, each of which must move far (3e-3 for IA3, Liu et al. 2022)."""


@config
class AdapterConfig:
    """Parameter-efficient tuning, with the option names of TRL and peft."""

    use_peft: bool = False
    """Train adapters on a frozen base instead of all weights."""
    peft_type: Kind = "lora"
    """lora, ia3 (vectors that scale keys, values and the MLP), prefix_tuning (keys and values before every row),
    prompt_tuning (embeddings before every row) or bottleneck (Houlsby's small networks in every layer)."""
    lora_r: Annotated[int, Ge(1)] = 16
    """Rank of the adapters."""
    lora_alpha: Annotated[float, Gt(0)] = 32.0
    """Scale of the adapters: their output is multiplied with lora_alpha / lora_r."""
    lora_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout before the adapters while training on demonstrations or pairs, drawn for each row; RL never uses dropout."""
    lora_target_modules: list[str] | None = None
    """Names of the linear layers that get adapters; none means all of them, the output head left out (ia3: peft's choice)."""
    lora_layers: Annotated[int, Ge(1)] | None = None
    """Only the last so many layers get adapters. The layers below are then the same for policy, critic, reward model and
    reference, and are run once for all of them."""
    use_rslora: bool = False
    """Scale LoRA with lora_alpha / sqrt(lora_r), so that high ranks learn as fast as low ones (Kalajdzievski 2023)."""
    use_dora: bool = False
    """Split each weight into length and direction; LoRA turns the direction (DoRA, Liu et al. 2024)."""
    num_virtual_tokens: Annotated[int, Ge(1)] = 20
    """Virtual tokens of prefix_tuning and prompt_tuning; they count against what the model can read."""
    bottleneck_size: Annotated[int, Ge(1)] = 64
    """Hidden size of the small networks of peft_type bottleneck."""
    load_in_8bit: bool = False
    """Hold the frozen base in 8 bits (LLM.int8); needs bitsandbytes and a GPU."""
    load_in_4bit: bool = False
    """Hold the frozen base in 4 bits (QLoRA, Dettmers et al. 2023); needs bitsandbytes and a GPU."""
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    """Which 4-bit numbers: nf4 suits weights that are normally distributed."""
    use_bnb_nested_quant: bool = False
    """Quantise the scales of the 4-bit blocks too: 0.4 bits less for each weight."""

    def __post_init__(self) -> None:
        wrong = [name for name in ("use_dora", "use_rslora") if getattr(self, name) and self.peft_type != "lora"]
        wrong += ["lora_dropout"] * bool(self.lora_dropout and self.peft_type != "lora")
        if wrong:
            raise UserError(f"{wrong[0]} is an option of LoRA, and peft_type is {self.peft_type}; leave it out")
        if self.lora_layers is not None and self.peft_type in VIRTUAL:
            raise UserError(
                f"lora_layers cannot go with peft_type {self.peft_type}: virtual tokens reach every layer; leave it out"
            )
        if self.load_in_8bit and self.load_in_4bit:
            raise UserError("load_in_8bit and load_in_4bit cannot both be true; choose one")
        alone = [name for name in ("load_in_8bit", "load_in_4bit") if getattr(self, name)]
        alone += ["peft_type"] * (self.peft_type != "lora")
        if alone and not self.use_peft:
            raise UserError(f"{alone[0]} is for adapters on a frozen base; set use_peft: true")

    @property
    def mergeable(self) -> bool:
        """Whether the adapter can become a part of the base's weights."""
        return self.peft_type in TUNED

    @property
    def virtual_tokens(self) -> int:
        """Places of the model's context that the adapter takes from every row."""
        return self.num_virtual_tokens if self.peft_type in VIRTUAL else 0


def linear_names(model: Any) -> list[str]:
    """Last names of the layers that take adapters; GPT-2 stores its matrices transposed, in a class of its own."""
    from transformers.pytorch_utils import Conv1D

    named = decoder_of(model).named_modules()
    layers = (name for name, module in named if isinstance(module, torch.nn.Linear | Conv1D))
    return sorted({name.rsplit(".", 1)[-1] for name in layers} - {"base_layer"})


def peft_config(o: AdapterConfig, model: Any, linear: list[str], base_name: str | None = None) -> Any:
    """The options as peft's own configuration, so that peft can load what is trained here. Not for `bottleneck`.

    UserError for a family that peft knows no IA3 layers of.
    """
    import peft

    made = decoder_of(model).config
    depth = int(made.num_hidden_layers)
    layers = None if o.lora_layers is None else list(range(max(0, depth - o.lora_layers), depth))
    shared: dict[str, Any] = {"task_type": "CAUSAL_LM", "base_model_name_or_path": base_name}
    if o.peft_type == "lora":
        return peft.LoraConfig(
            r=o.lora_r,
            lora_alpha=o.lora_alpha,  # type: ignore[arg-type]  # peft divides by it; it need not be whole
            lora_dropout=0.0,  # put_dropout does it, row by row
            target_modules=list(o.lora_target_modules or linear),
            layers_to_transform=layers,
            use_rslora=o.use_rslora,
            use_dora=o.use_dora,
            fan_in_fan_out=_transposed(model, linear),
            bias="none",
            **shared,
        )
    if o.peft_type == "ia3":
        targets, inputs = ia3_targets(o, model)
        if layers is not None:
            targets = [f"{i}.{part}" for i in layers for part in _parts(model, targets)]
            inputs = [name for name in targets if name.rsplit(".", 1)[-1] in inputs]
        return peft.IA3Config(
            target_modules=targets, feedforward_modules=inputs, fan_in_fan_out=_transposed(model, targets), **shared
        )
    if o.peft_type == "prompt_tuning":
        return peft.PromptTuningConfig(
            num_virtual_tokens=o.num_virtual_tokens,
            token_dim=int(made.hidden_size),
            num_transformer_submodules=1,
            num_layers=depth,
            num_attention_heads=int(made.num_attention_heads),
            **shared,
        )
    assert o.peft_type == "prefix_tuning"
    heads, size = key_value_shape(made)
    return peft.PrefixTuningConfig(
        num_virtual_tokens=o.num_virtual_tokens,
        token_dim=heads * size,
        num_transformer_submodules=1,
        num_layers=depth,
        num_attention_heads=heads,
        **shared,
    )


def key_value_shape(config: Any) -> tuple[int, int]:
    """(key-value heads, size of one head) by a model's config."""
    heads = int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return int(getattr(config, "num_key_value_heads", None) or heads), size


def ia3_targets(o: AdapterConfig, model: Any) -> tuple[list[str], list[str]]:
    """(layers that get vectors, those of them whose input is scaled instead of their output), by peft's tables."""
    from peft.utils import constants

    kind = model.config.model_type
    targets = list(o.lora_target_modules or constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING.get(kind, []))
    inputs = constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(kind, ["down_proj"])
    if not targets:
        raise UserError(f"peft knows no IA3 layers of a {kind} model; name them in lora_target_modules")
    return targets, [name for name in inputs if name in targets]


def _parts(model: Any, targets: list[str]) -> list[str]:
    """`self_attn.k_proj` for `k_proj`: names below one layer."""
    decoder: Any = decoder_of(model)
    names = {name for name, _ in (decoder.layers if hasattr(decoder, "layers") else decoder.h)[0].named_modules()}
    return [name for name in sorted(names) if name.rsplit(".", 1)[-1] in targets]


def _transposed(model: Any, targets: list[str]) -> bool:
    """Whether the layers hold their matrices as [in, out], as GPT-2's do."""
    from transformers.pytorch_utils import Conv1D

    last = {name.rsplit(".", 1)[-1] for name in targets}
    named = decoder_of(model).named_modules()
    return any(isinstance(module, Conv1D) and name.rsplit(".", 1)[-1] in last for name, module in named)
