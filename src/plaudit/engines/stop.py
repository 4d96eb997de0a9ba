"""When an answer ends: end tokens, stop strings, length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from plaudit.schema import Sampling


@dataclass(frozen=True)
class Ends:
    """Token ids that end an answer and strings that cut it."""

    ids: frozenset[int]
    strings: tuple[str, ...]


def ends(tokenizer: Any, sampling: Sampling, more: Iterable[int] = ()) -> Ends:
    """The tokenizer's EOS, `more` (the generation config's), the request's ids; stop strings.

    A stop string that is the text of a special token counts as its id, since the decoded text never shows special tokens.
    """
    ids = {*more, *sampling.stop_token_ids}
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    ids.update(special[text] for text in sampling.stop if text in special)
    return Ends(frozenset(ids), tuple(text for text in sampling.stop if text not in special))


def decode(tokenizer: Any, tokens: list[int]) -> str:
    """Text of the tokens without special ones, spaces left as they are."""
    return tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class StopWatch:
    """Looks for stop strings in one row's text as it grows, decoding a few tokens for each new one instead of all."""

    def __init__(self, tokenizer: Any, strings: tuple[str, ...]) -> None:
        self.tokenizer = tokenizer
        self.strings = strings
        self.longest = max(map(len, strings), default=0)
        self.tail = ""  # the last characters that are settled
        self.start = self.read = 0  # tokens[start:read] are settled and decoded again as context for what follows

    def hit(self, tokens: list[int]) -> str | None:
        """The text before the earliest stop string where `tokens` (all of the row's) now hold one, else None."""
        if not self.strings:
            return None
        old = decode(self.tokenizer, tokens[self.start : self.read])
        new = decode(self.tokenizer, tokens[self.start :])
        text = self.tail + new[len(old) :]
        if any(string in text for string in self.strings):
            whole = decode(self.tokenizer, tokens)
            cuts = [whole.find(string) for string in self.strings if string in whole]
            if cuts:
                return whole[: min(cuts)]
        # A character whose bytes are still incomplete shows as U+FFFD: wait for the rest of it.
        if len(new) > len(old) and not new.endswith("\ufffd"):
            self.start, self.read = self.read, len(tokens)
            self.tail = text[-self.longest :]
        return None
