"""Bottleneck adapters (Houlsby et al. 2019, arXiv 1902.00751): a small network after each attention and each MLP.

    h = x + W_up gelu(W_down x + b_down) + b_up    with x the output of the attention or MLP, before the residual is added

W_up and b_up are 0 at first, so a new adapter changes nothing. peft has none, so these are our own; they cannot be merged.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from plaudit.models.forward import decoder_of
from plaudit.schema import UserError

Tensor = torch.Tensor
PLACES = {"attention": ("self_attn", "attn", "attention"), "mlp": ("mlp", "feed_forward", "block_sparse_moe")}
"""Where an adapter goes -> names that families have for it."""


class Bottleneck(nn.Module):
    """One small network: width -> size -> width, added to its input."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        nn.init.normal_(self.down.weight, std=width**-0.5)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., width] -> the same shape and dtype."""
        y = self.up(nn.functional.gelu(self.down(x.to(self.down.weight.dtype))))
        return x + y.to(x.dtype)


class Bottlenecks(nn.Module):
    """One adapter: two small networks in each of the given layers."""

    def __init__(self, width: int, size: int, layers: range) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {str(i): nn.ModuleDict({place: Bottleneck(width, size) for place in PLACES}) for i in layers}
        )

    def at(self, layer: int, place: str) -> nn.Module | None:
        """The network at one place; None where the layer has none."""
        key = str(layer)
        return self.layers[key][place] if key in self.layers else None  # type: ignore[index]


class Switch:
    """Runs the adapter that is switched on, at its places in a model; one for all adapters of a base."""

    def __init__(self) -> None:
        self.active: Bottlenecks | None = None
        self._ready = False

    def install(self, model: Any) -> None:
        """Listen at the places, once. UserError for a family whose layers are built otherwise."""
        if self._ready:
            return
        decoder = decoder_of(model)
        layers: Any = getattr(decoder, "layers", None) or getattr(decoder, "h", ())
        for number, layer in enumerate(layers):
            for place, names in PLACES.items():
                module = next((getattr(layer, name) for name in names if hasattr(layer, name)), None)
                if module is None:
                    raise UserError(
                        f"peft_type bottleneck finds no {place} in the layers of a {model.config.model_type} model; use lora"
                    )
                module.register_forward_hook(self._hook(number, place))
                self._ready = True
        if not self._ready:
            raise UserError(f"peft_type bottleneck finds no layers in a {model.config.model_type} model; use lora")

    def _hook(self, layer: int, place: str) -> Any:
        def after(module: nn.Module, given: Any, made: Any) -> Any:
            adapter = self.active.at(layer, place) if self.active is not None else None
            if adapter is None:
                return None
            return (adapter(made[0]), *made[1:]) if isinstance(made, tuple) else adapter(made)

        return after
