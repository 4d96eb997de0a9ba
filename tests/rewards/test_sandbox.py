# ruff: noqa: E501  (programs in one line)
"""Written code against its tests: right and wrong, every reason of failure, and the ways to cheat that do not work."""

from __future__ import annotations

import sys

import pytest

from plaudit.rewards.sandbox.running import REASONS, Exam, SandboxConfig, examined, permitted
from plaudit.schema import UserError
from sandbox_walls import verdict

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the sandbox needs Linux or macOS")


@pytest.mark.parametrize(
    ("reason", "says", "code", "tests"),
    [
        ("passed", "", "def f(x): return 2 * x", "assert f(2) == 4"),
        ("wrong", "tests, line 2", "def f(x): return 3 * x", "f(1)\nassert f(2) == 4"),
        ("syntax", "line 2", "def f(x):\n  return (x", "assert f(2) == 4"),
        ("syntax", "null bytes", "x = 1\0", "assert f(2) == 4"),
        ("error", "NameError", "def g(x): return 2 * x", "assert f(2) == 4"),
        ("error", "ZeroDivisionError", "def f(x): return x / 0", "assert f(2) == 4"),
        ("error", "ValueError: on import", "raise ValueError('on import')", "assert f(2) == 4"),
        ("error", "RecursionError", "def f(x): return f(x)", "assert f(2) == 4"),
        ("error", "EOFError", "def f(x): return input()", "assert f(2) == 4"),
        ("time", "", "while True: pass", "assert f(2) == 4"),
        ("time", "time", "import time\ndef f(x): time.sleep(1000)", "assert f(2) == 4"),
        ("time", "", "def f(x): return 1", "while f(2) != 4: pass"),
        ("memory", "MemoryError", "held = [0] * 10**9", "assert f(2) == 4"),
        ("memory", "MemoryError", "def f(x):\n  held = []\n  while True: held.append(bytearray(10**7))", "assert f(2) == 4"),
        ("memory", "", "def f(x): return 'x' * 10**8", "assert f(2) == 4"),
        ("forbidden", "os.fork", "import os\ndef f(x):\n  while True: os.fork()", "assert f(2) == 4"),
        ("forbidden", "subprocess", "import subprocess\ndef f(x): return subprocess.run(['id'])", "assert f(2) == 4"),
        (
            "forbidden",
            "socket",
            "import socket\ndef f(x): return socket.create_connection(('127.0.0.1', 9))",
            "assert f(2) == 4",
        ),
        ("forbidden", "writing", "def f(x): open('/tmp/plaudit-sandbox-outside', 'w')", "assert f(2) == 4"),
        ("forbidden", "reading", "def f(x): return open('/etc/passwd').read()", "assert f(2) == 4"),
        ("forbidden", "ctypes", "import ctypes", "assert f(2) == 4"),
    ],
)
def test_every_reason(reason, says, code, tests):
    # a busy machine must not turn another reason into this one
    found = verdict(code, tests, code_timeout=0.5 if reason == "time" else 20.0)
    assert (found.reason, says in found.detail) == (reason, True), found
    assert found.reason in REASONS and found.passed == (reason == "passed")


