# ruff: noqa: E501  (programs in one line)
"""Tasks of kind `code`: pass@k, failures by reason, the task of our own making, what is refused."""

from __future__ import annotations

import json
import re

import pytest
from test_tasks import Says, run, task

from plaudit.evaluation.tasks import outcome, read_task
from plaudit.rewards.sandbox.running import SandboxConfig
from plaudit.schema import UserError

ALLOWED = SandboxConfig(allow_code_execution=True, code_timeout=2.0)

RIGHT = {
    "count_vowels": "return sum(c in 'aeiouAEIOU' for c in text)",
    "is_leap_year": "return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)",
    "second_largest": "n = sorted(set(numbers)); return n[-2] if len(n) > 1 else None",
    "run_lengths": "from itertools import groupby; return [(k, len(list(g))) for k, g in groupby(text)]",
    "rotate": "n = steps % len(items) if items else 0; return items[-n:] + items[:-n] if n else list(items)",
    "is_balanced": "s = []; return all(s.append(c) or True if c in '([{' else bool(s) and s.pop() + c in ('()', '[]', '{}') "
    "for c in text if c in '()[]{}') and not s",
    "to_roman": "return ''.join(('', 'M', 'MM', 'MMM')[number // 1000] + '' if i < 0 else t[number // 10 ** i % 10] for i, t in "
    "((3, ('', 'M', 'MM', 'MMM')), (2, ',C,CC,CCC,CD,D,DC,DCC,DCCC,CM'.split(',')), (1, ',X,XX,XXX,XL,L,LX,LXX,LXXX,XC'.split(',')), "
    "(0, ',I,II,III,IV,V,VI,VII,VIII,IX'.split(','))))",
    "word_counts": "w = text.lower().split(); return {one: w.count(one) for one in w}",
    "merge_intervals": "found = []\n    for a, b in sorted(intervals):\n        if found and a <= found[-1][1]: found[-1] = (found[-1][0], max(b, found[-1][1]))\n"
    "        else: found.append((a, b))\n    return found",
    "prime_factors": "found, d = [], 2\n    while number > 1:\n        while number % d == 0: found.append(d); number //= d\n        d += 1\n    return found",
    "transpose": "return [list(c) for c in zip(*rows)]",
    "caesar": "return ''.join(chr((ord(c) - b + shift) % 26 + b) if c.isascii() and c.isalpha() else c for c in text for b in [97 if c.islower() else 65])",
    "digits_sum": "return sum(map(int, str(abs(number))))",
    "longest_common_prefix": "import os; return os.path.commonprefix(words)",
    "median": "import statistics; return statistics.median(numbers)",
}
"""The body of each function of the task `programs`."""
SLIPS = {
    "count_vowels": "return sum(c in 'aeiou' for c in text)",
    "is_leap_year": "return year % 4 == 0",
    "second_largest": "return sorted(numbers)[-2]",
    "run_lengths": "return [(c, text.count(c)) for c in dict.fromkeys(text)]",
    "rotate": "return items[-steps:] + items[:-steps]",
    "is_balanced": "return text.count('(') == text.count(')') and text.count('[') == text.count(']')",
    "to_roman": "return 'M' * (number // 1000) + 'C' * (number // 100 % 10) + 'X' * (number // 10 % 10) + 'I' * (number % 10)",
    "word_counts": "w = text.split(); return {one: w.count(one) for one in w}",
    "merge_intervals": "return sorted(intervals)",
    "prime_factors": "return [d for d in range(2, number + 1) if number % d == 0 and all(d % e for e in range(2, d))]",
    "transpose": "return rows",
    "caesar": "return ''.join(chr(ord(c) + shift) for c in text)",
    "digits_sum": "return sum(map(int, str(number)))",
    "longest_common_prefix": "return words[0]",
    "median": "return sorted(numbers)[len(numbers) // 2]",
}


def answer(bodies, question):
    signature = re.search(r"function (\w+)(\(.*?\))", question)
    return f"Here:\n```python\ndef {signature[1]}{signature[2]}:\n    {bodies[signature[1]]}\n```"


