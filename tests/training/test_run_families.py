"""PPO from the command line with a model of another family: engine, adapters, critic and the saved model go together."""

import json

import pytest

from family_models import TOKENIZER, family_model, other_model
from plaudit.cli.main import main
from plaudit.engines.opening import open_engine
from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.load import save_model
from plaudit.schema import Prompt, Sampling
from training_runs import SHARED, own, write_data

CASES = [("gpt2", True), ("gemma2", True), ("gpt_neox", False), ("opt", True), ("opt", False)]
GAP = "sampling/sampling_logp_difference/mean"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "peft"), [("gpt2", True), ("gemma2", True), ("gpt_neox", False), ("opt", True), ("opt", False)]
)
def test_ppo_with_another_family(name, peft, tmp_path, monkeypatch, capsys):
    model = other_model(name) if name == "opt" else family_model(name)
    save_model(model, TOKENIZER, tmp_path / "start")
    write_data(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = [w for w in (*SHARED, *own("ppo")) if not w.startswith(("model_name_or_path", "max_steps", "eval_steps"))]
    words += ["model_name_or_path=../start", "max_steps=2", f"use_peft={str(peft).lower()}"]
    words += ["lora_layers=1"] if peft else []
    with pytest.raises(SystemExit) as left:
        main(["train", "ppo", *words])
    out = capsys.readouterr()
    assert left.value.code in (0, None), out.err
    steps = [json.loads(line) for line in (tmp_path / "here/run/metrics.jsonl").read_text().splitlines()]
    gaps = [
        step["sampling/sampling_logp_difference/mean"] for step in steps if "sampling/sampling_logp_difference/mean" in step
    ]
    assert len(gaps) == 2 and max(gaps) < 1e-4  # sampler and trainer are one model, after an update too
    writer = open_engine(tmp_path / "here/run")
    assert isinstance(writer, TorchEngine) == (name != "opt")
    assert len(writer.generate([Prompt(text="refund")], 2, Sampling(max_new_tokens=4))) == 2
