import unicodedata

import pytest
from data_tokenizers import (
    CHATML,
    DEFAULT_SYSTEM,
    GENERATION,
    LLAMA2,
    NO_END,
    NOT_A_PREFIX,
    PHI3,
    THINKING,
    build,
    trained_text,
)

from plaudit.data.template import Row, encode_answer, encode_demonstration, encode_prompt, turn_end_id
from plaudit.schema import Demonstration, Message, Prompt, UserError

ASK = (Message("user", "Where is my order 1182?"),)
LONG = (
    Message("user", "Hello there"),
    Message("assistant", "thank you!"),
    Message("user", "Where is my order?"),
    Message("assistant", "I am sorry\nit is late."),
)
TEMPLATES = {
    "chatml": CHATML,
    "system": DEFAULT_SYSTEM,
    "generation": GENERATION,
    "llama2": LLAMA2,
    "phi3": PHI3,
    "no_end": NO_END,
}


def tokenizer_for(name: str):
    return build(TEMPLATES[name], eos="</s>" if name in ("llama2", "phi3", "no_end") else "<|im_end|>")


def test_chatml_row_by_hand():
    tokenizer = build()
    row = encode_answer(tokenizer, Prompt(messages=ASK), "it is late.")
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])

    def plain(written):
        return tokenizer(written, add_special_tokens=False)["input_ids"]

    head = [start, *plain("user\nWhere is my order 1182?"), end, *plain("\n"), start, *plain("assistant\n")]
    tail = [*plain("it is late."), end]
    assert row == Row(head + tail, [0] * len(head) + [1] * len(tail), len(head))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("answer", ["it is late.", "", " it is", "\n\nfoo", "émile 日本 😀", "bar"])
def test_row_begins_with_what_the_engine_reads(name, answer):
    tokenizer = tokenizer_for(name)
    for prompt in (Prompt(messages=ASK), Prompt(messages=(*LONG[:3],))):
        head = encode_prompt(tokenizer, prompt)
        rendered = tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in prompt.messages], add_generation_prompt=True
        )["input_ids"]
        row = encode_answer(tokenizer, prompt, answer)
        assert head == rendered == row.ids[: row.prompt_length]
        assert row.mask == [0] * len(head) + [1] * (len(row) - len(head)) and len(row) > len(head)
        assert row.ids[-1] == turn_end_id(tokenizer)
        assert tokenizer.decode(row.ids[len(head) : -1]).strip() == answer.strip()


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_assistant_turn_of_a_dialogue_is_trained_with_its_end(name):
    tokenizer = tokenizer_for(name)
    row = encode_demonstration(tokenizer, Demonstration(Prompt(messages=LONG[:1]), LONG[1:]))
    expected = {
        "llama2": [" thank you! </s>", " I am sorry\nit is late. </s>"],
        "no_end": ["thank you!", "I am sorry\nit is late.</s>"],
    }.get(name, ["thank you!<|im_end|>", "I am sorry\nit is late.<|im_end|>"])
    assert trained_text(tokenizer, row) == expected
    whole = tokenizer.apply_chat_template([{"role": m.role, "content": m.content} for m in LONG])["input_ids"]
    if name != "no_end":  # its header ends in a blank, which would melt into the answer: cut there
        assert row.ids == whole[: len(row)], "the dialogue is tokenised once"
    assert row.prompt_length == len(encode_prompt(tokenizer, Prompt(messages=LONG[:1])))


def test_earlier_assistant_turns_of_the_prompt_are_not_trained():
    tokenizer = build()
    row = encode_answer(tokenizer, Prompt(messages=LONG[:3]), LONG[3:])
    assert trained_text(tokenizer, row) == ["I am sorry\nit is late.<|im_end|>"]


def test_turns_after_the_last_answer_are_cut_off():
    tokenizer = build()
    row = encode_answer(tokenizer, Prompt(messages=LONG[:1]), LONG[1:3])
    assert trained_text(tokenizer, row) == ["thank you!<|im_end|>"] and row.mask[-1] == 1


