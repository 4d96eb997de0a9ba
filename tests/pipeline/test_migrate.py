"""Configs of other tools: what they become, what is told to have no counterpart, and that every name leads to an option."""

from __future__ import annotations

import pytest
import yaml

from plaudit.cli import main as cli
from plaudit.config import checked, options
from plaudit.flatyaml import Given
from plaudit.pipeline.migrate.sources import read, verb_of
from plaudit.pipeline.migrate.tables import DEFAULTS, TABLES
from plaudit.pipeline.migrate.vocabulary import Gone, To
from plaudit.pipeline.migrate.writing import migrate, text
from plaudit.pipeline.project.plan import read as project
from plaudit.registry import names
from plaudit.schema import UserError
from plaudit.training.run import sections

EVERY = {name: set(options(*sections(name))) for name in names("algorithms")}
ANY = set().union(*EVERY.values())

TRL_DPO = """
model_name_or_path: Qwen/Qwen3-0.6B
dataset_name: trl-lib/ultrafeedback_binarized
learning_rate: 5.0e-7
beta: 0.2
loss_type: [sigmoid]
eval_strategy: steps
eval_steps: 50
lr_scheduler_type: constant_with_warmup
warmup_ratio: 0.1
max_steps: 200
lora_target_modules: all-linear
use_peft: true
push_to_hub: true
precompute_ref_log_probs: true
f_divergence_type: js_divergence
"""
TRL_GRPO = """#!/bin/bash
# a comment --not-an-option
accelerate launch -m trl grpo \\
  --model_name_or_path Qwen/Qwen3-0.6B --dataset_name trl-lib/DeepMath-103K \\
  --reward_funcs think_format_reward my_rewards.length.brief \\
  --num_generations 4 --per_device_train_batch_size=8 --gradient_accumulation_steps 4 \\
  --use_vllm --vllm_mode colocate --scale_rewards False --loss_type dr_grpo --epsilon_high 0.28
"""
TRL_PPO = """
python examples/scripts/ppo/ppo.py --model_name_or_path EleutherAI/pythia-1b-deduped --sft_model_path my/sft
  --reward_model_path my/rm --total_episodes 10000 --per_device_train_batch_size 16 --gradient_accumulation_steps 4
  --num_ppo_epochs 1 --num_mini_batches 2 --response_length 53 --stop_token eos --missing_eos_penalty 1.0 --kl_coef 0.05
""".replace("\n  ", " ")
FACTORY = """
stage: {stage}
do_train: true
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
finetuning_type: lora
lora_rank: 16
lora_target: all
dataset: dpo_en_demo,other
template: llama3
cutoff_len: 1024
pref_beta: 0.3
pref_loss: {loss}
lr_scheduler_type: cosine
warmup_ratio: 0.1
val_size: 0.05
eval_strategy: epoch
eval_steps: 500
"""
OPENRLHF = """
ray job submit -- python3 -m openrlhf.cli.train_ppo_ray \\
   --pretrain OpenRLHF/Llama-3-8b-sft-mixture --reward_pretrain OpenRLHF/Llama-3-8b-rm-700k \\
   --actor_num_nodes 1 --micro_train_batch_size 8 --train_batch_size 128 --micro_rollout_batch_size 32 \\
   --rollout_batch_size 256 --n_samples_per_prompt 2 --max_epochs 2 --prompt_max_len 512 --generate_max_len 256 \\
   --zero_stage 3 --bf16 --actor_learning_rate 5e-7 --critic_learning_rate 9e-6 --init_kl_coef 0.02 \\
   --prompt_data OpenRLHF/prompt-collection-v0.1 --input_key context_messages --apply_chat_template \\
   --normalize_reward --lambd 0.9 --eps_clip 0.1 --adam_betas 0.9 0.95 --use_wandb KEY --advantage_estimator {estimator}
"""


def made(tmp_path, tool, content, name="config.yaml", verb=None):
    (tmp_path / name).write_text(content)
    return migrate(tool, tmp_path / name, verb)


def values(migration):
    return {option: value for option, (value, _) in migration.lines.items()}


def rules():
    for tool, (shared, own) in TABLES.items():
        for verb, table in (("*", shared), *own.items()):
            for name, rule in table.items():
                if not isinstance(rule, Gone):
                    yield tool, verb, name, rule.option if isinstance(rule, To) else rule


