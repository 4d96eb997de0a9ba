"""Rules that reward without a model. Options are set by `reward_kwargs`, for example {length_penalty: {upper: 120}}."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from plaudit.schema import UserError

Texts = Sequence[str | Sequence[dict[str, str]]]

THINKING = re.compile(r"\s*<think>(?:(?!</?think>).)*</think>(?:(?!</?think>).)*", re.DOTALL)
# A run of letters and digits is a word; so is each sign of a script that is written without spaces.
WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
)


def exact_match(completions: Texts, answer: Sequence[Any]) -> list[float | None]:
    """1 where the answer equals the column `answer` (or one entry, where that is a list), else 0; None where there is none.

    Case, runs of white space and a full stop at the end do not count.
    """
    found: list[float | None] = []
    for text, expected in zip(texts_of(completions), answer, strict=True):
        accepted = expected if isinstance(expected, list | tuple) else [expected]
        wanted = {_plain(str(one)) for one in accepted if one is not None}
        found.append(float(_plain(text) in wanted) if wanted else None)
    return found


def regex_match(completions: Texts, *, pattern: str = "", full: bool = False) -> list[float]:
    """1 where `pattern` is found in the answer (`full`: matches all of it; the dot takes newlines too), else 0."""
    if not isinstance(pattern, str) or not pattern:
        raise UserError("reward function regex_match needs its pattern: set reward_kwargs.regex_match.pattern")
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise UserError(f"reward function regex_match: the pattern {pattern!r} is not a regular expression: {error}") from error
    search = compiled.fullmatch if full else compiled.search
    return [float(search(text) is not None) for text in texts_of(completions)]


def think_format(completions: Texts) -> list[float]:
    """1 where the answer is one <think>...</think> block and then text without such tags, else 0."""
    return [float(THINKING.fullmatch(text) is not None) for text in texts_of(completions)]


def length_penalty(
    completion_ids: Sequence[Sequence[int]], *, lower: int = 0, upper: int = 256, margin: int = 64
) -> list[float]:
    """0 for an answer of `lower` to `upper` tokens, falling linearly to -1 at `margin` tokens outside, -1 beyond."""
    if not 0 <= lower <= upper or margin < 1:
        raise UserError(
            "reward function length_penalty needs 0 <= lower <= upper and margin >= 1, "
            f"not lower {lower}, upper {upper}, margin {margin}"
        )
    return [-min(1.0, max(lower - len(ids), len(ids) - upper, 0) / margin) for ids in completion_ids]


def soft_overlong_punishment(
    completion_ids: Sequence[Sequence[int]], *, max_completion_len: int = 0, soft_punish_cache: int = 0
) -> list[float]:
    """0 up to max_completion_len - soft_punish_cache tokens, falling linearly to -1 at max_completion_len, -1 beyond.

    DAPO's punishment of answers that come near the limit (Yu et al. 2025, arXiv:2503.14476, eq. 13), with the names of TRL's
    get_soft_overlong_punishment; the end token counts.
    """
    if not 0 < soft_punish_cache <= max_completion_len:
        raise UserError(
            "reward function soft_overlong_punishment needs 0 < soft_punish_cache <= max_completion_len, not "
            f"{soft_punish_cache} and {max_completion_len}; set them in reward_kwargs.soft_overlong_punishment"
        )
    return length_penalty(completion_ids, upper=max_completion_len - soft_punish_cache, margin=soft_punish_cache)


def repetition_penalty(completions: Texts, *, ngram_size: int = 3, max_penalty: float = 1.0) -> list[float]:
    """- max_penalty x (share of the answer's n-grams of words that stand there already); 0 for answers shorter than an n-gram.

    The measure of Yeo et al. 2025 (arXiv:2502.03373), as in TRL's get_repetition_penalty_reward, with words told apart by
    letters and digits (punctuation does not hide a repetition) and each Chinese or Japanese sign a word.
    """
    if ngram_size < 1 or max_penalty < 0:
        raise UserError(
            f"reward function repetition_penalty needs ngram_size >= 1 and max_penalty >= 0, not {ngram_size} and {max_penalty}"
        )
    found = []
    for text in texts_of(completions):
        words = WORD.findall(text.lower())
        grams = list(zip(*(words[i:] for i in range(ngram_size)), strict=False))
        found.append(-max_penalty * (1 - len(set(grams)) / len(grams)) if grams else 0.0)
    return found


def texts_of(completions: Texts) -> list[str]:
    """The answers as text; of message lists, what the assistant said."""
    return [
        answer if isinstance(answer, str) else "\n".join(turn["content"] for turn in answer if turn["role"] == "assistant")
        for answer in completions
    ]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold().removesuffix(".")
