"""Runs of the tiny model with one thing wrong with each, at two severities, and healthy ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from planted_data import THINGS, write

STATES = ("sent", "paid", "here", "lost")
REWARDS = '''
import zlib

STATES = {"sent": 1.0, "paid": 0.7, "here": 0.3, "lost": 0.0}

def texts(completions):
    return [c if isinstance(c, str) else c[-1]["content"] for c in completions]

def state(text):
    return max((value for name, value in STATES.items() if name in text), default=-0.5)

def helpful(prompts, completions, **_):
    """The state, half a point more where the answer names what was asked for, and a tenth by the answer's letters."""
    pairs = zip(prompts, texts(completions))
    return [state(t) + 0.5 * (p.split()[-2] in t) + 0.1 * (zlib.crc32(t.encode()) % 11) / 10 for p, t in pairs]

def judge(prompts, completions, **_):
    """An independent view of the same: other weights, and a whim of its own."""
    return [0.8 * state(t) + 0.2 * (zlib.crc32(t.encode()[::-1]) % 7) / 6 for t in texts(completions)]

def contrary(prompts, completions, **_):
    """Pays what `judge` does not want."""
    return [1 - r for r in helpful(prompts, completions)]

def half_contrary(prompts, completions, **_):
    """Pays the middle states most."""
    worth = {"sent": 0.6, "paid": 0.0, "here": 1.0, "lost": 0.3}
    return [worth.get(next((s for s in STATES if s in t), ""), -0.5) for t in texts(completions)]

def length(completion_ids, **_):
    return [len(ids) / 12 for ids in completion_ids]

def vowels(completions, **_):
    return [10 * sum(c in "aeiou" for c in t) / max(8, len(t)) for t in texts(completions)]

def rare(prompts, completions, **_):
    """Pays one thing in one state only."""
    return [float("lost" in t and t.strip()[:1] in "op") for t in texts(completions)]

def constant(completions, **_):
    return [0.25 for _ in completions]

def overflowing(completions, trainer_state, **_):
    return [3e30 if trainer_state.global_step % 4 == 3 else 0.1 * len(t) % 1 for t in texts(completions)]

def jumping(completions, trainer_state, **_):
    scale = 1e4 if trainer_state.global_step in (17, 18, 22, 23) else 1.0
    return [scale * (0.1 * len(t) % 1) for t in texts(completions)]
