import hashlib
import json
import os
import shutil
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from plaudit.models.folder import weights_digest
from plaudit.models.load import cast, load, save_model
from plaudit.schema import UserError


@pytest.fixture
def folder(tmp_path):
    tiny = load("tiny:1")
    return save_model(tiny.model, tiny.tokenizer, tmp_path / "model")


def test_a_saved_model_comes_back_the_same(folder):
    before, after = load("tiny:1"), load(folder)
    ids = torch.tensor([[1, 40, 41, 42]])
    assert torch.equal(before.model(ids).logits, after.model(ids).logits)
    assert before.digest == after.digest == weights_digest(after.model)
    assert (after.folder, after.name, after.dropout, after.unused) == (folder, str(folder), {}, ())
    assert after.tokenizer.chat_template == before.tokenizer.chat_template
    text = "<|im_start|>user\n order 12 ü<|im_end|>"
    assert after.tokenizer.encode(text) == before.tokenizer.encode(text)
    assert after.tokenizer.pad_token != after.tokenizer.eos_token
    assert not after.model.training


def test_a_model_in_bfloat16_keeps_its_rotary_frequencies():
    """As one that is loaded in bfloat16 does; `to(bfloat16)` would round 0.0562 to 0.0562 +- 0.2 %."""
    exact = load("tiny").model.model.rotary_emb.inv_freq
    model = cast(load("tiny").model, torch.bfloat16, "cpu")
    assert model.dtype == model.lm_head.weight.dtype == torch.bfloat16
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(model.model.rotary_emb.inv_freq, exact)
    assert torch.equal(load("tiny", dtype=torch.bfloat16).model.model.rotary_emb.inv_freq, exact)


def test_digest_is_the_hash_of_the_stored_tensors_in_name_order(folder):
    total = hashlib.sha256()
    for name, tensor in sorted(load_file(folder / "model.safetensors").items()):
        total.update(f"{name}\0torch.float32\0{tuple(tensor.shape)}\0".encode() + tensor.numpy().tobytes())
    assert load(folder, dtype=torch.float64).digest == total.hexdigest()


def test_one_changed_weight_changes_the_digest_and_sharding_does_not(folder, tmp_path):
    loaded = load(folder)
    loaded.model.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    loaded.tokenizer.save_pretrained(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert load(tmp_path / "shards").digest == loaded.digest
    # Nor does the order in which the shards hold them.
    weights = load_file(folder / "model.safetensors")
    shards = {"a.safetensors": sorted(weights)[5:], "b.safetensors": sorted(weights)[:5]}
    (folder / "model.safetensors").unlink()
    for file, names in shards.items():
        save_file({name: weights[name] for name in names}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, names in shards.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load(folder).digest == loaded.digest
    with torch.no_grad():
        loaded.model.model.norm.weight[3] += 1e-6
    assert weights_digest(loaded.model) != loaded.digest


def test_loading_touches_neither_generator_nor_threads(folder):
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    load(folder)
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads


def test_saved_files_follow_the_umask_and_neighbours_stay(tmp_path):
    tiny = load("tiny")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    old = os.umask(0o027)
    try:
        save_model(tiny.model, tiny.tokenizer, tmp_path / "model")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "model" / "model.safetensors").stat().st_mode) == 0o640
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]  # nothing half-written lies about


def test_dropout_in_the_config_is_told_and_off(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.1}))
    loaded = load(folder)
    assert loaded.dropout == {"attention_dropout": 0.1}
    assert not any(module.training for module in loaded.model.modules())


def test_tensors_without_a_place_are_told(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "score.weight": torch.zeros(1, 64)}, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(folder).unused == ("score.weight",)


def test_no_pad_token_means_the_end_token(folder):
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["pad_token"]
    path.write_text(json.dumps(settings))
    tokenizer = load(folder).tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def spoil_config(folder):
    (folder / "config.json").write_text("{")


def spoil_weights(folder):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])


def spoil_tensor(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def spoil_pickle(folder):
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def spoil_shard(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))


def spoil_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def spoil_tokenizer_content(folder):
    (folder / "tokenizer.json").write_text("{}")


def spoil_end_token(folder):
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["eos_token"]
    path.write_text(json.dumps(settings))


def spoil_pair(folder):
    other = load("tiny:1")
    other.tokenizer.add_tokens(["<extra>"])
    other.tokenizer.save_pretrained(folder)


def spoil_adapter(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_config, "config.json is not readable JSON"),
        (spoil_weights, "cannot be"),
        (spoil_tensor, "lack 1 tensors of a LlamaForCausalLM, first model.layers.1.mlp.up_proj.weight"),
        (spoil_pickle, "only pickled weights (pytorch_model.bin)"),
        (spoil_shard, "lacks 1 of its 1 weight shards, first model-1.safetensors"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (spoil_adapter, "holds an adapter, not a model"),
        (spoil_tokenizer, "has no tokenizer"),
        (spoil_tokenizer_content, "the tokenizer in"),
        (spoil_end_token, "has no end token"),
        (spoil_pair, "314 tokens but the model embeds only 313"),
    ],
)
def test_broken_folders_are_refused_with_a_sentence(folder, spoil, says):
    spoil(folder)
    with pytest.raises(UserError) as caught:
        load(folder)
    assert says in str(caught.value) and str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./nothing/here", "no model folder or file"),
        ("nothing/here.gguf", "no model folder or file"),
        ("a/b/c", "no model folder or file"),
        ("tiny:x", "whole number"),
        ("somebody/some-model", "not in the hub's cache"),
    ],
)
def test_names_that_lead_nowhere(name, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        load(name, local_files_only=True)


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.gguf").write_text("not gguf at all")
    with pytest.raises(UserError, match="is not a model"):
        load(tmp_path / "a.txt")
    with pytest.raises(UserError, match="is not a GGUF file"):
        load(tmp_path / "a.gguf")


def test_a_place_that_cannot_be_written(tmp_path):
    tiny = load("tiny")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write the model folder"):
        save_model(tiny.model, tiny.tokenizer, tmp_path / "file" / "model")
    shutil.rmtree(tmp_path)
