"""Parts by name: the door is one for built-ins, plug-ins and a user's own file."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from plaudit import registry
from plaudit.schema import UserError

OURS = {
    "algorithms": {"sft", "reward", "ppo"},
    "engines": {"torch", "replay"},
    "rewards": {"exact_match", "length_penalty"},
    "judgements": {"pairwise", "ranking", "rating", "thumb", "correction", "span", "rubric", "text"},
}


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages with these (name, value) pairs are installed."""

    def install(*pairs):
        registry._table.cache_clear()
        entries = [EntryPoint(name, value, "plaudit.rewards") for name, value in pairs]
        monkeypatch.setattr(registry, "entry_points", lambda group: entries)

    yield install
    registry._table.cache_clear()


@pytest.mark.parametrize("group", OURS)
def test_the_built_ins_are_there_and_load(group):
    assert OURS[group] <= set(registry.names(group))
    for name in registry.names(group):
        assert registry.find(group, name) is not None


def test_a_plug_in_is_found_by_its_name(installed):
    installed(("shout", "builtins:str.upper"))
    assert registry.names("rewards") == ("shout",)
    assert registry.find("rewards", "shout")("a") == "A"


def test_two_packages_with_one_name_are_refused_and_one_listed_twice_is_not(installed):
    installed(("shout", "builtins:len"), ("shout", "builtins:len"))
    assert registry.find("rewards", "shout") is len
    installed(("shout", "builtins:len"), ("shout", "builtins:repr"))
    with pytest.raises(UserError, match="builtins:len and builtins:repr"):
        registry.find("rewards", "shout")


def test_unknown_names_are_answered_with_the_nearest(installed):
    installed(("politeness", "builtins:len"))
    with pytest.raises(UserError, match="did you mean politeness"):
        registry.find("rewards", "politness")
    with pytest.raises(UserError, match="there are politeness"):
        registry.find("rewards", "zzzz")
    with pytest.raises(KeyError):
        registry.find("rewrads", "x")


def test_a_function_in_a_file_of_the_user(tmp_path):
    (tmp_path / "mine.py").write_text("def short(completions, **columns):\n    return [-len(c) for c in completions]\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.py").write_text("short = 5\n")
    short = registry.find("rewards", f"{tmp_path}/mine.py:short")
    assert short(["abc"]) == [-3]
    assert registry.find("rewards", f"{tmp_path}/mine.py:short") is short, "loaded once"
    assert registry.find("rewards", f"{tmp_path}/other/mine.py:short") == 5
    with pytest.raises(UserError, match="has no 'shrt'; did you mean short"):
        registry.find("rewards", f"{tmp_path}/mine.py:shrt")


def test_a_module_of_the_current_folder(tmp_path):
    (tmp_path / "house_rewards_xyz.py").write_text("value = 7\n")
    code = "from plaudit.registry import find; print(find('rewards', 'house_rewards_xyz:value'))"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module_xyz:f", "there is no module no_such_module_xyz"),
        ("json.no_such:f", "there is no module json.no_such"),
        ("no/such.py:f", "there is no file no/such.py"),
        (":f", "is no module's name"),
        ("json:", "json has no ''"),
    ],
)
def test_what_is_not_there(name, said):
    with pytest.raises(UserError, match=said):
        registry.find("rewards", name)


def test_a_missing_package_is_named_and_so_is_the_line_of_a_bug(tmp_path):
    (tmp_path / "needs.py").write_text("import no_such_package_xyz\n")
    (tmp_path / "broken_part.py").write_text("import plaudit.no_such_room\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    sys.path.append(str(tmp_path))
    try:
        with pytest.raises(UserError, match="needs the package no_such_package_xyz, which is not installed"):
            registry.find("rewards", "needs:f")
        with pytest.raises(ModuleNotFoundError, match=r"plaudit\.no_such_room"):
            registry.find("rewards", "broken_part:f")
    finally:
        sys.path.remove(str(tmp_path))
    for _ in range(2):
        with pytest.raises(UserError, match=r"broken\.py, line 1, raised ZeroDivisionError: division by zero"):
            registry.find("rewards", f"{tmp_path}/broken.py:f")
