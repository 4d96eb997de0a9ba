"""Over-optimisation seen from end to end: the proxy rises, the truth rises and falls, and the guard stops near the turn.

    python recipes/over_optimisation.py [--out FOLDER] [--seeds 1 2 3] [--write docs/over-optimisation.md]

For each seed: SFT, pairs judged by the gold rule with the noise of Bradley and Terry, a reward model, PPO on it with next to no
price for KL, once to the end and once with `guard: stop`; DPO on the same pairs with several betas; best of n. Everything is
Plaudit's own training, on the small world of letters.py. Resumable: what is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import letters as toy
import numpy as np
import torch
from pictures import standing

from plaudit import stats
from plaudit.config import load as load_config
from plaudit.data.template import encode_answer
from plaudit.engines.torch_engine import TorchEngine
from plaudit.evaluation.doctor.reading import evaluations_of
from plaudit.evaluation.perplexity import answer_logprobs
from plaudit.evaluation.report.scatter import Point, Scatter
from plaudit.models.load import load
from plaudit.models.scorer import Scorer, load_reward
from plaudit.schema import JSON, Prompt, Sampling, UserError
from plaudit.training.run import sections, train

GOLD = f"{Path(toy.__file__)}:gold"
TRAIN, HELD_OUT, SAMPLES, PAIRS = 1024, 512, 64, 4
EVALUATED = 2048
"""Held-out prompts of PPO's evaluations: with 512 a fall of .14 is two standard errors, and no guard should stop at that."""
STEPS, EVERY = 120, 8
BETAS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
PPO = {
    "learning_rate": 1e-4,
    "lr_scheduler_type": "constant",
    "max_steps": STEPS,
    "eval_steps": EVERY,
    "per_device_train_batch_size": 64,
    "num_eval_prompts": EVALUATED,
    "max_completion_length": toy.LENGTH + 4,
    "kl_coef": 0.0,
    "missing_eos_score": -3.0,
    "independent_reward_funcs": [GOLD],
    "save_steps": EVERY,
    "save_total_limit": STEPS,
}


def stage(verb: str, folder: Path, seed: int, **options: Any) -> JSON:
    """One run to its end, resumed where it had begun; its summary, kept in the folder."""
    summary = folder / "recipe.json"
    if summary.exists():
        return dict(json.loads(summary.read_text()))
    classes, defaults = sections(verb)
    given = {"seed": seed, "output_dir": str(folder), "bf16": False, **options}
    resolved = load_config(classes, None, [f"{key}={json.dumps(value)}" for key, value in given.items()], defaults)
    found = train(verb, resolved, resume=(folder / "config.yaml").exists())
    if found["status"] not in ("finished", "early", "guarded"):
        raise SystemExit(f"{folder}: {found['status']}; start again to go on")
    summary.write_text(json.dumps(found))
    return found


