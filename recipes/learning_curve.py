"""PPO at equal quality: the gold score over samples and over time, Plaudit's and TRL 1.12's, with the same reward model.

    make bench-peers
    python recipes/learning_curve.py [--out FOLDER] [--seeds 1 2 3] [--peers CLONE] [--write docs/learning-curve.md]

The world is that of letters.py with a truth that has no turn (`favoured`). SFT and the reward model are trained once for a
seed; both sides start from them, with the same prompts and options. Resumable: what is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import letters as toy
import torch
from over_optimisation import after_sft, answers, stage
from pictures import standing

from plaudit.bench.children import peer, run
from plaudit.evaluation.report.scatter import Point, Scatter
from plaudit.schema import JSON, UserError

TRAIN, HELD_OUT, STEPS, EVERY, LENGTH = 1024, 512, 40, 4, toy.LENGTH + 4
BATCH = 64
GOLD = f"{Path(toy.__file__)}:favoured"
OPTIONS = {
    "per_device_train_batch_size": BATCH,
    "num_ppo_epochs": 4,
    "num_mini_batches": 1,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "constant",
    "adam_epsilon": 1e-5,
    "kl_coef": 0.05,
    "cliprange": 0.2,
    "cliprange_value": 0.2,
    "vf_coef": 0.1,
    "gamma": 1.0,
    "lam": 0.95,
    "missing_eos_penalty": 3.0,
}
"""The same on both sides, under the same names. TRL's PPO does not clip gradients, so neither side does."""
SHARE = 0.9
"""Of the way from the start to the lower of both sides' best scores: how many samples and seconds to there?"""


def world(place: Path, seed: int) -> tuple[Path, Path, list[str], list[str]]:
    """Policy after SFT, reward model, prompts to train on, prompts held out."""
    policy, train, held_out = after_sft(place, seed, TRAIN, HELD_OUT)
    pairs = place / "pairs.jsonl"
    if not pairs.exists():
        toy.write(pairs, toy.judged(train, answers(policy, train, 2, seed), seed, toy.favoured))
    stage("reward", place / "reward", seed, model_name_or_path=str(policy), train_file=str(pairs), num_train_epochs=3,
          learning_rate=1e-3, per_device_train_batch_size=32, eval_fraction=0.1)  # fmt: skip
    return policy, place / "reward" / "model", train, held_out


def ours(place: Path, policy: Path, reward: Path, train: Sequence[str], held_out: Sequence[str], seed: int) -> list[JSON]:
    files = [
        toy.write(place / f"{name}.jsonl", [{"prompt": text} for text in texts])
        for name, texts in (("prompts", train), ("held_out", held_out))
    ]
    folder = place / "plaudit"
    held = {"eval_file": str(files[1]), "eval_steps": EVERY, "num_eval_prompts": HELD_OUT, "independent_reward_funcs": [GOLD]}
    stage("ppo", folder, seed, **OPTIONS, **held, max_grad_norm=0.0, model_name_or_path=str(policy), max_steps=STEPS,
          reward_model_path=str(reward), train_file=str(files[0]), save_steps=STEPS, max_completion_length=LENGTH,
          guard="off", load_best_model_at_end=False)  # fmt: skip
    return curve_of([json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()])


def curve_of(lines: Sequence[JSON]) -> list[JSON]:
    """Gold score at each evaluation of a run, and the seconds of its steps until then; evaluating is not counted."""
    found, seconds = [], 0.0
    for line in lines:
        seconds += line.get("time/step", 0.0)
        if "eval_independent/mean" in line:
            error = line["eval_independent/std"] / HELD_OUT**0.5
            found.append({"step": line["step"], "seconds": seconds, "gold": line["eval_independent/mean"], "error": error})
    return found


