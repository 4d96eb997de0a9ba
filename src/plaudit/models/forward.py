"""The memory-lean forward: log-probabilities, entropies, values and scores of a batch, and nothing that nobody asked for.

The only place in the house where the shift by one happens: what token t is worth was decided by the hidden state of token
t - 1. Rows are right-padded and attention is causal, so real tokens never see padding and no padding mask is needed. Packed,
the rows of a micro-batch lie end to end in one sequence, each attending to itself only. Shared, the rows of a group stand
behind one copy of what they begin with (models/sharing.py).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from plaudit.core.batch import Batch, Outputs
from plaudit.models.families import Architecture, Family, architecture, context, steady_length, unknown
from plaudit.models.head_kernel import logprob
from plaudit.models.heads import OrdinalHead
from plaudit.models.layout import Layout
from plaudit.models.lean import Cast, Walk, embed, run_layers
from plaudit.schema import UserError

Tensor = torch.Tensor


def decoder_of(model: Any) -> Any:
    """The stack of layers below the output head of a Hugging Face causal LM."""
    return model.base_model if not hasattr(model, "get_decoder") else (model.get_decoder() or model.base_model)


def plain_layers(model: Any) -> Architecture | None:
    """What the decoder is made of where its layers can be run one by one: it is of a known family, and has the parts."""
    decoder = decoder_of(model)
    if unknown(decoder.config):
        return None
    found = architecture(decoder.config)
    parts = (found.family.embed, found.family.layers, found.family.final_norm)
    return found if all(hasattr(decoder, part) for part in parts) else None


def has_plain_layers(model: Any) -> bool:
    """True where layers can be run one by one; other models are run whole by transformers."""
    return plain_layers(model) is not None


class KeysValues:
    """Keys and values before every row, handed to layers as a cache that keeps nothing: so layers can be run again."""

    def __init__(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        self.pairs = pairs

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values [R, H, V + T, D] of one layer, from its own [R, H, T, D]."""
        rows = key.shape[0]
        front = (part.to(key.dtype).expand(rows, -1, -1, -1) for part in self.pairs[layer])
        return tuple(torch.cat(both, 2) for both in zip(front, (key, value), strict=True))  # type: ignore[return-value]

    def cache(self, rows: int, dtype: torch.dtype) -> Any:
        """The same as transformers' cache, for models that are run whole."""
        from transformers import DynamicCache

        made = DynamicCache()
        for layer, pair in enumerate(self.pairs):
            keys, values = (part.to(dtype).expand(rows, -1, -1, -1) for part in pair)
            made.update(keys, values, layer)
        return made


def hidden_states(
    model: Any,
    layout: Layout,
    *,
    start: int = 0,
    stop: int | None = None,
    hidden: Tensor | None = None,
    checkpointing: bool = False,
    virtual: Tensor | None = None,
    cache: Any = None,
    shift: Tensor | None = None,
    replay: Callable[[], None] = lambda: None,
    lean: Cast | None = None,
) -> Tensor:
    """Hidden states after the layers start..stop, normalised when stop is None.

    Given `hidden` (what layers 0..start made of the same layout), only the layers above are run: networks that share a
    frozen trunk share its work too. Models without plain layers are always run whole, padded. `virtual` [V, D] are the
    embeddings of the layout's inserted tokens, `cache` its keys and values before the rows, `shift` [R, T, D] is added to the
    embeddings. `replay` is called before a layer is run, the second time included. With `lean` the layers are run by
    `models/lean.py`, which must know them and their adapters.
    """
    decoder = decoder_of(model)
    made = plain_layers(model)
    if made is None:
        if start or stop is not None:
            raise ValueError(f"a {decoder.config.model_type} model cannot be run layer by layer")
        return run_whole(model, layout, virtual, cache, shift)
    family, steady = made.family, steady_length(decoder.config)
    if steady < context(decoder.config) and int(layout.positions.max()) >= steady:
        raise UserError(
            f"this {decoder.config.model_type} model has other rotary angles for rows longer than {steady} tokens, which would "
            f"change with the rows beside them; set max_length to {steady} or less"
        )
    if hidden is None:
        table = getattr(decoder, family.embed)
        hidden = layout.embedded(table if lean is None else embed(table, lean), virtual, shift)
        if family.positions:
            hidden = hidden + getattr(decoder, family.positions)(layout.positions)
    if lean is not None:
        return _lean(decoder, made, layout, hidden, lean, start, stop, checkpointing, replay)
    rotary = {kind: _angles(decoder, family, hidden, layout.positions, kind) for kind in {*made.ropes}}
    front = {} if cache is None else {"layer_past" if family.root == "gpt_neox" else "past_key_values": cache}
    for number, layer in list(enumerate(getattr(decoder, family.layers)))[start:stop]:
        mask, angles = layout.mask(made.windows[number]), rotary[made.ropes[number]]

        def run(x: Tensor, layer: Any = layer, mask: Tensor | None = mask, angles: Any = angles) -> Tensor:
            replay()
            return layer(x, attention_mask=mask, position_ids=layout.positions, position_embeddings=angles, **front)

        hidden = checkpoint(run, hidden, use_reentrant=False) if checkpointing and torch.is_grad_enabled() else run(hidden)
    return getattr(decoder, family.final_norm)(hidden) if stop is None else hidden


