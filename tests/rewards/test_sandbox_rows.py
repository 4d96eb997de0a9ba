"""Code taken out of answers, and rows of three layouts made into programs. Nothing is run here but the reward's own test."""

from __future__ import annotations

import pytest

from plaudit.registry import find, names
from plaudit.rewards.functions import load_function
from plaudit.rewards.sandbox.rows import code_of, exam_of
from plaudit.schema import Completion, Message, Prompt, UserError

PROMPT = 'import math\n\ndef area(r):\n    """The area of a circle."""\n'


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("def f(): return 1", "def f(): return 1"),
        ("Sure!\n```python\ndef f(): return 1\n```\nDone.", "def f(): return 1\n"),
        ("```\ndef f(): return 1\n```", "def f(): return 1\n"),
        ("~~~py\ndef f(): return 1\n~~~", "def f(): return 1\n"),
        ("```bash\npip install x\n```\n```Python3\ndef f(): return 1\n```", "def f(): return 1\n"),
        ("First try:\n```python\ndef f(): return 0\n```\nBetter:\n```python\ndef f(): return 1\n```", "def f(): return 1\n"),
        ("```python\ndef f(): return 1\n```\nUse it so:\n```python\nprint(f())\n```", "def f(): return 1\n"),
        ("Cut off:\n```python\ndef f(): return 1", "def f(): return 1"),
        ("<think>```python\ndef f(): return 0\n```</think>```python\ndef f(): return 1\n```", "def f(): return 1\n"),
        ("Here it is.\nimport math\ndef f(): return 1", "import math\ndef f(): return 1"),
        ("R = 3\ndef f(): return R", "R = 3\ndef f(): return R"),
        ("I do not know.", "I do not know."),
        ("", ""),
    ],
)
def test_the_code_of_an_answer(answer, code):
    assert code_of(answer, {"f"}) == code


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("    return math.pi * r ** 2\n\nprint(area(2))\n", PROMPT + "    return math.pi * r ** 2\n"),
        ("    return math.pi * r ** 2\n\ndef other(): pass\n", PROMPT + "    return math.pi * r ** 2\n"),
        ("```python\ndef area(r):\n    return 3\n```", f"{PROMPT}\ndef area(r):\n    return 3\n"),
        ("```python\n    return 3\n```", PROMPT + "    return 3\n"),
    ],
)
def test_rows_like_human_evals(answer, code):
    row = {"prompt": PROMPT, "test": "def check(candidate):\n    assert candidate(0) == 0\n", "entry_point": "area"}
    found = exam_of(row, answer)
    assert (found.code, found.entry_point, found.prelude) == (code, "area", PROMPT)
    compile(found.code, "program", "exec")


def test_rows_like_mbpps_and_our_own():
    mbpp = {"text": "Add.", "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"], "test_setup_code": "import re"}
    found = exam_of({**mbpp, "test_imports": ["import math"]}, "```python\ndef add(a, b): return a + b\n```")
    assert found.code == "def add(a, b): return a + b\n\nimport re" and found.prelude == "import re" and not found.entry_point
    assert found.tests == "import math\nassert add(1, 2) == 3\nassert add(0, 0) == 0"
    assert exam_of({"tests": "assert f()"}, "def f(): return 1").tests.strip() == "assert f()"
    assert exam_of({"prompt": "no tests"}, "def f(): return 1") is None
    assert exam_of({"tests": None, "test_list": []}, "def f(): return 1") is None


def test_the_reward_for_code_that_passes_its_tests():
    assert "code_tests" in names("rewards") and callable(find("rewards", "code_tests"))
    reward = load_function("code_tests", {"allow_code_execution": True})
    right, wrong = "```python\ndef add(a, b): return a + b\n```", "def add(a, b): return a - b"
    columns = ({"tests": "assert add(1, 2) == 3"}, {"tests": ["assert add(1, 2) == 3"]}, {"tests": None})
    prompts = [Prompt(messages=(Message("user", "Add."),), meta=one) for one in columns]

    from plaudit.rewards.base import Context

    context = Context()
    answers = [
        Completion(p.id, text, (1,), (2,), (-1.0,), "stop") for p, text in zip(prompts, (right, wrong, right), strict=True)
    ]
    assert reward.score(prompts, answers, context) == [1.0, 0.0, None]
    assert context.metrics["code_tests/passed"] == [0.5] == context.metrics["code_tests/wrong"]
    assert context.metrics["code_tests/memory"] == [0.0]
    with pytest.raises(UserError, match=r"reward_kwargs\.code_tests\.allow_code_execution: true"):
        load_function("code_tests").score(prompts, answers, Context())
