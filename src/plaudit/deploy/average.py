"""Several models of one shape as one: the mean of their weights (model soups, Wortsman et al. 2022, arXiv 2203.05482)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from plaudit.deploy.merge import free
from plaudit.models.folder import save_model
from plaudit.models.load import load
from plaudit.schema import UserError


def average(folders: Sequence[Path], out: Path, *, weights: Sequence[float] | None = None) -> str:
    """Write sum_i w_i W_i / sum_i w_i of whole model folders as `out` in float32; says what was done.

    Without `weights` all count alike. Config and tokenizer are the first one's; one model more than the mean is in memory.
    UserError: fewer than two folders, models of other names or shapes, weights that are not one for each or have no sum.
    """
    free(out)
    if len(folders) < 2:
        raise UserError("--average needs two model folders or more")
    shares = list(weights) if weights is not None else [1.0] * len(folders)
    if len(shares) != len(folders) or not all(0 <= w < float("inf") for w in shares) or not sum(shares):
        raise UserError(f"--weights needs one number of 0 or more for each of the {len(folders)} folders, and one above 0")
    chosen = [folder / "model" if (folder / "model").is_dir() else folder for folder in folders]
    first = load(chosen[0])
    mean = {name: tensor.mul(shares[0] / sum(shares)) for name, tensor in _floats(first.model).items()}
    for folder, share in zip(chosen[1:], shares[1:], strict=True):
        other = _floats(load(folder).model)
        wrong = sorted(set(mean) ^ set(other)) or sorted(name for name in mean if mean[name].shape != other[name].shape)
        if wrong:
            raise UserError(
                f"{chosen[0]} and {folder} are not of one shape ({wrong[0]} differs); only such models can be averaged"
            )
        for name, tensor in other.items():
            mean[name].add_(tensor, alpha=share / sum(shares))
    first.model.load_state_dict(mean, strict=False)
    save_model(first.model, first.tokenizer, out)
    return f"the mean of {len(folders)} models: {out}"


def _floats(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that can be averaged; tied ones once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}
