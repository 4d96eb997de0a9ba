"""Whole runs on the tiny model with every kind of adapter: SFT, reward model, PPO on one base, and what comes of them."""

import json
from pathlib import Path

import pytest
import torch

from nursery import At
from plaudit.engines.opening import open_engine
from plaudit.models.adapter_folder import adapter_info
from plaudit.models.load import load
from plaudit.schema import Prompt, Sampling
from training_runs import SHARED, own, same, write_data

KINDS = {
    "dora": ["use_dora=true", "use_rslora=true"],
    "ia3": ["peft_type=ia3"],
    "prefix": ["peft_type=prefix_tuning", "num_virtual_tokens=4"],
    "prompt": ["peft_type=prompt_tuning", "num_virtual_tokens=4"],
    "bottleneck": ["peft_type=bottleneck", "bottleneck_size=8"],
}


class Runs:
    """Runs of one kind of adapter in folders below one that holds the data."""

    def __init__(self, nursery, root, kind):
        self.nursery, self.root, self.options = nursery, write_data(root), ["use_peft=true", "lora_r=4", *KINDS[kind]]

    def start(self, place, verb, *words, at=None):
        (self.root / place).mkdir(exist_ok=True)
        words = ["train", verb, *SHARED, *own(verb), *self.options, *words]
        done = self.nursery.run(*words, cwd=self.root / place, at=at)
        assert at or done.code == 0, done.err
        return self.root / place / "run"


@pytest.fixture(scope="module", params=KINDS)
def runs(request, nursery, tmp_path_factory):
    made = Runs(nursery, tmp_path_factory.mktemp(request.param), request.param)
    made.kind = request.param
    made.sft = made.start("sft", "sft")
    made.reward = made.start("reward", "reward")
    made.with_model = f"reward_model_path={made.reward / 'model'}"
    made.ppo = made.start("ppo", "ppo", made.with_model)
    return made


@pytest.mark.slow
def test_every_algorithm_runs_and_its_model_answers(runs):
    for run in (runs.sft, runs.ppo):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert lines and not any(line.get("refused") for line in lines)
        engine = open_engine(run, bf16=False)
        found = engine.generate([Prompt(text="Where is")], 2, Sampling(max_new_tokens=4))
        assert len(found) == 2 and all(c.tokens for c in found)


@pytest.mark.slow
def test_the_adapter_is_kept_beside_the_merged_model_or_is_the_model(runs):
    merged = runs.kind in ("dora", "ia3")
    folder: Path = runs.sft / ("adapter" if merged else "model")
    assert adapter_info(folder).base_digest == load("tiny").digest
    assert (folder / "tokenizer.json").is_file()
    assert (runs.sft / "model" / "model.safetensors").is_file() == merged
    plain, adapted = open_engine("tiny", bf16=False), open_engine(folder, bf16=False)
    asked = [Prompt(text="Where is")], 1, Sampling(max_new_tokens=4)
    assert plain.generate(*asked)[0].logprobs != adapted.generate(*asked)[0].logprobs
    if merged:
        again = open_engine(runs.sft / "model", bf16=False)
        assert torch.allclose(*(torch.tensor(e.generate(*asked)[0].logprobs) for e in (again, adapted)), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_killed_it_ends_the_same(runs):
    for verb, words, whole in (("sft", (), runs.sft), ("ppo", (runs.with_model,), runs.ppo)):
        place = f"{verb}-killed"
        runs.start(place, verb, *words, at=At("metrics.jsonl", 3))
        assert not (runs.root / place / "run" / "summary.json").exists()
        same(runs.start(place, verb, *words, "--resume"), whole)
