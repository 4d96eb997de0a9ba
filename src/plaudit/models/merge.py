"""Adapters that peft put into the layers, merged into the weights: nothing is changed in place, so there is nothing to undo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

Tensor = torch.Tensor


def merged_weights(model: Any, name: str | None) -> Iterator[tuple[str, Tensor]]:
    """(Hugging Face name, weight) of a model with one of its adapters merged in; None is the base as it is.

    LoRA   W + s B A, with s = alpha / r, or alpha / sqrt(r) for rsLoRA (Hu et al. 2021, arXiv 2106.09685; Kalajdzievski 2023)
    DoRA   m (W + s B A) / |W + s B A|, lengths taken for each output (Liu et al. 2024, arXiv 2402.09353, equation 5)
    IA3    W with its rows (keys, values) or columns (the MLP's input) scaled (Liu et al. 2022, arXiv 2205.05638)

    A base in 8 or 4 bits comes out in full, as far as rounding left it.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted: dict[str, Any] = {key: module for key, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
    modules = dict(model.named_modules())
    for key, value in model.state_dict().items():
        if ".lora_" in key or ".ia3_l" in key:
            continue
        path, _, last = key.rpartition(".")
        quantised = _is_quantised(modules.get(path))
        if quantised and last not in ("weight", "bias"):
            continue  # the scales that come with a quantised weight
        if quantised and last == "weight":
            from peft.utils.integrations import dequantize_module_weight

            value = dequantize_module_weight(modules[path])
        layer = adapted.get(path.removesuffix(".base_layer"))
        yield key.replace(".base_layer.", "."), value if layer is None or name is None else _merged(layer, name, last, value)


def _is_quantised(module: Any) -> bool:
    """Whether bitsandbytes holds the layer's weight."""
    weight: Any = getattr(module, "weight", None)
    return weight is not None and type(weight).__name__ in ("Params4bit", "Int8Params")


def _merged(tuned: Any, name: str, last: str, value: Tensor) -> Tensor:
    """One tensor of a layer with an adapter: its weight, or its bias."""
    from peft.tuners.ia3 import IA3Layer
    from peft.tuners.lora import LoraLayer

    layer: Any = tuned  # peft's own types say less than its layers have
    if isinstance(tuned, IA3Layer) and name in layer.ia3_l:
        scale: Tensor = layer.ia3_l[name].detach()
        value = value.to(torch.promote_types(value.dtype, scale.dtype))
        if last == "weight":
            return value * (scale.T if layer.fan_in_fan_out else scale)
        return value if layer.is_feedforward else value * scale[:, 0]
    if isinstance(tuned, LoraLayer) and last == "weight" and name in layer.lora_A:
        delta: Tensor = layer.get_delta_weight(name).detach()
        value = value.to(torch.promote_types(value.dtype, delta.dtype)) + delta
        if name in layer.lora_magnitude_vector:
            inputs = 0 if layer.fan_in_fan_out else 1
            length: Tensor = layer.lora_magnitude_vector[name].weight.detach()
            value = (length / value.norm(dim=inputs)).unsqueeze(inputs) * value
    return value
