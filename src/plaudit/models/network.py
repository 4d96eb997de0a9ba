"""A network is what an algorithm trains or asks: a base under one adapter, or a whole model, with or without a scalar head."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from plaudit.core.batch import Batch, Outputs
from plaudit.core.divergence import head_divergence
from plaudit.models.base import Base
from plaudit.models.dropout import Draw
from plaudit.models.forward import hidden_states, read
from plaudit.models.layout import Layout

Tensor = torch.Tensor


class Network:
    """One role's view of a model.

    base     holds the weights; several networks may share one
    adapter  name of its LoRA adapter; None with `whole=False` is the frozen base (a reference)
    whole    every weight of the base is trained (full fine-tuning: this network then owns its base alone)
    head     scalar head of a reward model or critic, or that of a classifier
    packing  rows lie end to end; sharing: rows of a group stand behind one copy of what they begin with
    """

    def __init__(
        self,
        role: str,
        base: Base,
        *,
        adapter: str | None = None,
        whole: bool = False,
        head: torch.nn.Linear | None = None,
        autocast: bool = False,
        packing: bool = False,
        sharing: bool = False,
        checkpointing: bool = False,
        chunk: int = 128,
    ) -> None:
        self.aspects: tuple[str, ...] = ()
        """Of a reward model of several aspects, what each output of its head is called."""
        self.step_separator = ""
        """Of a process reward model, the text that ends a step."""
        self.role, self.base, self.adapter, self.whole, self.head = role, base, adapter, whole, head
        self.autocast, self.checkpointing, self.chunk = autocast, checkpointing, chunk
        # A model that is run whole gets its rows padded, which says the same.
        self._packing = packing and base.plain
        self.sharing = sharing and not packing and base.plain
        if whole:
            base.model.requires_grad_(True)

    @property
    def packing(self) -> bool:
        """Whether rows lie end to end: where that is asked for, and where nothing speaks against it."""
        return self._packing or self.base.lean is not None

    @packing.setter
    def packing(self, asked: bool) -> None:
        self._packing = asked

    @property
    def start(self) -> int:
        """First layer of this network that its base does not share with the others."""
        return 0 if self.whole else self.base.shared_layers

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by stable names: adapter or whole model, then the head. Tied weights appear once."""
        found: dict[str, torch.nn.Parameter] = {}
        if self.whole:
            model = self.base.model
            skip = set()
            if self.head is not None:  # a critic has no use for an output head of its own
                skip = {*model.get_output_embeddings().parameters()} - {*model.get_input_embeddings().parameters()}
            found = {name: p for name, p in model.named_parameters() if p not in skip}
        elif self.adapter is not None:
            found = self.base.adapter_parameters(self.adapter)
        if self.head is not None:
            found |= {f"head.{name}": p for name, p in self.head.named_parameters()}
        return found

    def trunk(self, batch: Batch) -> Tensor | None:
        """Hidden states below the first layer of its own, without gradient: the same for every network on this base."""
        if self.start == 0 or self._packing:
            return None
        layout = Layout(batch, self.packing, self.sharing)
        with torch.no_grad(), self._autocast(), self.base.using(None) as model:
            return hidden_states(model, layout, stop=self.start, lean=self.base.lean)

    def __call__(
        self,
        batch: Batch,
        want: AbstractSet[str],
        *,
        temperature: float = 1.0,
        trunk: Tensor | None = None,
        draw: Draw | None = None,
        shift: Tensor | None = None,
    ) -> Outputs:
        """Outputs of the wanted kinds for these rows; gradients flow if they are switched on.

        `trunk` is what `trunk(batch)` gave for the same rows (padding may differ: it is cut to the batch's width).
        `draw` switches the adapter's dropout on, for this pass; `shift` [R, T, E] is added to the embeddings.
        """
        virtual = self.base.virtual(self.adapter)
        places = {"inserted": virtual.inserted, "before": virtual.before} if virtual is not None else {}
        layout = Layout(batch, self.packing, self.sharing, **places)
        self.base.dropout.enter(draw, batch, layout.index)
        with self.base.using(self.adapter) as model:
            with self._autocast():
                hidden = hidden_states(
                    model,
                    layout,
                    start=self.start if trunk is not None else 0,
                    hidden=None if trunk is None else trunk[:, : layout.ids.shape[1]],
                    checkpointing=self.checkpointing,
                    virtual=virtual.weight if virtual is not None else None,
                    cache=virtual.keys_values() if virtual is not None else None,
                    shift=shift,
                    replay=self.base.dropout.replay(),
                    lean=self.base.lean,
                )
            output = model.get_output_embeddings()
            weight, bias = output.weight, output.bias
            computed = None
            if want & {"logp", "entropy"}:
                computed = self.base.cast(weight, torch.bfloat16 if self.autocast else hidden.dtype)
            return read(
                hidden,
                layout,
                batch,
                want,
                output_head=(weight, bias),
                computed=computed,
                collecting=self.base.lean is not None and self.base.cast.collecting,
                scalar_head=self.head,
                temperature=temperature / self.base.logits.scale,
                softcap=self.base.logits.softcap,
                chunk=self.chunk,
            )

    @torch.no_grad()
    def embeddings(self, batch: Batch) -> Tensor:
        """The embeddings [R, T, E] of the rows' tokens, at least float32, 0 on padding; without gradient."""
        found = self.base.model.get_input_embeddings()(batch.ids)
        real = torch.arange(batch.ids.shape[1], device=batch.ids.device)[None] < batch.length[:, None]
        return found.to(torch.promote_types(found.dtype, torch.float32)) * real[..., None]

    def divergence(self, one: Tensor, two: Tensor, temperature: float = 1.0) -> Tensor:
        """Symmetric KL [N] of the token distributions that two sets of hidden states [N, D] give (`core.divergence`)."""
        output, rule = self.base.model.get_output_embeddings(), self.base.logits
        weight, bias = (None if part is None else part.to(one.dtype) for part in (output.weight, output.bias))
        assert weight is not None
        heat = temperature / rule.scale
        return head_divergence(one, two, weight, bias=bias, temperature=heat, softcap=rule.softcap, chunk=self.chunk)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, tensor) of the whole model, adapter merged; what an engine loads."""
        return self.base.merged(self.adapter)

    def state(self) -> dict[str, Tensor]:
        """Trained tensors, detached, by name."""
        return {name: p.detach() for name, p in self.parameters().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave; names and shapes must be the same."""
        mine = self.parameters()
        if set(mine) != set(state):
            raise ValueError(f"{self.role}: other tensors than were saved: {sorted(set(mine) ^ set(state))[:4]}")
        with torch.no_grad():
            for name, p in mine.items():
                p.copy_(state[name])

    def _autocast(self) -> AbstractContextManager[Any]:
        device = self.base.model.device.type
        return torch.autocast(device, torch.bfloat16) if self.autocast else nullcontext()
