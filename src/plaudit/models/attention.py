"""Attention for short rows: plain matrix products where the fused kernel is the slower one.

`attend` has transformers' interface and autograd's gradient; `attend_rows` is the lean layers', with a gradient of its own.

On a CPU, torch's fused attention is built for long rows; at 100 tokens in bf16 its forward and backward take three times as
long as two batched products and a softmax. The key-value heads are not repeated: the query heads that share one stand in
its batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from plaudit.models.passes import Passes

Tensor = torch.Tensor
IN_TORCH = Passes()
NAME = "plaudit"
SHORT = 512
"""Tokens up to which the scores [rows, heads, T, T] are formed."""
KEPT = 256
"""Tokens up to which the attention weights are kept for the backward pass; of longer rows they are made again."""
STEP = 32
"""Numbers of a vector register in bf16."""


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
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, grid: Grid, passes: Passes) -> Tensor:
        heads = query.shape[1]
        q, k, v = (grid.laid(x).view(grid.lines * key.shape[1], -1, x.shape[2]) for x in (query, key, value))
        weights = _weights(q, k, grid, heads, passes)
        out = torch.bmm(weights, v)
        ctx.save_for_backward(q, k, v, weights if grid.width <= KEPT else None)
        ctx.grid, ctx.heads, ctx.passes = grid, heads, passes
        return grid.taken(out.view(grid.lines, heads, grid.width, -1))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        grid: Grid = ctx.grid
        if weights is None:
            weights = _weights(q, k, grid, ctx.heads, ctx.passes)
        grad = grid.laid(gradients[0])
        grad.view(-1, grad.shape[-1]).index_fill_(0, grid.idle(ctx.heads), 0.0)
        grad = grad.view(q.shape)
        grad_v = torch.bmm(weights.transpose(1, 2), grad)
        back = torch.bmm(grad, v.transpose(1, 2))
        scores = (ctx.passes if grid.causal else IN_TORCH).softmax_back(weights, back)
        grad_q, grad_k = torch.bmm(scores, k), torch.bmm(scores.transpose(1, 2), q)
        shape = (grid.lines, -1, grid.width, q.shape[-1])
        return grid.taken(grad_q.view(shape)), grid.summed(grad_k.view(shape)), grid.summed(grad_v.view(shape)), None, None


def _weights(q: Tensor, k: Tensor, grid: Grid, heads: int, passes: Passes) -> Tensor:
    """softmax(Q K^T + bias), [L * K, G * W, W]."""
    scores = torch.bmm(q, k.transpose(1, 2))
    if grid.causal:
        return passes.softmax(scores.view(-1, grid.width, grid.width), grid.bias(q.dtype)[0, 0]).view(scores.shape)
    scores.view(grid.lines, heads, grid.width, grid.width).add_(grid.bias(q.dtype))
    return scores.softmax(-1)


def attend_rows(query: Tensor, key: Tensor, value: Tensor, grid: Grid, passes: Passes = IN_TORCH) -> Tensor:
    """Attention of tokens among those of their line: query [N, H, D], already scaled, key and value [N, K, D] -> [N, H, D]."""
    if query.device.type == "cpu" and grid.width <= SHORT:
        return _Attend.apply(query, key, value, grid, passes)  # type: ignore[no-untyped-call, no-any-return]
    group = query.shape[1] // key.shape[1]
    q, k, v = grid.laid(query), grid.laid(key).repeat_interleave(group, 1), grid.laid(value).repeat_interleave(group, 1)
    allowed = None if grid.causal else grid.allowed[:, None]
    return grid.taken(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=allowed is None, scale=1.0))


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
