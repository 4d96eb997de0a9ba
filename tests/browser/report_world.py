"""Every offline page that Plaudit writes, from real runs of the tiny model; what people and models wrote in them is hostile.

The names of runs stand in folders' names, those of reward functions in Python: they are as hostile as such names may be.
"""

from __future__ import annotations

import json
from pathlib import Path

from hostile_texts import HOSTILE
from plaudit.cli.main import main
from plaudit.evaluation.report import (
    Annotator,
    Answer,
    Comparison,
    Curve,
    Data,
    Headline,
    Interval,
    Report,
    RewardModel,
    TokenTrace,
    curve,
    write_report,
)

LONG = "A long answer about the order that nobody can find, " * 12
UNBROKEN = "https://shop.example/" + "a" * 400
RUN = "ppo <b>&amp; " + "x" * 60
"""A folder's name, with markup and without a place to break."""
RULES = """
def proxy(completion_ids, **_):
    return [sum(i % 7 for i in ids) / 10 for ids in completion_ids]

def a_reward_function_whose_name_is_much_longer_than_any_column_of_a_phone(completion_ids, **_):
    return [-len(ids) / 4 for ids in completion_ids]
"""
PPO = [
    *("model_name_or_path=tiny", "bf16=false", "train_file=prompts.jsonl", "eval_fraction=0.3", "learning_rate=0.02"),
    *("max_completion_length=12", "max_steps=4", "eval_steps=2", "num_generations=2", "per_device_train_batch_size=4"),
    *("max_prompt_length=200", "reward_model_path=reward/model", "num_eval_prompts=6"),
    "reward_funcs=[rules.py:proxy,rules.py:a_reward_function_whose_name_is_much_longer_than_any_column_of_a_phone]",
    "independent_reward_funcs=[rules.py:a_reward_function_whose_name_is_much_longer_than_any_column_of_a_phone]",
]


def texts(count: int) -> list[str]:
    """Hostile ones, with a long one and one that cannot be broken among them."""
    return [(LONG, UNBROKEN)[i % 2] if i % 10 < 2 else HOSTILE[i % len(HOSTILE)] for i in range(count)]


def command(*words: object) -> None:
    """`plaudit WORDS` in this process; a gate that is shut and a doctor who says act are no failures."""
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        assert end.code in (None, 0, 1), f"{words}: {end.code}"


def fill(folder: Path) -> None:
    """Prompts, pairs and reward functions."""
    words = texts(60)
    rows = [{"prompt": f"{i} {text}", "source": words[i - 1][:40]} for i, text in enumerate(words[:30])]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    pairs = [
        {"prompt": f"{i} {words[i]}", "chosen": words[i - 7] + " yes", "rejected": words[i - 20] + " no"}
        | {"source": words[5 + i % 2], "annotator": words[3 + i % 3]}
        for i in range(60)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs), "utf-8")
    (folder / "rules.py").write_text(RULES, "utf-8")


def pages(folder: Path) -> dict[str, Path]:
    """Runs in this folder, which is the working one, and the page of each verb."""
    fill(folder)
    runs(folder)
    return rest(folder)


def runs(folder: Path) -> None:
    """A reward model and two runs that are trained against it."""
    reward = ["model_name_or_path=tiny", "bf16=false", "train_file=pairs.jsonl", "max_length=256", "max_steps=4"]
    reward += ["per_device_train_batch_size=8", "eval_fraction=0.3", "eval_steps=2", "learning_rate=0.01"]
    command("train", "reward", *reward, "output_dir=reward")
    command("train", "ppo", *PPO, f"output_dir={RUN}")
    command("train", "ppo", *PPO, "output_dir=ppo-b", "seed=2", "learning_rate=0.01")
    evaluation = {"win_rate": 0.6, "win_rate_ci": [0.5, 0.7], "compared_prompts": 40}
    tasks = {text: {"rows": 1, "acc": 0.5, "acc_ci": [0.1, 0.9]} for text in texts(4)}
    (folder / "ppo-b" / "evaluate.json").write_text(json.dumps(evaluation | {"tasks": tasks}))


def rest(folder: Path) -> dict[str, Path]:
    """The page of each verb on those runs."""
    found = {name: folder / f"{name}.html" for name in ("card", "preflight", "report", "doctor", "reward-doctor")}
    command("card", "reward", "pairs.jsonl", "--also", "reward/model", "probe_answers=10", "--output", found["card"])
    sampled = ["max_new_tokens=8", "-n", "8", "reward_funcs=[rules.py:proxy]"]
    independent = "independent_reward_funcs=[rules.py:a_reward_function_whose_name_is_much_longer_than_any_column_of_a_phone]"
    command("preflight", "tiny", "prompts.jsonl", *sampled, independent, "--output", found["preflight"])
    command("report", RUN, "ppo-b", "reward", "--price", "2.5", "--attribute", "reward", "--output", found["report"])
    command("doctor", RUN, "--page", found["doctor"])
    command("doctor", "reward", "--held-out", "pairs.jsonl", "--page", found["reward-doctor"])
    found["demo"] = write_report(folder / "demo.html", demo(folder / RUN))
    return found


def demo(run: Path) -> Report:
    """The page of the demo, whose texts are hostile, long, or both, with the curves of a run."""
    words = texts(40)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    points = [(line["step"], line["objective/kl"]) for line in lines if "objective/kl" in line]
    stream = {"advantage": [0.5, -0.2, None], words[3]: [0.0, 1.0, -2.0]}
    compared = [
        Comparison(words[i], Answer(words[i + 1], {words[i]: 0.5}, True), Answer(words[i + 2]), Answer(words[i + 3]), words[i])
        for i in range(0, 30, 3)
    ]
    return Report(
        title=words[2],
        run=words[1],
        model=words[4],
        seed=1,
        machine=words[0],
        headline=Headline(40, Interval(0.6, 0.5, 0.7), Interval(0.9, 0.8, 1.0), 0.3, 0.4, 0.1, RewardModel(0.6, 0.5, 0.9, 90)),
        curves=[curve("kl", points), Curve(words[5], words[6], points, label=words[1], others={words[7]: points[:2]})],
        comparisons=compared,
        traces=[TokenTrace([words[8], "", words[1]], stream, words[9], words[0])],
        seconds={words[1]: 12.0, "PPO": 36.0},
        data=Data({words[0]: 3}, [Annotator(words[1], 5, 0.25, words[0])], True, 0.4, words[7], 0.25, [words[1]]),
        configuration={words[1]: {words[2]: words[1], words[0]: {words[3]: 1}}},
        command=words[1],
        commit=words[2],
    )
