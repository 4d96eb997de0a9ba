"""Decoder layers of the Llama kind, run by the steps of `fused.py` on tokens without padding, LoRA included.

transformers' own layers are the slow twin (`forward.hidden_states`): the same numbers up to rounding. They run a model whose
family has other parts, and adapters that are not plain LoRA.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from plaudit.models import layer_kernel
from plaudit.models.attention import Grid, attend_rows, fused
from plaudit.models.dropout import RowDropout
from plaudit.models.families import Architecture
from plaudit.models.fused import Embed, GatedDown, Linear, Norm, Project, Turn
from plaudit.models.passes import passes_for

Tensor = torch.Tensor


def lean_layers(made: Architecture | None) -> bool:
    """Whether layers of this kind are described here."""
    if made is None:
        return False
    f = made.family
    strange = f.layer_norm or f.unit_offset or f.transposed or f.ropes_by_type or made.parallel or made.attention_softcap
    more = f.attention_norm or f.mlp_norm or f.query_norm or f.key_norm or f.positions or not f.mlp_input_norm
    parts = (len(f.qkv), len(f.up)) == (3, 2) and f.gated and bool(f.rotary) and made.activation == "silu"
    return parts and not strange and not more


MAPPED = 32 << 20
"""Bytes from which on the C library takes memory from the system, and gives it back at once: not worth keeping."""


class Cast:
    """Weights in the dtype that is computed in: those of another dtype are cast once, and again when they have changed."""

    def __init__(self) -> None:
        self.collecting = False
        """Gradients of trained matrices are added to their `grad` by the backward pass itself, and autograd is told of none: it
        would cast them and add them up in passes of their own. Whoever trains with `backward()` alone may say so."""
        self._made: dict[int, tuple[Tensor, tuple[int, int], Tensor]] = {}
        self._spare: dict[tuple[torch.Size, torch.dtype], list[Tensor]] = defaultdict(list)

    def __call__(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """The weight in `dtype`, without gradient. What changes it must count in its version, as torch's own steps do."""
        if weight.dtype == dtype:
            return weight.detach()
        now = weight.data_ptr(), weight._version
        before = self._made.get(id(weight))
        known = before is not None and before[0] is weight and before[2].dtype == dtype
        if before is not None and known and before[1] == now:
            return before[2]
        # into memory that is there, where there is some: new memory costs as much as the cast, and no pass is under way now
        spare = self._spare.get((weight.shape, dtype))
        place = before[2] if before is not None and known else spare.pop() if spare else None
        made = weight.detach().to(dtype) if place is None else place.copy_(weight.detach())
        self._made[id(weight)] = weight, now, made
        return made

    def take_from(self, other: Cast) -> None:
        """Cast into the memory of another network's casts, which forgets them: nothing may read those any more."""
        for *_, made in other._made.values():
            if made.nbytes < MAPPED:
                self._spare[made.shape, made.dtype].append(made)
        for key, spare in other._spare.items():
            self._spare[key] += spare
        other._made.clear()
        other._spare.clear()


def embed(table: Any, cast: Cast) -> Callable[[Tensor], Tensor]:
    """What finds the embeddings of tokens: the model's own module, or one that collects gradients."""
    if not (cast.collecting and type(table) is torch.nn.Embedding and table.weight.requires_grad):
        return table  # type: ignore[no-any-return]
    return lambda ids: Embed.apply(table.weight, ids, table.padding_idx)  # type: ignore[no-any-return, no-untyped-call]


