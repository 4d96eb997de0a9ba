"""Mistakes of the user, through the command line: exit code 2, one sentence (what, where, what to do), and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nursery import At
from training_runs import Runs, same

Spoil = Callable[[Path, Runs], None]
"""Puts the mistake into a folder."""


@pytest.fixture(scope="module")
def runs(nursery, tmp_path_factory):
    return Runs(nursery, tmp_path_factory.mktemp("bad"))


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
FUNCTION = ("ppo", "reward_funcs=[bad.py:reward]")

# name: (what is wrong, the verb and its options, parts of the sentence)
TABLE: Mapping[str, tuple[Spoil, tuple[str, ...], tuple[str, ...]]] = {
    "no such file": (nothing, ("sft", "train_file=no.jsonl"), ("no.jsonl: there is no such file",)),
    "a folder as file": (nothing, ("sft", "train_file=."), ("cannot be read: Is a directory",)),
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
    "no such algorithm": (nothing, ("sftt",), ("no algorithm 'sftt'", "sft, reward, ppo")),
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


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE)
def test_a_mistake_is_one_sentence_and_leaves_the_folder_free(runs, request, case):
    spoil, (verb, *options), parts = case
    place = "".join(c if c.isalnum() else "-" for c in request.node.callspec.id)
    folder = runs.root / place
    folder.mkdir()
    spoil(folder, runs)
    usual = runs.words(verb)[2:] if verb in ("sft", "reward", "ppo") else []
    files, changes = [o for o in options if "=" not in o], [o for o in options if "=" in o]
    sentence = runs.start(place, "train", verb, *files, *usual, *changes).refusal
    assert "\n" not in sentence
    assert [part for part in parts if part not in sentence] == [], sentence
    assert not (folder / "run" / "model").exists()


def test_a_start_with_bad_data_can_be_mended_and_repeated(runs):
    (runs.root / "mended").mkdir()
    data("{")(runs.root / "mended", runs)
    words = runs.words("sft")
    assert "broken JSON" in runs.start("mended", *words, "train_file=bad.jsonl").refusal
    assert runs.start("mended", *words).code == 0


def test_a_reward_that_raises_late_loses_no_step(runs):
    """The steps so far are in a checkpoint; mended, the run goes on and ends as if nothing had been."""
    script = runs.root / "late.py"
    script.write_text(
        "def reward(completion_ids, trainer_state, **_):\n"
        "    if trainer_state.global_step == 3:\n"
        "        raise OSError('service is down')\n"
        "    return [sum(i % 7 for i in ids) / 10 for ids in completion_ids]\n"
    )
    words = [*runs.words("ppo"), "reward_funcs=[../late.py:reward]", "save_steps=100", "eval_steps=100"]
    sentence = runs.start("late", *words).refusal
    assert "raised OSError: service is down" in sentence and "late.py, line 3" in sentence
    assert (runs.root / "late" / "run" / "checkpoint-3").is_dir()
    script.write_text(script.read_text().replace("== 3", "== -3"))
    done = runs.start("late", *words, "--resume")
    assert done.code == 0 and "going on after step 3 of 5" in done.err
    assert runs.start("never", *words).code == 0
    same(runs.root / "late" / "run", runs.root / "never" / "run")


def test_resume_with_another_config_names_what_changed_and_loses_nothing(runs):
    whole = runs.whole("sft", False)
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    sentence = runs.start("sft-False", *runs.words("sft"), "learning_rate=0.5", "max_steps=9", "--resume").refusal
    assert "max_steps was 5 and is now 9" in sentence and "learning_rate was 0.001 and is now 0.5" in sentence
    assert "put it back, or choose another folder" in sentence
    assert "already holds a run; go on with --resume" in runs.start("sft-False", *runs.words("sft")).refusal
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_resume_with_other_data_is_refused(runs):
    folder = runs.root / "swapped"
    folder.mkdir()
    shutil.copy(runs.root / "demonstrations.jsonl", folder / "mine.jsonl")
    words = [*runs.words("sft"), "train_file=mine.jsonl"]
    assert runs.start("swapped", *words, at=At(".checkpoint-4.tmp")).code == -9
    lines = (folder / "mine.jsonl").read_text().splitlines()
    (folder / "mine.jsonl").write_text("\n".join(lines[1:]))
    assert "train_file no longer has the content" in runs.start("swapped", *words, "--resume").refusal
    (folder / "mine.jsonl").write_text("\n".join(lines))
    assert runs.start("swapped", *words, "--resume").code == 0


def test_held_out_prompts_that_are_trained_on_are_told_of(runs):
    done = runs.start("leak", *runs.words("sft"), "eval_file=../demonstrations.jsonl")
    assert done.code == 0, done.err
    told = [line for line in done.err.splitlines() if "validation" in line and "train" in line]
    assert any("24" in line for line in told[1:]), done.err
    assert set(told) <= {line.split(" ", 1)[1] for line in (runs.root / "leak" / "run" / "events.log").read_text().splitlines()}


def test_rows_longer_than_the_context_are_cut_and_told_of(runs):
    (runs.root / "context").mkdir()
    data(*({"prompt": f"Where {i}?", "completion": " on the way" * 200} for i in range(9)))(runs.root / "context", runs)
    done = runs.start("context", *runs.words("sft"), "train_file=bad.jsonl", "max_length=1024")
    assert done.code == 0, done.err
    assert "max_length 1024 is more than the model can read: 512 is used" in done.err
    assert "kept but cut to 512 tokens" in done.err


@pytest.mark.slow
def test_a_disk_that_fills_up_while_training(runs):
    """A real file system of its own, too small for the second checkpoint."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces for this user")
    (runs.root / "full" / "run").mkdir(parents=True)
    weights = sum(path.stat().st_size for path in (runs.whole("sft", False) / "checkpoint-5").iterdir())
    script = (
        f"mount -t tmpfs -o size={int(2.5 * weights)} none run && {sys.executable} -m plaudit {' '.join(runs.words('sft'))};"
        "code=$?; ls -A run; exit $code"
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=runs.root / "full",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "permission denied" in done.stderr.lower():
        pytest.skip("this user may not mount")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    sentence = done.stderr.strip().splitlines()[-1]
    assert sentence.startswith("plaudit: checkpoint ") and "the disk is full; earlier checkpoints are untouched" in sentence
    assert "checkpoint-0" in done.stdout.split() and ".tmp" not in done.stdout