def theirs(
    place: Path, policy: Path, reward: Path, train: Sequence[str], held_out: Sequence[str], seed: int, clone: Path
) -> list[JSON]:
    _, python = peer("trl", "ppo", clone)
    work, result = place / "trl.json", place / "trl-result.json"
    job = {"policy": str(policy), "reward": str(reward), "prompts": train, "held_out": held_out, "seed": seed, "steps": STEPS,
           "every": EVERY, "length": LENGTH, "options": OPTIONS}  # fmt: skip
    work.write_text(json.dumps(job), encoding="utf-8")
    script = Path(__file__).with_name("learning_curve_trl.py")
    return list(run([python, script, work, result], result, place / "trl.log")["points"])


def seed_of(out: Path, seed: int, clone: Path) -> JSON:
    place = out / f"seed{seed}"
    result = place / "result.json"
    if result.exists():
        return dict(json.loads(result.read_text()))
    made = world(place, seed)
    found = {"ours": ours(place, *made, seed), "theirs": theirs(place, *made, seed, clone)}
    result.write_text(json.dumps(found, indent=1))
    return found


# -- the page --------------------------------------------------------------------------------------------------------------


def reaches(points: Sequence[JSON], goal: float, key: str) -> float:
    """Where the curve first gets to `goal`, on the straight line between its points; infinity where it never does."""
    for before, after in pairwise(points):
        if before["gold"] < goal <= after["gold"]:
            share = (goal - before["gold"]) / (after["gold"] - before["gold"])
            return float(before[key] + share * (after[key] - before[key]))
    return float("inf")


def row_of(seed: int, found: JSON) -> str:
    sides = found["ours"], found["theirs"]
    start = (sides[0][0]["gold"] + sides[1][0]["gold"]) / 2
    top = min(max(point["gold"] for point in side) for side in sides)
    goal = start + SHARE * (top - start)
    samples = [BATCH * reaches(side, goal, "step") for side in sides]
    seconds = [reaches(side, goal, "seconds") for side in sides]
    ends = [f"{side[-1]['gold']:.2f} ± {1.96 * side[-1]['error']:.2f}" for side in sides]
    cells = [str(seed), f"{start:.2f}", *ends, f"{goal:.2f}", *(f"{n:,.0f}" for n in samples), *(f"{s:.0f}" for s in seconds),
             f"{seconds[1] / seconds[0]:.1f}"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def picture(results: Sequence[JSON], key: str, scale: float, unit: str) -> str:
    points = [
        Point(scale * p[key], p["gold"], said=f"{who}, {scale * p[key]:.0f} {unit}: {p['gold']:.2f}", marked=who == "Plaudit")
        for one in results
        for who, side in (("Plaudit", one["ours"]), ("TRL 1.12", one["theirs"]))
        for p in side
    ]
    return standing(Scatter("Gold score", "points", unit, points))


def page(done: dict[int, JSON]) -> str:
    head = Path(__file__).with_suffix(".md").read_text("utf-8")
    return (
        head.replace("{rows}", "\n".join(row_of(seed, found) for seed, found in done.items()))
        .replace(
            "{machine}", f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__.partition('+')[0]}"
        )
        .replace("{date}", time.strftime("%Y-%m-%d"))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/learning_curve"))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument(
        "--peers", type=Path, default=Path(os.environ.get("PLAUDIT_PEERS", ".")), help="Clone with TRL's environment."
    )
    parser.add_argument("--write", type=Path, help="Write the page, and its pictures beside it.")
    given = parser.parse_args()
    done = {}
    for seed in given.seeds:
        done[seed] = seed_of(given.out, seed, given.peers)
        print(row_of(seed, done[seed]), flush=True)
    if given.write:
        given.write.write_text(page(done), encoding="utf-8")
        for name, key, scale, unit in (("samples", "step", BATCH, "answers"), ("seconds", "seconds", 1.0, "seconds")):
            place = given.write.with_name(f"{given.write.stem}-{name}.svg")
            place.write_text(picture(list(done.values()), key, scale, unit), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"learning_curve: {error}")
