"""Every registered algorithm has a page, and page and code agree: options, defaults, and the metrics that a run logs."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

from plaudit.config import options
from plaudit.registry import find, names
from plaudit.rewards.mix import RewardConfig
from plaudit.training.options import RolloutConfig
from plaudit.training.run import sections
from training_runs import SHARED, Runs, own

PAGES = Path(__file__).parents[2] / "docs" / "algorithms"
VERBS = names("algorithms")
ONLINE = [verb for verb in VERBS if find("algorithms", verb).eats == "prompts"]
PPO_WORDS = ["reward_model_path=../reward/run/model"]
ENDS = ["missing_eos_penalty=1", "stop=[e,a,i,o,t,n,s,r]", "independent_reward_funcs=[../rewards.py:shortish]"]
"""So that some answers end by themselves and some do not; and evaluations have an independent score."""


def names_of(cell):
    return re.findall(r"`([^`]+)`", cell)


def tables(text):
    """Rows of all tables whose first cell names something: [(names, second cell)]."""
    return [
        (names_of(first), second.strip()) for first, second in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", text, re.MULTILINE)
    ]


@cache
def parts(page):
    """Heading -> text below it, up to the next heading of any level."""
    pieces = re.split(r"^#+ (.+)$", (PAGES / f"{page}.md").read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def own_metrics(verb):
    """What the tables of the algorithm's own page name, options apart."""
    found = {name for text in parts(verb).values() for row, _ in tables(text) for name in row}
    return found - set(options(*sections(verb)))


def shared_metrics():
    """Heading of the shared page -> (algorithms, metrics); a section without links is of all."""
    chapters = {title: text for title, text in parts("README").items() if "| metric |" in text}
    return {
        title: (re.findall(r"\[(\w+)\]\(\w+\.md\)", text) or list(VERBS), {name for row, _ in tables(text) for name in row})
        for title, text in chapters.items()
    }


def plain(name):
    """A metric as the pages write it."""
    name = re.sub(r"^(rmse|pearson)/.+", r"\1/<aspect>", name.removeprefix("eval_"))
    return re.sub(r"^rewards/(?!unscored)[^/]+/", "rewards/<name>/", name)


@pytest.fixture(scope="module")
def logged(nursery, tmp_path_factory):
    """Algorithm -> names in metrics.jsonl of a tiny run in which every term that is off by default is on."""
    runs = Runs(nursery, tmp_path_factory.mktemp("pages"))
    found = {}
    for verb in sorted(VERBS, key=lambda verb: verb != "reward"):  # PPO takes its model
        off = [
            o.name for o in options([find("algorithms", verb).Config]).values() if type(o.default) is float and not o.default
        ]
        words = [*SHARED, *own(verb), "use_peft=true", "max_steps=1", "eval_steps=1", *(f"{name}=0.01" for name in off)]
        words += ENDS if verb in ONLINE else []
        done = runs.start(verb, "train", verb, *words, *(PPO_WORDS if verb == "ppo" else []))
        assert done.code == 0, done.err
        lines = (runs.root / verb / "run" / "metrics.jsonl").read_text().splitlines()
        found[verb] = {plain(name) for line in lines for name in json.loads(line)} - {"step"}
    return found


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.slow
def test_every_metric_that_a_run_logs_is_in_its_page_or_the_shared_one(logged, verb):
    shared = set().union(*(metrics for verbs, metrics in shared_metrics().values() if verb in verbs))
    assert sorted(logged[verb] - own_metrics(verb) - shared) == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_metric_of_the_page_is_logged(logged, verb):
    assert sorted(own_metrics(verb) - logged[verb]) == []


@pytest.mark.parametrize("section", shared_metrics())
def test_every_metric_of_the_shared_page_is_logged_by_the_algorithms_that_it_names(logged, section):
    verbs, metrics = shared_metrics()[section]
    assert sorted(metrics - set().union(*(logged[verb] for verb in verbs))) == []
    assert [verb for verb in verbs if len(metrics & logged[verb]) * 2 < len(metrics)] == []


def test_the_shared_page_names_every_algorithm_in_its_index_and_in_its_kind():
    index = parts("README")["Algorithms"]
    rows = dict(re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| ([\w ]+) \|", index, re.MULTILINE))
    words = {"rankings": "pairs", "labels": "thumbs"}
    special = {"rating": "ratings", "classify": "classes"}
    assert rows == {verb: special.get(verb, words.get(eats := find("algorithms", verb).eats, eats)) for verb in VERBS}
    shared = shared_metrics()
    assert sorted(shared["Runs that sample"][0]) == sorted(ONLINE)
    assert sorted(shared["Runs on a file"][0]) == sorted(set(VERBS) - set(ONLINE))


def written(value):
    """A default as the pages write it."""
    if value is None or value == ():
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def defaults_of(text):
    """Option -> its default as it stands in the tables of a text; a row of several options has as many defaults."""
    found = {}
    for row, cell in tables(text):
        values = cell.split(", ")
        if len(values) == len(row):
            found |= dict(zip(row, values, strict=True))
        else:
            found |= dict.fromkeys(row, cell)
    return found


def same_default(cell, value):
    if isinstance(value, float | int) and not isinstance(value, bool):
        return float(cell) == value
    return cell == written(value)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_the_algorithm_is_in_its_page_with_its_default(verb):
    config = find("algorithms", verb).Config
    cells = defaults_of(parts(verb)["Options"])
    own_options = {name: option.default for name, option in options([config]).items()}
    wanted = own_options | {k: v for k, v in config.defaults.items() if not k.endswith("learning_rate")}
    assert sorted(set(wanted) - set(cells)) == []
    assert [(name, cells[name], value) for name, value in wanted.items() if not same_default(cells[name], value)] == []
    full, lora = re.fullmatch(r"(\S+), with `use_peft` (\S+)", cells["learning_rate"]).groups()
    assert (float(full), float(lora)) == (config.defaults["learning_rate"], config.defaults["lora_learning_rate"])


@pytest.mark.parametrize(("title", "section"), [("Sampling", RolloutConfig), ("Rewards", RewardConfig)])
def test_every_option_of_online_runs_is_in_the_shared_page_with_its_default(title, section):
    cells = defaults_of(parts("README")[title])
    wanted = {name: option.default for name, option in options([section]).items()}
    wanted |= {"reward_normalization": None} if section is RewardConfig else {}  # "none" is a word there
    assert [name for name, value in wanted.items() if name not in cells or not same_default(cells[name], value)] == []


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_has_an_equation_a_paper_and_what_was_left_out(verb):
    text = (PAGES / f"{verb}.md").read_text("utf-8")
    assert "$$" in text and re.search(r"(arXiv:|\b)\d{4}\.\d{5}", text) and f"`plaudit train {verb}`" in text
    assert f"`src/plaudit/algorithms/{verb}.py`" in text and "## Details that matter" in parts_titles(text)


def parts_titles(text):
    return re.findall(r"^#+ .+$", text, re.MULTILINE)
