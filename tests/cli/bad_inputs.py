"""The table of mistakes: what is wrong, the command that runs into it, and what the sentence says."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from training_runs import Runs

Spoil = Callable[[Path, Runs], None]
"""Puts the mistake into a folder."""


def wrote(name: str, *lines: Any) -> Spoil:
    """A file with these lines; what is no string is written as JSON."""

    def spoil(folder: Path, runs: Runs) -> None:
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")

    return spoil


def data(*lines: Any) -> Spoil:
    return wrote("bad.jsonl", *lines)


def rewards(body: str) -> Spoil:
    return wrote("bad.py", "def reward(completions, **_):", f"    {body}")


def algorithm(*lines: str) -> Spoil:
    """The file bad.py with an algorithm `Mine` that has an option of its own, its body changed."""
    head = (
        "from plaudit.algorithms.sft import SFT, SFTConfig\nfrom plaudit.algorithms.base import Algorithm\n"
        "from plaudit.config import config\n\nRATES = {'learning_rate': 1e-5, 'lora_learning_rate': 1e-4}\n"
    )
    return wrote("bad.py", head, *lines)


def model(without: str | None = None) -> Spoil:
    """The folder `model` with the tiny model, without one file."""

    def spoil(folder: Path, runs: Runs) -> None:
        shutil.copytree(runs.whole("sft", False) / "model", folder / "model")
        if without:
            (folder / "model" / without).unlink()

    return spoil


def reward_model(change: Callable[[Path], object]) -> Spoil:
    """The folder `rm` with a LoRA reward model, changed."""

    def spoil(folder: Path, runs: Runs) -> None:
        shutil.copytree(runs.whole("reward", True) / "model", folder / "rm")
        change(folder / "rm")

    return spoil


def other_base(folder: Path) -> None:
    about = json.loads((folder / "reward.json").read_text())
    (folder / "reward.json").write_text(json.dumps({**about, "base_digest": "f" * 64}))


def cut(path: Path) -> None:
    os.truncate(path, 100)


def nothing(folder: Path, runs: Runs) -> None:
    pass


def chat(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": "Hello"} for role in roles]}


ONE = {"prompt": "Where is order 1?", "completion": " Here."}
PAIR = {"prompt": "Where is order 1?", "chosen": " Here.", "rejected": " No."}
LONG = {"prompt": "Where is it? " * 200}
BAD = ("sft", "train_file=bad.jsonl")
PAIRS = ("reward", "train_file=bad.jsonl")
ASK = ("ppo", "train_file=bad.jsonl")
MINE = ("bad.py:Mine",)
FUNCTION = ("ppo", "reward_funcs=[bad.py:reward]")

# name: (what is wrong, the verb and its options, parts of the sentence)
TABLE: Mapping[str, tuple[Spoil, tuple[str, ...], tuple[str, ...]]] = {
    "no such file": (nothing, ("sft", "train_file=no.jsonl"), ("no.jsonl: there is no such file",)),
    "a folder as file": (nothing, ("sft", "train_file=."), ("cannot be read: it is a folder without data files",)),
    "not a text file": (
        lambda folder, _: (folder / "bad.jsonl").write_bytes(b'{"text": "\xff"}\n'),
        BAD,
        ("bad.jsonl, line 1", "not UTF-8"),
    ),
    "wrong columns": (
        data({"question": "a", "answer": "b"}),
        BAD,
        ("bad.jsonl, line 1", "prompt and completion, or messages, or text", "there are: question, answer"),
    ),
    "columns of another verb": (data(ONE), PAIRS, ("chosen and rejected", "there are: prompt, completion")),
    "empty file": (data(), BAD, ("bad.jsonl is empty",)),
    "only blank lines": (data("", "  "), BAD, ("bad.jsonl is empty",)),
    "broken JSON": (data(ONE, '{"prompt": "a", "comp'), BAD, ("bad.jsonl, line 2: broken JSON",)),
    "a line that is no object": (data(ONE, [1]), BAD, ("bad.jsonl, line 2", "must be a JSON object, not a list")),
    "content that is no string": (data({**ONE, "completion": 3}), BAD, ("line 1, completion", "the number 3")),
    "content of a message that is no string": (
        data({"messages": [{"role": "user", "content": ["a"]}]}),
        BAD,
        ("line 1, messages", "content must be a string, not a list"),
    ),
    "half a surrogate pair": (data({**ONE, "completion": "\ud83d"}), BAD, ("surrogate",)),
    "unknown role": (data(chat("user", "robot")), BAD, ("the unknown role 'robot'; the roles are",)),
    "no answer to train on": (data(chat("user")), BAD, ("no assistant turn",)),
    "equal sides": (data({**PAIR, "rejected": PAIR["chosen"]}), PAIRS, ("line 1: chosen and rejected are equal",)),
    "a pair's sides are equal in another layout": (
        data({"instruction": "Where?", "chosen": "Here.", "rejected": "Here."}),
        PAIRS,
        ("line 1: chosen and rejected are equal",),
    ),
    "ratings where pairs are needed": (
        data({**ONE, "rating": 4}),
        PAIRS,
        ("chosen and rejected", "there are: prompt, completion, rating", "(rated answers, which serves sft"),
    ),
    "a turn of an unknown role in ShareGPT": (
        data({"conversations": [{"from": "human", "value": "a"}, {"from": "robot", "value": "b"}]}),
        BAD,
        ("line 1, conversations, turn 2 has the unknown role 'robot'; the roles are human",),
    ),
    "no such layout": (data(ONE), (*BAD, "dataset_format=alpacca"), ("alpacca", "did you mean alpaca")),
    "columns of a forced layout": (
        data(ONE),
        (*BAD, "dataset_format=alpaca"),
        ("line 1: alpaca needs the column instruction; there are: prompt, completion",),
    ),
    "a broken table": (
        wrote("bad.csv", "prompt,completion", "a,b,c"),
        ("sft", "train_file=bad.csv"),
        ("bad.csv, line 2: has 3 cells, but the header has 2",),
    ),
    "a broken JSON file": (wrote("bad.json", '[{"text": "a"},'), ("sft", "train_file=bad.json"), ("bad.json, line 2: broken",)),
    "no Parquet": (wrote("bad.parquet", "PAR2"), ("sft", "train_file=bad.parquet"), ("bad.parquet cannot be read as Parquet",)),
    "a pattern without files": (nothing, ("sft", "train_file=none-*.jsonl"), ("none-*.jsonl: no file matches",)),
    "no such data set in dataset_info.json": (
        wrote("dataset_info.json", {"pairs": {"file_name": "bad.jsonl"}}),
        ("sft", "train_file=.", "dataset=pears"),
        ("dataset_info.json: there is no dataset 'pears'; there are: pairs",),
    ),
    "a mixture in which one part has no weight": (
        data(ONE),
        ("sft", "train_file=[{path: bad.jsonl, weight: 1}, bad.jsonl]"),
        ("bad.jsonl: has no weight",),
    ),
    "a file that cannot be streamed": (
        wrote("bad.json", '[{"text": "a"}]'),
        ("sft", "train_file=bad.json", "streaming=true"),
        ("bad.json: streaming needs .jsonl, .csv",),
    ),
    "a bad row while streaming": (
        data(ONE, {**ONE, "completion": 3}),
        (*BAD, "streaming=true"),
        ("line 2, completion must be a string or a list of messages, not the number 3",),
    ),
    "every row refused": (
        data({**ONE, "completion": 3}),
        (*BAD, "skip_refused_rows=true"),
        ("no demonstrations are left of 1 rows (1 cannot be read, the first: bad.jsonl, line 1",),
    ),
    "no rows left": (
        data(*({**ONE, "prompt": "x" * 100 + str(i)} for i in range(9))),
        (*BAD, "max_length=16"),
        ("No demonstrations are left", "raise max_length"),
    ),
    "no prompts left": (data(*({"prompt": LONG["prompt"] + str(i)} for i in range(9))), ASK, ("No prompts are left",)),
    "one prompt for two splits": (data(ONE, ONE), BAD, ("1 different prompts for 2 splits",)),
    "prompt longer than the context": (
        data(*({"prompt": "x " * 300 + str(i)} for i in range(9))),
        (*ASK, "max_prompt_length=1000"),
        ("the longest prompt has", "more than the 512 that the model can read", "set max_prompt_length to"),
    ),
    "prompt and answer longer than the context": (
        data(*({"prompt": "x " * 100 + str(i)} for i in range(9))),
        (*ASK, "max_completion_length=400", "max_prompt_length=300"),
        ("max_completion_length is 400", "more than the 512", "set max_prompt_length to 112"),
    ),
    "answer longer than the context": (nothing, ("ppo", "max_completion_length=512"), ("more than the 512",)),
    "model folder without weights": (
        model(without="model.safetensors"),
        ("sft", "model_name_or_path=model"),
        ("model folder model has no weights",),
    ),
    "model folder without tokenizer": (
        model(without="tokenizer.json"),
        ("sft", "model_name_or_path=model"),
        ("has no tokenizer",),
    ),
    "no such model folder": (nothing, ("sft", "model_name_or_path=./model"), ("no model folder or file model",)),
    "no chat template": (
        model(without="chat_template.jinja"),
        ("sft", "model_name_or_path=model"),
        ("chat template",),
    ),
    "no such reward model": (nothing, ("ppo", "reward_model_path=rm"), ("rm cannot be used: it does not exist",)),
    "a plain model as reward model": (model(), ("ppo", "reward_model_path=model"), ("it has no scalar head",)),
    "head of the reward model missing": (
        reward_model(lambda folder: (folder / "head.safetensors").unlink()),
        ("ppo", "reward_model_path=rm", "use_peft=true"),
        ("rm has no scalar head",),
    ),
    "adapter of the reward model missing": (
        reward_model(lambda folder: (folder / "adapter_model.safetensors").unlink()),
        ("ppo", "reward_model_path=rm", "use_peft=true"),
        ("rm", "adapter_model.safetensors"),
    ),
    "reward model damaged": (
        reward_model(lambda folder: cut(folder / "adapter_model.safetensors")),
        ("ppo", "reward_model_path=rm", "use_peft=true"),
        ("rm", "adapter_model.safetensors"),
    ),
    "reward.json damaged": (
        reward_model(lambda folder: cut(folder / "reward.json")),
        ("ppo", "reward_model_path=rm"),
        ("reward.json is damaged",),
    ),
    "adapter for another base": (
        reward_model(other_base),
        ("ppo", "reward_model_path=rm", "use_peft=true"),
        ("was trained on another base (digest ffffffffffff", "give the base it was trained on"),
    ),
    "output folder below a file": (
        wrote("file", "x"),
        ("sft", "output_dir=file/run"),
        ("output_dir file/run cannot be written", "choose another folder"),
    ),
    "output folder on a read-only file system": (nothing, ("sft", "output_dir=/proc/run"), ("output_dir /proc/run cannot be",)),
    "an option's typo": (nothing, ("sft", "learning_rat=1"), ("learning_rat", "learning_rate")),
    "an option's typo in a file": (wrote("a.yaml", "max_stepz: 3"), ("sft", "a.yaml"), ("a.yaml", "max_stepz", "max_steps")),
    "an option of the wrong type": (nothing, ("sft", "max_steps=many"), ("max_steps", "many")),
    "an option out of range": (nothing, ("ppo", "lam=1.5"), ("lam", "1.5")),
    "no such config file": (nothing, ("sft", "no.yaml"), ("no.yaml",)),
    "a config file that is no YAML": (wrote("a.yaml", "a: [1"), ("sft", "a.yaml"), ("a.yaml",)),
    "two options that exclude each other": (
        nothing,
        ("ppo", "missing_eos_penalty=1", "missing_eos_score=-1"),
        ("missing_eos_penalty", "not both"),
    ),
    "an option that is needed is missing": (nothing, ("sft", "train_file=null"), ("train_file",)),
    "no such algorithm": (nothing, ("sftt",), ("nothing in algorithms is called 'sftt'; did you mean sft?",)),
    "no such algorithm file": (nothing, ("no.py:Mine",), ("algorithms no.py:Mine: there is no file no.py",)),
    "no such class in the file": (algorithm("class Mine(SFT): ..."), ("bad.py:Mien",), ("has no 'Mien'; did you mean Mine?",)),
    "a class that is no algorithm": (
        algorithm("class Mine: ..."),
        MINE,
        ("must be a subclass of plaudit.algorithms.base.Algorithm",),
    ),
    "an algorithm that is a function": (algorithm("def Mine(options): ..."), MINE, ("bad.py:Mine is no algorithm",)),
    "an algorithm without Config": (
        algorithm("class Mine(Algorithm): ..."),
        MINE,
        ("it has no Config; give it a @config class",),
    ),
    "an algorithm whose Config is a mapping": (
        algorithm("class Mine(SFT):", "    Config = {'beta': 0.1}"),
        MINE,
        ("it has no Config; give it a @config class",),
    ),
    "an algorithm without learning rates": (
        algorithm("@config", "class C:", "    beta: float = 1.0", "class Mine(SFT):", "    Config = C"),
        MINE,
        ("C.defaults lacks learning_rate and lora_learning_rate",),
    ),
    "an algorithm that eats something else": (
        algorithm("class Mine(SFT):", "    eats = 'pairs'"),
        MINE,
        ("it eats 'pairs'; an algorithm eats demonstrations, rankings, labels, steps or prompts",),
    ),
    "an algorithm that trains nothing": (algorithm("class Mine(SFT):", "    networks = {}"), MINE, ("its networks are empty",)),
    "an algorithm with an option that every run has": (
        algorithm("@config", "class C:", "    seed: int = 1", "    defaults = RATES", "class Mine(SFT):", "    Config = C"),
        MINE,
        ("option seed is in both TrainingConfig and C",),
    ),
    "an algorithm with a default for no option": (
        algorithm("@config", "class C:", "    defaults = {**RATES, 'epochs': 3}", "class Mine(SFT):", "    Config = C"),
        MINE,
        ("a default is given for epochs, which is no option",),
    ),
    "an algorithm in a file that is broken": (
        wrote("bad.py", "import plaudit", "1 / 0"),
        MINE,
        ("bad.py, line 2", "ZeroDivisionError"),
    ),
    "no such place": (nothing, ("sft", "place=ray"), ("place 'ray' is not there; it can be local",)),
    "nothing to reward": (nothing, ("ppo", "reward_funcs=[]"), ("there is nothing to reward",)),
    "no such reward": (nothing, ("ppo", "reward_funcs=[lenght_penalty]"), ("lenght_penalty", "length_penalty")),
    "no such reward file": (nothing, ("ppo", "reward_funcs=[no.py:reward]"), ("no.py",)),
    "a reward file that is broken": (wrote("bad.py", "def reward(:"), FUNCTION, ("bad.py", "SyntaxError")),
    "a reward that raises": (rewards("return 1 / 0"), FUNCTION, ("ZeroDivisionError", "bad.py, line 2")),
    "a reward of the wrong length": (rewards("return [1.0]"), FUNCTION, ("returned 1 values for",)),
    "a reward that is NaN": (rewards("return [float('nan')] * len(completions)"), FUNCTION, ("returned nan", "finite")),
    "a reward that is no list": (rewards("return 'good'"), FUNCTION, ("instead of a list",)),
    "a reward that never applies": (
        rewards("return [None] * len(completions)"),
        (*FUNCTION, "eval_fraction=0"),
        ("step 1: no answer has a reward",),
    ),
    "a reward that never applies to held-out prompts": (
        rewards("return [None] * len(completions)"),
        FUNCTION,
        ("held-out", "no answer has a reward"),
    ),
    "token rewards of the wrong length": (
        rewards("return [[0.0] * 99] * len(completions)"),
        FUNCTION,
        ("reward function reward returned 99 numbers for answer 1, which has", "one for each token"),
    ),
    "an ensemble of one": (nothing, ("ppo", "reward_ensemble=worst"), ("reward_ensemble worst needs a list of two or more",)),
    "a coefficient for no pre-training rows": (nothing, ("ppo", "ptx_file=null"), ("ptx_coef needs ptx_file",)),
    "an empty half": (data(*[PAIR] * 9), (*PAIRS, "data_half=b", "eval_fraction=0"), ("data_half b", "give more")),
    "more mini-batches than answers": (
        nothing,
        ("ppo", "num_mini_batches=9"),
        ("num_mini_batches=9 is more than the 8 answers of a step", "lower it"),
    ),
    "patience without held-out rows": (
        nothing,
        ("sft", "early_stopping_patience=2", "eval_fraction=0"),
        ("early_stopping_patience", "eval_file"),
    ),
}
