"""A language model that judges pairs: asked in both orders, and every odd answer counted with its reason.

What it is asked, and what its words say, is in judgements/ai_judge.py, for judges among the annotators too. Judges favour a
place, their own family and length: both orders take out the place only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol

from annotated_types import Ge, Gt

from plaudit.config import config
from plaudit.judgements import ai_judge
from plaudit.schema import Completion, Prompt, Sampling, UserError

VALUES = {"a": 1.0, "b": 0.0, "tie": 0.5}


@config
class PairJudgeConfig:
    """A language model that compares answers; none where rewards do."""

    judge: str | None = None
    """URL#MODEL of an OpenAI-compatible server, as in http://127.0.0.1:8000/v1#qwen."""
    judge_rubric: str | None = None
    """What makes an answer better: the text, or a file with it."""
    judge_timeout: Annotated[float, Gt(0)] = 120.0
    """Seconds without an answer after which one judgement is given up."""
    judge_retries: Annotated[int, Ge(0)] = 2
    """Further tries of one request that failed."""
    judge_concurrency: Annotated[int, Ge(1)] = 8
    """Judgements under way at a time."""
    judge_max_new_tokens: Annotated[int, Ge(8)] = 256
    """Longest judgement."""

    @property
    def rubric(self) -> str:
        """The rubric's text. UserError where a file is named that cannot be read."""
        given = self.judge_rubric or ai_judge.RUBRIC
        if "\n" in given or len(given) > 200 or not given.endswith((".md", ".txt")):
            return given
        try:
            return Path(given).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise UserError(f"judge_rubric {given} cannot be read ({problem}); give a text file, or the text") from None


class Asked(Protocol):
    """What a judge needs of an engine."""

    def generate(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[Completion]: ...


@dataclass
class Judged:
    """Verdicts on pairs, and what went wrong."""

    wins: list[float | None]
    """Of the first side: the mean of both orders, 1, 0, or between; None where a verdict is missing."""
    flips: int = 0
    """Pairs on which the judge followed the place: it named the same place in both orders."""
    first: int = 0
    """Verdicts for the answer shown first, of all verdicts that name one."""
    named: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Reason -> verdicts that are missing for it."""


def judge_pairs(
    engine: Asked,
    prompts: Sequence[Prompt],
    one: Sequence[str],
    two: Sequence[str],
    options: PairJudgeConfig,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Judged:
    """Compare one[i] and two[i] as answers to prompts[i], in both orders. What fails is counted, and ends nothing."""
    asked = [
        Prompt(messages=ai_judge.messages(options.rubric, prompt, first, second))
        for prompt, a, b in zip(prompts, one, two, strict=True)
        for first, second in ((a, b), (b, a))
    ]
    sampling = Sampling(max_new_tokens=options.judge_max_new_tokens, temperature=0)
    found: list[float | str] = [""] * len(asked)
    with ThreadPoolExecutor(options.judge_concurrency, thread_name_prefix="plaudit-judge") as pool:
        jobs = {pool.submit(_verdict, engine, prompt, sampling): i for i, prompt in enumerate(asked)}
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                found[jobs[job]] = job.result()
                told(done, len(asked))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _joined(found)


def _verdict(engine: Asked, prompt: Prompt, sampling: Sampling) -> float | str:
    """The verdict, or why there is none."""
    try:
        said = engine.generate([prompt], 1, sampling)[0]
    except UserError as problem:
        return f"the judge failed: {str(problem)[:120]}"
    found = ai_judge.verdict(said.text)
    if found is None:
        return "the judgement was cut off" if said.truncated else "the judge named no side"
    return VALUES[found]


def _joined(found: Sequence[float | str]) -> Judged:
    judged = Judged([])
    for there, back in zip(found[::2], found[1::2], strict=True):
        judged.failures.update(value for value in (there, back) if isinstance(value, str))
        sides = [value for value in (there, back) if isinstance(value, float) and value != 0.5]
        judged.first, judged.named = judged.first + sum(value == 1 for value in sides), judged.named + len(sides)
        if isinstance(there, float) and isinstance(back, float):
            judged.wins.append((there + 1 - back) / 2)
            judged.flips += there == back != 0.5
        else:
            judged.wins.append(None)
    return judged
