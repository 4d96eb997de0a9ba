"""An adapter and its base as one plain model folder."""

from __future__ import annotations

from pathlib import Path

import torch

from plaudit.models.adapter_folder import is_adapter, open_adapter, save_merged
from plaudit.models.scorer import merge_reward, reward_info
from plaudit.schema import UserError


def merge(folder: Path, out: Path, *, base: str | None = None) -> str:
    """Write the adapter of `folder` merged into its base as a Hugging Face folder `out`; says what was done.

    `folder` is a language model's adapter, ours or any other in peft's layout, or the model folder of a `train reward` run.
    Nothing is undone by it: adapter and base stay as they are, so unmerging is to load them again. UserError: nothing there to
    merge, `out` exists, another base than the adapter was trained on, a kind that cannot become weights.
    """
    free(out)
    if (folder / "reward.json").is_file():
        if not reward_info(folder).adapter:
            raise UserError(f"{folder} is a whole reward model already; there is nothing to merge")
        merge_reward(folder, out, base=base)
        return f"{folder} merged into its base: {out} is a whole reward model"
    chosen = next((place for place in (folder, folder / "adapter", folder / "model") if is_adapter(place)), None)
    if chosen is None:
        raise UserError(f"{folder} has no adapter to merge (no adapter_config.json); give an adapter folder or a run's folder")
    on, name = open_adapter(chosen, base=base, dtype=torch.float32)
    if name is not None and not on.options_of(name).mergeable:
        raise UserError(
            f"an adapter of peft_type {on.options_of(name).peft_type} cannot be merged into weights; use the folder as it is, "
            f"for example `plaudit generate {chosen}`"
        )
    save_merged(out, on, name)
    return f"{chosen} merged into its base: {out}"


def free(out: Path) -> None:
    """UserError where something would be written over."""
    if out.exists():
        raise UserError(f"{out} exists; choose another --out, so that nothing is lost")
