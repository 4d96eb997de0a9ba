"""Small real tokenizers with the templates and the habits that matter, built in the test run."""

from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

LINES = [
    "Where is my order 1182? I am sorry, it is late.",
    "I am sorry to hear that. Your refund is on its way.",
    "The answer is 42, and the other answer is 7.",
    "You are a helpful assistant. user system assistant",
    "[INST] [/INST] ### Question: ### Answer: Hello there, thank you!",
    "foo bar foobar foobar foobar foobar",
]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# SmolLM2's habit: a system turn that nobody gave is written all the same.
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}" + CHATML
)
GENERATION = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{{ '<|im_end|>\n' }}"
    "{% else %}{{ m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content.strip() + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content.strip() + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant') }}{% endif %}{% endfor %}"
)
# Phi-3's habit: another special token at the very end of the dialogue.
PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{ '### Answer: ' if m.role == 'assistant' else '### Question: ' }}{{ m.content + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Answer: ' }}{% endif %}"
)
# Qwen3's habit: only the last assistant turn keeps its (here empty) thinking.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{{ '<think></think>' if loop.last and m.role == 'assistant' else '' }}"
    "{{ m.content.split('</think>')[-1] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NOT_A_PREFIX = "{{ 'turns: ' + (messages | length) | string + '\n' }}" + CHATML


@cache
def trained(kind: str = "bytes") -> str:
    """A byte-level BPE as GPT-2 has it (`trimmed`: offsets without blanks), or a metaspace BPE as Llama 2 has it, as JSON."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=kind == "metaspace", unk_token="<unk>" if kind == "metaspace" else None))
    special = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    if kind != "metaspace":
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=kind == "trimmed")
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Split(Regex("▁"), "merged_with_next")]
        )
        tokenizer.decoder = decoders.Sequence(
            [decoders.Metaspace(prepend_scheme="first"), decoders.ByteFallback(), decoders.Fuse()]
        )
        alphabet = []
        special += [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(LINES * 4, trainer)
    return tokenizer.to_str()


def build(
    template: str | None = CHATML, *, kind: str = "bytes", bos: bool = False, eos: str = "<|im_end|>", pad: str = "<unk>"
):
    """A tokenizer with this template; `bos`: its post-processor writes <s> in front, as Llama's does."""
    backend = Tokenizer.from_str(trained(kind))
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", backend.token_to_id("<s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token=eos, pad_token=pad)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    return tokenizer


def trained_text(tokenizer, row) -> list[str]:
    """The text of each run of tokens with mask 1."""
    runs: list[list[int]] = []
    before = 0
    for token, mask in zip(row.ids, row.mask, strict=True):
        if mask and not before:
            runs.append([])
        if mask:
            runs[-1].append(token)
        before = mask
    return [tokenizer.decode(run, skip_special_tokens=False, clean_up_tokenization_spaces=False) for run in runs]