class Walk:
    """One pass through the layers of one model: what all of them have in common."""

    def __init__(
        self,
        made: Architecture,
        cast: Cast,
        grid: Callable[[int | None, bool], Grid],
        angles: tuple[Tensor, Tensor],
        dtype: torch.dtype,
        replay: Callable[[], None],
    ) -> None:
        """`angles` are cosine and sine [1, N, D], `replay` puts back what the dropout of this pass is drawn from."""
        self.made, self.cast, self.grid, self.dtype, self.replay = made, cast, grid, dtype, replay
        self.passes = passes_for(angles[0].device, dtype)
        self.fused = fused(angles[0].device, dtype, made.head_dim, self.passes)
        cosine, sine = (part[0, :, None, : part.shape[-1] // 2] for part in angles)
        scale = made.head_dim**-0.5
        self.query_angles = (cosine * scale).to(dtype), (sine * scale).to(dtype)
        self.key_angles = cosine.to(dtype), sine.to(dtype)
        self.kernel = layer_kernel.Kernel(made, self.query_angles, self.key_angles) if self.fused else None

    def linear(self, module: Any) -> Linear:
        """A linear layer of the model, with peft's LoRA where it has an adapter that is switched on."""
        inner = getattr(module, "base_layer", module)
        bias = None if inner.bias is None else self.cast(inner.bias, self.dtype)
        weight = self.cast(inner.weight, self.dtype)
        active = [] if inner is module or module.disable_adapters else [n for n in module.active_adapters if n in module.lora_A]
        if not active:
            masters = (inner.weight, inner.bias, None, None)
            return Linear(weight, bias, masters, collecting=self.cast.collecting and inner.weight.is_leaf)
        (name,) = active
        a, b, scale = module.lora_A[name].weight, module.lora_B[name].weight, float(module.scaling[name])
        masters, low = (inner.weight, inner.bias, a, b), (self.cast(a, self.dtype), self.cast(b, self.dtype))
        return Linear(weight, bias, masters, *low, scale, dropped=self._dropped(module.lora_dropout[name]))

    def _dropped(self, module: Any) -> Callable[[Tensor], Tensor | None] | None:
        """The masks of an adapter's dropout in this pass, whatever pass is under way when they are asked for."""
        if not isinstance(module, RowDropout):
            return None

        def mask(x: Tensor) -> Tensor | None:
            self.replay()
            return module.mask(x)

        return mask

    def layer(self, layer: Any, number: int, x: Tensor) -> Tensor:
        """One decoder layer: x [N, D] -> [N, D]."""
        family, made = self.made.family, self.made
        named = {name: layer.get_submodule(name) for name in (*family.qkv, family.out, *family.up, family.down)}
        maps = {name: self.linear(module) for name, module in named.items()}
        grid = self.grid(made.windows[number], self.fused)
        norms = tuple(getattr(layer, name).weight for name in (family.input_norm, family.mlp_input_norm))
        if self.kernel is not None and grid.causal:
            exact = tuple(self.cast(norm, torch.float32) for norm in norms)
            parts = layer_kernel.Parts(tuple(maps.values()), exact, norms)
            if layer_kernel.serves(parts, x, collecting=self.cast.collecting):
                return layer_kernel.run(x, parts, self.kernel, grid.standing)
        query, key, value = self._project(x, norms[0], *(maps[n] for n in family.qkv))
        query = Turn.apply(query.view(-1, made.heads, made.head_dim), *self.query_angles, self.passes)
        key = Turn.apply(key.view(-1, made.kv_heads, made.head_dim), *self.key_angles, self.passes)
        seen = attend_rows(query, key, value.view(-1, made.kv_heads, made.head_dim), grid, self.passes)
        (out,) = self._project(seen.reshape(len(x), -1), None, maps[family.out])
        x = x + out
        gate, up = self._project(x, norms[1], *(maps[n] for n in family.up))
        return x + GatedDown.apply(gate, up, self.passes, maps[family.down], *maps[family.down].masters)

    def _project(self, x: Tensor, norm: Tensor | None, *linears: Linear) -> tuple[Tensor, ...]:
        tensors = [tensor for linear in linears for tensor in linear.masters]
        made: tuple[Tensor, ...] = Project.apply(x, norm, self.made.eps, self.passes, linears, *tensors)
        return made


def run_layers(walk: Walk, layers: list[tuple[int, Any]], hidden: Tensor, *, checkpointing: bool, norm: Any | None) -> Tensor:
    """Hidden states [N, D] after the given (number, layer)s, normalised by `norm` where there is one."""
    for number, layer in layers:

        def run(x: Tensor, number: int = number, layer: Any = layer) -> Tensor:
            return walk.layer(layer, number, x)

        hidden = checkpoint(run, hidden, use_reentrant=False) if checkpointing and torch.is_grad_enabled() else run(hidden)
    return hidden if norm is None else Norm.apply(hidden, norm.weight, walk.made.eps, walk.passes)
