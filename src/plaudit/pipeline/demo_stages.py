"""The stages of the demo. Each writes the files that the next one reads, so that any can be repeated by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plaudit import stats
from plaudit.config import load
from plaudit.data.readers import read_rankings, write_jsonl
from plaudit.data.template import encode_answer
from plaudit.engines.opening import open_engine
from plaudit.judgements.pairwise import assignments, convert
from plaudit.judgements.panel import Panel, flipped_share
from plaudit.judgements.quality import assess
from plaudit.models.machine import device, fast_bf16
from plaudit.models.scorer import Scorer, load_reward
from plaudit.pipeline import lineage
from plaudit.pipeline.rows import answer_text, demonstration_row, pair_row, prompt_row
from plaudit.pipeline.support.demonstrations import demonstrations
from plaudit.pipeline.support.questions import questions
from plaudit.pipeline.support.rubric import score
from plaudit.schema import JSON, Completion, Prompt, Ranking, Sampling
from plaudit.store import Store
from plaudit.training.run import STOPPED, sections, train

if TYPE_CHECKING:
    from plaudit.pipeline.demo import Demo

GOLD = "plaudit.pipeline.support.gold:gold"
LORA = ("use_peft=true", "lora_layers=15", "lora_r=16", "lora_alpha=32", "share_prompts=true")
"""Adapters on the upper half: the lower half is then run once for policy, critic and reference together."""


def sft(demo: Demo) -> None:
    """Demonstrations from the generator; LoRA, stopped at the lowest held-out loss, merged into a model of its own."""
    s, seed, folder = demo.sizes, demo.options.seed, demo.folder
    train_prompts = questions(s.demonstrations, 10 * seed + 1, "train")
    held_out = questions(s.sft_validation, 10 * seed + 1, "validation")
    for name, prompts in (("sft_train", train_prompts), ("sft_validation", held_out)):
        write_jsonl(folder / f"{name}.jsonl", [demonstration_row(d) for d in demonstrations(prompts, 10 * seed + 1)])
    _train(
        demo,
        "sft",
        f"model_name_or_path={demo.options.model}",
        f"train_file={folder / 'sft_train.jsonl'}",
        f"eval_file={folder / 'sft_validation.jsonl'}",
        "per_device_train_batch_size=16",
        "num_train_epochs=2",
        "eval_steps=10",
        "early_stopping_patience=2",
        "learning_rate=1e-3",
        "lr_scheduler_type=cosine",
        "warmup_steps=4",
        *LORA,
    )


def answers(demo: Demo) -> tuple[list[Prompt], list[Completion]]:
    """Several answers of the fine-tuned model to each question, kept in the store."""
    s, o = demo.sizes, demo.options
    prompts = questions(s.judged_prompts + s.judged_validation, 10 * o.seed + 2, "train")
    found = _generate(demo, demo.folder / "sft" / "model", prompts, s.answers, s.max_tokens)
    with Store(demo.folder / "store.sqlite") as store:
        store.add_prompts(prompts)
        store.add_completions(found)
    return prompts, found


def judge(demo: Demo, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> JSON:
    """Simulated votes on pairs, through the store and the conversion that people's judgements take."""
    s, seed = demo.sizes, demo.options.seed
    by_id = {prompt.id: prompt for prompt in prompts}
    gold = {c.id: score(by_id[c.prompt_id], c.text, truncated=c.truncated).total for c in completions}
    panel = Panel(seed=seed, tolerance=0.005)
    acts = panel.judge_all(assignments(completions, per_prompt=s.pairs_per_prompt, seed=seed), gold, votes=s.votes)
    with Store(demo.folder / "store.sqlite") as store:
        store.add_feedback(acts)
        done = convert(store.feedback(), store.completions(), store.prompts())
        digest = store.snapshot("rankings", done.rows, done.feedback_ids)
    flipped, votes = flipped_share(acts, gold, panel.tolerance)
    held_out = {prompt.id for prompt in prompts[s.judged_prompts :]}
    pairs = {"pairs_train": [r for r in done.rows if r.prompt.id not in held_out]}
    pairs["pairs_validation"] = [r for r in done.rows if r.prompt.id in held_out]
    for name, rows in pairs.items():
        write_jsonl(demo.folder / f"{name}.jsonl", [pair_row(r, **_golds(r, gold)) for r in rows])
    quality = assess(acts)
    for line in quality.lines(width=0):
        demo.progress.tell(f"simulated: {line}")
    return {
        "acts": len(acts),
        "pairs": len(done.rows),
        "flipped_share": flipped,
        "votes": votes,
        "agreement": quality.agreement,
        "alpha": quality.alpha,
        "dataset": digest,
        "annotators": [{"name": a.name, "reliability": a.reliability} for a in panel.annotators],
        "estimated": {a.name.removeprefix("simulated:"): a.accuracy for a in quality.annotators},
        "counts": dict(done.counts),
    }