def test_a_dialogue_that_the_assistant_opens():
    for template in (CHATML, GENERATION):
        tokenizer = build(template)
        row = encode_answer(tokenizer, Prompt(), LONG[1:])
        assert trained_text(tokenizer, row) == ["thank you!<|im_end|>", "I am sorry\nit is late.<|im_end|>"]
        assert row.prompt_length == 0


def test_pad_equal_to_eos_changes_nothing():
    one, other = build(pad="<unk>"), build(pad="<|im_end|>")
    demo = Demonstration(Prompt(messages=LONG[:1]), LONG[1:])
    assert other.pad_token_id == other.eos_token_id
    assert encode_demonstration(one, demo) == encode_demonstration(other, demo)
    assert trained_text(other, encode_demonstration(other, demo))[1].endswith("<|im_end|>")


@pytest.mark.parametrize("kind", ["bytes", "metaspace"])
def test_bos_exactly_once(kind):
    tokenizer = build(LLAMA2, kind=kind, bos=True, eos="</s>")
    for prompt in (
        Prompt(messages=ASK),
        Prompt(text="Where is my order"),
        Prompt(text="<s>Where is my order"),
        Prompt(text=""),
    ):
        row = encode_answer(tokenizer, prompt, "late")
        assert row.ids.count(tokenizer.bos_token_id) == 1 and row.ids[0] == tokenizer.bos_token_id and row.mask[0] == 0
        assert row.ids.count(tokenizer.eos_token_id) == 1 and row.ids[-1] == tokenizer.eos_token_id


def test_plain_text_row_by_hand():
    tokenizer = build(None, eos="</s>")
    row = encode_answer(tokenizer, Prompt(text="The answer is"), " 42,")
    head = tokenizer("The answer is")["input_ids"]
    tail = tokenizer(" 42,")["input_ids"]
    assert row == Row([*head, *tail, tokenizer.eos_token_id], [0] * len(head) + [1] * (len(tail) + 1), len(head))


def test_a_token_across_the_line_is_never_made():
    tokenizer = build(None, eos="</s>")
    assert len(tokenizer(" foobar")["input_ids"]) == 1
    row = encode_answer(tokenizer, Prompt(text=" foo"), "bar")
    assert row.ids[: row.prompt_length] == encode_prompt(tokenizer, Prompt(text=" foo"))
    assert trained_text(tokenizer, row) == ["bar</s>"]


@pytest.mark.parametrize("kind", ["bytes", "trimmed", "metaspace"])
@pytest.mark.parametrize(
    ("prompt", "answer"),
    [("foo", "bar"), (" foo ", "bar"), ("foo\n", "\nbar"), ("e", "\u0301e"), ("foo", " bar\n"), ("foo", "bar ")],
)
def test_prompt_and_answer_are_cut_where_they_meet(kind, prompt, answer):
    tokenizer = build(None, kind=kind, eos="</s>")
    row = encode_answer(tokenizer, Prompt(text=prompt), answer)
    assert row.ids[: row.prompt_length] == encode_prompt(tokenizer, Prompt(text=prompt))
    assert row.mask == [0] * row.prompt_length + [1] * (len(row) - row.prompt_length)
    text = tokenizer.decode(row.ids[:-1], clean_up_tokenization_spaces=False)
    assert unicodedata.normalize("NFC", text).lstrip(" ") == unicodedata.normalize("NFC", prompt + answer).lstrip(" ")


@pytest.mark.parametrize("kind", ["bytes", "trimmed"])
def test_a_dialogue_is_cut_at_every_assistant_turn_where_a_token_would_cross(kind):
    tokenizer = build(NO_END, kind=kind, eos="</s>")
    row = encode_answer(tokenizer, Prompt(messages=LONG[:1]), LONG[1:])
    assert trained_text(tokenizer, row) == ["thank you!", "I am sorry\nit is late.</s>"]
    later = encode_prompt(tokenizer, Prompt(messages=LONG[:3]))
    assert tokenizer.decode(row.ids).startswith(tokenizer.decode(later)) and row.mask[-6:] == [1] * 6


