"""The two sides of a benchmark: the same rows, samples and options; ours runs them; the peers' scripts know nothing of us."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import pytest

from plaudit.bench import ours
from plaudit.bench.children import PEERS, SCRIPTS
from plaudit.bench.prepare import prepare
from plaudit.bench.texts import answers, questions, spread
from plaudit.bench.work import COMPARED, QUICK, Sizes, work
from plaudit.schema import UserError

LISTED = sorted(PEERS.glob("*.py"))


@pytest.fixture(scope="module")
def side():
    """The peers' shared file, as a script next to it imports it."""
    spec = importlib.util.spec_from_file_location("side", PEERS / "side.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_texts_follow_from_the_seed_and_have_the_lengths_asked_for():
    assert questions(9, 1) == questions(9, 1) != questions(9, 2)
    assert len(set(questions(500, 0))) == 500
    assert [len(text.split()) for text in answers([4, 20, 150], 0)] == [4, 20, 150]
    assert sorted(spread(4, 8, 128, "a")) == [8, 48, 88, 128]


@pytest.mark.parametrize("name", COMPARED)
def test_our_side_does_the_work(name, tmp_path):
    """One cold step with the tiny model: as many tokens as `prepare` counted, and a time."""
    job = work(name, "tiny", QUICK, warmup=0, peft=name == "ppo", dtype="fp32")
    made = prepare(job, tmp_path)
    found = ours.main(job.prepared(made), tmp_path)
    expected = sum((prompt * (len(ids) if name != "sft" else 1)) + sum(ids) for prompt, ids in made["groups"])
    if name == "rollout":
        expected = sum(sum(ids) for _, ids in made["groups"])
    assert len(found["seconds"]) == 1 and found["seconds"][0] > 0 and found["dtype"] == "fp32"
    # `tiny` writes its pad token, which ends an answer there, about once in 320 tokens
    assert found["tokens"] == [expected] or (job.new_tokens and 0.8 * expected < found["tokens"][0] < expected)


def test_a_warm_up_is_not_measured(tmp_path):
    job = work("sft", "tiny", QUICK, warmup=2, steps=3, dtype="fp32")
    found = ours.main(job.prepared(prepare(job, tmp_path)), tmp_path)
    assert {len(found[key]) for key in ("seconds", "tokens", "losses")} == {3}
    assert found["losses"][0] > found["losses"][-1]


def test_the_model_without_an_end_has_the_same_weights_and_leaves_the_original_alone(tmp_path):
    from plaudit.models.load import load

    made = prepare(work("grpo", "tiny", QUICK), tmp_path)
    original, endless = load(tmp_path / "model"), load(made["folder"])
    assert original.digest == endless.digest
    assert (original.tokenizer.eos_token, endless.tokenizer.eos_token) == ("<|im_end|>", "<|pad|>")
    assert json.loads((tmp_path / "endless" / "config.json").read_text())["eos_token_id"] == endless.tokenizer.eos_token_id


def test_a_vocabulary_can_be_made_larger(tmp_path):
    job = work("sft", "tiny", QUICK, vocabulary=4)
    made = prepare(job, tmp_path)
    plain = prepare(work("sft", "tiny", QUICK), tmp_path)
    assert made["shape"]["vocabulary"] == 4 * plain["shape"]["vocabulary"] and made["groups"] == plain["groups"]


@pytest.mark.parametrize("name", [name for name in COMPARED if name != "rollout"])
@pytest.mark.parametrize("sizes", [Sizes(), QUICK], ids=["full", "quick"])
def test_both_sides_are_given_the_same_options(name, sizes, side, tmp_path):
    job = work(name, "tiny", sizes)
    job = job.prepared({"folder": "model", "reward": "reward", "reward_adapter": ""})
    mine = ours.settings(job, False, tmp_path)
    theirs = side.arguments(dict, {**json.loads(job.write(tmp_path / "work.json").read_text()), "dtype": "fp32"})
    for option in ("learning_rate", "lr_scheduler_type", "seed", "bf16"):
        assert mine[option] == theirs[option]
    each = mine.get("num_generations", 1)
    samples = mine["per_device_train_batch_size"] * mine["gradient_accumulation_steps"] * each
    assert samples == job.samples == theirs["per_device_train_batch_size"] * theirs["gradient_accumulation_steps"]


def test_a_peer_that_is_not_told_a_precision_keeps_its_default(side):
    job = {"batch": 1, "rows": [{}], "siblings": 1, "seed": 0, "options": {"weight_decay": 0.5}, "dtype": "default"}
    assert "bf16" not in side.arguments(dict, job) and side.arguments(dict, job)["weight_decay"] == 0.5


def test_a_clock_reads_from_end_to_end(side):
    clock = side.Clock()
    clock.start()
    clock.passed(3, 0.5)
    clock.passed(2, 0.25)
    clock.stop()
    clock.passed(4)
    clock.stop()
    assert clock.tokens == [5, 4] and clock.losses == [0.75, None] and min(clock.seconds) >= 0


@pytest.mark.parametrize("path", LISTED, ids=lambda path: path.name)
def test_peers_import_nothing_of_plaudit(path):
    found = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Import | ast.ImportFrom)]
    named = {alias.name for node in found for alias in node.names} | {getattr(node, "module", "") or "" for node in found}
    assert not any(name.split(".")[0] == "plaudit" for name in named)


def test_every_peer_that_is_listed_has_its_script():
    assert {peer.script for peer in SCRIPTS.values()} == {path.name for path in LISTED} - {"side.py", "__init__.py"}
    targets = (Path(__file__).parents[2] / "Makefile").read_text("utf-8")
    assert all(f"\n{peer.target}:" in targets and f"{peer.environment[:8]}" in targets for peer in SCRIPTS.values())


def test_samples_that_cannot_be_divided_are_refused():
    with pytest.raises(UserError, match="30 samples cannot be cut"):
        work("grpo", "tiny", Sizes(samples=30))