def reward(demo: Demo, dataset: str) -> JSON:
    """Train the reward model; its accuracy on held-out pairs beside a length-only baseline and the noise ceiling."""
    folder = demo.folder
    _train(
        demo,
        "reward",
        f"model_name_or_path={folder / 'sft' / 'model'}",
        f"train_file={folder / 'pairs_train.jsonl'}",
        f"eval_file={folder / 'pairs_validation.jsonl'}",
        "per_device_train_batch_size=16",
        "num_train_epochs=2",
        "eval_on_start=false",
        "learning_rate=5e-4",
        "lr_scheduler_type=cosine",
        "warmup_steps=4",
        "center_rewards_coefficient=0.01",
        *LORA,
        parents=["sft"],
        data={"judgements": dataset},
    )
    return _reward_card(folder)


def _reward_card(folder: Path) -> JSON:
    where = device()
    settings = {"autocast": fast_bf16(where), "sharing": True}
    network = load_reward(folder / "reward" / "model", dtype=_dtype(), device=where, **settings)
    pairs = read_rankings(folder / "pairs_validation.jsonl")
    tokenizer, scorer = network.base.tokenizer, Scorer(network)
    scores = scorer([encode_answer(tokenizer, p.prompt, answer).ids for p in pairs for answer in p.answers])
    best, worst = scores[0::2], scores[1::2]
    right = np.array(best) > np.array(worst)
    gold_right = np.array([p.prompt.meta["gold_chosen"] > p.prompt.meta["gold_rejected"] for p in pairs]) == right
    longer = np.array([len(answer_text(p, 0)) > len(answer_text(p, 1)) for p in pairs])
    return {
        "accuracy": float(right.mean()),
        "accuracy_ci": list(stats.wilson(float(right.sum()), len(pairs)))[1:],
        "accuracy_vs_gold": float(gold_right.mean()),
        "length_baseline": float(max(longer.mean(), 1 - longer.mean())),
        "ceiling": stats.accuracy_ceiling([p.probability for p in pairs]),
        "n": len(pairs),
    }


def ppo(demo: Demo) -> None:
    """PPO from the fine-tuned model on new questions; the gold score is logged and weighs nothing."""
    s, o, folder = demo.sizes, demo.options, demo.folder
    write_jsonl(folder / "ppo_prompts.jsonl", [prompt_row(p) for p in questions(s.ppo_prompts, 10 * o.seed + 3, "train")])
    write_jsonl(folder / "ppo_validation.jsonl", [prompt_row(p) for p in questions(48, 10 * o.seed + 3, "validation")])
    _train(
        demo,
        "ppo",
        f"model_name_or_path={folder / 'sft' / 'model'}",
        f"reward_model_path={folder / 'reward' / 'model'}",
        f"reward_funcs=[{GOLD}]",
        "reward_weights=[1.0, 0.0]",
        f"train_file={folder / 'ppo_prompts.jsonl'}",
        f"eval_file={folder / 'ppo_validation.jsonl'}",
        f"max_steps={s.ppo_steps}",
        f"per_device_train_batch_size={s.prompts_per_step}",
        f"num_generations={s.generations}",
        f"max_completion_length={s.max_tokens}",
        f"temperature={o.temperature}",
        f"eval_steps={max(1, s.ppo_steps // 2)}",
        "num_eval_prompts=48",
        "num_ppo_epochs=1",
        "num_mini_batches=4",
        "reward_clip_range=[-3, 3]",
        "missing_eos_score=-3",
        "learning_rate=6e-4",
        "critic_learning_rate=5e-4",
        "critic_head=zero",
        "kl_coef=0.05",
        "warmup_steps=2",
        *LORA,
        parents=["sft", "reward"],
    )