@pytest.mark.parametrize(("tool", "verb", "name", "option"), list(rules()))
def test_every_name_leads_to_an_option_that_exists(tool, verb, name, option):
    assert option in (ANY if verb == "*" else EVERY[verb]), f"{tool}: {name} -> {option}"


def test_every_table_and_default_is_of_a_verb_and_options_that_exist():
    for tool, (_, own) in TABLES.items():
        assert set(own) <= set(EVERY)
        for verb, found in DEFAULTS[tool].items():
            known = ANY if verb == "*" else EVERY[verb]
            assert set(found) <= known, (tool, verb)
            for option, value in found.items():
                for name in EVERY if verb == "*" else [verb]:
                    if option in EVERY[name]:
                        _, mistakes = checked(sections(name)[0], {option: Given(value, None, "")}, sections(name)[1])
                        assert not [one for one in mistakes if one.startswith(option)], (tool, verb, option)


def test_a_trl_file_becomes_a_project_that_is_valid(tmp_path):
    migration = made(tmp_path, "trl", TRL_DPO)
    found = values(migration)
    assert migration.verb == "dpo"
    assert (found["learning_rate"], found["beta"], found["loss_type"], found["eval_steps"]) == (5e-7, 0.2, "sigmoid", 50)
    assert (found["lr_scheduler_type"], found["warmup_steps"], found["max_steps"]) == ("constant_with_warmup", 20, 200)
    assert found["train_file"] == "data/trl-lib_ultrafeedback_binarized.jsonl" and found["seed"] == 42
    assert "lora_target_modules" not in found and "num_train_epochs" not in found
    assert set(migration.without) == {"eval_strategy", "push_to_hub", "precompute_ref_log_probs", "f_divergence_type"}
    written = text(migration, tmp_path / "config.yaml", "mine")
    (tmp_path / "plaudit.yaml").write_text(written)
    stage = project(tmp_path / "plaudit.yaml").stages["dpo"]
    assert stage.kind.verb == "dpo" and "# was dataset_name; was a data set's name" in written
    assert "#   push_to_hub: nothing is uploaded" in written


def test_a_command_of_trl_is_read_and_completions_become_prompts(tmp_path):
    migration = made(tmp_path, "trl", TRL_GRPO, "run.sh")
    found = values(migration)
    assert migration.verb == "grpo"
    assert found["reward_funcs"] == ["think_format", "my_rewards.length:brief"]
    assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"]) == (2, 4), "8 x 4 / 4 prompts"
    assert (found["scale_rewards"], found["loss_type"], found["epsilon_high"]) == ("none", "dr_grpo", 0.28)
    assert found["max_completion_length"] == 512 and found["num_train_epochs"] == 3.0
    assert set(migration.without) == {"use_vllm", "vllm_mode"}


def test_trls_ppo_gets_its_own_meaning(tmp_path):
    migration = made(tmp_path, "trl", TRL_PPO, "run.sh")
    found = values(migration)
    assert migration.verb == "ppo" and found["model_name_or_path"] == "my/sft"
    assert found["max_steps"] == 10000 // 64 and found["max_completion_length"] == 53 and found["temperature"] == 0.7
    assert set(migration.without) == {"model_name_or_path", "stop_token"}
    assert "`plaudit train reward` trained" in migration.lines["reward_model_path"][1]


@pytest.mark.parametrize(
    ("stage", "loss", "verb", "option"),
    [
        ("dpo", "sigmoid", "dpo", "beta"),
        ("dpo", "ipo", "dpo", "beta"),
        ("dpo", "simpo", "simpo", "beta"),
        ("dpo", "orpo", "orpo", "beta"),
    ],
)
def test_llama_factory_by_stage_and_loss(tmp_path, stage, loss, verb, option):
    migration = made(tmp_path, "llamafactory", FACTORY.format(stage=stage, loss=loss))
    found = values(migration)
    assert migration.verb == verb and found[option] == 0.3
    assert (found["use_peft"], found["lora_r"], found["lora_alpha"], found["max_length"]) == (True, 16, 32, 1024)
    parts = [{"path": "data", "dataset": "dpo_en_demo"}, {"path": "data", "dataset": "other"}]
    assert found["train_file"] == parts and found["eval_fraction"] == 0.05
    assert found["learning_rate"] == 5e-5 and "what llamafactory takes" in migration.lines["learning_rate"][1]
    lost = {"stage", "do_train", "finetuning_type", "template", "warmup_ratio", "eval_strategy", "eval_steps"}
    assert lost <= set(migration.without) and "eval_strategy is epoch" in migration.without["eval_steps"]
    if verb == "dpo":
        assert found.get("loss_type", "sigmoid") == loss


