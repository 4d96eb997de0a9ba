"""Small runs of every verb on the tiny model, and what must be the same however often a run was interrupted."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from nursery import At, Done, Nursery
from plaudit.config import options
from plaudit.registry import find, names

VERBS = names("algorithms")
FIRST = ("sft", "reward", "ppo")
"""One of each kind of loop, for what does not depend on the algorithm."""
KINDS = [(verb, peft) for verb in FIRST for peft in (False, True)]
KINDS += [(verb, place % 2 == 0) for place, verb in enumerate(verb for verb in VERBS if verb not in FIRST)]
"""Every registered algorithm, with adapters or without; the first three with both."""
QUESTIONS = [f"Where is {what} {i}?" for i in range(6) for what in ("order", "refund", "parcel", "bill")]
SHARED = [
    *("model_name_or_path=tiny", "bf16=false", "max_length=256", "max_steps=5", "save_steps=1", "eval_steps=2"),
    *("per_device_train_batch_size=4", "learning_rate=1e-3", "warmup_steps=1", "seed=3", "output_dir=run"),
]
ONLINE = [
    *("train_file=../prompts.jsonl", "reward_funcs=[../rewards.py:shortish]", "max_completion_length=6"),
    *("max_prompt_length=64", "num_generations=2"),
]
OWN_MEALS = {"classify": ["train_file=../classes.jsonl"]}
"""Algorithms whose labels are not thumbs."""
MEALS = {
    "steps": ["train_file=../steps.jsonl"],
    "aspects": ["train_file=../aspects.jsonl"],
    "demonstrations": ["train_file=../demonstrations.jsonl"],
    "rankings": ["train_file=../pairs.jsonl"],
    "labels": ["train_file=../labels.jsonl"],
    "prompts": ONLINE,
}
WISHES = {"num_ppo_epochs": 2, "num_iterations": 2, "num_mini_batches": 2, "kl_target": 0.01, "kl_horizon": 20}
WISHES |= {"filter_groups": "true", "max_num_gen_batches": 2}
WISHES |= {"ptx_coef": 0.1, "ptx_file": "../demonstrations.jsonl"}
"""Set where an algorithm has them, so that whatever moves from step to step moves here."""


def own(verb: str) -> list[str]:
    """What this algorithm needs beside the shared words."""
    kind = find("algorithms", verb)
    known = options([kind.Config])
    return [*OWN_MEALS.get(verb, MEALS[kind.eats]), *(f"{name}={value}" for name, value in WISHES.items() if name in known)]


REWARDS = """
def shortish(completion_ids, **_):
    return [sum(i % 7 for i in ids) / 10 for ids in completion_ids]
"""


def write_data(folder: Path) -> Path:
    """Data for every verb; runs happen in folders below."""

    def lines(name: str, rows: list[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    lines("demonstrations.jsonl", [{"prompt": said("user", q), "completion": said("assistant", q[9:])} for q in QUESTIONS])
    lines("pairs.jsonl", [{"prompt": q, "chosen": f" Your {q[9:]}", "rejected": " No é."} for q in QUESTIONS])
    thumbs = [{"prompt": q, "completion": f" Your {q[9:]}", "label": i % 3 > 0} for i, q in enumerate(QUESTIONS)]
    lines("labels.jsonl", thumbs)
    rated = [{"short": len(q) % 4, "odd": i % 2} if i % 3 else {"short": len(q) % 4} for i, q in enumerate(QUESTIONS)]
    lines("aspects.jsonl", [{"prompt": q, "completion": q[9:], "scores": s} for q, s in zip(QUESTIONS, rated, strict=True)])
    worked = [{"prompt": q, "completions": [q[9:], "Sent."], "labels": [True, i % 2 == 0]} for i, q in enumerate(QUESTIONS)]
    lines("steps.jsonl", worked)
    lines("classes.jsonl", [{"text": q, "label": q.split()[2]} for q in QUESTIONS])
    lines("prompts.jsonl", [{"prompt": q} for q in QUESTIONS])
    (folder / "rewards.py").write_text(REWARDS)
    return folder


class Runs:
    """Runs in folders below one that holds the data."""

    def __init__(self, nursery: Nursery, root: Path) -> None:
        self.nursery, self.root = nursery, write_data(root)
        self.whole = cache(self.whole)  # type: ignore[method-assign]

    def words(self, verb: str, peft: bool = False) -> list[str]:
        """The command line; with LoRA, PPO's critic and reward come from a reward model on the shared base."""
        words = ["train", verb, *SHARED, *own(verb), f"use_peft={str(peft).lower()}"]
        if verb == "ppo" and peft:
            words.append(f"reward_model_path={self.whole('reward', True) / 'model'}")
        return words

    def start(self, place: str, *words: str, at: At | None = None, after: float | None = None) -> Done:
        """Run in the folder `place`, which is made."""
        (self.root / place).mkdir(exist_ok=True)
        return self.nursery.run(*words, cwd=self.root / place, at=at, after=after)

    def whole(self, verb: str, peft: bool) -> Path:
        """The folder of a run that nothing interrupted."""
        place = f"{verb}-{peft}"
        done = self.start(place, *self.words(verb, peft))
        assert done.code == 0, done.err
        return self.root / place / "run"


def outcome(run: Path) -> dict[str, Any]:
    """What must not depend on interruptions: weights to the last bit, all logs but timings, the summary."""
    summary = json.loads((run / "summary.json").read_text())
    return {
        "weights": {path.name: path.read_bytes() for path in sorted((run / "model").glob("*.safetensors"))},
        "about": {path.name: path.read_text() for path in sorted((run / "model").glob("*.json"))},
        "metrics": [untimed(line) for line in (run / "metrics.jsonl").read_text().splitlines()],
        "samples": (run / "samples.jsonl").read_text() if (run / "samples.jsonl").exists() else "",
        "evaluations": (run / "evaluations.jsonl").read_text() if (run / "evaluations.jsonl").exists() else "",
        "summary": {key: value for key, value in summary.items() if key != "seconds"},
    }


def untimed(line: str) -> dict[str, Any]:
    """A line of metrics.jsonl without its timings."""
    return {key: value for key, value in json.loads(line).items() if not key.startswith("time/")}


def same(run: Path, other: Path) -> None:
    """Fail where two runs ended differently, naming what differs."""
    one, two = outcome(run), outcome(other)
    assert one["metrics"] == two["metrics"]
    assert [key for key in one if one[key] != two[key]] == []
    assert one["weights"], "there are weights to compare"