def test_the_first_token_has_nothing_before_it_and_is_not_trained():
    row = encode_answer(build(None), Prompt(text=""), "it is late")
    assert row.prompt_length == 0 and row.mask == [0] + [1] * (len(row) - 1)


def test_without_eos_the_answer_stays_open():
    for name in TEMPLATES:
        tokenizer = tokenizer_for(name)
        row = encode_answer(tokenizer, Prompt(messages=ASK), "it is late", add_eos=False)
        assert trained_text(tokenizer, row)[0].strip() == "it is late"
    assert trained_text(tokenizer, encode_answer(tokenizer, Prompt(text="Hello"), " there", add_eos=False)) == [" there"]


def test_the_end_of_a_turn_is_the_templates_not_the_last_special_token():
    tokenizer = tokenizer_for("phi3")
    assert tokenizer.decode([turn_end_id(tokenizer)]) == "<|im_end|>"
    assert turn_end_id(tokenizer, chat=False) == tokenizer.eos_token_id
    assert turn_end_id(tokenizer_for("no_end")) == tokenizer_for("no_end").eos_token_id


def test_a_template_that_drops_thinking_from_earlier_turns():
    tokenizer = build(THINKING)
    row = encode_answer(tokenizer, Prompt(messages=LONG[:1]), LONG[1:])
    assert trained_text(tokenizer, row) == ["thank you!<|im_end|>", "<think></think>I am sorry\nit is late.<|im_end|>"]
    thought = (Message("assistant", "<think>so</think>thank you!"), *LONG[2:])
    with pytest.raises(UserError, match="rewrites the assistant turn '<think>so"):
        encode_answer(tokenizer, Prompt(messages=LONG[:1]), thought)


def test_the_same_words_in_a_later_user_turn_are_not_taken_for_the_answer():
    upper = "(m.content | upper if m.role == 'assistant' else m.content)"
    turns = (Message("assistant", "late"), Message("user", "what does late mean?"), Message("assistant", "42"))
    for template in (CHATML, NO_END):
        tokenizer = build(template.replace("m.content", upper), eos="</s>")
        with pytest.raises(UserError, match="rewrites the assistant turn 'late'"):
            encode_answer(tokenizer, Prompt(messages=ASK), turns)


def test_a_template_whose_prompt_is_no_prefix_is_refused_with_the_place():
    with pytest.raises(UserError, match=r"'1.*becomes '2.*at character 8"):
        encode_answer(build(NOT_A_PREFIX), Prompt(messages=ASK), "late")


def test_user_errors_say_what_to_do():
    with pytest.raises(UserError, match="no chat template"):
        encode_prompt(build(None), Prompt(messages=ASK))
    with pytest.raises(UserError, match="refuses a dialogue of the turns system, user: Only user and assistant"):
        encode_prompt(build(LLAMA2), Prompt(messages=(Message("system", "Be kind"), *ASK)))
    with pytest.raises(UserError, match="plain text, but its answer is a list"):
        encode_answer(build(), Prompt(text="Hello"), LONG[1:2])
    with pytest.raises(UserError, match="does not start with an assistant turn"):
        encode_answer(build(), Prompt(messages=ASK), LONG[:1])
    tokenizer = build(None)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no EOS token"):
        encode_answer(tokenizer, Prompt(text="Hello"), " there")


def test_key_is_of_the_content():
    tokenizer = build()
    one, same, other = (encode_answer(tokenizer, Prompt(messages=ASK), a) for a in ("late", "late", "later"))
    assert one.key == same.key != other.key and 0 <= one.key < 2**63


def test_metaspace_dialogue():
    tokenizer = build(LLAMA2, kind="metaspace", bos=True, eos="</s>")
    row = encode_answer(tokenizer, Prompt(messages=LONG[:1]), LONG[1:])
    assert [t.strip() for t in trained_text(tokenizer, row)] == ["thank you! </s>", "I am sorry\nit is late. </s>"]
    assert row.ids[: row.prompt_length] == encode_prompt(tokenizer, Prompt(messages=LONG[:1]))
