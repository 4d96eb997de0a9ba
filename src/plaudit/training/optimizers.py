"""Optimisers by Hugging Face's names: which parameters each one takes, its settings, and its state as named tensors.

Weight decay is decoupled from the gradient in all (Loshchilov and Hutter 2019, arXiv 1711.05101): W <- W - lr wd W. It is
for matrices; vectors (norms, biases, IA3's scales, DoRA's lengths) are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from plaudit.models.network import Network
from plaudit.schema import UserError
from plaudit.training.options import OptimizerConfig

Tensor = torch.Tensor
RATE: dict[str, float] = {"adafactor": 50.0, "sgd": 500.0}
"""Default learning rate over AdamW's. Adafactor's is a share of each weight's size, SGD's multiplies bare gradients. Muon is
scaled so that its steps are as large as AdamW's (Liu et al. 2025, arXiv 2502.16982), and takes AdamW's rate."""
OUTSIDE = ("embed_tokens", "lm_head", "head.", "wte", "wpe", "embed_out", "prompt_embeddings", "lora_embedding")
"""Matrices that are no hidden layer's: Muon leaves them to AdamW (Jordan 2024)."""


class Optimizer:
    """All optimisers of one network: one, or with Muon two. Parameters without a gradient are passed over."""

    def __init__(self, network: Network, options: OptimizerConfig) -> None:
        self.parts = [(maker(groups), groups) for maker, groups in _parts(network, options)]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """torch's groups, of all parts."""
        return [group for part, _ in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part, _ in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One step with the gradients that are there."""
        for part, _ in self.parts:
            part.step()
            # fused steps do not count as changes by themselves, and casts of the weights go by that count
            torch.autograd.graph.increment_version([p for group in part.param_groups for p in group["params"]])

    def state(self) -> dict[str, Tensor]:
        """`<slot>.<parameter>` -> tensor, for all that a later process needs."""
        found: dict[str, Tensor] = {}
        for part, groups in self.parts:
            names = _names(groups)
            for index, slots in part.state_dict()["state"].items():
                found |= {f"{key}.{names[index]}": torch.as_tensor(v) for key, v in slots.items() if v is not None}
        return found

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for part, groups in self.parts:
            index = {name: i for i, name in enumerate(_names(groups))}
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in saved.items():
                slot, name = key.split(".", 1)
                if name in index:
                    slots.setdefault(index[name], {})[slot] = value
            part.load_state_dict({**part.state_dict(), "state": slots})


Named = list[tuple[str, torch.nn.Parameter]]
Groups = list[tuple[Named, float]]
"""Named parameters, and their weight decay."""


def _names(groups: Groups) -> list[str]:
    """In the order in which torch counts."""
    return [name for named, _ in groups for name, _ in named]


def _torch(groups: Groups) -> list[dict[str, Any]]:
    return [{"params": [p for _, p in named], "weight_decay": decay} for named, decay in groups]


def decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay is for it: a matrix, and none of IA3's vectors, which are stored as matrices and stand at 1."""
    return parameter.dim() >= 2 and not name.endswith("ia3_l")


def _parts(network: Network, o: OptimizerConfig) -> list[tuple[Any, Groups]]:
    """(maker of a torch optimiser, its groups), each for its share of the parameters; a share that is empty is left out."""
    named = list(network.parameters().items())
    matrices = [(n, p) for n, p in named if decayed(n, p)]
    vectors = [(n, p) for n, p in named if not decayed(n, p)]
    everything: Groups = [(matrices, o.weight_decay), (vectors, 0.0)]
    rate = o.learning_rate or 0.0

    def adamw(groups: Groups) -> torch.optim.Optimizer:
        settings: dict[str, Any] = {"betas": (o.adam_beta1, o.adam_beta2), "eps": o.adam_epsilon}
        return torch.optim.AdamW(_torch(groups), lr=rate, fused=True, **settings)  # one pass over memory instead of ten

    def adafactor(groups: Groups) -> torch.optim.Optimizer:
        return torch.optim.Adafactor(_torch(groups), lr=rate)

    def sgd(groups: Groups) -> torch.optim.Optimizer:
        return _DecoupledSGD(_torch(groups), lr=rate, momentum=o.sgd_momentum)

    def muon(groups: Groups) -> torch.optim.Optimizer:
        return torch.optim.Muon(_torch(groups), lr=rate, momentum=o.muon_momentum, adjust_lr_fn="match_rms_adamw")

    if o.optim != "muon":
        return [({"adamw_torch": adamw, "adafactor": adafactor, "sgd": sgd}[o.optim], everything)]
    if not hasattr(torch.optim, "Muon"):
        raise UserError(
            f"optim muon needs a newer torch than {torch.__version__} (2.9 or later); choose another, or update torch"
        )
    hidden = [(n, p) for n, p in matrices if p.dim() == 2 and not any(part in n for part in OUTSIDE)]
    mine = {name for name, _ in hidden}
    rest: Groups = [([(n, p) for n, p in matrices if n not in mine], o.weight_decay), (vectors, 0.0)]
    shares: list[tuple[Any, Groups]] = [(muon, [(hidden, o.weight_decay)]), (adamw, rest)]
    return [(maker, groups) for maker, groups in shares if _names(groups)]


class _DecoupledSGD(torch.optim.SGD):
    """torch's SGD adds weight decay to the gradient, where clipping and momentum mix it in; this takes it off the weights."""

    def step(self, closure: Any = None) -> Any:
        decays = [group["weight_decay"] for group in self.param_groups]
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None and group["weight_decay"]:
                        p.mul_(1 - group["lr"] * group["weight_decay"])
                group["weight_decay"] = 0.0
        made = super().step(closure)
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        return made
