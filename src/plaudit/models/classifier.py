"""Classifiers: written as a sequence classifier of transformers, adapter merged in, and read back as one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from plaudit.data.template import turn_end_id
from plaudit.models.folder import quiet, write_folder, write_model
from plaudit.models.network import Network
from plaudit.schema import UserError


def save_classifier(folder: Path, network: Network, classes: Sequence[str]) -> None:
    """Write a folder that `AutoModelForSequenceClassification` loads, with the classes' names in `id2label`.

    transformers reads the logits at a row's last token that is not padding, so padding must be another token than the one that
    ends rows; many tokenizers pad with the end token itself, and the saved one then pads with another special token.
    """
    write_folder(folder, lambda place: _write(place, network, classes))


def _write(place: Path, network: Network, classes: Sequence[str]) -> None:
    from transformers import AutoModelForSequenceClassification

    base, head = network.base, network.head
    assert head is not None
    tokenizer, config = copy.deepcopy(base.tokenizer), copy.deepcopy(base.model.config)
    pad = _padding(tokenizer)
    if pad is not None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    tokenizer.padding_side = "right"
    config.pad_token_id = pad
    config.id2label, config.label2id = dict(enumerate(classes)), {name: number for number, name in enumerate(classes)}
    with quiet():
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    tensors = {name: value.float() for name, value in base.merged(network.adapter) if not name.startswith("lm_head.")}
    model.load_state_dict({**tensors, "score.weight": head.weight.detach().float()})
    write_model(model, tokenizer, place)


def _padding(tokenizer: Any) -> int | None:
    """A special token that ends no row; None where the tokenizer has none."""
    ends = {turn_end_id(tokenizer, chat=chat) for chat in (False, bool(tokenizer.chat_template))}
    tried = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, *tokenizer.all_special_ids]
    return next((token for token in tried if token is not None and token not in ends), None)


class Classifier:
    """A sequence classifier of transformers, asked for probabilities."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int = 16) -> None:
        self.model, self.tokenizer, self.batch_size = model.eval(), tokenizer, batch_size
        self.classes = tuple(model.config.id2label[number] for number in range(model.config.num_labels))

    @torch.no_grad()
    def __call__(self, rows: Sequence[Sequence[int]], told: Callable[[int, int], None] | None = None) -> torch.Tensor:
        """Probabilities [N, C] of rows of ids, in their order; `told(done, all)` after each batch."""
        found = torch.zeros(len(rows), len(self.classes))
        order = sorted(range(len(rows)), key=lambda r: len(rows[r]))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            width = max(len(rows[r]) for r in chosen)
            ids = torch.full((len(chosen), width), self.model.config.pad_token_id or 0)
            real = torch.zeros_like(ids)
            for place, r in enumerate(chosen):
                ids[place, : len(rows[r])], real[place, : len(rows[r])] = torch.tensor(rows[r]), 1
            device = self.model.device
            logits = self.model(input_ids=ids.to(device), attention_mask=real.to(device)).logits
            found[chosen] = logits.float().softmax(-1).cpu()
            if told is not None:
                told(start + len(chosen), len(rows))
        return found


def load_classifier(folder: Path, device: torch.device) -> Classifier:
    """The classifier of a folder. UserError where it is none."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = folder / "model" if (folder / "model").is_dir() else folder
    try:
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = (about.get("architectures") or [""])[0]
    except (OSError, ValueError, AttributeError) as problem:
        raise UserError(f"{folder} is no model folder (config.json: {problem}); give that of a `train classify` run") from None
    if not kind.endswith("ForSequenceClassification"):
        raise UserError(f"{folder} holds a {kind or 'model of no known kind'}, not a classifier; `train classify` makes one")
    try:
        with quiet():
            model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as problem:  # a torn file raises whatever its reader raises
        raise UserError(f"the classifier in {folder} cannot be read ({problem}); train it again") from problem
    return Classifier(model.to(device), tokenizer)
