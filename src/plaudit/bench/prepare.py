"""Before both sides run: one model folder for both, reward models where needed, and the tokens of every row.

Run as a child process: `python -m plaudit.bench.prepare WORK RESULT`. Folders are written beside RESULT.

Work that samples uses a folder whose end and pad token is a special token that models do not write, so that every answer has
the length that it is given, on both sides, and no side pays for forbidding the end. The weights are the model's own.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from plaudit.bench.work import Work
from plaudit.data.template import encode_answer, encode_prompt
from plaudit.models.adapters import AdapterConfig
from plaudit.models.base import Base
from plaudit.models.flops import shape_of
from plaudit.models.folder import save_model, save_tokenizer
from plaudit.models.heads import scalar_head
from plaudit.models.load import load
from plaudit.models.network import Network
from plaudit.models.scorer import save_reward
from plaudit.schema import Prompt

ENDS = ("config.json", "generation_config.json")


def prepare(work: Work, place: Path) -> dict[str, Any]:
    """Folders for both sides; the model's shape and each row's (prompt, answers) in tokens for the counts."""
    loaded = load(work.model)
    if work.vocabulary > 1:
        enlarge(loaded.model, work.vocabulary, work.seed)
    folder = loaded.folder
    if folder is None or work.vocabulary > 1:
        folder = save_model(loaded.model, loaded.tokenizer, place / "model")
    if work.new_tokens:
        folder = without_end(folder, loaded.tokenizer, place / "endless")
    reward, adapter = "", ""
    if work.name == "ppo":
        reward, adapter = rewards(folder, work, place)
    return {
        "folder": str(folder),
        "reward": reward,
        "reward_adapter": adapter,
        "shape": asdict(shape_of(loaded.model.config)),
        "groups": [groups(loaded.tokenizer, work, number) for number in range(len(work.rows))],
    }


def enlarge(model: Any, times: int, seed: int) -> None:
    """Make the vocabulary so many times as large; the new rows are small random numbers, and no text uses them."""
    torch.manual_seed(seed)
    model.resize_token_embeddings(times * model.config.vocab_size, mean_resizing=False)


def without_end(folder: Path, tokenizer: Any, place: Path) -> Path:
    """The model at `folder`, whose answers do not end by themselves: the weights are links, the settings are copies."""
    place.mkdir()
    token = unwritten(tokenizer)
    for file in folder.iterdir():
        if file.name in ENDS:
            settings = json.loads(file.read_text(encoding="utf-8"))
            ends = {"eos_token_id": token, "pad_token_id": token}
            (place / file.name).write_text(json.dumps({**settings, **ends}, indent=2) + "\n", encoding="utf-8")
        elif file.is_file():
            os.symlink(file.resolve(), place / file.name)
    name = tokenizer.convert_ids_to_tokens(token)
    tokenizer.eos_token, tokenizer.pad_token = name, name
    for link in (place / "tokenizer.json", place / "tokenizer_config.json", place / "special_tokens_map.json"):
        link.unlink(missing_ok=True)  # or saving would write into the model that is linked to
    save_tokenizer(tokenizer, place)
    return place


def unwritten(tokenizer: Any) -> int:
    """The last special token that ends nothing: placeholders of code files in SmolLM2, the pad token in `tiny`."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return max(special - {tokenizer.eos_token_id, tokenizer.bos_token_id}, default=int(tokenizer.eos_token_id))


def rewards(folder: Path, work: Work, place: Path) -> tuple[str, str]:
    """The model with a random scalar head as a reward model, whole; with adapters, also as one on the shared base ("")."""
    loaded = load(folder)
    torch.manual_seed(work.seed)
    head = scalar_head(loaded.model.config.hidden_size)
    torch.nn.init.normal_(head.weight, std=0.02)
    whole = Network("reward", Base(loaded.model, loaded.tokenizer, loaded.digest, str(folder), AdapterConfig()), head=head)
    save_reward(place / "reward", whole)
    if not work.peft:
        return str(place / "reward"), ""
    loaded = load(folder)
    base = Base(loaded.model, loaded.tokenizer, loaded.digest, str(folder), AdapterConfig(use_peft=True))
    base.add_adapter("reward", seed=work.seed)
    save_reward(place / "reward-adapter", Network("reward", base, adapter="reward", head=head))
    return str(place / "reward"), str(place / "reward-adapter")


def groups(tokenizer: Any, work: Work, number: int) -> tuple[int, list[int]]:
    """Tokens of one row's prompt, and of each of its answers, ends included."""
    row = work.rows[number]
    prompt = Prompt(text=row["prompt"])
    asked = len(encode_prompt(tokenizer, prompt))
    if work.new_tokens:
        return asked, [work.new_tokens[number]] * work.siblings
    texts = [row[side] for side in ("completion", "chosen", "rejected") if side in row]
    return asked, [len(encode_answer(tokenizer, prompt, text)) - asked for text in texts]


if __name__ == "__main__":
    result = Path(sys.argv[2])
    wanted = Work(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    result.write_text(json.dumps(prepare(wanted, result.parent)), encoding="utf-8")
