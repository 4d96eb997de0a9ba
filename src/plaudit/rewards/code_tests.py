"""A reward for code: 1 where an answer's program passes the tests of its row."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from plaudit.rewards.rules import Texts, texts_of
from plaudit.rewards.sandbox.rows import exam_of
from plaudit.rewards.sandbox.running import REASONS, SandboxConfig, examined, permitted, warning

Column = Sequence[Any] | None


def code_tests(
    prompts: Texts,
    completions: Texts,
    tests: Column = None,
    test: Column = None,
    entry_point: Column = None,
    test_list: Column = None,
    test_setup_code: Column = None,
    test_imports: Column = None,
    *,
    log_metric: Callable[[str, float], None] = lambda name, value: None,
    allow_code_execution: bool = False,
    code_timeout: float = 5.0,
    code_memory: int = 512,
) -> list[float | None]:
    """1 where the answer's code passes the tests of its row (rewards/sandbox/rows.py has the columns), 0 where it does not,
    None where the row has none. Logs the share of each reason as code_tests/<reason>.
    """
    options = SandboxConfig(allow_code_execution=allow_code_execution, code_timeout=code_timeout, code_memory=code_memory)
    permitted(options, "reward function code_tests", "reward_kwargs.code_tests.allow_code_execution: true")
    if weak := warning():
        warnings.warn(weak, stacklevel=2)  # told once
    columns = {
        "prompt": _asked(prompts), "tests": tests, "test": test, "entry_point": entry_point, "test_list": test_list,
        "test_setup_code": test_setup_code, "test_imports": test_imports,
    }  # fmt: skip
    exams = [
        exam_of({name: values[i] for name, values in columns.items() if values is not None}, said)
        for i, said in enumerate(texts_of(completions))
    ]
    verdicts = iter(examined([exam for exam in exams if exam is not None], options))
    found = [None if exam is None else next(verdicts) for exam in exams]
    counted = Counter(one.reason for one in found if one is not None)
    for reason in REASONS if counted else ():
        log_metric(f"code_tests/{reason}", counted[reason] / counted.total())
    return [None if one is None else float(one.passed) for one in found]


def _asked(prompts: Texts) -> Sequence[str]:
    """The prompts as text; of message lists, the last request."""
    return [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
