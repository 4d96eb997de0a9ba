"""Reward models from ratings: loss, error and correlation by hand, and a run."""

import json
import math

import pytest
import torch

from plaudit.algorithms.rating import Rating, RatingConfig
from plaudit.config import load
from plaudit.core.batch import Outputs, from_rows
from plaudit.evaluation.ratings import fisher, rating_report
from plaudit.models.scorer import reward_info
from plaudit.schema import Label, Prompt, UserError
from plaudit.training.run import sections, train
from plaudit.training.steplog import added

F64 = torch.float64


def made(*values, **options):
    algorithm = Rating(RatingConfig(**options))
    algorithm.study([Label(Prompt(text="q"), "a", float(value)) for value in values], [])
    return algorithm


def batch(*values, **sides):
    ids, mask = [[5, 6]] * len(values), [[0, 1]] * len(values)
    return from_rows(ids, mask, sides={"label": [float(v) for v in values], **sides}, dtype=F64)


def scores(*values):
    return Outputs(score=torch.tensor(values, dtype=F64))


def value(algorithm, rows, out):
    prepared = algorithm.prepare(rows)
    prepared = prepared.normalised({name: float(total) for name, total in prepared.sums().items()})
    return sum(float((term * prepared.weight[name]).sum()) for name, term in algorithm.loss(out, prepared).items())


def test_squared_error_of_the_standardised_rating_by_hand():
    """Training ratings 1, 3, 5, 3: mean 3, deviation sqrt(2)."""
    algorithm = made(1, 3, 5, 3)
    assert value(algorithm, batch(5, 3), scores(1.0, 0.5)) == pytest.approx(((1 - math.sqrt(2)) ** 2 + 0.25) / 2)
    assert value(algorithm, batch(5, 3, weight=[3.0, 1.0]), scores(1.0, 0.5)) == pytest.approx(
        (3 * (1 - math.sqrt(2)) ** 2 + 0.25) / 4
    )
    assert algorithm.predicted(scores(1.0)) == pytest.approx(3 + math.sqrt(2))


def test_the_cross_entropy_of_the_share_by_hand():
    """From 1 to 5, a 4 is 3/4 of a yes; a held-out 9 is a whole one."""
    algorithm, third = made(1, 5, 2, loss_type="bernoulli"), math.log(1 / 3)  # sigmoid(log(1/3)) is 1/4
    wanted = -(0.75 * math.log(0.25) + 0.25 * math.log(0.75))
    assert value(algorithm, batch(4), scores(third)) == pytest.approx(wanted)
    assert value(algorithm, batch(9), scores(third)) == pytest.approx(-math.log(0.25))
    assert algorithm.predicted(scores(third)) == pytest.approx(2.0)


def ordered(score, *thresholds):
    return Outputs(score=torch.tensor(score, dtype=F64), thresholds=torch.tensor(thresholds, dtype=F64))


def test_the_cumulative_logit_by_hand():
    """Levels 1, 3, 4 cut at log(1/3) and log(3): at a score of 0 they are 1/4, 1/2, 1/4 likely.

    At a score of log 3, P(<= 1) = sigmoid(log(1/9)) = 1/10 and P(<= 3) = sigmoid(0) = 1/2, so 1/10, 2/5 and 1/2.
    """
    algorithm, cuts = made(1, 3, 3, 4, loss_type="cumulative_logit"), (math.log(1 / 3), math.log(3))
    assert algorithm.thresholds == pytest.approx(cuts)  # 1 of 4 rows at or below the first, 3 of 4 below the last
    assert value(algorithm, batch(1, 3, 4), ordered([0.0] * 3, *cuts)) == pytest.approx((math.log(4) * 2 + math.log(2)) / 3)
    higher = ordered([math.log(3)], *cuts)
    for level, share in ((1, 0.1), (3, 0.4), (4, 0.5)):
        assert value(algorithm, batch(level), higher) == pytest.approx(-math.log(share))
    assert value(algorithm, batch(9), higher) == pytest.approx(-math.log(0.5))  # held out: the nearest level
    assert algorithm.predicted(higher) == pytest.approx([0.1 * 1 + 0.4 * 3 + 0.5 * 4])


