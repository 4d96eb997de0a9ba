"""`plaudit merge`: a plain model out of an adapter and its base, ours and anyone's."""

import warnings

import pytest
import torch

from plaudit.cli import main as cli
from plaudit.models.adapter_folder import open_adapter, save_adapter
from plaudit.models.adapters import AdapterConfig
from plaudit.models.base import Base
from plaudit.models.heads import scalar_head
from plaudit.models.load import load
from plaudit.models.network import Network
from plaudit.models.scorer import Scorer, load_reward, save_reward

IDS = torch.tensor([[5, 9, 30, 70, 200, 11, 12]])


def trained(**options):
    """An adapter on tiny that does something."""
    loaded = load("tiny")
    on = Base(loaded.model, loaded.tokenizer, loaded.digest, loaded.name, AdapterConfig(use_peft=True, **options))
    on.add_adapter("policy", seed=1)
    with torch.no_grad():
        for p in on.adapter_parameters("policy").values():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(2)) * 0.05)
    return on


def merged(capsys, *words):
    with pytest.raises(SystemExit) as end:
        cli.main(["merge", *map(str, words)])
    out, err = capsys.readouterr()
    return end.value.code or 0, out + err


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@pytest.mark.parametrize("options", [{"use_dora": True}, {"use_rslora": True}, {"peft_type": "ia3"}], ids=str)
def test_the_merged_folder_speaks_as_the_adapter(options, tmp_path, capsys):
    on = trained(**options)
    save_adapter(tmp_path / "run" / "adapter", on, "policy")
    code, said = merged(capsys, tmp_path / "run", "--out", tmp_path / "whole")
    assert code == 0 and "merged into its base" in said
    with on.using("policy") as model:
        model.config._attn_implementation = "sdpa"
        wanted = logits(model)
    whole = load(tmp_path / "whole").model
    assert torch.allclose(logits(whole), wanted, atol=1e-5)
    assert not torch.allclose(logits(load("tiny").model), wanted, atol=1e-2)


def test_another_programs_adapter_is_merged_by_peft(tmp_path, capsys):
    """A folder that peft itself wrote: other layers, a regular expression, no word of ours."""
    from peft import LoraConfig, get_peft_model

    plain = load("tiny").model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(r=3, target_modules=r".*\.(q_proj|up_proj)", init_lora_weights=False, task_type="CAUSAL_LM")
        theirs = get_peft_model(plain, config).eval()
        theirs.save_pretrained(str(tmp_path / "theirs"))
    wanted = logits(theirs)
    code, said = merged(capsys, tmp_path / "theirs", "--out", tmp_path / "whole", "--base", "tiny")
    assert code == 0, said
    assert torch.allclose(logits(load(tmp_path / "whole").model), wanted, atol=1e-5)
    from plaudit.engines.opening import open_engine
    from plaudit.schema import Prompt, Sampling

    with pytest.raises(Exception, match="base"):
        open_engine(tmp_path / "theirs", bf16=False)  # its entry names no base that is here
    settings = tmp_path / "theirs" / "adapter_config.json"
    settings.write_text(settings.read_text().replace('"base_model_name_or_path": null', '"base_model_name_or_path": "tiny"'))
    asked = [Prompt(text=" your order")], 1, Sampling(max_new_tokens=4)
    both = [open_engine(tmp_path / name, bf16=False).generate(*asked)[0] for name in ("theirs", "whole")]
    assert both[0].tokens == both[1].tokens


def test_a_reward_model_is_merged_with_its_head(tmp_path, capsys):
    on = trained()
    head = scalar_head(on.width)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(3))
    save_reward(tmp_path / "model", Network("reward", on, adapter="policy", head=head), mean=0.3, deviation=2.0)
    assert merged(capsys, tmp_path / "model", "--out", tmp_path / "whole")[0] == 0
    how = {"dtype": torch.float32, "device": torch.device("cpu")}
    before, after = (Scorer(load_reward(tmp_path / name, **how))(IDS.tolist()) for name in ("model", "whole"))
    assert after == pytest.approx(before, abs=1e-4) and abs(before[0]) > 1e-2
    assert "nothing to merge" in merged(capsys, tmp_path / "whole", "--out", tmp_path / "more")[1]


def test_what_cannot_be_merged_is_one_sentence(tmp_path, capsys):
    save_adapter(tmp_path / "soft", trained(peft_type="prompt_tuning"), "policy")
    save_adapter(tmp_path / "lora", trained(), "policy")
    (tmp_path / "there").mkdir()
    for words, said in (
        ((tmp_path / "soft", "--out", tmp_path / "a"), "prompt_tuning cannot be merged into weights"),
        ((tmp_path / "there", "--out", tmp_path / "a"), "has no adapter to merge"),
        ((tmp_path / "lora", "--out", tmp_path / "there"), "exists; choose another --out"),
        ((tmp_path / "lora", "--out", tmp_path / "a", "--base", "tiny:1"), "was trained on another base"),
    ):
        code, out = merged(capsys, *words)
        assert code == 2 and said in out
        assert not (tmp_path / "a").exists()


def test_unmerging_is_to_load_base_and_adapter_again(tmp_path):
    on = trained()
    save_adapter(tmp_path / "adapter", on, "policy")
    again, name = open_adapter(tmp_path / "adapter")
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(again.merged(name), on.merged("policy"), strict=True))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(again.merged(None), on.merged(None), strict=True))


def model_folder(tmp_path, seed):
    """A whole model folder, and its weights."""
    from plaudit.models.load import save_model

    loaded = load(f"tiny:{seed}")
    save_model(loaded.model, loaded.tokenizer, tmp_path / f"m{seed}")
    return dict(loaded.model.named_parameters())


def test_the_mean_of_several_models_by_hand(tmp_path, capsys):
    one, two = model_folder(tmp_path, 0), model_folder(tmp_path, 1)
    names = tmp_path / "m0", tmp_path / "m1"
    assert merged(capsys, *names, "--average", "--out", tmp_path / "mean")[0] == 0
    mean = dict(load(tmp_path / "mean").model.named_parameters())
    assert all(torch.allclose(mean[k], (one[k] + two[k]) / 2) for k in one) and set(mean) == set(one)
    assert merged(capsys, *names, "--average", "--weights", "3,1", "--out", tmp_path / "more")[0] == 0
    more = dict(load(tmp_path / "more").model.named_parameters())
    assert all(torch.allclose(more[k], 0.75 * one[k] + 0.25 * two[k]) for k in one)


def test_models_that_cannot_be_averaged(tmp_path, capsys):
    from plaudit.models.load import save_model

    model_folder(tmp_path, 0)
    wide = load("tiny")
    wide.model.config.intermediate_size = 100
    save_model(type(wide.model)(wide.model.config), wide.tokenizer, tmp_path / "wide")
    a, b = tmp_path / "m0", tmp_path / "wide"
    for words, said in (
        ((a, "--average"), "needs two model folders or more"),
        ((a, b, "--average"), "are not of one shape"),
        ((a, a, "--average", "--weights", "1"), "one number of 0 or more for each of the 2 folders"),
        ((a, a, "--average", "--weights", "1,x"), "no list of numbers"),
        ((a, a), "to average several models, add --average"),
    ):
        code, out = merged(capsys, *words, "--out", tmp_path / "out")
        assert code == 2 and said in out and not (tmp_path / "out").exists()
