"""docs/walk.md shows what docs/walk.py computes now."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture(scope="module")
def walk():
    spec = importlib.util.spec_from_file_location("walk", ROOT / "docs" / "walk.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_value_of_the_walk_still_holds(walk):
    page = walk.PAGE.read_text("utf-8")
    shown = {found[2]: found[0] for found in walk.BLOCK.finditer(page)}
    made = walk.blocks()
    assert set(shown) == set(made)
    for name, text in made.items():
        now = walk.BLOCK.search(walk.filled(shown[name], {name: text}))[0]
        assert NUMBER.sub("#", now) == NUMBER.sub("#", shown[name]), f"{name}: run `python docs/walk.py --write`"
        # Other processors round sums differently: four digits hold, not the last of them.
        assert list(map(float, NUMBER.findall(now))) == pytest.approx(list(map(float, NUMBER.findall(shown[name]))), abs=2e-3)


def test_the_arithmetic_in_the_text_is_that_of_the_tables(walk):
    page = walk.PAGE.read_text("utf-8")
    last = next(block for name, block in _blocks(walk, page) if name == "prepared").splitlines()[-2].split()
    old, ref, kl, value, reward, _, returns = map(float, last[1:])
    score = float(NUMBER.findall(next(block for name, block in _blocks(walk, page) if name == "scored"))[0])
    assert kl == pytest.approx(old - ref, abs=2e-4)
    assert reward == pytest.approx(-0.05 * kl + score, abs=2e-4)
    assert returns == pytest.approx(reward, abs=2e-4)
    assert f"`-0.05 * {kl} - {-score} = {reward}`" in page
    assert f"`token_reward - value = {reward} + {-value} = {reward - value:.4f}`" in page


def _blocks(walk, page):
    return [(found[2], found[0]) for found in walk.BLOCK.finditer(page)]