def _lean(
    decoder: Any,
    made: Architecture,
    layout: Layout,
    hidden: Tensor,
    cast: Cast,
    start: int,
    stop: int | None,
    checkpointing: bool,
    replay: Callable[[], None],
) -> Tensor:
    """The layers by `models/lean.py`: the dtype of its products is autocast's where that is on, else that of the weights."""
    kind = hidden.device.type
    family, on = made.family, torch.is_autocast_enabled(kind)
    layers = list(enumerate(getattr(decoder, family.layers)))[start:stop]
    with torch.autocast(kind, enabled=False):
        exact = hidden.new_empty(0, dtype=torch.promote_types(hidden.dtype, torch.float32))
        angles = decoder.rotary_emb(exact, layout.positions.expand(layout.ids.shape).reshape(1, -1))
        dtype = torch.get_autocast_dtype(kind) if on else hidden.dtype
        walk = Walk(made, cast, layout.grid, angles, dtype, replay)
        norm = getattr(decoder, family.final_norm) if stop is None else None
        out = run_layers(walk, layers, hidden.reshape(-1, hidden.shape[-1]), checkpointing=checkpointing, norm=norm)
    return out.view(hidden.shape)


def _angles(decoder: Any, family: Family, hidden: Tensor, positions: Tensor, kind: str) -> Any:
    if not family.rotary:
        return None
    return decoder.rotary_emb(hidden, positions, kind) if kind else decoder.rotary_emb(hidden, position_ids=positions)


def run_whole(
    model: Any, layout: Layout, virtual: Tensor | None = None, cache: Any = None, shift: Tensor | None = None
) -> Tensor:
    """Hidden states of a padded layout as transformers computes them, for models that are not described in `families.py`."""
    decoder = decoder_of(model)
    if not layout.padded:
        raise ValueError(f"a {decoder.config.model_type} model is run whole, so its rows must be padded")
    if getattr(decoder.config, "use_bidirectional_attention", False) or not getattr(decoder.config, "is_causal", True):
        raise UserError(f"this {decoder.config.model_type} model lets tokens see later ones, so it is no causal language model")
    given: dict[str, Any] = {"input_ids": layout.ids}
    if layout.inserted or shift is not None:
        given = {"inputs_embeds": layout.embedded(model.get_input_embeddings(), virtual, shift)}
    if cache is not None:
        front = cache.cache(layout.ids.shape[0], model.dtype) if isinstance(cache, KeysValues) else cache
        given |= {"past_key_values": front, "position_ids": layout.positions}
    return decoder(**given, use_cache=cache is not None).last_hidden_state


def read(
    hidden: Tensor,
    layout: Layout,
    batch: Batch,
    want: AbstractSet[str],
    *,
    output_head: tuple[Tensor, Tensor | None] | None = None,
    computed: Tensor | None = None,
    collecting: bool = False,
    scalar_head: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    chunk: int = 128,
) -> Outputs:
    """Outputs of the wanted kinds from normalised hidden states.

    logp, entropy and value are made for tokens with mask 1 only and stand at those tokens; a token at place 0 of its row has
    nothing before it and is refused. score and classes are read at each row's last token (`length - 1`), wherever
    padding begins; steps at the tokens themselves where the stream `step` is 1. The thresholds of an ordinal
    head come with its scores. `computed` is the output head's weight in the dtype of its products, `collecting`
    what `head_logprob` says of it.
    """
    found: dict[str, Tensor] = {}
    row, token = batch.mask.nonzero(as_tuple=True)
    if len(token) and int(token.min()) == 0:
        raise ValueError("the first token of a row cannot be trained: nothing comes before it")
    if want & {"logp", "entropy", "value", "hidden"}:
        before = layout.flat(hidden, row, token - 1)
    if want & {"logp", "entropy"}:
        assert output_head is not None
        weight, bias = output_head
        logp, entropy = logprob(
            before,
            weight,
            batch.ids[row, token],
            bias=bias,
            temperature=temperature,
            softcap=softcap,
            chunk=chunk,
            with_entropy="entropy" in want,
            computed=computed,
            collecting=collecting,
        )
        found["logp"] = _stream(batch, row, token, logp)
        if "entropy" in want:
            found["entropy"] = _stream(batch, row, token, entropy)
    if "hidden" in want:
        found["hidden"] = before
    if "value" in want:
        found["value"] = _stream(batch, row, token, _scalar(scalar_head, before))
    if "steps" in want:
        row, token = batch["step"].nonzero(as_tuple=True)
        found["steps"] = _stream(batch, row, token, _scalar(scalar_head, layout.flat(hidden, row, token)))
    if want & {"score", "classes"}:
        rows = torch.arange(len(batch), device=batch.ids.device)
        last = layout.flat(hidden, rows, batch.length - 1)
        if "score" in want:
            found["score"] = _scalar(scalar_head, last)
            if isinstance(scalar_head, OrdinalHead):
                found["thresholds"] = scalar_head.thresholds()
        if "classes" in want:
            found["classes"] = scalar_head(last.to(scalar_head.weight.dtype))
    return Outputs(**found)


def _scalar(head: Any, hidden: Tensor) -> Tensor:
    return head(hidden.to(head.weight.dtype))[:, 0]


def _stream(batch: Batch, row: Tensor, token: Tensor, values: Tensor) -> Tensor:
    return values.new_zeros(batch.ids.shape).index_put((row, token), values)