FORGERY = """
import json, os, struct
def say(message, ends=range(3, 20)):
    data = json.dumps(message).encode()
    for end in ends:
        try: os.write(end, struct.pack("!I", len(data)) + data)
        except OSError: pass
"""


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("exit", "import sys\nsys.exit(0)"),
        ("exit in the function", "import sys\ndef f(x): sys.exit(0)"),
        ("exit without cleaning up", "import os\ndef f(x): os._exit(0)"),
        ("killed by itself", "import os, signal\ndef f(x): os.abort()"),
        ("printed verdict", 'print(\'{"walls": []}\\n{"reason": "passed", "detail": "", "output": ""}\', flush=True)\ndef f(x): 1 / 0'),
        ("verdict on every pipe", 'import os\nfor end in range(1, 20):\n  try: os.write(end, b\'{"reason": "passed"}\\n\')\n'
                                  "  except OSError: pass\nos._exit(0)"),
        ("equal to everything", "class Any:\n  def __eq__(self, other): return True\n  __hash__ = None\ndef f(x): return Any()"),
        ("a number equal to everything", "class Any(int):\n  def __eq__(self, other): return True\n  __hash__ = None\ndef f(x): return Any(3)"),
        ("assertions caught", "import builtins\nbuiltins.AssertionError = ValueError\ndef f(x): return 3"),
        ("says it failed by passing", FORGERY + 'say(["failed", "passed", ""])'),
        ("raises a pass", FORGERY + 'def f(x): say(["raised", "passed", ["builtin", "AssertionError"], ""])'),
        ("answers ahead", FORGERY + 'say(["loaded", ["f"]])\nfor i in range(9): say(["answer", 4, []])\nimport os\nos._exit(0)'),
        ("has the tests run its code", FORGERY + 'def f(x): say(["ask", "__call__", [["builtin", "exec"], "raise SystemExit"], {}])'),
        ("talks nonsense", FORGERY + "def f(x):\n  say(3)\n  return 4"),
        ("looks for the tests", "import gc\ndef f(x):\n  texts = (t for o in gc.get_objects() for t in gc.get_referents(o) if isinstance(t, str))\n"
                                "  return 2 * x if any('assert ' + str('f(2)') in t for t in texts) else 0"),
    ],
    ids=lambda value: value.replace(" ", "-") if "\n" not in value and "(" not in value else "",
)  # fmt: skip
def test_a_pass_cannot_be_forged(name, code):
    found = verdict(code, "assert f(2) == 4\nassert f(3) == 6")
    assert not found.passed, name
    assert found.reason in ("wrong", "error", "memory"), found


def test_a_program_that_answers_and_is_gone_has_not_passed():
    gone = FORGERY + 'def f(x):\n  say(["answer", 4, []])\n  os._exit(0)'
    found = verdict(gone, "assert f(2) == 4")
    assert (found.reason, found.detail) == ("error", "the program ended before its tests did")


def test_what_the_tests_mean_is_not_what_the_program_says():
    """Built-in names, and the helpers and modules that the task gives, are the tests' own."""
    code = "import builtins\nbuiltins.abs = lambda x: 0\ndef abs(x): return 0\ndef near(a, b): return True\nclass math:\n  e = 1\ndef f(x): return 9.0"
    assert verdict(code, "assert abs(f(2) - 4) < 1e-6").reason == "wrong"
    assert verdict(code, "import math\nassert f(2) == math.e").reason == "wrong"
    given = Exam(code, "assert near(f(2), 4)", prelude="def near(a, b): return a - b < 1e-6")
    assert examined([given], SandboxConfig(allow_code_execution=True))[0].reason == "wrong"
    # A task's own setup may build on the program's classes, as one of MBPP does.
    tree = "class Node:\n  def __init__(self, *below): self.below = below\ndef f(n): return 1 + max(map(f, n.below), default=0)"
    grown = Exam(f"{tree}\nroot = Node(Node())", "assert f(root) == 2", prelude="root = Node(Node())")
    assert examined([grown], SandboxConfig(allow_code_execution=True))[0].passed
    # MBPP has functions that are called like built-in ones; then nothing else is tested.
    assert verdict("def sum(a, b): return a + b", "assert sum(2, 3) == 5").passed


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def f(): return {'é': '☃', (1, 2): [None, {3}, frozenset({4}), b'x', 1 + 2j, range(3), 2**20000, -float('inf')]}",
         "assert f() == {'é': '☃', (1, 2): [None, {3}, frozenset({4}), b'x', 1 + 2j, range(3), 2**20000, -float('inf')]}\n"
         "assert isinstance(f()[1, 2], list) and type(f()) is dict"),
        ("from decimal import Decimal\nfrom datetime import date\ndef f(): return Decimal('0.10'), date(2024, 2, 29)",
         "import decimal, datetime\nassert f() == (decimal.Decimal('0.1'), datetime.date(2024, 2, 29))"),
        ("def f(x): x.append([9])\ndef g(x): x.clear()", "a, b = [[1]], {1: 2}\nf(a)\ng(b)\nassert a == [[1], [9]] and b == {}"),
        ("def f(n):\n  for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2] and next(f(1)) == 0 and sum(f(4)) == 6"),
        ("def f(g, xs, key=None): return sorted(map(g, xs), key=key)",
         "assert f(lambda x: -x, [1, 2]) == [-2, -1] and f(abs, [-3, 1], key=lambda x: -x) == [3, 1]"),
        ("class P:\n  def __init__(self, a): self.a = a\n  def __eq__(self, o): return self.a == o.a\n  def __add__(self, o): return P(self.a + o.a)\n"
         "  def __len__(self): return 7\ndef f(ps): return max(ps, key=lambda p: p.a)",
         "assert f([P(1), P(5)]) == P(5) != P(1) and P(2).a == 2 and isinstance(P(1), P) and len(P(1)) == 7 and (P(1) + P(2)).a == 3"),
        ("class No(ValueError): pass\ndef f(x): raise No(f'not {x}')",
         "for kind in (No, ValueError):\n  try: f(3)\n  except kind as e: assert str(e) == 'not 3'\n  else: assert False"),
        ("from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass D:\n  x: int\ndef f(): return D(3)",
         "assert f() == D(3) and f().x == 3 and str(f()) == 'D(x=3)'"),
        ("import math\ndef area(r): return math.pi * r * r", "assert math.isclose(area(1), math.pi)"),
        ("with open('kept', 'w') as file: file.write('ü')\ndef f(): return open('kept', encoding='utf-8').read()", "assert f() == 'ü'"),
        ("import asyncio\nasync def g(x): return x\ndef f(x): return asyncio.run(g(x))", "assert f(3) == 3"),
        ("def 加(甲, 乙): return 甲 + 乙", "assert 加(1, 2) == 3 and 加('好', '的') == '好的'"),
        ("def f():\n  'ends with a lone surrogate'\n  return '\\ud800'", "assert f() == '\\ud800'"),
    ],
)  # fmt: skip
def test_values_of_every_kind_cross_to_the_tests(code, tests):
    assert verdict(code, tests).passed, verdict(code, tests)


