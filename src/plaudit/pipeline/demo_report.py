"""The demo's report.html: its figures, curves, answers and one answer token by token."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from plaudit.evaluation import report
from plaudit.pipeline.demo_config import DemoConfig, Sizes
from plaudit.schema import JSON, json_lines

if TYPE_CHECKING:
    from plaudit.pipeline.demo_stages import Judged

Points = list[tuple[float, float]]
SHOWN = 8
"""Pairs of answers in the report."""


def write(folder: Path, summary: JSON, judged: Judged, sizes: Sizes, options: DemoConfig) -> Path:
    """Write folder/report.html."""
    page = report.Report(
        title="Support assistant: from simulated judgements to PPO",
        run=folder.name,
        model=str(summary["model"]),
        seed=summary["seed"],
        machine=_machine(),
        created_at=datetime.now(UTC).isoformat(timespec="minutes"),
        headline=_headline(summary),
        curves=_curves(folder),
        comparisons=_comparisons(judged),
        traces=_traces(folder / "ppo" / "trace.json"),
        seconds={name: value for name, value in summary["seconds"].items() if name != "total"},
        data=_data(summary, sizes),
        configuration={verb: yaml.safe_load((folder / verb / "config.yaml").read_text()) for verb in ("sft", "reward", "ppo")},
        command=f"plaudit demo --seed {options.seed} --model {options.model}" + (" --quick" if options.quick else ""),
    )
    return report.write_report(folder / "report.html", page)


def _headline(summary: JSON) -> report.Headline:
    ppo, reward = summary["ppo"], summary["reward_model"]
    return report.Headline(
        n_prompts=ppo["n_prompts"],
        win_rate=report.Interval(ppo["win_rate"], *ppo["win_rate_ci"]),
        win_rate_vs_base=report.Interval(ppo["win_rate_vs_base"], *ppo["win_rate_vs_base_ci"]),
        gold_before=ppo["gold_before"],
        gold_after=ppo["gold_after"],
        gold_base=ppo["gold_base"],
        reward_model=report.RewardModel(reward["accuracy"], reward["length_baseline"], reward["ceiling"], reward["n"]),
        kl=ppo["kl"],
        truncated_before=ppo["truncated_before"],
        truncated_after=ppo["truncated_after"],
    )


def _curves(folder: Path) -> Sequence[report.Curve]:
    sft, reward, ppo = (_lines(folder / verb / "metrics.jsonl") for verb in ("sft", "reward", "ppo"))
    gold = "rewards/gold/mean"
    found = [
        report.curve("reward", _points(ppo, "reward"), label="training", others={"held-out": _points(ppo, "eval_reward")}),
        report.curve("gold", _points(ppo, gold), label="training", others={"held-out": _points(ppo, f"eval_{gold}")}),
        report.curve("kl", _points(ppo, "objective/kl")),
        report.curve("length", _points(ppo, "completions/mean_length")),
        report.curve("entropy", _points(ppo, "policy/entropy_avg")),
        report.curve("explained_variance", _points(ppo, "val/explained_variance")),
        report.curve("clip_fraction", _points(ppo, "policy/clipfrac_avg")),
        report.curve("sft_loss", _points(sft, "loss"), label="training", others={"held-out": _points(sft, "eval_loss")}),
        report.curve(
            "reward_accuracy",
            _points(reward, "accuracy"),
            label="training",
            others={"held-out": _points(reward, "eval_accuracy")},
        ),
    ]
    return [one for one in found if one.points]


def _comparisons(judged: Judged) -> list[report.Comparison]:
    """Held-out answers evenly spread over how much PPO gained on them, so that losses are shown beside wins."""
    order = sorted(range(len(judged.prompts)), key=lambda i: judged.gold["ppo"][i] - judged.gold["sft"][i])
    chosen = [order[round(k * (len(order) - 1) / (SHOWN - 1))] for k in range(min(SHOWN, len(order)))][::-1]

    def answer(name: str, i: int) -> report.Answer:
        done = judged.completions[name][i]
        return report.Answer(done.text, {"gold": judged.gold[name][i]}, done.truncated)

    return [
        report.Comparison(judged.prompts[i].messages[-1].content, answer("sft", i), answer("ppo", i), answer("base", i))
        for i in chosen
    ]


def _traces(path: Path) -> list[report.TokenTrace]:
    return [
        report.TokenTrace(
            one["tokens"],
            one["streams"],
            prompt=one["prompt"],
            default="advantage",
        )
        for one in json.loads(path.read_text())
    ]


def _data(summary: JSON, sizes: Sizes) -> report.Data:
    labels = summary["simulated_annotators"]
    counts = {
        "demonstrations": sizes.demonstrations,
        "questions judged": sizes.judged_prompts + sizes.judged_validation,
        "pairs": labels["pairs"],
        "simulated judgements": labels["acts"],
        "questions for PPO": sizes.ppo_prompts,
        "held-out questions": sizes.held_out,
    }
    annotators = [
        report.Annotator(
            one["name"],
            round(labels["acts"] / len(labels["annotators"])),
            flipped=1 - one["reliability"],
            about=f"estimated from the votes alone: {labels['estimated'].get(one['name'], float('nan')):.2f} right",
        )
        for one in labels["annotators"]
    ]
    return report.Data(counts, annotators, agreement=labels["alpha"], flip_rate=labels["flipped_share"])


def _lines(path: Path) -> list[JSON]:
    return [json.loads(line) for line in json_lines(path.read_text(encoding="utf-8"))]


def _points(lines: Sequence[JSON], name: str, change: Callable[[Any], float] = float) -> Points:
    return [(line["step"], change(line[name])) for line in lines if name in line]


def _machine() -> str:
    import torch

    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads"
    return f"{platform.system()} {platform.machine()}, {where}, Python {platform.python_version()}, torch {torch.__version__}"
