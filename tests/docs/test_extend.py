"""docs/extend.md: its examples run, from a file and from a package with an entry point."""

from __future__ import annotations

import json
import math
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch

from plaudit import registry
from plaudit.cli import main as cli
from plaudit.core.batch import Outputs, from_rows
from training_runs import SHARED, write_data

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text("utf-8")
SMALL = [*SHARED, "use_peft=true", "train_file=../pairs.jsonl", "learning_rate=3e-3"]
"""Beats what the page says: the tiny model, our pairs, five steps."""


def block(language, text):
    """The one code block of the page that holds `text`."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (found,) = (code for kind, code in blocks if kind == language and text in code)
    return found


ALGORITHM = block("python", "class NCA(")


def metrics(run):
    """Lines of metrics.jsonl of training steps, and of evaluations."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line], [line for line in lines if "eval_loss" in line]


def learns(run):
    """It starts where the equation says (policy and reference are one, so both rewards are 0), and gets better."""
    steps, evaluations = metrics(run)
    assert steps[0]["loss"] == pytest.approx(2 * math.log(2), abs=1e-5) and steps[0]["rewards/margins"] == pytest.approx(
        0, abs=1e-5
    )
    assert steps[-1]["loss"] < steps[0]["loss"] - 1e-3 and steps[-1]["rewards/margins"] > 1e-3
    assert evaluations[-1]["eval_loss"] < evaluations[0]["eval_loss"]
    assert list((run / "model").glob("*.safetensors"))


@pytest.mark.slow
def test_the_algorithm_of_the_page_trains_from_a_file(nursery, tmp_path):
    folder = write_data(tmp_path) / "here"
    folder.mkdir()
    (folder / "my_algorithm.py").write_text(ALGORITHM)
    shown, trained = (shlex.split(line)[1:] for line in block("", "my_algorithm.py").splitlines())
    config = nursery.run(*shown, cwd=folder)
    assert config.code == 0 and "beta: 0.1" in config.out and "How strongly the policy is held" in config.out
    done = nursery.run(*trained, *SMALL, cwd=folder)
    assert done.code == 0, done.err
    learns(folder / "run")
    assert "beta: 0.2" in (folder / "run" / "config.yaml").read_text()
    assert "is finished" in nursery.run(*trained, *SMALL, "--resume", cwd=folder).err
    refused = nursery.run(*trained, *SMALL, "beta=-1", cwd=folder)
    assert "beta" in refused.refusal and "more than 0" in refused.refusal


def test_it_has_40_lines():
    assert len([line for line in ALGORITHM.splitlines() if line.strip()]) <= 40


def test_the_algorithm_of_the_page_is_its_equation(tmp_path):
    (tmp_path / "my_algorithm.py").write_text(ALGORITHM)
    kind = registry.find("algorithms", f"{tmp_path}/my_algorithm.py:NCA")
    made = kind(kind.Config(beta=0.1))
    ref = [[0.0, -1.0, -2.0], [0.0, -2.0]]  # better: -3 in all, worse: -2
    sides = {"margin": [0.0, 0.0], "probability": [1.0, 1.0]}
    batch = from_rows([[1, 2, 3], [1, 4]], [[0, 1, 1], [0, 1]], group=[0, 0], place=[0, 1], sides=sides, streams={"ref": ref})
    prepared = made.prepare(batch)
    terms = made.loss(Outputs(logp=torch.tensor([[0.0, -0.5, -0.5], [0.0, -4.0, 0.0]])), prepared)
    better, worse = 0.1 * (-1.0 + 3.0), 0.1 * (-4.0 + 2.0)

    def log_sigmoid(x):
        return -math.log1p(math.exp(-x))

    expected = -log_sigmoid(better) - 0.5 * log_sigmoid(-better) - 0.5 * log_sigmoid(-worse)
    assert float((terms["pair"] * prepared.weight["pair"]).sum()) == pytest.approx(expected)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that offers the algorithm as the page says: its files, and what an installer writes of it."""
    offered = tomllib.loads(block("toml", "plaudit.algorithms"))["project"]["entry-points"]
    site = tmp_path / "site"
    (site / "my_package").mkdir(parents=True)
    (site / "my_package" / "__init__.py").touch()
    (site / "my_package" / "my_algorithm.py").write_text(ALGORITHM)
    about = site / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in parts.items()) for group, parts in offered.items()]
    (about / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(site))
    registry._table.cache_clear()
    yield site
    registry._table.cache_clear()


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


def test_the_algorithm_of_a_package_is_found_by_its_name_and_trains(package, tmp_path, monkeypatch, capsys):
    folder = write_data(tmp_path) / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    assert "nca" in registry.names("algorithms")
    assert " nca," in run(capsys, "train", "--help")[1]
    listed = run(capsys, "train", "--list")[1]
    assert re.search(r"nca +eats rankings\. Noise contrastive alignment: preference pairs", listed)
    assert "did you mean nca?" in run(capsys, "train", "nac")[2]
    code, _, err = run(capsys, "train", "nca", *SMALL)
    assert code == 0, err
    learns(folder / "run")


def test_the_reward_function_of_the_page_scores():
    names = {}
    exec(block("python", "def names_the_order"), names)
    said = [[{"role": "assistant", "content": "Order 77 left."}], "Order 78 left.", "Hello"]
    assert names["names_the_order"](prompts=[], completions=said, order=["77", "77", None], extra=[]) == [1.0, 0.0, None]
