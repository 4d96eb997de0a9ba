"""The learning-rate finder: what is read off a curve, and a sweep over a tiny model."""

import json
import xml.etree.ElementTree as XML

import pytest

from plaudit.schema import UserError
from plaudit.training.find_lr import Sweep, plot, rates, smoothed
from training_runs import SHARED, own, write_data


def test_rates_climb_by_one_factor():
    assert rates(1e-4, 1e-1, 4) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])


def test_smoothing_by_hand():
    """keep 0.5: 4; then (0.5 * 2 + 0.5 * 2) / 0.75 = 2 * 4/3."""
    assert smoothed([4.0, 2.0], keep=0.5) == pytest.approx([4.0, 8 / 3])
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)


def curve(values):
    """A sweep whose smoothed losses are these."""
    losses, value = [], 0.0
    for step, wanted in enumerate(values, 1):
        losses.append((wanted * (1 - 0.98**step) - 0.98 * value) / 0.02)
        value = wanted * (1 - 0.98**step)
    return Sweep(tuple(rates(1e-6, 1e-6 * 10 ** ((len(values) - 1) / 4), len(values))), tuple(losses), True)


def test_what_is_read_off_by_hand():
    """Flat, down by 1 a step from the 10th to the 14th, where it is lowest, then up; four steps are a factor of ten."""
    values = [10.0] * 10 + [9.5, 8.0, 6.5, 6.0, 5.9, 7.0, 12.0]
    made = curve(values)
    assert made.smooth == pytest.approx(values)
    suggested, steepest, tenth = made.suggestion()
    assert steepest == pytest.approx(made.rates[11])  # (6.5 - 9.5) / 2 is the largest fall
    assert tenth == pytest.approx(made.rates[14] / 10) and suggested == pytest.approx(made.rates[10])


def test_too_short_a_sweep_says_so():
    with pytest.raises(UserError, match=r"diverged after 3 steps, before anything could be read off; lower --start"):
        curve([3.0, 2.0, 1.0]).suggestion()


def test_the_plot_is_svg_with_the_suggestion():
    drawn = XML.fromstring(plot(curve([10.0] * 10 + [5.0, 20.0]), 1e-5))
    assert drawn.tag.endswith("svg") and "suggested: 1e-05" in "".join(drawn.itertext())


@pytest.mark.slow
def test_a_sweep_on_a_tiny_model(nursery, tmp_path):
    write_data(tmp_path)
    (tmp_path / "one").mkdir()
    words = [*SHARED, *own("sft")]
    words.remove("learning_rate=1e-3")
    done = nursery.run("find-lr", "sft", *words, "--steps=60", "--start=1e-5", "--end=1000", "--json", cwd=tmp_path / "one")
    assert done.code == 0, done.err
    run = tmp_path / "one" / "run"
    told, kept = json.loads(done.out), json.loads((run / "lr_finder.json").read_text())
    assert 1e-5 <= told["suggestion"] <= 1.0 and told["suggestion"] == kept["suggestion"]
    assert kept["diverged"] and len(kept["loss"]) == told["steps"] < 60
    assert (run / "lr_finder.svg").read_text().startswith("<svg")
    assert not list(run.glob("checkpoint-*")) and not (run / "metrics.jsonl").exists()
    done = nursery.run("train", "sft", *words, cwd=tmp_path / "one")  # the folder is free for the run itself
    assert done.code == 0, done.err
    done = nursery.run("find-lr", "sft", *words, cwd=tmp_path / "one")
    assert done.code == 2 and "already holds a run" in done.err


def test_what_cannot_be_swept_is_one_sentence(nursery, tmp_path):
    write_data(tmp_path)
    (tmp_path / "one").mkdir()
    done = nursery.run("find-lr", "ppo", *SHARED, *own("ppo"), cwd=tmp_path / "one")
    assert done.code == 2 and "is for algorithms that train on files; ppo samples its own rows" in done.err
    done = nursery.run("find-lr", "sft", *SHARED, *own("sft"), "--start=1", "--end=0.1", cwd=tmp_path / "one")
    assert done.code == 2 and "from a lower --start to a higher --end" in done.err
