"""Virtual tokens: vectors before every row that no text stands for, in peft's layout.

prompt_tuning (Lester et al. 2021, arXiv 2104.08691): embeddings [V, E] before the row's own.
prefix_tuning (Li and Liang 2021, arXiv 2101.00190): keys and values of V tokens in every layer, which all tokens attend to.

Either way the row's own tokens stand at the positions V, V + 1, ... The start is drawn from real tokens of the vocabulary, as
both papers advise: their embeddings, or the keys and values that the base itself makes of them. So a new adapter does not
leave the model as it is; it reads a few random tokens first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from plaudit.core.batch import from_rows
from plaudit.models.adapters import AdapterConfig, key_value_shape
from plaudit.models.forward import KeysValues, decoder_of, hidden_states
from plaudit.models.layout import Layout

Tensor = torch.Tensor
KEY = "prompt_embeddings"
"""peft's name of the one tensor of either kind."""


class VirtualTokens(nn.Module):
    """The trained tensor: [V, E] (prompt_tuning) or [V, layers x 2 x key-value heads x head size] (prefix_tuning)."""

    def __init__(self, options: AdapterConfig, model: Any, seed: int) -> None:
        """`model` must be the bare base: no adapter may be switched on."""
        super().__init__()
        self.kind, self.count = options.peft_type, options.num_virtual_tokens
        made = decoder_of(model).config
        self.shape = (self.count, int(made.num_hidden_layers), 2, *key_value_shape(made))
        table = model.get_input_embeddings()
        ids = torch.randint(len(table.weight), (self.count,), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            start = table(ids.to(table.weight.device)) if self.kind == "prompt_tuning" else _keys_values(model, ids.tolist())
        self.weight = nn.Parameter(start.detach().clone())

    @property
    def inserted(self) -> int:
        """Virtual tokens that pass through the layers."""
        return self.count if self.kind == "prompt_tuning" else 0

    @property
    def before(self) -> int:
        """Virtual tokens that are there as keys and values only."""
        return self.count if self.kind == "prefix_tuning" else 0

    def keys_values(self) -> KeysValues | None:
        """Of each layer a pair [1, key-value heads, V, head size]; None for prompt_tuning."""
        if self.kind == "prompt_tuning":
            return None
        pairs = self.weight.view(self.shape).permute(1, 2, 3, 0, 4)
        return KeysValues([(layer[0][None], layer[1][None]) for layer in pairs])


def _keys_values(model: Any, ids: list[int]) -> Tensor:
    """What the model's layers make of these tokens: [V, layers x 2 x key-value heads x head size]."""
    from transformers import DynamicCache

    cache = DynamicCache()
    hidden_states(model, Layout(from_rows([ids], [[0] * len(ids)]).to(model.device), False), cache=cache)
    made: Any = cache.layers
    pairs = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in made])
    return pairs.permute(3, 0, 1, 2, 4).reshape(len(ids), -1)
