"""Defects of TRL's PPO in its runs (letters as in docs/trl-ppo-defects.md): checkpoints, resume, evaluation, rewards."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from defects_world import metrics, run_ppo
from safetensors.torch import load_file

from plaudit.models.folder import save_model
from plaudit.models.load import load
from plaudit.training.checkpoint import load as load_checkpoint

SPACES = "def score(completions, **_):\n    return [float(text.count('e')) + 0.01 * len(text) for text in completions]\n"
PEAK = "def score(completions, trainer_state, **_):\n    return [-abs(trainer_state.global_step - 2.0)] * len(completions)\n"
CLIMB = "def score(completions, trainer_state, **_):\n    return [float(trainer_state.global_step)] * len(completions)\n"


def test_defect_h_the_critic_is_in_the_checkpoint_whole(tmp_path):
    """There: save_model keeps the policy only, and the critic is lost."""
    _, run = run_ppo(tmp_path, SPACES, "save_steps=1", "max_steps=2", "save_total_limit=5")
    first, second = (load_checkpoint(run / f"checkpoint-{step}").tensors for step in (1, 2))
    layers = {name for name in first["policy"] if name != "lm_head.weight"}
    assert layers | {"head.weight", "head.bias"} == set(first["critic"])
    assert all(not torch.equal(first["critic"][name], second["critic"][name]) for name in first["critic"])
    assert not torch.equal(first["critic"]["model.norm.weight"], first["policy"]["model.norm.weight"])


@pytest.mark.slow
def test_defect_i_a_resumed_run_ends_as_one_that_was_never_stopped(tmp_path):
    """There: no resume at all. Here critic, both optimisers, KL coefficient, samples and metrics are the same to a bit."""
    words = ("save_steps=1", "save_total_limit=9", "eval_steps=2", "kl_target=0.01", "kl_horizon=20", "num_mini_batches=2")
    _, run = run_ppo(tmp_path, SPACES, *words)
    whole = tmp_path / "whole"
    shutil.copytree(run, whole)
    for name in ("checkpoint-3", "checkpoint-4", "model"):
        shutil.rmtree(run / name)
    (run / "summary.json").unlink()
    summary, _ = run_ppo(tmp_path, SPACES, *words, resume=True)
    assert summary["steps"] == 4
    before, after = (load_checkpoint(folder / "checkpoint-4") for folder in (whole, run))
    assert set(after.tensors) >= {"policy", "policy.optimizer", "critic", "critic.optimizer"}
    for part, tensors in before.tensors.items():
        assert all(torch.equal(tensor, after.tensors[part][name]) for name, tensor in tensors.items()), part
    assert any(float(tensor.abs().max()) > 0 for name, tensor in after.tensors["critic.optimizer"].items() if "exp_avg" in name)
    timeless = [{name: value for name, value in c.state.items() if name != "sizes"} for c in (before, after)]
    assert timeless[0] == timeless[1]  # sizes of files depend on the digits of timings
    assert before.state["algorithm"]["kl_coef"] != 0.05
    assert metrics(run) == metrics(whole)
    assert (run / "samples.jsonl").read_text() == (whole / "samples.jsonl").read_text()


def test_defect_i_a_run_that_died_before_its_first_step_does_not_evaluate_twice(tmp_path):
    words = ("max_steps=2", "early_stopping_patience=5", "eval_steps=1", "save_total_limit=9")
    _, run = run_ppo(tmp_path, CLIMB, *words)
    whole = metrics(run)
    for name in ("checkpoint-1", "checkpoint-2", "model"):
        shutil.rmtree(run / name)
    (run / "summary.json").unlink()
    run_ppo(tmp_path, CLIMB, *words, resume=True)
    assert metrics(run) == whole
    assert load_checkpoint(run / "checkpoint-2").state["best"]["since"] == 0


def model_is(run, step):
    """Whether the saved model has the policy's weights of this step's checkpoint."""
    saved = load_file(run / "model" / "model.safetensors")
    kept = load_file(run / f"checkpoint-{step}" / "policy.safetensors")
    return all(torch.equal(saved[name], tensor) for name, tensor in kept.items() if name in saved)


def test_defect_j_every_eval_steps_the_policy_is_evaluated_and_the_best_is_kept(tmp_path):
    """There: eval_steps is computed and never used. The reward here peaks at step 2 of 4, by decree."""
    summary, run = run_ppo(tmp_path, PEAK, "eval_steps=1", "save_total_limit=1")
    told = [(line["step"], line["eval_reward"]) for line in metrics(run) if "eval_reward" in line]
    assert told == [(0, -2.0), (1, -1.0), (2, 0.0), (3, -1.0), (4, -2.0)]
    assert summary["best"] == {"step": 2, "eval_reward": 0.0}
    assert sorted(p.name for p in run.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    assert model_is(run, 2) and not model_is(run, 4)


@pytest.mark.parametrize("words", [(), ("eval_steps=3",)])
def test_defect_j_the_last_step_is_evaluated_whatever_eval_steps_is(tmp_path, words):
    """Else a run that gets better all the time would hand back the weights it started from."""
    summary, run = run_ppo(tmp_path, CLIMB, *words)
    assert summary["best"] == {"step": 4, "eval_reward": 4.0}
    assert model_is(run, 4)


def test_defect_o_while_training_answers_end_where_the_models_generation_config_says(tmp_path):
    """As in chat and evaluation: half the vocabulary ends an answer here, so hardly any runs into the limit."""
    loaded = load("tiny")
    loaded.model.generation_config.eos_token_id = [loaded.tokenizer.eos_token_id, *range(4, 164)]
    save_model(loaded.model, loaded.tokenizer, tmp_path / "model")
    words = (f"model_name_or_path={tmp_path / 'model'}", "max_steps=1", "max_completion_length=30")
    _, run = run_ppo(tmp_path, SPACES, *words)
    first = next(line for line in metrics(run) if line["step"] == 1)
    assert first["completions/mean_length"] < 6
    assert first["completions/clipped_ratio"] == 0


TYPES = """
def score(prompts, completions, completion_ids, colour, **_):
    given = [prompts, completions]
    kind = {str: 1.0, list: 2.0}[type(prompts[0])]
    assert all(isinstance(x, type(prompts[0])) for part in given for x in part)
    assert colour == ["red"] * len(prompts) and all(isinstance(i, int) for ids in completion_ids for i in ids)
    return [kind] * len(prompts)
