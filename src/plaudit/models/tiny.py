"""A tiny randomly initialised Llama and a tokenizer made in code: tests need no download, and run in milliseconds.

The tokenizer is a byte-level BPE: 4 special tokens, 256 bytes, and some merges, so that text has more than one tokenisation
(as with real models: what was sampled is not what encoding the text again gives). The chat template is ChatML as in
SmolLM2, default system message included.
"""

from __future__ import annotations

from typing import Any

import torch

PAD, START, END, UNKNOWN = "<|pad|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SPECIAL = (UNKNOWN, START, END, PAD)

CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# Every word is built up letter by letter ("Ġ" is the byte-level spelling of a space).
WORDS = (
    "Ġthe",
    "Ġorder",
    "Ġyour",
    "Ġrefund",
    "Ġis",
    "user",
    "assistant",
    "system",
    "Ġa",
    "Ġto",
    "Ġhelp",
    "Ġsorry",
    "Ġyes",
    "Ġno",
    "ing",
)


def tiny_tokenizer() -> Any:
    """Byte-level BPE of about 320 tokens: EOS `<|im_end|>`, a pad token of its own, ChatML template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=PAD,
        chat_template=CHATML,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def tiny_config(vocabulary: int) -> Any:
    """The config of a Llama of hidden size 64, 2 layers, 4 heads, 2 key-value heads."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.06,
        tie_word_embeddings=True,
        bos_token_id=SPECIAL.index(START),
        eos_token_id=SPECIAL.index(END),
        pad_token_id=SPECIAL.index(PAD),
    )


def tiny_model(vocabulary: int, seed: int = 0) -> Any:
    """A Llama of `tiny_config`; the weights follow from `seed` alone.

    Float32, eval mode. The caller's random generator is left as it was.
    """
    from transformers import LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(tiny_config(vocabulary)).float().eval()
