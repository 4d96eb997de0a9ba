"""Model folders on disk: the digest of their weights, and writing them so that a crash leaves no half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from plaudit.schema import UserError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def cache_folder() -> Path:
    """$PLAUDIT_CACHE, else ~/.cache/plaudit ($XDG_CACHE_HOME is honoured)."""
    if chosen := os.environ.get("PLAUDIT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "plaudit"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder: the single file, else all shards of the index; [] where there are none.

    A shard that the index names and the folder lacks is a UserError.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{index} is not a readable index of weight shards ({error!r}); copy the model again") from error
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"model folder {folder} lacks {len(missing)} of its {len(names)} weight shards, first {missing[0]}; copy it again"
        )
    return [folder / name for name in names]


def _digest(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """SHA-256 over (name, dtype, shape, bytes) of the tensors in the order given."""
    total = hashlib.sha256()
    for name, tensor in tensors:
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the weights of a folder as stored, tensors in name order: how they are sharded does not matter."""
    from safetensors import SafetensorError, safe_open

    where: dict[str, Any] = {}
    try:
        for file in weight_files(folder):
            opened = safe_open(file, framework="pt")
            where.update(dict.fromkeys(opened.keys(), opened))
        return _digest((name, where[name].get_tensor(name)) for name in sorted(where))
    except (SafetensorError, OSError) as error:
        raise UserError(f"the weights in {folder} cannot be read ({error}); copy or download the model again") from error


def weights_digest(model: torch.nn.Module) -> str:
    """The same digest of a model in memory: what `folder_digest` says once it is saved in its present dtype.

    Tied parameters count once, under the first of their names, as `save_pretrained` writes them.
    """
    return _digest(sorted(_stored(model)))


def _stored(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    transient = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in module._non_persistent_buffers_set
    }
    yield from ((name, buffer) for name, buffer in model.named_buffers() if name not in transient)


def save_model(model: Any, tokenizer: Any, folder: str | Path) -> Path:
    """Write model and tokenizer in the layout of `save_pretrained` (safetensors, JSON), so that any HF tool reads it.

    Files are written beside, fsynced, and moved in; the folder's other files stay. Permissions follow the umask
    (safetensors itself writes 0600). UserError where the folder cannot be written, for example on a full disk.
    """
    folder = Path(folder).expanduser()
    write_folder(folder, lambda place: write_model(model, tokenizer, place))
    return folder


def write_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """The files of `save_model`, written straight into a folder that is there."""
    for holder in (model, getattr(model, "config", None)):
        for leftover in ("hf_quantizer", "quantization_config"):
            if hasattr(holder, leftover):
                delattr(holder, leftover)
    with quiet():
        model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer files; a generic fast tokenizer is named as every release of transformers knows it."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    for local in ("is_local", "local_files_only", "name_or_path", "vocab_file"):
        settings.pop(local, None)
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def write_folder(folder: Path, write: Callable[[Path], None], *, replace: bool = True) -> bool:
    """Run `write(place)` in a fresh folder beside `folder`, then move the result in; True where ours went in.

    A folder that is not there appears whole or not at all. Into one that is there, the files are moved one by one
    (`replace=True`), or it is left alone (`replace=False`: another process was first).
    """
    place = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
        write(place)
        _settle(place)
        try:
            os.rename(place, folder)
        except OSError:
            if not folder.is_dir():
                raise
            if not replace:
                return False
            for file in sorted(place.iterdir()):
                os.replace(file, folder / file.name)
        _fsync(folder.parent)
        return True
    except Exception as error:
        # safetensors reports a full disk by an exception of its own.
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            raise UserError(f"cannot write the model folder {folder}: {error}") from error
        raise
    finally:
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)


def _settle(place: Path) -> None:
    """Give all files the umask's permissions and force them to the disk."""
    probe = place / ".probe"
    probe.mkdir()
    mode = probe.stat().st_mode & 0o777
    probe.rmdir()
    for file in place.rglob("*"):
        if file.is_file():
            file.chmod(mode & 0o666)
            _fsync(file)
    place.chmod(mode)
    _fsync(place)


def _fsync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars or reports from transformers: what matters of them is in `Loaded` or in an error."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
