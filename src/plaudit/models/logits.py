"""How a model makes logits of its last hidden states: an output head, and for some families what comes after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from plaudit.models.forward import decoder_of, plain_layers
from plaudit.schema import UserError

Tensor = torch.Tensor


@dataclass(frozen=True)
class Rule:
    """logits = cap(scale * (W h + b)), where cap(x) = softcap * tanh(x / softcap), or x without one."""

    scale: float = 1.0
    softcap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        logits = logits * self.scale
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


def logit_rule(model: Any) -> Rule:
    """The rule of a causal LM: from the table where its family is known, else read off its config and tried on a few tokens.

    UserError where the model's own logits are something else than the rule says: then its log-probabilities cannot be read.
    """
    made = plain_layers(model)
    if made is not None:
        return Rule(softcap=made.logit_softcap)
    config = decoder_of(model).config
    rule = Rule(
        scale=(getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0),
        softcap=getattr(config, "final_logit_softcapping", None),
    )
    head = model.get_output_embeddings()
    if head is None or not _agrees(model, head, rule):
        raise UserError(
            f"the logits of this {config.model_type} model are not its output head applied to its last hidden states, so its "
            "log-probabilities cannot be read; take a model of a family in docs/models.md"
        )
    return rule


@torch.no_grad()
def _agrees(model: Any, head: Any, rule: Rule) -> bool:
    ids = torch.arange(1, 6, device=model.device)[None] % model.get_input_embeddings().weight.shape[0]
    wanted = model(input_ids=ids, use_cache=False).logits.float()
    found = rule(head(decoder_of(model)(input_ids=ids, use_cache=False).last_hidden_state)).float()
    if found.shape != wanted.shape:
        return False
    slack = 1e-4 if torch.finfo(model.dtype).bits >= 32 else 0.05
    return bool((found - wanted).abs().max() <= slack * (1 + wanted.abs().max()))
