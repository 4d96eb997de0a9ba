"""Attention for short rows: plain matrix products where the fused kernel is the slower one.

`attend` has transformers' interface and autograd's gradient; `attend_rows` is the lean layers', with a gradient of its own.

On a CPU, torch's fused attention is built for long rows; at 100 tokens in bf16 its forward and backward take three times as
long as two batched products and a softmax. The key-value heads are not repeated: the query heads that share one stand in
its batch. Where the processor has matrix units for bf16, causal attention is one compiled kernel (`attention_kernel.py`), and
all of this its slow twin.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

from plaudit.models import attention_kernel
from plaudit.models.passes import Passes

Tensor = torch.Tensor
IN_TORCH = Passes()
NAME = "plaudit"
SHORT = 512
"""Tokens up to which the scores [rows, heads, T, T] are formed."""
LONG = 4096
"""The same where they are formed block by block."""
KEPT = 256
"""Tokens up to which the attention weights are kept for the backward pass; of longer rows they are made again."""
STEP = 32
"""Numbers of a vector register in bf16."""
BLOCK = 256
"""Queries that are taken together where attention is causal; a multiple of STEP."""
MASKED = 2
"""How much longer a pair of places takes where attention has a mask, which no compiled pass knows (measured: 1.3 to 2.2)."""


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention with transformers' interface: query [R, H, T, D], key and value [R, K, S, D] -> [R, T, H, D].

    attention_mask [1 or R, 1, T, S] bool, True where a query may look; None is causal, the queries being the last T of the S
    places. Scores and softmax are at least float32. softcap bounds the scores: softcap * tanh(score / softcap) (Gemma 2, arXiv
    2408.00118); no fused kernel of torch does it.
    """
    rows, heads, length, width = query.shape
    reach = key.shape[2]
    allowed = attention_mask
    if softcap is None and (query.device.type != "cpu" or length > SHORT):
        group = heads // key.shape[1]
        if allowed is None and reach > length:  # torch's own causal mask would let queries look at the first places only
            allowed = _causal(length, reach, query.device)
        out = F.scaled_dot_product_attention(
            query,
            key.repeat_interleave(group, 1),
            value.repeat_interleave(group, 1),
            attn_mask=allowed,
            is_causal=allowed is None,
            scale=scaling,
        )
        return out.transpose(1, 2).contiguous(), None
    kv_heads = key.shape[1]
    folded = (query * scaling).reshape(rows, kv_heads, -1, width)
    scores = (folded @ key.transpose(-1, -2)).view(rows, heads, length, reach)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if allowed is None:
        allowed = _causal(length, reach, query.device)
    weights = scores.masked_fill(~allowed, float("-inf")).softmax(-1).to(value.dtype)
    out = weights.view(rows, kv_heads, -1, reach) @ value
    return out.view(rows, heads, length, width).transpose(1, 2).contiguous(), None


