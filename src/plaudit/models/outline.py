"""A model without its weights: config, tokenizer, and how many numbers each part of it holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from plaudit.models.adapters import AdapterConfig, key_value_shape
from plaudit.models.flops import Shape, shape_of
from plaudit.models.forward import decoder_of
from plaudit.models.gguf import DEFAULT, converted, default_file
from plaudit.models.load import TOKENIZER_FILES, fetched
from plaudit.models.tiny import tiny_config, tiny_tokenizer
from plaudit.schema import UserError


@dataclass(frozen=True)
class Linear:
    """A matrix of a layer that may get an adapter: where it is, its inputs and outputs."""

    name: str
    layer: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Outline:
    """What is known of a model before its weights are read."""

    name: str
    config: Any
    tokenizer: Any
    """None where the folder has none that can be read."""

    @cached_property
    def shape(self) -> Shape:
        """The numbers that decide FLOPs."""
        return shape_of(self.config)

    @cached_property
    def skeleton(self) -> Any:
        """The model itself on torch's meta device: parameters with shapes and no content."""
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(self.config)

    @cached_property
    def parameters(self) -> int:
        """Numbers of the whole language model; tied ones once."""
        return sum(p.numel() for p in self.skeleton.parameters())

    @cached_property
    def rows_and_columns(self) -> int:
        """Rows plus columns of all matrices, and all numbers of vectors: what a factored second moment keeps."""
        return sum(p.shape[-2] + p.shape[-1] if p.dim() > 1 else p.numel() for p in self.skeleton.parameters())

    @cached_property
    def output_only(self) -> int:
        """Numbers of an output head that is no embedding as well: a critic has no use for it."""
        model = self.skeleton
        head, table = model.get_output_embeddings(), model.get_input_embeddings()
        return sum(p.numel() for p in {*head.parameters()} - {*table.parameters()})

    @cached_property
    def linear(self) -> tuple[Linear, ...]:
        """The matrices that adapters may sit on (see `adapters.linear_names`)."""
        from transformers.pytorch_utils import Conv1D

        found = []
        for name, module in decoder_of(self.skeleton).named_modules():
            if isinstance(module, torch.nn.Linear | Conv1D):
                numbers = [int(part) for part in name.split(".") if part.isdigit()]
                rows, columns = module.weight.shape if isinstance(module, Conv1D) else module.weight.shape[::-1]
                found.append(Linear(name, numbers[0] if numbers else 0, int(rows), int(columns)))
        return tuple(found)

    def adapter(self, o: AdapterConfig) -> int:
        """Numbers of one adapter of this kind."""
        shape = self.shape
        if o.peft_type == "prompt_tuning":
            return o.num_virtual_tokens * shape.width
        if o.peft_type == "prefix_tuning":
            heads, size = key_value_shape(self.config)
            return o.num_virtual_tokens * shape.layers * 2 * heads * size
        first = max(0, shape.layers - (o.lora_layers or shape.layers))
        if o.peft_type == "bottleneck":
            each = 2 * shape.width * o.bottleneck_size + o.bottleneck_size + shape.width
            return 2 * each * (shape.layers - first)
        if o.peft_type == "ia3":
            return self._ia3(o, [one for one in self.linear if one.layer >= first])
        chosen = [one for one in self._lora(o) if one.layer >= first]
        return sum(o.lora_r * (one.inputs + one.outputs) + one.outputs * o.use_dora for one in chosen)

    def _lora(self, o: AdapterConfig) -> list[Linear]:
        """The matrices that LoRA sits on, in all layers."""
        chosen = o.lora_target_modules
        return [one for one in self.linear if not chosen or one.name.rsplit(".", 1)[-1] in chosen]

    def columns(self, o: AdapterConfig) -> int:
        """Columns of x A^T of all LoRA adapters of one layer; 0 for other kinds."""
        return sum(o.lora_r for one in self._lora(o) if one.layer == self.shape.layers - 1) if o.peft_type == "lora" else 0

    def _ia3(self, o: AdapterConfig, chosen: list[Linear]) -> int:
        from plaudit.models.adapters import ia3_targets

        targets, inputs = ia3_targets(o, self.skeleton)
        last = [(one.name.rsplit(".", 1)[-1], one) for one in chosen]
        return sum(one.inputs if name in inputs else one.outputs for name, one in last if name in targets)


def outline(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Outline:
    """A model by what `load` takes; its weights are neither read nor fetched. UserError: there is no config.json."""
    from transformers import AutoConfig

    if name == "tiny" or name.startswith("tiny:"):
        tokenizer = tiny_tokenizer()
        return Outline(name, tiny_config(len(tokenizer)), tokenizer)
    folder = _folder(name, revision, trust_remote_code)
    if not (folder / "config.json").is_file():
        raise UserError(f"model_name_or_path {name}: {folder} has no config.json, so nothing can be estimated of it")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception as error:
        raise UserError(f"the config.json in {folder} cannot be read: {_first_line(error)}") from error
    return Outline(name, config, _tokenizer(folder, trust_remote_code))


def _folder(name: str, revision: str | None, trust_remote_code: bool) -> Path:
    path = Path(name).expanduser()
    if name == DEFAULT:
        return converted(default_file())[0]
    if path.is_dir():
        return path
    if path.is_file() and path.suffix == ".gguf":
        return converted(path)[0]
    if path.suffix == ".gguf" or path.is_absolute() or name.startswith(("./", "../", "~")) or name.count("/") > 1:
        raise UserError(
            f"model_name_or_path {name}: there is no such model folder or file; if another run is to make it, estimate with "
            "the model that that run starts from"
        )
    return fetched(name, revision, trust_remote_code, weights=False)


def _tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    if not any((folder / file).is_file() for file in TOKENIZER_FILES):  # transformers would make up an empty one
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception:  # lengths are assumed then, and the estimate says so
        return None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: " + (str(error).strip().splitlines() or [""])[0]
