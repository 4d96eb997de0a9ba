"""The memory-lean forward: log-probabilities, entropies, values and scores of a batch, and nothing that nobody asked for.

The only place in the house where the shift by one happens: what token t is worth was decided by the hidden state of token
t - 1. Rows are right-padded and attention is causal, so real tokens never see padding and no padding mask is needed. Packed,
the rows of a micro-batch lie end to end in one sequence, each attending to itself only. Shared, the rows of a group stand
behind one copy of what they begin with (models/sharing.py).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from plaudit.core.batch import Batch, Outputs
from plaudit.core.logprob import head_logprob
from plaudit.models.sharing import lines_of
from plaudit.schema import UserError

Tensor = torch.Tensor


def decoder_of(model: Any) -> Any:
    """The stack of layers below the output head of a Hugging Face causal LM."""
    return model.base_model if not hasattr(model, "get_decoder") else (model.get_decoder() or model.base_model)


def has_plain_layers(model: Any) -> bool:
    """True where the decoder is embed_tokens, layers, norm and one rotary embedding: then layers can be run one by one."""
    decoder = decoder_of(model)
    return decoder.config.model_type in {"llama"} and all(
        hasattr(decoder, part) for part in ("embed_tokens", "layers", "norm", "rotary_emb")
    )


class Layout:
    """How the rows of a batch lie in the tensors that the layers see: padded [R, T], packed [1, N], or shared [L, W]."""

    attention: Tensor | None

    def __init__(self, batch: Batch, packed: bool, shared: bool = False) -> None:
        if shared:
            lines = lines_of(batch)
            self.ids, self.positions, self.attention, self.index = lines.ids, lines.positions, lines.mask(), lines.index
            return
        rows, width = batch.ids.shape
        real = torch.arange(width, device=batch.ids.device)[None] < batch.length[:, None]
        if not packed:
            self.ids, self.positions, self.attention = batch.ids, torch.arange(width, device=batch.ids.device)[None], None
            self.index = torch.arange(rows * width, device=batch.ids.device).view(rows, width)
            return
        self.ids = batch.ids[real][None]
        self.positions = torch.arange(width, device=batch.ids.device).expand(rows, width)[real][None]
        owner = torch.repeat_interleave(torch.arange(rows, device=batch.ids.device), batch.length)
        self.attention = (owner[:, None] == owner[None, :]).tril()[None, None]
        self.index = torch.zeros_like(batch.ids)
        self.index[real] = torch.arange(self.ids.shape[1], device=batch.ids.device)

    def flat(self, hidden: Tensor, row: Tensor, token: Tensor) -> Tensor:
        """Hidden states [N, D] of the given tokens."""
        return hidden.reshape(-1, hidden.shape[-1])[self.index[row, token]]


def hidden_states(
    model: Any,
    layout: Layout,
    *,
    start: int = 0,
    stop: int | None = None,
    hidden: Tensor | None = None,
    checkpointing: bool = False,
) -> Tensor:
    """Hidden states after the layers start..stop, normalised when stop is None.

    Given `hidden` (what layers 0..start made of the same layout), only the layers above are run: networks that share a
    frozen trunk share its work too. Models without plain layers are always run whole.
    """
    decoder = decoder_of(model)
    if not has_plain_layers(model):
        if start or stop is not None:
            raise ValueError(f"a {decoder.config.model_type} model cannot be run layer by layer")
        if layout.attention is not None and decoder.config._attn_implementation != "sdpa":
            raise UserError(f"packing needs sdpa attention, which {decoder.config.model_type} models lack; set packing: false")
        return decoder(
            input_ids=layout.ids, attention_mask=layout.attention, position_ids=layout.positions, use_cache=False
        ).last_hidden_state
    if hidden is None:
        hidden = decoder.embed_tokens(layout.ids)
    rotary = decoder.rotary_emb(hidden, position_ids=layout.positions)
    for layer in decoder.layers[start:stop]:

        def run(x: Tensor, layer: Any = layer) -> Tensor:
            return layer(x, attention_mask=layout.attention, position_ids=layout.positions, position_embeddings=rotary)

        hidden = checkpoint(run, hidden, use_reentrant=False) if checkpointing and torch.is_grad_enabled() else run(hidden)
    return decoder.norm(hidden) if stop is None else hidden


def read(
    hidden: Tensor,
    layout: Layout,
    batch: Batch,
    want: AbstractSet[str],
    *,
    output_head: tuple[Tensor, Tensor | None] | None = None,
    scalar_head: Any = None,
    temperature: float = 1.0,
    chunk: int = 128,
) -> Outputs:
    """Outputs of the wanted kinds from normalised hidden states.

    logp, entropy and value are made for tokens with mask 1 only and stand at those tokens; a token at place 0 of its row has
    nothing before it and is refused. score is read at each row's last token (`length - 1`), wherever padding begins.
    """
    found: dict[str, Tensor] = {}
    row, token = batch.mask.nonzero(as_tuple=True)
    if len(token) and int(token.min()) == 0:
        raise ValueError("the first token of a row cannot be trained: nothing comes before it")
    if want & {"logp", "entropy", "value"}:
        before = layout.flat(hidden, row, token - 1)
    if want & {"logp", "entropy"}:
        assert output_head is not None
        weight, bias = output_head
        logp, entropy = head_logprob(
            before,
            weight,
            batch.ids[row, token],
            bias=bias,
            temperature=temperature,
            chunk=chunk,
            with_entropy="entropy" in want,
        )
        found["logp"] = _stream(batch, row, token, logp)
        if "entropy" in want:
            found["entropy"] = _stream(batch, row, token, entropy)
    if "value" in want:
        found["value"] = _stream(batch, row, token, _scalar(scalar_head, before))
    if "score" in want:
        rows = torch.arange(len(batch), device=batch.ids.device)
        found["score"] = _scalar(scalar_head, layout.flat(hidden, rows, batch.length - 1))
    return Outputs(**found)


def _scalar(head: Any, hidden: Tensor) -> Tensor:
    return head(hidden.to(head.weight.dtype))[:, 0]


def _stream(batch: Batch, row: Tensor, token: Tensor, values: Tensor) -> Tensor:
    return values.new_zeros(batch.ids.shape).index_put((row, token), values)
