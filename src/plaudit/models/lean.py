"""Decoder layers of the Llama kind, run by the steps of `fused.py` on tokens without padding, LoRA included.

Where `layer_kernel.py` serves, a layer is one call.
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
from plaudit.models.layer_kernel import Parts, Stored
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
        self.adapter: str | None = None
        """The adapter that is switched on."""
        self.parts: dict[tuple[int, str | None], Parts] = {}
        """What a layer is made of while an adapter is on, by number: finding it in modules takes as long as a short pass."""
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


def _stored(module: Any) -> Stored:
    """A linear layer as it is stored."""
    inner = getattr(module, "base_layer", module)
    active = [] if inner is module or module.disable_adapters else [n for n in module.active_adapters if n in module.lora_A]
    if not active:
        return Stored((inner.weight, inner.bias, None, None))
    (name,) = active
    masters = inner.weight, inner.bias, module.lora_A[name].weight, module.lora_B[name].weight
    dropout = module.lora_dropout[name]
    return Stored(masters, float(module.scaling[name]), dropout if isinstance(dropout, RowDropout) else None)


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
        self.kernel = layer_kernel.Kernel(made, cast, self.query_angles, self.key_angles) if self.fused else None

    def parts(self, layer: Any, number: int) -> Parts:
        """What a layer is made of, with peft's LoRA where it has an adapter that is switched on."""
        key = number, self.cast.adapter
        found = self.cast.parts.get(key)
        if found is None or found.layer is not layer:
            family = self.made.family
            maps = (*family.qkv, family.out, *family.up, family.down)
            norms = tuple(getattr(layer, name).weight for name in (family.input_norm, family.mlp_input_norm))
            found = self.cast.parts[key] = Parts(layer, tuple(_stored(layer.get_submodule(name)) for name in maps), norms)
        return found

    def linear(self, stored: Stored) -> Linear:
        """A linear map in the dtype that is computed in."""
        weight, bias, a, b = (None if part is None else self.cast(part, self.dtype) for part in stored.masters)
        assert weight is not None
        collecting = a is None and self.cast.collecting and stored.masters[0].is_leaf
        dropped = self._dropped(stored.dropout)
        return Linear(weight, bias, stored.masters, a, b, stored.scale, collecting=collecting, dropped=dropped)

    def _dropped(self, module: RowDropout | None) -> Callable[[Tensor], Tensor | None] | None:
        """The masks of an adapter's dropout in this pass, whatever pass is under way when they are asked for."""
        if module is None:
            return None

        def mask(x: Tensor) -> Tensor | None:
            self.replay()
            return module.mask(x)

        return mask

    def layer(self, layer: Any, number: int, x: Tensor) -> Tensor:
        """One decoder layer: x [N, D] -> [N, D]."""
        made, parts = self.made, self.parts(layer, number)
        grid = self.grid(made.windows[number], self.fused)
        if self.kernel is not None and grid.causal and layer_kernel.serves(parts, x, collecting=self.cast.collecting):
            return layer_kernel.run(x, parts, self.kernel, grid.standing)
        *qkv, out_map, gate_map, up_map, down = map(self.linear, parts.maps)
        query, key, value = self._project(x, parts.norms[0], *qkv)
        query = Turn.apply(query.view(-1, made.heads, made.head_dim), *self.query_angles, self.passes)
        key = Turn.apply(key.view(-1, made.kv_heads, made.head_dim), *self.key_angles, self.passes)
        seen = attend_rows(query, key, value.view(-1, made.kv_heads, made.head_dim), grid, self.passes)
        (out,) = self._project(seen.reshape(len(x), -1), None, out_map)
        x = x + out
        gate, up = self._project(x, parts.norms[1], gate_map, up_map)
        return x + GatedDown.apply(gate, up, self.passes, down, *down.masters)

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