'''
COMMON = ["bf16=false", "eval_file=../test.jsonl", "max_steps=30", "eval_steps=5", "save_total_limit=1", "guard=off"]
ONLINE = [
    *("train_file=../prompts.jsonl", "model_name_or_path=../sft/model", "max_completion_length=24", "num_generations=4"),
    *("per_device_train_batch_size=8", "learning_rate=1e-4", "num_ppo_epochs=2", "critic_learning_rate=3e-3"),
    *("reward_funcs=[../rewards.py:helpful]", "independent_reward_funcs=[../rewards.py:judge]", "num_eval_prompts=48"),
]
PAIRS = [
    *("model_name_or_path=tiny", "train_file=../pairs.jsonl", "per_device_train_batch_size=32", "learning_rate=3e-3"),
    *("eval_file=../held_out_pairs.jsonl", "bf16=false", "save_total_limit=1", "max_steps=60", "eval_steps=40"),
]


FROM_SFT = [
    *("model_name_or_path=../sft/model", "bf16=false", "save_total_limit=1", "guard=off", "max_steps=40", "eval_steps=5"),
    *("per_device_train_batch_size=16", "learning_rate=2e-4"),
]
RANKED = [*FROM_SFT, "train_file=../pairs.jsonl", "eval_file=../held_out_100.jsonl"]
RAW = ["model_name_or_path=tiny", "learning_rate=1e-2"]
OFFLINE = {
    "reward": PAIRS,
    "sft": [*FROM_SFT, "train_file=../sft.jsonl", "eval_file=../held_out_sft.jsonl", *RAW],
    "kto": [*FROM_SFT, "train_file=../thumbs.jsonl", "eval_file=../held_out_thumbs.jsonl"],
    **dict.fromkeys(("dpo", "orpo"), RANKED),
}
"""Verb -> the words of a healthy run, of those that learn from a file."""
FEW = ["train_file=../few_sft.jsonl", "model_name_or_path=../sft/model", "eval_steps=4"]


@dataclass(frozen=True)
class Planted:
    """One run: what is wrong with it (a rule; none where it is healthy), how badly, and how to make it."""

    rule: str | None
    severity: str
    about: str
    words: list[str] = field(default_factory=list)
    verb: str = "ppo"
    tampered: Callable[[], Any] | None = None
    """A context in which the run is made, for defects that no option can cause."""

    @property
    def name(self) -> str:
        return f"{self.rule or 'healthy'}-{self.severity}"


def reward(name: str, *more: str) -> list[str]:
    return [f"reward_funcs=[../rewards.py:{name}]", *more]


def mixed(weight: float) -> list[str]:
    return ["reward_funcs=[../rewards.py:helpful,../rewards.py:length]", f"reward_weights={{length: {weight}}}"]


@contextmanager
def sampler(temperature: float) -> Iterator[None]:
    """The engine draws at another temperature than the trainer thinks, and nobody stops the run."""
    from plaudit.training import loop
    from plaudit.training.sources import Rollouts

    honest = Rollouts.sampling
    limits = {False: 99.0, True: 99.0}

    def sampling(self: Rollouts, seed: int) -> Any:
        return dataclasses.replace(honest(self, seed), temperature=temperature)

    with mock.patch.object(Rollouts, "sampling", sampling), mock.patch.object(loop, "CANARY_LIMIT", limits):
        yield


@contextmanager
def unlearnt_ends() -> Iterator[None]:
    """The end token is masked out of the fine-tuning rows, as where pad is EOS."""
    from plaudit.training import build

    before = build.FILES["demonstrations"]

    def collate(rows: Any) -> Any:
        batch = before.collate(rows)
        for row in range(len(batch)):
            last = int(batch.mask[row].nonzero().max())
            batch.mask[row, last] = 0
        return batch

    with mock.patch.dict(build.FILES, {"demonstrations": dataclasses.replace(before, collate=collate)}):
        yield


RUNS = [
    Planted("sampler", "mild", "sampled at temperature 1.15, trained at 1", tampered=lambda: sampler(1.15)),
    Planted("sampler", "severe", "sampled at temperature 2, trained at 1", tampered=lambda: sampler(2.0)),
    Planted("kl_budget", "mild", "beta 0 and a reward for vowels", reward("vowels", "kl_coef=0", "learning_rate=2e-3")),
    Planted("kl_budget", "severe", "the same at a higher rate", reward("vowels", "kl_coef=0", "learning_rate=2.4e-3")),
    Planted("update_size", "mild", "learning rate x 20", ["learning_rate=2e-3", "num_ppo_epochs=4"]),
    Planted("update_size", "severe", "learning rate x 50, 8 epochs", ["learning_rate=5e-3", "num_ppo_epochs=8"]),
    Planted("value_function", "mild", "the critic does not learn", ["critic_learning_rate=1e-9"]),
    Planted("value_function", "severe", "critic learning rate x 3,000", ["critic_learning_rate=0.3"]),
    Planted("endings", "mild", "a length limit that is too short", ["max_completion_length=14"]),
    Planted("endings", "severe", "end tokens never learnt (pad = EOS)", ["model_name_or_path=../endings-severe-sft/model"]),
    Planted("diversity", "mild", "no KL price, learning rate x 15", ["kl_coef=0", "learning_rate=1.5e-3"]),
    Planted("diversity", "severe", "no KL price, learning rate x 40", ["kl_coef=0", "learning_rate=4e-3"]),
    Planted(
        "over_optimisation",
        "mild",
        "the reward pays partly for what is not wanted",
        reward("half_contrary", "learning_rate=2e-4"),
    ),
    Planted("over_optimisation", "severe", "the reward pays the opposite", reward("contrary", "learning_rate=3e-4")),
    Planted("no_signal", "mild", "a reward that hardly ever pays", reward("rare", "learning_rate=1e-6")),
    Planted("no_signal", "severe", "a reward that is always the same", reward("constant")),
    Planted("collapse", "mild", "the reward pays the opposite, slowly", reward("contrary", "learning_rate=5e-5")),
    Planted("collapse", "severe", "learning rate x 300", ["learning_rate=3e-2"]),
    Planted("reward_length", "mild", "a part of the reward pays for length", mixed(0.7)),
    Planted("reward_length", "severe", "nothing but length is paid", reward("length")),
    Planted("length_control", "mild", "nothing but length is paid", reward("length", "learning_rate=1.5e-4")),
    Planted(
        "length_control", "severe", "nothing but length is paid, learning rate x 5", reward("length", "learning_rate=5e-4")
    ),
    Planted("numbers", "mild", "rewards that jump by 10,000", reward("jumping")),
    Planted("numbers", "severe", "rewards that overflow", reward("overflowing", "max_refused_steps=99")),
    Planted("reward_accuracy", "mild", "learnt 60 pairs by heart", ["train_file=../few_pairs.jsonl", "max_steps=80"], "reward"),
    Planted("reward_accuracy", "severe", "a model of length alone", ["train_file=../longer_pairs.jsonl"], "reward"),
    Planted(
        "reward_calibration",
        "mild",
        "20 % flipped labels, learnt by heart",
        ["train_file=../pairs_20.jsonl", "eval_file=../held_out_20.jsonl", "max_steps=60", "load_best_model_at_end=false"],
        "reward",
    ),
    Planted(
        "reward_calibration",
        "severe",
        "40 % flipped labels, learnt by heart",
        ["train_file=../pairs_40.jsonl", "eval_file=../held_out_40.jsonl", "max_steps=80", "load_best_model_at_end=false"],
        "reward",
    ),
]
HEALTHY = [
    *(Planted(None, f"ppo-{i}", "PPO") for i in range(3)),
    *(Planted(None, f"grpo-{i}", "GRPO", ["beta=0.05"], "grpo") for i in range(2)),
    *(Planted(None, f"rloo-{i}", "RLOO", [], "rloo") for i in range(2)),
    *(Planted(None, f"reward-{i}", "a reward model", [], "reward") for i in range(3)),
]
FROM_FILES = [
    Planted("overfitting", "mild", "40 demonstrations, 16 epochs", [*FEW, "learning_rate=3e-3"], "sft"),
    Planted("overfitting", "severe", "the same at a rate three times as high", [*FEW, "learning_rate=1e-2"], "sft"),
    Planted("displacement", "mild", "learning rate x 5, beta 0.01", ["beta=0.01", "learning_rate=1e-3"], "dpo"),
    Planted(
        "displacement",
        "severe",
        "the same on 100 pairs of which 40 % are flipped",
        ["beta=0.01", "learning_rate=1e-3", "train_file=../pairs_40.jsonl"],
        "dpo",
    ),
    Planted(
        None,
        "reward-watched",
        "a reward model, evaluated often",
        ["eval_file=../held_out_100.jsonl", "max_steps=48", "eval_steps=6"],
        "reward",
    ),
    *(Planted(None, f"sft-{i}", "fine-tuning", [], "sft") for i in range(2)),
    *(Planted(None, f"dpo-{i}", "DPO", [], "dpo") for i in range(2)),
    *(Planted(None, f"{verb}", verb.upper(), [], verb) for verb in ("orpo", "kto")),
]
"""Runs of algorithms that learn from a file, broken and healthy."""
EVERY = [*RUNS, *HEALTHY, *FROM_FILES]
"""In the order of their seeds."""


def make(folder: Path, one: Planted, seed: int) -> Path:
    """Train the run in `folder`, which `world` made ready, and return its place."""
    import os

    from plaudit.config import load
    from plaudit.training.run import sections, train

    path = folder / one.name
    path.mkdir(exist_ok=True)
    here = Path.cwd()
    os.chdir(path)
    try:
        if one.name == "endings-severe":
            with unlearnt_ends():
                _train("sft", [*SFT, f"output_dir=../{one.name}-sft", f"seed={seed}"])
        own = OFFLINE.get(one.verb, [*COMMON, *ONLINE])
        known = sections(one.verb)
        names = {word.partition("=")[0] for word in own}
        from plaudit.config import options

        kept = [word for word in own if word.partition("=")[0] in options(*known)]
        assert "model_name_or_path" in names
        with (one.tampered or _nothing)():
            train(
                one.verb,
                load(known[0], None, [*kept, *one.words, "output_dir=run", f"seed={seed}"], known[1]),
                progress=Quiet(),
            )
    finally:
        os.chdir(here)
    return path / "run"


SFT = [
    *("model_name_or_path=tiny", "train_file=../sft.jsonl", "max_steps=120", "learning_rate=1e-2", "bf16=false"),
    *("per_device_train_batch_size=64", "eval_fraction=0.02", "save_total_limit=1"),
]


def _train(verb: str, words: list[str]) -> None:
    from plaudit.config import load
    from plaudit.training.run import sections, train

    train(verb, load(sections(verb)[0], None, words, sections(verb)[1]), progress=Quiet())


@contextmanager
def _nothing() -> Iterator[None]:
    yield


class Quiet:
    """Shows nothing."""

    def task(self, title: str, total: int) -> None: ...

    def advance(self, done: int, figures: Any = None) -> None: ...

    def tell(self, text: str) -> None: ...


def world(folder: Path, seed: int) -> None:
    """Data, rewards and the fine-tuned model that the runs start from."""
    import os

    random = np.random.default_rng(seed)

    def answer() -> str:
        return f" {random.choice(THINGS)} {random.choice(STATES)} {random.choice(['ok', 'no'])}."

    def question(i: int) -> str:
        return f"Where is {random.choice(THINGS)} {i}?"

    (folder / "rewards.py").write_text(REWARDS, "utf-8")
    write(folder / "sft.jsonl", [{"prompt": question(i), "completion": answer()} for i in range(2000)])
    write(folder / "prompts.jsonl", [{"prompt": question(5000 + i)} for i in range(100)])
    write(folder / "test.jsonl", [{"prompt": question(9000 + i)} for i in range(48)])
    rank = {state: place for place, state in enumerate(reversed(STATES))}

    def pairs(count: int, flipped: float = 0.0, first: int = 0, longer: bool = False) -> list[dict[str, Any]]:
        found = []
        while len(found) < count:
            sides = [answer(), answer()]
            worth = [len(side) if longer else rank[side.split()[1]] for side in sides]
            if worth[0] == worth[1]:
                continue
            better = int(worth[1] > worth[0]) ^ int(random.random() < flipped)
            found.append({"prompt": question(first + len(found)), "chosen": sides[better], "rejected": sides[1 - better]})
        return found

    for name, rows in {
        "pairs": pairs(1200),
        "held_out_pairs": pairs(300, first=7000),
        "few_pairs": pairs(60, flipped=0.3),
        "longer_pairs": pairs(1200, longer=True),
        "pairs_20": pairs(120, flipped=0.2),
        "held_out_20": pairs(400, flipped=0.2, first=7000),
        "pairs_40": pairs(100, flipped=0.4),
        "held_out_40": pairs(400, flipped=0.4, first=7000),
        "held_out_100": pairs(100, first=7000),
    }.items():
        write(folder / f"{name}.jsonl", rows)
    write(folder / "few_sft.jsonl", [{"prompt": question(3000 + i), "completion": answer()} for i in range(40)])
    write(folder / "held_out_sft.jsonl", [{"prompt": question(8000 + i), "completion": answer()} for i in range(100)])
    for name, first, count in (("thumbs", 0, 600), ("held_out_thumbs", 7500, 100)):
        said = [(question(first + i), answer()) for i in range(count)]
        rows = [{"prompt": q, "completion": a, "label": rank[a.split()[1]] > 1} for q, a in said]
        write(folder / f"{name}.jsonl", rows)
    (folder / "sft-run").mkdir()
    here = Path.cwd()
    os.chdir(folder / "sft-run")
    try:
        _train("sft", [*SFT, "output_dir=../sft", f"seed={seed}"])
    finally:
        os.chdir(here)


def told(run: Path) -> str:
    """What the doctor's rules say of a run, for whoever tunes a defect."""
    from plaudit.evaluation.doctor import examine, look

    return json.dumps({one.rule: (one.status, one.value) for one in examine(look(run)) if one.status != "unknown"})