class Grid:
    """Where the tokens [N] of a pass stand for attention: lines [L, W], the other places empty.

    places   [L, W] the token in each place, -1 where there is none: behind the tokens of a line. A token that stands at
             several places must see the same tokens from each of them; what it sees is taken from the first
    allowed  [1 or L, W, W] bool, True where the token of a place may look; None is causal
    W is made a multiple of 32 (`STEP`): softmax in bf16 is three times slower where a line ends within a vector.
    """

    def __init__(self, places: Tensor, allowed: Tensor | None = None) -> None:
        more = stepped(places.shape[1]) - places.shape[1]
        self.places = F.pad(places, (0, more), value=-1)
        self.lines, self.width = self.places.shape
        causal = _causal(self.width, self.width, places.device)[None]
        self.allowed = causal
        if allowed is not None:  # empty places look at all before them, since a line of a softmax must not be empty
            inside = F.pad(torch.ones_like(places, dtype=torch.bool), (0, more))[:, :, None]
            self.allowed = torch.where(inside, F.pad(allowed, (0, more, 0, more)), causal)
        self.causal = allowed is None
        height = BLOCK if self.causal else self.width
        self.blocks = [(begin, min(begin + height, self.width)) for begin in range(0, self.width, height)]
        """Begin and end of the queries that are taken together."""
        flat = self.places.flatten()
        found = (flat >= 0).nonzero()[:, 0]
        count = int(flat.max()) + 1
        first = found.new_full((count,), flat.numel()).scatter_reduce(0, flat[found], found, "amin")
        self._first = first
        """The first place of each token."""
        self._idle = torch.ones_like(flat, dtype=torch.bool).index_fill(0, first, False)
        """Places where no token stands, or one that has stood before."""
        self._again = found[self._idle[found]]
        """Places of tokens that have stood before."""
        self._found: dict[tuple[str, int], Tensor] = {}
        self._biases: dict[torch.dtype, Tensor] = {}

    @cached_property
    def standing(self) -> attention_kernel.Standing:
        """What the kernel asks of lines that are causal: tokens that stand in a line before as well are all at its front."""
        real = self.places >= 0
        starts = (self._idle.view_as(real) & real).sum(1)
        again = self.places.flatten()[self._again]
        return attention_kernel.Standing(self.places.contiguous(), real.sum(1), starts, again, len(self._first))

    def spread(self, heads: int) -> Tensor:
        """For each (line, head, place) which of the [N * heads] rows stands there; the first where there is none."""
        key = ("spread", heads)
        if key not in self._found:
            head = torch.arange(heads, device=self.places.device)[None, :, None]
            self._found[key] = (self.places.clamp(min=0)[:, None, :] * heads + head).flatten()
        return self._found[key]

    def gather(self, heads: int) -> Tensor:
        """For each (token, head) its first place among (line, head, place)."""
        key = ("gather", heads)
        if key not in self._found:
            self._found[key] = self._of_heads(self._first, heads).flatten()
        return self._found[key]

    def idle(self, heads: int) -> Tensor:
        """The places (line, head, place) where no token stands, or one that has stood before."""
        key = ("idle", heads)
        if key not in self._found:
            self._found[key] = self._of_heads(self._idle.nonzero()[:, 0], heads).flatten()
        return self._found[key]

    def _of_heads(self, place: Tensor, heads: int) -> Tensor:
        """Of places [P] among (line, place) those among (line, head, place), [P, H]."""
        head = torch.arange(heads, device=place.device)
        return ((place // self.width)[:, None] * heads + head) * self.width + (place % self.width)[:, None]

    def bias(self, dtype: torch.dtype) -> Tensor:
        """0 where a place may look and -inf where it may not, [1 or L, 1, W, W]."""
        if dtype not in self._biases:
            zero = torch.zeros(self.allowed.shape, dtype=dtype, device=self.places.device)
            self._biases[dtype] = zero.masked_fill(~self.allowed, float("-inf"))[:, None]
        return self._biases[dtype]

    def laid(self, x: Tensor) -> Tensor:
        """x [N, H, D] -> [L, H, W, D]; something finite in empty places."""
        heads, size = x.shape[1:]
        rows = x.reshape(-1, size).index_select(0, self.spread(heads))
        return rows.view(self.lines, heads, self.width, size)

    def taken(self, x: Tensor) -> Tensor:
        """[L, H, W, D] -> [N, H, D]."""
        heads, size = x.shape[1], x.shape[3]
        return x.reshape(-1, size).index_select(0, self.gather(heads)).view(-1, heads, size)

    def summed(self, x: Tensor) -> Tensor:
        """[L, H, W, D] -> [N, H, D], all places of a token added up: the gradient of `laid`."""
        found, place = self.taken(x), self._again
        if not len(place):
            return found
        more = x[place // self.width, :, place % self.width]
        exact = found.to(torch.promote_types(x.dtype, torch.float32))
        return exact.index_add_(0, self.places.flatten()[place], more.to(exact.dtype)).to(x.dtype)


class _Attend(torch.autograd.Function):
    """O = softmax(Q K^T + bias) V by plain products, and their gradients: with P the softmax and D what comes back for O,

    dV = P^T D, dS = P (D V^T - rowsum(P D V^T)), dQ = dS K, dK = dS^T Q.

    Where attention is causal, queries are taken in blocks, and with each only the keys up to its end: nearly half of long rows'
    pairs are never made.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, grid: Grid, passes: Passes) -> Tensor:
        q, k, v = grid.laid(query), *(grid.laid(x).flatten(0, 1) for x in (key, value))
        q = q.view(len(k), -1, *q.shape[2:])  # the query heads of one key-value head beside each other
        out, kept = torch.empty_like(q), list[Tensor]()
        for begin, end in grid.blocks:
            weights = _weights(_block(q, begin, end), k[:, :end], grid, begin, passes)
            out[:, :, begin:end] = torch.bmm(weights, v[:, :end]).view_as(out[:, :, begin:end])
            kept.append(weights)
        ctx.save_for_backward(q, k, v, *(kept if grid.width <= KEPT else ()))
        ctx.grid, ctx.passes, ctx.heads = grid, passes, query.shape[1]
        return grid.taken(out.view(grid.lines, ctx.heads, grid.width, -1))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        grid: Grid = ctx.grid
        grad = grid.laid(gradients[0])
        grad.view(-1, grad.shape[-1]).index_fill_(0, grid.idle(ctx.heads), 0.0)
        grad, grad_q = grad.view_as(q), torch.empty_like(q)
        grad_k = grad_v = k.new_empty(0)
        for number in reversed(range(len(grid.blocks))):  # the last block reaches all keys
            begin, end = grid.blocks[number]
            asked, back = _block(q, begin, end), _block(grad, begin, end)
            weights = kept[number] if kept else _weights(asked, k[:, :end], grid, begin, ctx.passes)
            scores = _softmax_back(weights, torch.bmm(back, v[:, :end].transpose(1, 2)), grid, end - begin, ctx.passes)
            grad_q[:, :, begin:end] = torch.bmm(scores, k[:, :end]).view_as(grad_q[:, :, begin:end])
            if end == grid.width:
                grad_k, grad_v = torch.bmm(scores.transpose(1, 2), asked), torch.bmm(weights.transpose(1, 2), back)
            else:
                grad_k[:, :end].baddbmm_(scores.transpose(1, 2), asked)
                grad_v[:, :end].baddbmm_(weights.transpose(1, 2), back)
        shape = (grid.lines, -1, grid.width, q.shape[-1])
        return grid.taken(grad_q.view(shape)), grid.summed(grad_k.view(shape)), grid.summed(grad_v.view(shape)), None, None


def _block(x: Tensor, begin: int, end: int) -> Tensor:
    """Places begin .. end of x [M, G, W, D], as [M, G * (end - begin), D]."""
    return x[:, :, begin:end].flatten(1, 2)


def _weights(q: Tensor, k: Tensor, grid: Grid, begin: int, passes: Passes) -> Tensor:
    """softmax(Q K^T + bias) of queries from place `begin` on: q [M, G * H, D], k [M, W, D] -> [M, G * H, W]."""
    scores, reach = torch.bmm(q, k.transpose(1, 2)), k.shape[1]
    if grid.causal:
        bias = grid.bias(q.dtype)[0, 0, begin:reach, :reach]
        return passes.softmax(scores.view(-1, reach - begin, reach), bias).view(scores.shape)
    scores.view(grid.lines, -1, grid.width, grid.width).add_(grid.bias(q.dtype))
    return scores.softmax(-1)


def _softmax_back(weights: Tensor, grad: Tensor, grid: Grid, height: int, passes: Passes) -> Tensor:
    """What comes back for the scores; grad [M, G * H, W] is overwritten."""
    shape = (-1, height, weights.shape[-1])
    return (passes if grid.causal else IN_TORCH).softmax_back(weights.view(shape), grad.view(shape)).view(weights.shape)


def attend_rows(query: Tensor, key: Tensor, value: Tensor, grid: Grid, passes: Passes = IN_TORCH) -> Tensor:
    """Attention of tokens among those of their line: query [N, H, D], already scaled, key and value [N, K, D] -> [N, H, D]."""
    if grid.causal and fused(query.device, query.dtype, query.shape[2], passes):
        return attention_kernel.attend(query, key, value, grid.standing)
    if query.device.type == "cpu" and grid.width <= (LONG if grid.causal else SHORT):
        return _Attend.apply(query, key, value, grid, passes)  # type: ignore[no-untyped-call, no-any-return]
    group = query.shape[1] // key.shape[1]
    q, k, v = grid.laid(query), grid.laid(key).repeat_interleave(group, 1), grid.laid(value).repeat_interleave(group, 1)
    allowed = None if grid.causal else grid.allowed[:, None]
    return grid.taken(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=allowed is None, scale=1.0))


def fused(device: torch.device, dtype: torch.dtype, size: int, passes: Passes) -> bool:
    """Whether `attend_rows` is one compiled kernel where lines are causal: heads of `size` numbers in `dtype`."""
    return passes.products.name == "tiled" and attention_kernel.serves(device, dtype, size)


def stepped(width: int) -> int:
    """The next multiple of `STEP`."""
    return width + -width % STEP


def _causal(length: int, reach: int, device: torch.device) -> Tensor:
    """[T, S] bool: query t looks at the places 0 .. t + S - T."""
    return torch.ones(length, reach, dtype=torch.bool, device=device).tril(reach - length)


def use(model: Any) -> None:
    """Let a model that is run layer by layer (see `forward.has_plain_layers`) attend with this."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    model.config._attn_implementation = NAME
