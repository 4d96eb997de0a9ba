"""Every metric that a run logs, and every option of the algorithm, stands in its page; the example of docs/extend.md trains."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from plaudit.algorithms.ppo import PPOConfig
from plaudit.algorithms.reward import RewardModelConfig
from plaudit.algorithms.sft import SFTConfig
from plaudit.config import load, options
from plaudit.rewards.mix import RewardConfig
from plaudit.training.options import RolloutConfig
from plaudit.training.run import sections, train

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS = {"sft": [SFTConfig], "reward": [RewardModelConfig], "ppo": [PPOConfig, RolloutConfig, RewardConfig]}
COMMON = ["model_name_or_path=tiny", "use_peft=true", "max_steps=2", "eval_steps=1", "bf16=false"]
QUESTIONS = ("Where is my order?", "How do I reset my password?", "I was charged twice.", "Do you ship to Norway?")


def page(verb):
    return (DOCS / "algorithms" / f"{verb}.md").read_text("utf-8")


def documented(verb):
    """Names in the first column of the page's tables."""
    first = re.findall(r"^\| (`[^|]*) \|", page(verb), re.MULTILINE)
    return {name for cell in first for name in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """verb -> names in metrics.jsonl of a tiny run with all optional terms switched on."""
    folder = tmp_path_factory.mktemp("runs")
    said = {side: [{"role": "assistant", "content": side}] for side in ("completion", "chosen", "rejected")}
    rows = [json.dumps({"prompt": [{"role": "user", "content": question}], **said}) for question in QUESTIONS]
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    extra = {
        "sft": ["entropy_coef=0.01"],
        "reward": ["center_rewards_coefficient=0.01"],
        "ppo": [
            "entropy_coef=0.01",
            f"reward_model_path={folder / 'reward' / 'model'}",
            "reward_funcs=[length_penalty]",
            "missing_eos_penalty=1",
            "max_completion_length=8",
        ],
    }
    found = {}
    for verb, words in extra.items():
        classes, defaults = sections(verb)
        files = [f"train_file={folder / 'rows.jsonl'}", f"output_dir={folder / verb}"]
        train(verb, load(classes, None, [*COMMON, *files, *words], defaults))
        lines = (folder / verb / "metrics.jsonl").read_text().splitlines()
        found[verb] = {name for line in lines for name in json.loads(line)} - {"step"}
    return found


@pytest.mark.parametrize("verb", SECTIONS)
def test_every_metric_that_a_run_logs_is_in_the_page(logged, verb):
    plain = {re.sub(r"^rewards/(?!unscored)[^/]+/", "rewards/<name>/", name.removeprefix("eval_")) for name in logged[verb]}
    assert sorted(plain - documented(verb)) == []


@pytest.mark.parametrize("verb", SECTIONS)
def test_every_metric_of_the_page_is_logged(logged, verb):
    plain = {re.sub(r"^rewards/(?!unscored)[^/]+/", "rewards/<name>/", name) for name in logged[verb]}
    known = set(options(*sections(verb)))
    assert sorted(documented(verb) - plain - known) == []


@pytest.mark.parametrize("verb", SECTIONS)
def test_every_option_of_the_algorithm_is_in_the_page_with_its_default(verb):
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page(verb), re.MULTILINE))
    everything = set(documented(verb))
    for option in options(SECTIONS[verb]).values():
        assert option.name in everything
        if isinstance(option.default, float | int) and not isinstance(option.default, bool) and option.name in rows:
            assert float(rows[option.name]) == option.default, option.name


def test_the_algorithm_of_the_extend_page_trains_with_the_learner(tmp_path):
    from plaudit.core.batch import from_rows
    from plaudit.models.base import AdapterConfig
    from plaudit.training.assemble import Assembly, ModelConfig
    from plaudit.training.learner import Learner
    from plaudit.training.options import OptimizerConfig, TrainingConfig

    code = next(
        c for c in re.findall(r"```python\n(.*?)```", (DOCS / "extend.md").read_text("utf-8"), re.DOTALL) if "class" in c
    )
    names: dict = {}
    exec("from plaudit.algorithms.base import Algorithm\nfrom plaudit.core import masked\n" + code, names)
    training = TrainingConfig(output_dir=str(tmp_path), bf16=False)
    assembly = Assembly(ModelConfig(model_name_or_path="tiny"), AdapterConfig(use_peft=True), training)
    networks = {"policy": assembly.trained("policy")}
    learner = Learner(names["Imitation"](), networks, OptimizerConfig(learning_rate=0.01), total_steps=4)
    batch = from_rows([[1, 5, 6, 7]], [[0, 1, 1, 1]])
    losses = [learner.step(batch)["loss"] for _ in range(4)]
    assert losses == sorted(losses, reverse=True) and 0 < losses[-1] < losses[0] - 0.01  # a log-likelihood, minus sign included


def test_the_reward_function_of_the_extend_page_scores():
    code = next(
        c for c in re.findall(r"```python\n(.*?)```", (DOCS / "extend.md").read_text("utf-8"), re.DOTALL) if "order" in c
    )
    names: dict = {}
    exec(code, names)
    said = [[{"role": "assistant", "content": "Order 77 left."}], "Order 78 left.", "Hello"]
    assert names["names_the_order"](prompts=[], completions=said, order=["77", "77", None], extra=[]) == [1.0, 0.0, None]