def test_a_number_that_is_expected_never_reaches_the_program():
    """An object of the program's has no say in a comparison with a value of the tests."""
    code = (
        "class Spy:\n  def __getattr__(self, name): return lambda *a: 0\n  def __sub__(self, o): return 0\n  __rsub__ = __sub__\n"
        "  def __eq__(self, o): return True\n  def __lt__(self, o): return True\n  def __contains__(self, o): return True\n"
        "  def __iter__(self): return iter(())\n  __hash__ = None\ndef f(): return Spy()"
    )
    for test in ("assert f() == 4", "assert 4 == f()", "assert abs(f() - 4) < 1", "assert f() < 4", "assert 4 in f()"):
        assert not verdict(code, test).passed, test


def test_much_output_is_cut_and_slows_nobody():
    found = verdict("for i in range(200): print('é' * 10_000)\ndef f(): return 1", "assert f() == 1", code_timeout=5.0)
    assert found.passed and set(found.output) <= {"é", "�"} and len(found.output) <= 2000


def test_check_is_called_with_the_entry_point():
    test = "def check(candidate):\n    assert candidate(1) == 2\n"
    assert verdict("def f(x): return x + 1", test, "f").passed
    assert verdict("def f(x): return x", test, "f").reason == "wrong"
    assert verdict("def g(x): return x + 1", test, "f").reason == "error"


def test_code_is_not_run_without_leave():
    with pytest.raises(UserError, match="allow_code_execution=true"):
        examined([Exam("", "")], SandboxConfig())
    with pytest.raises(UserError, match="task mine runs code that a model wrote"):
        permitted(SandboxConfig(), "task mine")


def test_programs_come_back_in_their_order_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    seen = []
    exams = [Exam(f"open('x', 'w').write('y')\ndef f(): return {i}", "assert f() % 2 == 0") for i in range(5)]
    found = examined(exams, SandboxConfig(allow_code_execution=True), lambda done, total: seen.append((done, total)))
    assert [one.passed for one in found] == [True, False, True, False, True] and seen[-1] == (5, 5)
    assert list(tmp_path.iterdir()) == []