@pytest.mark.parametrize(("stage", "verb"), [("sft", "sft"), ("pt", "sft"), ("rm", "reward"), ("ppo", "ppo"), ("kto", "kto")])
def test_llama_factorys_stages(stage, verb):
    assert verb_of("llamafactory", {"stage": stage}, []) == verb


@pytest.mark.parametrize(
    ("estimator", "verb", "kl"),
    [
        ("gae", "ppo", "kl_coef"),
        ("reinforce", "reinforce_pp", "kl_coef"),
        ("rloo", "rloo", "beta"),
        ("dr_grpo", "grpo", "beta"),
    ],
)
def test_openrlhf_by_its_advantage_estimator(tmp_path, estimator, verb, kl):
    migration = made(tmp_path, "openrlhf", OPENRLHF.format(estimator=estimator), "run.sh")
    found = values(migration)
    assert migration.verb == verb and found[kl] == 0.02
    assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"], found["num_mini_batches"]) == (8, 32, 4)
    assert (found["num_generations"], found["max_prompt_length"], found["max_completion_length"]) == (2, 512, 256)
    assert found["learning_rate"] == 5e-7 and found["use_peft"] is False and found["report_to"] == "wandb"
    assert found["cliprange" if verb in ("ppo", "reinforce_pp") else "epsilon"] == 0.1
    assert found["num_ppo_epochs" if verb == "ppo" else "num_iterations"] == 2
    assert ("lam" in found) == ("critic_learning_rate" in found) == (verb == "ppo")
    assert found.get("loss_type") == ("dr_grpo" if verb == "grpo" else None)
    assert "num_train_epochs" not in found
    lost = {"zero_stage", "input_key", "apply_chat_template", "actor_num_nodes", "advantage_estimator"}
    assert lost <= set(migration.without)


@pytest.mark.parametrize("tool", ["trl", "llamafactory", "openrlhf"])
@pytest.mark.parametrize("verb", sorted(EVERY))
def test_nothing_that_was_given_is_lost_silently(tmp_path, tool, verb):
    shared, own = TABLES[tool]
    given = dict.fromkeys({**shared, **own.get(verb, {}), "of_my_own": 1, "beta": 1}, 1)
    migration = made(tmp_path, tool, yaml.safe_dump(given), verb=verb)
    written = text(migration, tmp_path / "config.yaml", "mine")
    together = {"finetuning_type", "lora_rank", "adam_betas", "train_batch_size", "rollout_batch_size", "total_episodes"}
    for name in given:
        kept = name in migration.lines or any(f"was {name}" in note for _, note in migration.lines.values())
        same = {
            rule.option if isinstance(rule, To) else rule
            for rule in [own.get(verb, {}).get(name, shared.get(name, name))]
            if not isinstance(rule, Gone)
        }
        assert kept or name in migration.without or same & set(migration.lines) or name in together, name
    assert "of_my_own: this version has nothing like it" in written


def test_the_command_writes_a_file_and_lists_what_is_lost(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dpo.yaml").write_text(TRL_DPO)
    with pytest.raises(SystemExit) as end:
        cli.main(["migrate", "trl", "dpo.yaml", "--out", "plaudit.yaml"])
    assert end.value.code in (0, None)
    told = capsys.readouterr().err
    assert told.startswith("dpo: ") and "4 without a counterpart" in told and "push_to_hub: nothing is uploaded" in told
    with pytest.raises(SystemExit) as end:
        cli.main(["migrate", "trl", "dpo.yaml", "--out", "plaudit.yaml"])
    assert end.value.code == 2 and "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", "a: [", "is not valid YAML"),
        ("a.yaml", "- a", "holds no options"),
        ("a.sh", "echo hello", "holds no options"),
        ("a.sh", "trl sft --a 'b", "nor a command that can be read"),
        ("a.yaml", "learning_rate: 1", "it cannot be told which algorithm this config is for; add --verb"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, name, content, words):
    with pytest.raises(UserError, match=words):
        made(tmp_path, "trl", content, name)
    with pytest.raises(UserError, match="cannot read"):
        read(tmp_path / "absent.yaml")