@dataclass(frozen=True)
class Judged:
    """The three models on the same held-out questions, with gold scores."""

    prompts: list[Prompt]
    completions: dict[str, list[Completion]]
    gold: dict[str, list[float]]


def evaluate(demo: Demo) -> Judged:
    """One answer of each model to every held-out question, scored by the rubric without noise; kept as heldout.jsonl."""
    s, o, folder = demo.sizes, demo.options, demo.folder
    prompts = questions(s.held_out, 10 * o.seed + 4, "heldout")
    models: dict[str, str | Path] = {"base": o.model, "sft": folder / "sft" / "model", "ppo": folder / "ppo" / "model"}
    completions = {
        name: _generate(demo, model, prompts, 1, s.max_tokens_base if name == "base" else s.max_tokens)
        for name, model in models.items()
    }
    gold = {
        name: [score(p, c.text, truncated=c.truncated).total for p, c in zip(prompts, found, strict=True)]
        for name, found in completions.items()
    }
    rows = [
        {
            "prompt": p.messages[-1].content,
            **{name: {"answer": completions[name][i].text, "gold": gold[name][i]} for name in models},
        }
        for i, p in enumerate(prompts)
    ]
    write_jsonl(folder / "heldout.jsonl", rows)
    return Judged(prompts, completions, gold)


def ppo_summary(demo: Demo, judged: Judged) -> JSON:
    """The figures of the last stage: win rates with paired bootstrap intervals, gold scores, truncation, KL."""
    lines = [json.loads(line) for line in (demo.folder / "ppo" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "objective/kl" in line]
    seed = demo.options.seed
    against = {
        name: stats.paired_bootstrap(judged.gold["ppo"], judged.gold[name], tolerance=0.005, resamples=10_000, seed=seed)
        for name in ("sft", "base")
    }
    mean = {name: float(np.mean(values)) for name, values in judged.gold.items()}
    cut = {name: float(np.mean([c.truncated for c in found])) for name, found in judged.completions.items()}
    return {
        "first_pass_ratio_deviation": max(line["val/first_pass_ratio_deviation"] for line in steps),
        "kl": steps[-1]["objective/kl"],
        "gold_before": mean["sft"],
        "gold_after": mean["ppo"],
        "gold_base": mean["base"],
        "win_rate": against["sft"].mean,
        "win_rate_ci": [against["sft"].low, against["sft"].high],
        "win_rate_vs_base": against["base"].mean,
        "win_rate_vs_base_ci": [against["base"].low, against["base"].high],
        "n_prompts": len(judged.prompts),
        "truncated_before": cut["sft"],
        "truncated_after": cut["ppo"],
        "truncated_base": cut["base"],
    }


def _train(demo: Demo, verb: str, *words: str, parents: Sequence[str] = (), data: Mapping[str, str] | None = None) -> None:
    """Train as a user would, and enter the run into the store with what it was made of."""
    classes, defaults = sections(verb)
    folder = demo.folder / verb
    fixed = (f"output_dir={folder}", f"seed={demo.options.seed}", f"place={demo.options.place}")
    resolved = load(classes, None, [*fixed, *words], defaults)
    result = train(verb, resolved, progress=demo.progress)
    if result["status"] in STOPPED:
        raise SystemExit(STOPPED[str(result["status"])])
    flat = resolved.flat()
    lineage.record(
        demo.folder / "store.sqlite",
        folder,
        verb,
        flat,
        result,
        parents=[f"{demo.folder.name}/{parent}" for parent in parents],
        data={name: lineage.file_digest(Path(flat[name])) for name in ("train_file", "eval_file")} | dict(data or {}),
    )


def _generate(demo: Demo, model: str | Path, prompts: Sequence[Prompt], n: int, limit: int) -> list[Completion]:
    engine = open_engine(model)
    demo.progress.task("answering", len(prompts) * n)
    sampling = Sampling(limit, demo.options.temperature, seed=demo.options.seed)
    return engine.generate(prompts, n, sampling, lambda done, _: demo.progress.advance(done))


def _dtype():
    import torch

    return torch.bfloat16 if fast_bf16(device()) else torch.float32


def _golds(pair: Ranking, gold: Mapping[str, float]) -> dict[str, float]:
    return {f"gold_{side}": gold[pair.meta[f"{side}_id"]] for side in ("chosen", "rejected")}
