"""What a reward model pays for: the score of an answer less its score without one token (or word), for each of them.

Leave-one-out (Li, Monroe and Jurafsky 2016, arXiv:1612.08220). It asks one score for each part, needs no gradient, and works
with any reward. What two parts do only together (a negation and its verb) it gives to both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from plaudit.schema import Prompt

Score = Callable[[Sequence[Prompt], Sequence[str]], list[float | None]]
STREAM = "attribution"


def leave_out(prompt: Prompt, parts: Sequence[str], score: Score) -> tuple[float | None, list[float | None]]:
    """(score of the whole, what each part adds): parts joined are the answer; None where a score is missing.

    A part of white space only changes nothing that matters and is not asked: it adds 0.
    """
    asked = [i for i, part in enumerate(parts) if part.strip()]
    texts = ["".join(parts), *("".join([*parts[:i], *parts[i + 1 :]]) for i in asked)]
    whole, *others = score([prompt] * len(texts), texts)
    found: list[float | None] = [0.0] * len(parts)
    for i, other in zip(asked, others, strict=True):
        found[i] = None if whole is None or other is None else whole - other
    return whole, found


def words(text: str) -> list[str]:
    """Words with the white space behind them, which joined are the text."""
    return re.findall(r"\S+\s*|^\s+", text)
