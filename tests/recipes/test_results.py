"""The recipe on real data, on rows made here: votes, baselines, the table, and that what is finished is not run again."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture(scope="module")
def results(load_recipe):
    return load_recipe("results")


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_votes_become_an_order_and_how_sure_it_is(tmp_path, results):
    """Two of three for the second answer; a tie counts half to each side; one vote each and a tie says nothing."""
    asked = {"instruction": "Say it.", "input": "", "response_a": "one", "response_b": "two"}
    votes = [[2, 2, 1], [1, 1, 0], [1, 2, 0]]
    found = results.pandalm(lines(tmp_path / "votes.jsonl", [{**asked, "annotators": vote} for vote in votes]))
    assert [row["chosen"][0]["content"] for row in found] == ["two", "one"]
    assert [row["probability"] for row in found] == pytest.approx([2 / 3, 2.5 / 3])


def pairs(count):
    """The better answer says "good"; in three of four pairs it is the longer one too."""
    better = [f"good {i} " + "and so on " * (i % 4 > 0) for i in range(count)]
    return [{"prompt": f"Question {i}?", "chosen": better[i], "rejected": f"bad {i} yes"} for i in range(count)]


def test_the_baselines_find_a_word_and_a_length(tmp_path, results):
    train, test = lines(tmp_path / "train.jsonl", pairs(40)), lines(tmp_path / "test.jsonl", pairs(20))
    experiment = results.Experiment("reward on made pairs", "made.jsonl", "reward", "eval_accuracy")
    assert results.baselines(experiment, train, test) == {"tfidf": 1.0, "plain": 0.75}


def test_a_line_of_the_table(results):
    experiment = results.Experiment("reward on made pairs", "made.jsonl", "reward", "eval_accuracy")
    first = {"value": 0.5, "n": 50, "prompts": 10, "seconds": 60, "tfidf": 0.6, "plain": 0.4}
    done = [first, {"value": 0.7, "n": 50, "prompts": 15, "seconds": 60}]
    # Wilson's interval of 15 of 25: (.6 + .0768 ± 1.96 sqrt(.24 / 25 + .001537)) / 1.1537
    expected = "| reward on made pairs | accuracy | 0.600 [0.407, 0.766] | 0.500, 0.700 | 0.600 | 0.400 | — | 100 (25) | 2 |"
    assert results.row_of(experiment, done) == expected


def test_the_page_names_what_is_unfinished(results):
    one = {"value": 0.5, "n": 50, "prompts": 50, "seconds": 60, "tfidf": 0.6, "plain": 0.4}
    whole = {experiment.name: [one, one] for experiment in results.EXPERIMENTS}
    assert "Everything was run." in results.page(whole, "tiny", 2)
    first, last = results.EXPERIMENTS[0].name, results.EXPERIMENTS[-1].name
    said = results.page({**whole, first: [], last: [one]}, "tiny", 2)
    assert f"Unfinished: {first} (0 of 2 seeds); {last} (1 of 2 seeds)." in said


def test_what_is_finished_is_not_run_again(tmp_path, results):
    lines(tmp_path / "made.jsonl", pairs(40))
    options = {"max_steps": 1, "bf16": False}
    experiment = results.Experiment("reward on made pairs", "made.jsonl", "reward", "eval_accuracy", options)
    first = results.run(experiment, tmp_path, tmp_path / "out", 1, "tiny")
    test = tmp_path / "out" / "reward-on-made-pairs" / "seed1" / "test.jsonl"
    assert first["n"] == first["prompts"] == len(test.read_text().splitlines()) > 1 and 0 <= first["value"] <= 1
    shutil.rmtree(tmp_path / "out" / "reward-on-made-pairs" / "seed1" / "run")
    assert results.run(experiment, tmp_path, tmp_path / "out", 1, "tiny") == first


def test_pairs_of_a_run_without_pairs_are_counted_as_dpo_counts_them(tmp_path, results):
    """A run of DPO says the share itself; its saved model beside the untouched one gives the same."""
    lines(tmp_path / "made.jsonl", pairs(80))
    options = {"max_steps": 2, "bf16": False, "learning_rate": 0.02}
    experiment = results.Experiment("dpo on made pairs", "made.jsonl", "dpo", "eval_rewards/accuracies", options)
    said = results.run(experiment, tmp_path, tmp_path / "out", 1, "tiny")["value"]
    folder = tmp_path / "out" / "dpo-on-made-pairs" / "seed1"
    assert said == results.preferred(folder / "run" / "model", "tiny", folder / "test.jsonl")
    assert said != 0.5, "the pairs must have been told apart, one way or the other"
