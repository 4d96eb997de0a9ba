"""Adapters on disk, in peft's layout: adapter_config.json and adapter_model.safetensors, so that peft reads them too.

Beside them stands plaudit.json: the options, the base's name and the digest of its weights. Bottlenecks, which peft lacks,
are kept in the same files under a `peft_type` of their own.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from plaudit.models.adapters import VIRTUAL, AdapterConfig
from plaudit.models.base import Base
from plaudit.models.folder import quiet, save_model, save_tokenizer, write_folder
from plaudit.models.load import load
from plaudit.models.virtual import KEY
from plaudit.schema import UserError

WEIGHTS, SETTINGS, ABOUT = "adapter_model.safetensors", "adapter_config.json", "plaudit.json"
MAGNITUDE = "lora_magnitude_vector"


@dataclass(frozen=True)
class AdapterInfo:
    """plaudit.json of an adapter folder."""

    base: str
    base_digest: str
    adapter: dict[str, Any]


def save_adapter(folder: Path, base: Base, name: str) -> None:
    """Write one adapter and the tokenizer; the folder appears whole or not at all. UserError where it cannot be written."""
    write_folder(folder, lambda place: write_adapter(place, base, name))


def write_adapter(folder: Path, base: Base, name: str) -> None:
    """The files of `save_adapter`, written straight into a folder that is there."""
    from safetensors.torch import save_file

    options = base.options_of(name)
    tensors = {_stored(key, options): value.detach().cpu().contiguous() for key, value in base.adapter_parameters(name).items()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    if options.peft_type == "bottleneck":
        settings = {"peft_type": "BOTTLENECK", "bottleneck_size": options.bottleneck_size, "base_model_name_or_path": base.name}
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    else:
        settings = base.peft_config(options)
        settings.inference_mode = True
        settings.save_pretrained(str(folder))
    about = AdapterInfo(base.name, base.digest, asdict(options))
    (folder / ABOUT).write_text(json.dumps(asdict(about), indent=2) + "\n", encoding="utf-8")
    save_tokenizer(base.tokenizer, folder)


def put_adapter(folder: Path, base: Base, name: str, options: AdapterConfig) -> None:
    """The adapter of a folder as `name` on a base; UserError where its tensors are not those of the options."""
    saved = read_tensors(folder, WEIGHTS, "adapter")
    base.add_adapter(name, seed=0, options=options)
    mine = base.adapter_parameters(name)
    wanted = {_stored(key, options): value for key, value in mine.items()}
    wrong = sorted(set(wanted) ^ set(saved)) or sorted(key for key in saved if saved[key].shape != wanted[key].shape)
    if wrong:
        raise UserError(f"the adapter in {folder} is not the one its options describe ({wrong[0]} differs); save it again")
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(saved[key])


def adapter_info(folder: Path) -> AdapterInfo | None:
    """What plaudit.json says of an adapter folder; None where another program wrote the folder."""
    path = folder / ABOUT
    if not path.is_file():
        return None
    try:
        return AdapterInfo(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as problem:
        raise UserError(f"{path} is damaged ({problem}); save the adapter again") from problem


def read_tensors(folder: Path, name: str, what: str) -> dict[str, torch.Tensor]:
    """A safetensors file of a folder; UserError where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / name)
    except (OSError, SafetensorError) as problem:
        raise UserError(f"{folder} has no {what} that can be read ({name}: {problem}); train it again") from problem


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a language model's adapter (a reward model's has a head beside it)."""
    return (folder / SETTINGS).is_file() and not (folder / "reward.json").is_file()


def open_adapter(folder: Path, *, base: str | None = None, dtype: torch.dtype = torch.float32) -> tuple[Base, str | None]:
    """(base, adapter's name) of a folder that Plaudit or peft wrote; None where peft has merged it already.

    `base` names the model it sits on, where the folder's own entry cannot be found. UserError: another base than the adapter
    was trained on (known of our own folders only), files that cannot be read, or a kind that nobody here knows.
    """
    info, settings = adapter_info(folder), _settings(folder)
    name = base or (info.base if info is not None else settings.get("base_model_name_or_path"))
    if not name:
        raise UserError(f"{folder} does not say which base it belongs to; name it with --base")
    loaded = load(name, dtype=dtype)
    kind = str(settings.get("peft_type", "")).lower()
    if info is None and kind not in VIRTUAL:
        model = _merged_by_peft(folder, loaded.model)
        return Base(model, loaded.tokenizer, loaded.digest, str(folder), AdapterConfig()), None
    count = settings.get("num_virtual_tokens") or 1
    given = {"use_peft": True, "peft_type": kind, "num_virtual_tokens": count} if info is None else info.adapter
    on = Base(loaded.model, loaded.tokenizer, loaded.digest, loaded.name, AdapterConfig(**given))
    if info is not None:
        on.check_digest(info.base_digest, folder)
    put_adapter(folder, on, "policy", on.options)
    return on, "policy"


def merged_model(base: Base, name: str | None) -> Any:
    """A transformers model of its own with one adapter merged in, in float32, ready to run."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(base.model.config, dtype=torch.float32)
    model.load_state_dict({key: value.float() for key, value in base.merged(name)})
    return model.eval()


def save_merged(folder: Path, base: Base, name: str | None) -> None:
    """The whole model with one adapter merged in, in float32, as a folder of its own; UserError where it cannot be written."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):  # no memory of its own, unlike `merged_model`: it is written and never run
        model = AutoModelForCausalLM.from_config(base.model.config, dtype=torch.float32)
    model.load_state_dict({key: value.float() for key, value in base.merged(name)}, assign=True)
    model.tie_weights()
    model.generation_config = base.model.generation_config
    save_model(model, base.tokenizer, folder)


def _merged_by_peft(folder: Path, model: Any) -> Any:
    """A model with another program's adapter merged in, by peft itself."""
    from peft import PeftModel

    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} has no {WEIGHTS}; adapters are read from safetensors only, so save it again with peft")
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except Exception as problem:
        text = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise UserError(f"the adapter in {folder} cannot be merged: {text}") from problem


def _settings(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as problem:
        raise UserError(f"{folder / SETTINGS} cannot be read ({problem}); save the adapter again") from problem


def _stored(key: str, options: AdapterConfig) -> str:
    """A parameter's name in the file, as peft has it."""
    if key == KEY or options.peft_type == "bottleneck":
        return key
    return f"base_model.model.{key.removesuffix('.weight') if MAGNITUDE in key else key}"
