"""Programs for the sandbox's tests, and its walls taken away one by one."""

from __future__ import annotations

from plaudit.rewards.sandbox import running
from plaudit.rewards.sandbox.running import Exam, SandboxConfig, examined

UNWATCHED = "program.watch = lambda *roots: None"
"""Python's own watch is off: what holds now is the kernel's."""
NO_NAMESPACES = "walls._separated = lambda root: False"
NO_LANDLOCK = "walls.confine = lambda *places, **named: []"


def verdict(code, tests="", entry_point="", **limits):
    """What came of one program."""
    options = SandboxConfig(**{"allow_code_execution": True, "code_timeout": 5.0, **limits})
    return examined([Exam(code, tests or "pass", entry_point)], options)[0]


def without(monkeypatch, *patches):
    """Every sandbox from here on is started with these parts of it replaced."""
    inside = f"from plaudit.rewards.sandbox.inside import program, walls; {'; '.join(patches)}; examiner.main()"
    monkeypatch.setattr(running, "START", running.START.replace("examiner.main()", inside))
    running.walls_here.cache_clear()