def answers(folder: Path, asked: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """`count` answers of a model to each prompt, as texts."""
    loaded = load(str(folder))
    engine = TorchEngine(loaded.model.config, loaded.tokenizer, dtype=torch.float32, slots=256)
    engine.load(loaded.model.state_dict().items(), "recipe")
    said = engine.generate([Prompt(text=text) for text in asked], count, Sampling(toy.LENGTH + 4, seed=seed))
    return [[one.text for one in said[i * count : (i + 1) * count]] for i in range(len(asked))]


def after_sft(place: Path, seed: int, train: int, held_out: int) -> tuple[Path, list[str], list[str]]:
    """The policy that has learned the form of answers, so many prompts to train on, and so many to be asked."""
    place.mkdir(parents=True, exist_ok=True)
    asked = toy.prompts(train + held_out, seed)
    base = place / "base"
    if not base.exists():
        toy.model(base, seed)
    demonstrations = toy.write(place / "sft.jsonl", toy.demonstrations(asked[:train], seed))
    stage("sft", place / "sft", seed, model_name_or_path=str(base), train_file=str(demonstrations), num_train_epochs=8,
          learning_rate=2e-3, per_device_train_batch_size=64, eval_fraction=0.0)  # fmt: skip
    return place / "sft" / "model", asked[:train], asked[train:]


def seed_of(out: Path, seed: int) -> JSON:
    """Everything of one seed; what the page needs."""
    place = out / f"seed{seed}"
    result = place / "result.json"
    if result.exists():
        return dict(json.loads(result.read_text()))
    policy, train_prompts, held_out = after_sft(place, seed, TRAIN, EVALUATED)
    few = held_out[:HELD_OUT]
    said = answers(policy, train_prompts, 2 * PAIRS, seed)
    two = [[one[2 * k : 2 * k + 2] for one in said] for k in range(PAIRS)]
    judged = [row for k in range(PAIRS) for row in toy.judged(train_prompts, two[k], seed + k)]
    pairs = toy.write(place / "pairs.jsonl", judged)
    stage("reward", place / "reward", seed, model_name_or_path=str(policy), train_file=str(pairs), num_train_epochs=3,
          learning_rate=1e-3, per_device_train_batch_size=32, eval_fraction=0.1, eval_steps=20)  # fmt: skip
    asked_file = toy.write(place / "prompts.jsonl", [{"prompt": text} for text in train_prompts])
    held_file = toy.write(place / "held_out.jsonl", [{"prompt": text} for text in held_out])
    shared = {**PPO, "model_name_or_path": str(policy), "reward_model_path": str(place / "reward" / "model"),
              "train_file": str(asked_file), "eval_file": str(held_file)}  # fmt: skip
    stage("ppo", place / "ppo", seed, **shared, guard="off", load_best_model_at_end=False)
    guarded = stage("ppo", place / "guarded", seed, **shared, guard="stop", load_best_model_at_end=True)
    samples = answers(policy, few, SAMPLES, seed + 1)
    found = {
        "ppo": path_of(place / "ppo"),
        "turn": turn_of(place / "ppo"),
        "guard": {
            "step": guarded["steps"],
            "alarms": guarded.get("alarms", []),
            **at(place / "guarded" / "model", held_out, seed),
        },
        "dpo": [dpo(place, policy, pairs, few, beta, seed) for beta in BETAS],
        "best_of_n": best_of_n(place / "reward" / "model", few, samples),
        "start": at(policy, held_out, seed),
    }
    result.write_text(json.dumps(found, indent=1))
    return found


def path_of(folder: Path) -> list[JSON]:
    """PPO's evaluations: step, KL of the step's own answers, proxy and gold on held-out prompts."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kl = {line["step"]: line["objective/kl"] for line in lines if "objective/kl" in line}
    return [
        {
            "step": line["step"],
            "kl": kl.get(line["step"] + 1, kl.get(line["step"], 0.0)),  # a step's KL is that of the policy before it
            "proxy": line["eval_reward"],
            "gold": line["eval_independent/mean"],
            "error": line["eval_independent/std"] / EVALUATED**0.5,
        }
        for line in lines
        if "eval_independent/mean" in line
    ]


def turn_of(folder: Path) -> int:
    """The step of the last evaluation in a row from the highest on that is not surely below it: where the gold score turns.

    Surely: by more than 1.645 standard errors of the difference, prompt by prompt (95 % on one side).
    """
    lines = (folder / "evaluations.jsonl").read_text().splitlines()
    seen = [(one.step, one.independent) for one in evaluations_of([json.loads(line) for line in lines])]
    return turn([(step, gold) for step, gold in seen if gold is not None])


def turn(seen: Sequence[tuple[int, np.ndarray]]) -> int:
    """The same of evaluations (step, gold score of each prompt)."""
    top = max(range(len(seen)), key=lambda i: float(seen[i][1].mean()))
    last = top
    for i in range(top + 1, len(seen)):
        lost = seen[top][1] - seen[i][1]
        if lost.mean() > 1.645 * lost.std(ddof=1) / len(lost) ** 0.5:
            break
        last = i
    return seen[last][0]


def at(folder: Path, held_out: Sequence[str], seed: int) -> JSON:
    """Gold score of a saved model on the held-out prompts, with its standard error."""
    scores = toy.gold([one[0] for one in answers(folder, held_out, 1, seed + 2)])
    return {"gold": float(np.mean(scores)), "error": float(np.std(scores, ddof=1) / len(scores) ** 0.5)}


def dpo(place: Path, policy: Path, pairs: Path, held_out: Sequence[str], beta: float, seed: int) -> JSON:
    """DPO on the same pairs: KL to its reference and gold score."""
    folder = place / f"dpo-{beta}"
    stage("dpo", folder, seed, model_name_or_path=str(policy), train_file=str(pairs), beta=beta, num_train_epochs=2,
          learning_rate=3e-4, per_device_train_batch_size=32, eval_fraction=0.0)  # fmt: skip
    models = [load(str(folder / "model")), load(str(policy))]
    said = answers(folder / "model", held_out, 1, seed + 2)
    rows = [encode_answer(models[0].tokenizer, Prompt(text=text), one[0]) for text, one in zip(held_out, said, strict=True)]
    trained, untouched = (answer_logprobs(one, rows) for one in models)
    return {"beta": beta, "kl": float(np.mean(trained - untouched)), **at(folder / "model", held_out, seed)}


def best_of_n(
    reward: Path, held_out: Sequence[str], samples: Sequence[Sequence[str]], sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
) -> list[JSON]:
    """What the best of n by the reward model is worth, and its KL."""
    network = load_reward(reward, dtype=torch.float32, device=torch.device("cpu"))
    rows = [
        encode_answer(network.base.tokenizer, Prompt(text=text), one).ids
        for text, said in zip(held_out, samples, strict=True)
        for one in said
    ]
    proxy = np.array(Scorer(network, 256)(rows)).reshape(len(held_out), -1)
    truth = np.array([toy.gold(said) for said in samples])
    return [
        {
            "n": n,
            "kl": stats.kl_of_best_of_n(n),
            "proxy": float(stats.best_of_n(proxy, proxy, n).mean()),
            "gold": float(stats.best_of_n(proxy, truth, n).mean()),
        }
        for n in sizes
    ]


# -- the page --------------------------------------------------------------------------------------------------------------


def peak(points: Sequence[JSON]) -> JSON:
    return max(points, key=lambda point: float(point["gold"]))


def row_of(seed: int, found: JSON) -> str:
    """One seed in the table: the turn of the gold score, where the guard stopped, what was restored."""
    top, last, guard = peak(found["ppo"]), found["ppo"][-1], found["guard"]
    alarm = next((one for one in guard["alarms"] if one["action"] == "stop"), None)
    moved = [p for p in found["ppo"] if p["kl"] > 0]
    fit = "—"
    if len({p["kl"] for p in moved}) > 2:
        one = stats.fit_gao([p["kl"] ** 0.5 for p in moved], [p["gold"] - found["start"]["gold"] for p in moved], "rl")
        fit = f"α {one.alpha:.2f}, β {one.beta:.2f}, R² {one.r2:.2f}"
    cells = (
        str(seed),
        f"{found['ppo'][0]['proxy']:.2f} → {last['proxy']:.2f}",
        f"{found['start']['gold']:.2f} → {top['gold']:.2f} → {last['gold']:.2f}",
        f"{top['step']} (KL {top['kl']:.1f})",
        str(found["turn"]),
        f"{alarm['step']} ({alarm['rule']})" if alarm else "never",
        f"{guard['gold']:.2f} ± {1.96 * guard['error']:.2f}",
        fit,
    )
    return f"| {' | '.join(cells)} |"


def frontier(results: Sequence[JSON]) -> str:
    """Gold score by method: the best that each reaches, and at what KL."""
    rows = []
    for name, key in (("PPO", "ppo"), ("DPO", "dpo"), ("best of n", "best_of_n")):
        best = [peak(one[key]) for one in results]
        golds, kls = [p["gold"] for p in best], [p["kl"] for p in best]
        each = ", ".join(f"{gold:.2f} at {kl:.1f}" for gold, kl in zip(golds, kls, strict=True))
        rows.append(f"| {name} | {np.mean(golds):.2f} | {each} |")
    return "\n".join(rows)


def picture(results: Sequence[JSON], key: str, name: str) -> str:
    points = [
        Point(p["kl"] ** 0.5, p[key], said=f"{method}, KL {p['kl']:.2f}: {p[key]:.2f}", marked=method == "PPO")
        for one in results
        for method, group in (("PPO", "ppo"), ("DPO", "dpo"), ("best of n", "best_of_n"))
        for p in one[group]
        if key in p and p["kl"] >= 0
    ]
    return standing(Scatter(name, "points", "root of KL (nats per answer)", points))


def page(done: dict[int, JSON], seconds: float) -> str:
    head = (Path(__file__).parent / "over_optimisation.md").read_text("utf-8")
    results = list(done.values())
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__.partition('+')[0]}"
    return (
        head.replace("{rows}", "\n".join(row_of(seed, found) for seed, found in done.items()))
        .replace("{frontier}", frontier(results))
        .replace("{machine}", machine)
        .replace("{date}", time.strftime("%Y-%m-%d"))
        .replace("{minutes}", f"{seconds / 60:.0f}")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/over_optimisation"))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--write", type=Path, help="Write the page, and its picture beside it.")
    given = parser.parse_args()
    clock = time.perf_counter()
    done = {}
    for seed in given.seeds:
        done[seed] = seed_of(given.out, seed)
        print(row_of(seed, done[seed]), flush=True)
    print(frontier(list(done.values())))
    if given.write:
        given.write.write_text(page(done, time.perf_counter() - clock), encoding="utf-8")
        for key in ("gold", "proxy"):
            drawn = picture(list(done.values()), key, key.capitalize())
            given.write.with_name(f"over-optimisation-{key}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"over_optimisation: {error}")
