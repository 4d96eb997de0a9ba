"""What to change to make a run smaller or faster: each change is tried in the estimate itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from plaudit.config import Resolved
from plaudit.models.adapters import AdapterConfig
from plaudit.schema import UserError
from plaudit.training.estimate.parts import Hint
from plaudit.training.options import DataConfig, OptimizerConfig, RolloutConfig, TrainingConfig

Change = dict[str, Any]
SMALLEST = 0.02
"""Share of memory or seconds below which a change is not worth a line."""
NOTES = {
    "use_peft": "other weights are trained, with a learning rate of their own",
    "max_length": "longer rows are cut or left out",
    "max_completion_length": "answers end earlier",
    "optim": "another optimiser, with a learning rate of its own",
    "bf16": "matrix products are rounded to 8 bits",
    "rollout_slots": "fewer answers are written side by side",
}


def changes(options: Resolved) -> list[Change]:
    """Changes of options that may help this run; what is set already is left out."""
    a, t, d = options[AdapterConfig], options[TrainingConfig], options[DataConfig]
    found: list[Change] = []
    if not a.use_peft:
        found.append({"use_peft": True})
    if not t.gradient_checkpointing:
        found.append({"gradient_checkpointing": True})
    if t.per_device_train_batch_size > 1:
        half = -(-t.per_device_train_batch_size // 2)
        more = t.gradient_accumulation_steps * t.per_device_train_batch_size // half
        found.append({"per_device_train_batch_size": half, "gradient_accumulation_steps": more})
    if t.bf16 is False:
        found.append({"bf16": True})
    if not t.packing and not t.share_prompts and not a.lora_dropout:
        found.append({"share_prompts": True})
    if options[OptimizerConfig].optim == "adamw_torch" and not a.use_peft:
        found.append({"optim": "adafactor"})
    if RolloutConfig in options:
        r = options[RolloutConfig]
        found.append({"max_completion_length": max(1, r.max_completion_length // 2)})
        if r.rollout_slots > 8:
            found.append({"rollout_slots": r.rollout_slots // 2})
    elif d.max_length >= 16:
        found.append({"max_length": d.max_length // 2})
    return found


def tried(options: Resolved, ask: Callable[[Resolved], tuple[int, float | None]]) -> tuple[Hint, ...]:
    """The changes that lower memory or seconds, most memory first; `ask` gives (bytes, seconds) of a run with such options."""
    memory, seconds = ask(options)
    found = []
    for change in changes(options):
        try:
            less, then = ask(options.replace(**change))
        except (UserError, ValueError):  # the change does not go with another option of this run
            continue
        saves = less < memory * (1 - SMALLEST)
        hastens = seconds is not None and then is not None and then < seconds * (1 - SMALLEST)
        if saves or hastens:
            words = " ".join(f"{name}={str(value).lower()}" for name, value in change.items())
            found.append(Hint(words, less, then, NOTES.get(next(iter(change)), "")))
    return tuple(sorted(found, key=lambda hint: hint.memory))
