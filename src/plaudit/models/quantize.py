"""A frozen base in 8 or 4 bits: what it needs of the machine, and transformers' configuration for it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from plaudit.models.adapters import AdapterConfig
from plaudit.schema import UserError


def quantization(o: AdapterConfig, device: torch.device) -> Any:
    """transformers' BitsAndBytesConfig for these options; None where the base is not quantised.

    LLM.int8 (Dettmers et al. 2022, arXiv 2208.07339) or 4 bits (QLoRA, Dettmers et al. 2023, arXiv 2305.14314). UserError
    where bitsandbytes or a device of its is missing.
    """
    if not (o.load_in_8bit or o.load_in_4bit):
        return None
    option = "load_in_8bit" if o.load_in_8bit else "load_in_4bit"
    if device.type not in ("cuda", "xpu"):
        raise UserError(
            f"{option} needs a GPU that bitsandbytes supports, and this machine trains on {device.type}; leave it out"
        )
    if find_spec("bitsandbytes") is None:
        raise UserError(f"{option} needs the package bitsandbytes; install it with `pip install bitsandbytes`")
    from transformers import BitsAndBytesConfig

    if o.load_in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=o.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=o.use_bnb_nested_quant,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32,
    )
