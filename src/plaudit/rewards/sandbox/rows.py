"""Rows with tests, and answers with code, made into programs.

{"prompt": ..., "tests": "assert f(1) == 2" or a list of such lines}              our own
{"prompt": ..., "test": "def check(candidate): ...", "entry_point": "f"}         HumanEval's (Chen et al. 2021, 2107.03374)
{"text" or "prompt": ..., "test_list": [...], "test_setup_code", "test_imports"}  MBPP's (Austin et al. 2021, arXiv:2108.07732)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from plaudit.rewards.sandbox.running import Exam

FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+.-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
PYTHON = ("", "python", "python3", "py")
FIRST = re.compile(r"^(?:def |async def |class |import |from \w[\w.]* import |@|[A-Za-z_]\w* = )", re.MULTILINE)
"""The first line of code. Answers are never parsed here: a hostile one could end the parser, and this process with it."""
STOP = re.compile(r"\n(?:class |def |#|if |print\(|@|```)")
"""Where a completion goes on to something else (the stop sequences of the Codex paper, and a fence)."""


def exam_of(row: Mapping[str, Any], answer: str) -> Exam | None:
    """The program that `answer` is, with the tests of its row; None where the row has no tests."""
    if row.get("test") and row.get("entry_point"):
        name, prompt = str(row["entry_point"]), str(row.get("prompt") or "")
        return Exam(_completed(prompt, answer, name), str(row["test"]), name, _python(prompt))
    tests = _lines(row.get("test_list") or row.get("tests"))
    if not tests:
        return None
    setup, imports = _lines(row.get("test_setup_code")), _lines(row.get("test_imports"))
    return Exam(f"{code_of(answer, _called(tests))}\n{setup}", f"{imports}\n{tests}", prelude=setup)


def code_of(answer: str, wanted: set[str] | None = None) -> str:
    """The code of an answer: the last fenced block that defines one of `wanted`, else the first block; without fences, from the
    first line of code on. What stands in <think> is not looked at.

    >>> code_of("Sure!\\n```python\\ndef f(): return 1\\n```\\nDone.")
    'def f(): return 1\\n'
    """
    said = answer.rpartition("</think>")[2]
    blocks = [code for _, language, code in FENCE.findall(said) if language.lower() in PYTHON]
    if blocks:
        return next((block for block in reversed(blocks) if any(_defines(block, name) for name in wanted or ())), blocks[0])
    start = FIRST.search(said)
    return said[start.start() :] if start else said


def _completed(prompt: str, answer: str, name: str) -> str:
    """HumanEval's program: the prompt's imports and helpers before a whole function, or the prompt and what goes on from it."""
    code = code_of(answer, {name})
    if _defines(code, name):
        return f"{_python(prompt)}\n{code}"
    rest = code if FENCE.search(answer) else answer.rpartition("</think>")[2]
    end = STOP.search(rest)
    return prompt + (rest[: end.start()] if end else rest)


def _python(prompt: str) -> str:
    """The prompt where it is Python by itself (a function with nothing but its docstring is); a block of it; else nothing."""
    return next((text for text in (prompt, *(code for _, _, code in FENCE.findall(prompt))) if _is_python(text)), "")


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _defines(code: str, name: str) -> bool:
    return re.search(rf"^(?:(?:async )?def|class) {re.escape(name)}\b|^{re.escape(name)}\s*=", code, re.MULTILINE) is not None


def _called(tests: str) -> set[str]:
    """The names that the tests call; none where they are no Python."""
    tree = ast.parse(tests if _is_python(tests) else "")
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def _lines(value: Any) -> str:
    """Text, or a list of lines."""
    return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")
