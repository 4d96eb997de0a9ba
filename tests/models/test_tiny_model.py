import torch

from plaudit.models.load import load
from plaudit.models.tiny import END, PAD, START, tiny_tokenizer


def test_every_byte_and_script_survives_encoding():
    tokenizer = tiny_tokenizer()
    text = "Where is my order 1182?\n\tnaïve 你好 🙂  two spaces" + "".join(chr(i) for i in range(32, 127))
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert 300 <= len(tokenizer) <= 400


def test_the_template_is_chatml_with_a_default_system_message():
    tokenizer = tiny_tokenizer()
    ask = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(ask, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    own = tokenizer.apply_chat_template([{"role": "system", "content": "Be brief"}, *ask], tokenize=False)
    assert own == "<|im_start|>system\nBe brief<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    assert len({tokenizer.convert_tokens_to_ids(t) for t in (START, END, PAD)}) == 3
    assert tokenizer.eos_token == END and tokenizer.pad_token == PAD
    assert tokenizer.encode(text, add_special_tokens=False).count(tokenizer.eos_token_id) == 2


def test_text_has_more_than_one_tokenisation():
    tokenizer = tiny_tokenizer()
    merged = tokenizer.encode(" order", add_special_tokens=False)
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "Ġorder"]
    assert len(merged) == 1 and tokenizer.decode(letters) == tokenizer.decode(merged) == " order"


def test_the_seed_alone_decides_the_weights_and_the_callers_generator_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = load("tiny:7")
    assert torch.equal(torch.rand(3), expected)
    assert first.digest == load("tiny:7").digest != load("tiny:8").digest
    assert load("tiny").digest == load("tiny:0").digest
    assert not first.model.training


def test_dtype_changes_precision_not_weights():
    single, double = load("tiny:3"), load("tiny:3", dtype=torch.float64)
    ids = torch.tensor([[1, 5, 9]])
    assert double.model(ids).logits.dtype == torch.float64
    torch.testing.assert_close(double.model(ids).logits.float(), single.model(ids).logits, rtol=1e-5, atol=1e-5)
    assert double.digest == single.digest