def test_right_solutions_pass_our_own_task_and_the_usual_slips_do_not():
    mine = read_task("programs")
    assert {row["signature"].partition("(")[0] for row in mine.rows} == RIGHT.keys() == SLIPS.keys()
    found = outcome(mine, Says(lambda text, i: answer(RIGHT, text)), sandbox=ALLOWED)
    assert found.scores == (1.0,) * 15, [one for one in found.samples if one["reason"] != "passed"]
    assert found.metric == "pass@1" and found.as_json()["passed"] == 15
    found = outcome(mine, Says(lambda text, i: answer(SLIPS, text)), sandbox=ALLOWED)
    assert found.scores == (0.0,) * 15, [one for one in found.samples if one["reason"] == "passed"]
    assert found.figures["wrong"] + found.figures["error"] == 15


def test_pass_at_k_and_the_reasons_by_hand(tmp_path):
    """Of 4 answers 2 pass for a and none for b: pass@1 = (1/2 + 0)/2, pass@2 = (1 - 1/6)/2, pass@4 = 1/2."""
    mine = task(
        tmp_path,
        'kind: code\nprompt: "{q}"\nsamples: 4\nrows: [{q: a, tests: assert f() == 1}, {q: b, tests: [assert f() == 2]}]\n',
    )
    said = {
        "a": ["def f(): return 1", "def f(): return 2", "```python\ndef f(): return 1\n```", "def f(: 1"],
        "b": [
            "def f(): return 1",
            "while True: pass",
            "import sys\nsys.exit(0)",
            "import socket\nsocket.socket().connect(('127.0.0.1', 9))\ndef f(): return 2",
        ],
    }
    found = outcome(
        mine, Says(lambda text, i: said[text][i]), sandbox=SandboxConfig(allow_code_execution=True, code_timeout=2.0)
    )
    told = found.as_json()
    assert found.scores == (0.5, 0.0) and told["pass@1"] == 0.25
    assert told["pass@2"] == pytest.approx((1 - 1 / 6) / 2) and told["pass@4"] == 0.5
    reasons = {name: told[name] for name in ("passed", "wrong", "error", "syntax", "time", "memory", "forbidden")}
    assert reasons == {"passed": 2, "wrong": 2, "error": 1, "syntax": 1, "time": 1, "memory": 0, "forbidden": 1}
    assert told["programs"] == 8 == sum(reasons.values()) == len(found.samples)
    assert [one["reason"] for one in found.samples[:4]] == ["passed", "wrong", "passed", "syntax"]


def test_questions_of_mbpp_show_the_tests_line_by_line(tmp_path):
    rows = '[{text: Add., test_list: ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]}]'
    mine = task(tmp_path, f'kind: code\nprompt: "{{prompt}}\\nTests:\\n{{test_list}}"\nrows: {rows}\n')
    assert mine.question(mine.rows[0]) == "Add.\nTests:\nassert add(1, 2) == 3\nassert add(0, 0) == 0"
    assert outcome(mine, Says(lambda text, i: "def add(a, b): return a + b"), sandbox=ALLOWED).scores == (1.0,)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("[{prompt: a}]", "row 1 has no tests; it needs the columns tests, test_list, or test and entry_point"),
        ("[{prompt: a, tests: assert f()}, {prompt: b, tests: 'assert ('}]", "the tests of row 2 are no Python"),
    ],
)
def test_rows_that_do_not_fit(tmp_path, rows, says):
    with pytest.raises(UserError, match=re.escape(says)):
        outcome(task(tmp_path, f"kind: code\nrows: {rows}\n"), Says(lambda text, i: ""), sandbox=ALLOWED)


def test_the_verb_runs_code_only_when_told_to(capsys, tmp_path):
    (tmp_path / "mine.yaml").write_text('kind: code\nmax_new_tokens: 4\nrows: [{prompt: a, tests: "assert f() == 1"}]\n')
    words = ["evaluate", "tiny", "--task", tmp_path / "mine.yaml", "--json"]
    code, _, err = run(capsys, *words)
    assert code == 2 and "set allow_code_execution=true once you have read" in err and "Traceback" not in err
    code, out, err = run(capsys, *words, "allow_code_execution=true", "--output", tmp_path / "out.jsonl")
    told = json.loads(out)["tasks"]["mine"]
    assert code == 0 and told["pass@1"] == 0 and told["programs"] == 1, err
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["reason"] in ("error", "syntax") and row["detail"]