"""


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [(lambda i: f"order {i}", 1.0), (lambda i: [{"role": "user", "content": f"Where is order {i}?"}], 2.0)],
    ids=["text", "conversation"],
)
def test_defect_r_a_python_function_rewards_text_and_conversations_and_the_critic_is_made_by_itself(tmp_path, prompt, kind):
    """There: an nn.Module on the same tokenizer, tokenised prompts, and a value model given by hand, or an error."""
    rows = [{"prompt": prompt(i), "colour": "red"} for i in range(12)]
    summary, run = run_ppo(tmp_path, TYPES, "max_steps=1", prompts=rows)
    assert summary["status"] == "finished"
    assert next(line for line in metrics(run) if line["step"] == 1)["reward"] == kind
    assert "head.weight" in load_checkpoint(run / "checkpoint-1").tensors["critic"]


@pytest.mark.slow
def test_defect_s_the_defaults_work_on_a_machine_without_an_accelerator(tmp_path):
    """There: every config raises on a CPU unless it is told so. Here only what has no default is given, on the command line."""
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"order {i}"}) + "\n" for i in range(12)))
    (tmp_path / "mine.py").write_text(SPACES)
    words = [
        "train_file=prompts.jsonl",
        "output_dir=run",
        "reward_funcs=[mine:score]",
        "model_name_or_path=tiny",
        "max_steps=1",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "plaudit", "train", "ppo", *words, "--json"],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "finished"
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
