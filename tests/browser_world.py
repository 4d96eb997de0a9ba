"""What the tests in a real browser share: the small project of docs/screens.py, and keys that count."""

from __future__ import annotations

import importlib.util

import pytest

from docs_scripts import script
from plaudit.store import Store

screens = script("screens")
IN_A_BROWSER = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="the package playwright is not installed"),
    pytest.mark.skipif(screens.chromium() is None, reason="there is no chromium: apt-get install chromium"),
]


def kept(store):
    with Store(store, readonly=True) as opened:
        return opened.feedback(current=False)


def press(page, *keys):
    """Keys, once keys count; the last one leads to another page."""
    page.clock.fast_forward(1000)
    for key in keys[:-1]:
        page.keyboard.press(key)
    with page.expect_navigation():
        page.keyboard.press(keys[-1])