def test_levels_that_are_none():
    with pytest.raises(UserError, match="20 at most; the training rows have 21 different ratings"):
        made(*range(21), loss_type="cumulative_logit")


def test_error_and_correlation_add_up_over_micro_batches():
    algorithm, ratings, said = made(1, 2, 3, 4, 5), [1.0, 2.0, 4.0, 5.0], [0.3, -1.0, 0.4, 2.0]
    parts = [algorithm.metrics(scores(*said[a:b]), batch(*ratings[a:b])) for a, b in ((0, 1), (1, 4))]
    found = algorithm.summarise(added(*parts))
    predicted = algorithm.predicted(scores(*said))
    assert found["rmse"] == pytest.approx(float(((predicted - torch.tensor(ratings, dtype=F64)) ** 2).mean().sqrt()))
    assert found["pearson"] == pytest.approx(float(torch.corrcoef(torch.tensor([ratings, said], dtype=F64))[0, 1]))
    assert (found["min_reward"], found["max_reward"]) == (-1.0, 2.0)
    assert algorithm.summarise(algorithm.metrics(scores(0, 0), batch(1, 2)))["pearson"] == 0.0


def test_ratings_that_cannot_be_learnt_from():
    with pytest.raises(UserError, match=r"the same rating \(4\)"):
        made(4, 4)
    with pytest.raises(UserError, match=r"numbers; there is the label bad"):
        Rating(RatingConfig()).study([], [], ("bad", "good"))


def test_a_report_by_hand():
    """Ratings 1 2 3 4 5, said 1 3 2 4 5: rank differences 1 and 1, so Spearman is 1 - 6 x 2 / (5 x 24) = 0.9."""
    found = rating_report([1, 2, 3, 4, 5], [1, 3, 2, 4, 5])
    assert (found["rows"], found["rmse"], found["rmse_of_mean"]) == (5, math.sqrt(2 / 5), math.sqrt(2))
    assert found["spearman"] == pytest.approx(0.9) and found["pearson"] == pytest.approx(0.9)
    half = 1.96 * math.sqrt(1.06 / 2)
    assert found["spearman_ci"] == pytest.approx([math.tanh(math.atanh(0.9) - half), math.tanh(math.atanh(0.9) + half)])
    assert fisher(1.0, 5)[1] == pytest.approx(1.0)
    assert rating_report([1, 1, 1, 1], [1, 2, 3, 4])["pearson"] is None and rating_report([], [])["rows"] == 0


@pytest.mark.parametrize("loss_type", ["squared_error", "bernoulli", "cumulative_logit"])
def test_a_run_learns_ratings_and_leaves_a_reward_model(tmp_path, loss_type):
    told = {1: "Bad, bad.", 3: "So so, perhaps.", 5: "Wonderful!"}
    rows = [{"prompt": f"Q{i}?", "completion": f" {said} {i}", "label": r} for i in range(24) for r, said in told.items()]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    classes, defaults = sections("rating")
    words = ["model_name_or_path=tiny", "use_peft=true", "bf16=false", "max_steps=30", "learning_rate=1e-2"]
    words += [
        f"train_file={tmp_path / 'rows.jsonl'}",
        f"output_dir={tmp_path / 'run'}",
        f"loss_type={loss_type}",
        "eval_steps=15",
    ]
    train("rating", load(classes, None, words, defaults))
    report = json.loads((tmp_path / "run" / "held_out.json").read_text())
    assert report["spearman"] > 0.8 and report["rmse"] < report["rmse_of_mean"] / 2
    info = reward_info(tmp_path / "run" / "model")
    assert info.adapter and info.deviation > 0.1
