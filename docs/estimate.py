"""The table of docs/estimate.md: short real runs beside what `plaudit estimate` says of them.

python docs/estimate.py               prints the table
python docs/estimate.py --write       puts it into docs/estimate.md, between its marks
python docs/estimate.py sft reward    only cases whose names begin so

Each case is trained first and estimated then, since the estimate is told how long the sampled answers were in the mean; both
are processes of their own. It takes some ten minutes; the machine should have nothing else to do.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("estimate.md")
BLOCK = re.compile(r"(<!-- estimate: table -->\n).*?(\n<!-- /estimate -->)", re.DOTALL)
WORDS = ("order", "parcel", "refund", "account", "password", "invoice", "late", "broken", "address", "please", "again", "today")
SMOL = ["model_name_or_path=smollm2-135m-instruct"]
TINY = ["model_name_or_path=tiny"]
OFFLINE = ["max_steps=3", "per_device_train_batch_size=4", "eval_fraction=0.05", "per_device_eval_batch_size=4"]
ONLINE = [
    *("train_file=prompts.jsonl", "max_steps=2", "num_eval_prompts=4", "max_completion_length=32"),
    *("reward_funcs=[rules.py:short]", "per_device_train_batch_size=2", "num_generations=4"),
]
LORA = ["use_peft=true"]
CASES: dict[str, tuple[str, list[str]]] = {
    "tiny sft, full": ("sft", [*TINY, *OFFLINE, "train_file=demonstrations.jsonl"]),
    "tiny grpo, LoRA": ("grpo", [*TINY, *ONLINE, *LORA]),
    "sft, full": ("sft", [*SMOL, *OFFLINE, "train_file=demonstrations.jsonl"]),
    "sft, LoRA": ("sft", [*SMOL, *OFFLINE, *LORA, "train_file=demonstrations.jsonl"]),
    "sft, LoRA, checkpointing": (
        "sft",
        [*SMOL, *OFFLINE, *LORA, "gradient_checkpointing=true", "train_file=demonstrations.jsonl"],
    ),
    "sft, LoRA, fp32": ("sft", [*SMOL, *OFFLINE, *LORA, "bf16=false", "train_file=demonstrations.jsonl"]),
    "reward, full": ("reward", [*SMOL, *OFFLINE, "train_file=pairs.jsonl"]),
    "reward, LoRA": ("reward", [*SMOL, *OFFLINE, *LORA, "train_file=pairs.jsonl"]),
    "ppo, full": ("ppo", [*SMOL, *ONLINE]),
    "ppo, LoRA, reward model": ("ppo", [*SMOL, *ONLINE, *LORA, "reward_model_path=reward-LoRA/model"]),
    "grpo, full": ("grpo", [*SMOL, *ONLINE]),
    "grpo, LoRA": ("grpo", [*SMOL, *ONLINE, *LORA]),
}
REWARD = "def short(completion_ids, **_):\n    return [-len(ids) / 100 + ids[0] % 3 for ids in completion_ids]\n"


def write_data(folder: Path) -> None:
    """Questions and answers of words drawn at random, of lengths that differ."""
    draw = random.Random(0)

    def text(low: int, high: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(low, high)))

    def said(role: str, content: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content}]

    rows = [(said("user", text(5, 40)), said("assistant", text(20, 120)), said("assistant", text(20, 120))) for _ in range(80)]
    kept: dict[str, list[dict[str, Any]]] = {
        "demonstrations": [{"prompt": p, "completion": a} for p, a, _ in rows],
        "pairs": [{"prompt": p, "chosen": a, "rejected": b} for p, a, b in rows],
        "prompts": [{"prompt": p} for p, _, _ in rows],
    }
    for name, lines in kept.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "rules.py").write_text(REWARD, encoding="utf-8")


def plaudit(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "plaudit", *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"plaudit {' '.join(words)}: {done.stderr}")
    return done.stdout


def compared(folder: Path, name: str) -> dict[str, Any]:
    """What one case took and what was said of it, in bytes beside the libraries and in seconds of its steps."""
    verb, words = CASES[name]
    out = name.replace(", ", "-").replace(" ", "-")
    words = [*words, f"output_dir={out}"]
    plaudit(folder, "train", verb, *words)
    usage = json.loads((folder / out / "usage.json").read_text())
    lines = [json.loads(line) for line in (folder / out / "metrics.jsonl").read_text().splitlines()]
    lengths = [line["completions/mean_length"] for line in lines if "completions/mean_length" in line]
    told = [f"--answer-tokens={round(sum(lengths) / len(lengths))}"] if lengths else []
    said = json.loads(plaudit(folder, "estimate", verb, *words, *told, "--json"))
    seconds, phases = usage["seconds"], said["here"]["phases_seconds"]
    return {
        "name": name,
        "peak": usage["peak_memory_bytes"],
        "memory": said["memory"]["bytes"],
        "moment": said["memory"]["moment"],
        "moments": said["memory"]["moments_bytes"],
        "parts": said["memory"]["parts_bytes"],
        "seconds": {phase: seconds[phase] for phase in phases},
        "predicted": phases,
        "raised": usage["raised_memory_bytes"],
    }


def table(found: list[dict[str, Any]], libraries: int) -> str:
    """The comparison as a table of Markdown."""
    lines = [
        "| run | memory: said | was | was / said | seconds: said | were | were / said |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        was, said = one["peak"] - libraries, one["memory"]
        took, told = sum(one["seconds"].values()), sum(one["predicted"].values())
        lines.append(
            f"| {one['name']} | {said / 1e9:.2f} GB | {was / 1e9:.2f} GB | {was / said:.2f} "
            f"| {told:.1f} | {took:.1f} | {took / told:.2f} |"
        )
    return "\n".join(lines)


def main(words: list[str]) -> None:
    chosen = [name for name in CASES if not (asked := [w for w in words if w[0] != "-"]) or name.startswith(tuple(asked))]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_data(folder)
        libraries = compared(folder, "tiny sft, full")["peak"]
        found = []
        for name in chosen:
            if name == "ppo, LoRA, reward model" and not (folder / "reward-LoRA").exists():
                compared(folder, "reward, LoRA")
            if not name.startswith("tiny sft"):
                found.append(compared(folder, name))
                print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    text = table(found, libraries)
    print(text)
    if "--write" in words:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(BLOCK.sub(lambda block: f"{block[1]}{text}{block[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
