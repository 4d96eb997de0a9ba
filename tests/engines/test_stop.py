import pytest
from engine_models import TOKENIZER

from plaudit.engines.stop import StopWatch, ends
from plaudit.schema import Sampling

# One token for each byte, so that characters and stop strings spread over many tokens; a special token inside.
BYTES = [t for char in "naïve — 是的\n\nEND of" for t in TOKENIZER(char)["input_ids"]]
BYTES.insert(4, TOKENIZER.pad_token_id)


def twin(tokens, strings):
    """Decodes everything at every token."""
    for t in range(1, len(tokens) + 1):
        text = TOKENIZER.decode(tokens[:t], skip_special_tokens=True)
        if any(s in text for s in strings):
            return t, text[: min(text.find(s) for s in strings if s in text)]
    return None


@pytest.mark.parametrize(
    "strings",
    [("ï",), ("ïve",), ("— 是",), ("的\n\nE",), ("\n\n", "END"), ("END", "ND"), ("f",), ("zebra",), ("n", "a")],
    ids=repr,
)
def test_a_stop_string_is_found_at_the_token_that_completes_it(strings):
    watch, found = StopWatch(TOKENIZER, strings), None
    for t in range(1, len(BYTES) + 1):
        text = watch.hit(BYTES[:t])
        if text is not None:
            found = t, text
            break
    assert found == twin(BYTES, strings)


def test_the_text_of_a_special_token_counts_as_its_id():
    found = ends(TOKENIZER, Sampling(stop=("<|im_start|>", "###"), stop_token_ids=(7,)), more=[9])
    assert found.strings == ("###",)
    assert found.ids == {TOKENIZER.bos_token_id, TOKENIZER.eos_token_id, 7, 9}
