"""Reward models of several aspects: loss by hand, the folder, and the weighted sum as PPO's reward and critic."""

import json

import pytest
import torch

from plaudit.algorithms.aspects import Aspects, AspectsConfig
from plaudit.config import load
from plaudit.core.batch import Outputs, from_rows
from plaudit.data.aspects import EncodedAspects, collate_aspects
from plaudit.data.readers import read
from plaudit.data.template import Row
from plaudit.models.base import AdapterConfig
from plaudit.models.heads import class_head, mixed, rescaled_each
from plaudit.models.machine import device
from plaudit.models.scorer import Scorer, load_reward, reward_info
from plaudit.rewards.aspects import weights_of
from plaudit.schema import Prompt, Rated, UserError
from plaudit.training.assemble import Assembly, ModelConfig
from plaudit.training.options import TrainingConfig
from plaudit.training.run import sections, train
from plaudit.training.steplog import added

F64 = torch.float64
ROWS = ({"helpful": 1.0, "safe": 4.0}, {"helpful": 3.0}, {"safe": 6.0})


def made(*scores):
    algorithm = Aspects(AspectsConfig())
    algorithm.study([Rated(Prompt(text="q"), "a", scores=s) for s in scores], [])
    return algorithm


def batch(*scores, weights=None):
    weights = weights or [1.0] * len(scores)
    rows = [
        EncodedAspects((Row([5, 6], [0, 1], 1),), r, weight=w, scores=s)
        for r, (s, w) in enumerate(zip(scores, weights, strict=True))
    ]
    return collate_aspects(rows, dtype=F64)


OUT = Outputs(classes=torch.tensor([[0.5, 1.0], [2.0, 9.0], [9.0, 0.0]], dtype=F64))


def test_each_aspect_counts_over_the_rows_that_rate_it():
    """helpful: mean 2, deviation 1, targets -1 and 1; safe: mean 5, deviation 1, targets -1 and 1."""
    algorithm = made(*ROWS)
    assert dict(algorithm.scale) == {"helpful": (2.0, 1.0), "safe": (5.0, 1.0)} and algorithm.width == 2
    prepared = algorithm.prepare(batch(*ROWS, weights=[1.0, 3.0, 1.0]))
    prepared = prepared.normalised({name: float(total) for name, total in prepared.sums().items()})
    terms = {name: float((t * prepared.weight[name]).sum()) for name, t in algorithm.loss(OUT, prepared).items()}
    assert terms == {"aspect/helpful": pytest.approx((1.5**2 + 3 * 1.0) / 4), "aspect/safe": pytest.approx((4.0 + 1.0) / 2)}


def test_metrics_by_hand_over_micro_batches_that_lack_an_aspect():
    algorithm = made({"helpful": 0.0, "safe": 4.0}, {"helpful": 4.0}, {"safe": 6.0})  # helpful: mean 2, deviation 2
    whole = batch({"helpful": 0.0, "safe": 4.0}, {"helpful": 4.0}, {"safe": 6.0})

    def moments(rows):
        return algorithm.metrics(Outputs(classes=OUT.classes[rows]), whole.rows(rows))

    found = algorithm.summarise(added(moments([0, 2]), moments([1])))
    assert found["rmse/helpful"] == pytest.approx(2 * ((1.5**2 + 1.0) / 2) ** 0.5)
    assert found["pearson/helpful"] == pytest.approx(1.0) and found["pearson/safe"] == pytest.approx(-1.0)
    assert set(algorithm.summarise(moments([1]))) == {"rmse/helpful", "pearson/helpful"}


def test_an_aspect_that_says_nothing_is_refused():
    with pytest.raises(UserError, match="all 2 training ratings of the aspect safe are 5"):
        made({"safe": 5.0, "helpful": 1.0}, {"safe": 5.0, "helpful": 2.0})


def test_heads_by_hand():
    head = class_head(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
    each = rescaled_each(head, [(1.0, 2.0), (0.0, 0.5)])
    state = torch.tensor([3.0, 4.0])
    assert each(state).tolist() == [(6 - 1) / 2, 7 / 0.5]
    assert mixed(each, [2.0, -0.5])(state).tolist() == [2 * 2.5 - 0.5 * 14]


def test_weights_by_name():
    assert weights_of(("a", "b"), None) == {"a": 1.0, "b": 1.0} and weights_of(("a", "b"), {"b": 0.2}) == {"a": 1.0, "b": 0.2}
    with pytest.raises(UserError, match=r"names helpfull, .* did you mean helpful"):
        weights_of(("helpful", "safe"), {"helpfull": 1.0})
    with pytest.raises(UserError, match="no aspects at all"):
        weights_of((), {"helpful": 1.0})


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ("4", "line 2, scores: must be an object of numbers by aspect"),
        ("{}", "line 2, scores: must be an object"),
        ('{"helpful": "good"}', "line 2, scores, helpful: must be a finite number"),
        ('{"helpful": true}', "line 2, scores, helpful: must be a finite number"),
    ],
)
def test_rows_that_are_not_rated(tmp_path, scores, said):
    one = '{"prompt": "q", "completion": "a", "scores": %s}\n'
    (tmp_path / "rows.jsonl").write_text(one % '{"helpful": 1}' + one % scores)
    with pytest.raises(UserError, match=said):
        read(tmp_path / "rows.jsonl", "aspects")


def test_what_is_read(tmp_path):
    row = {"prompt": "q", "completion": "a", "scores": {"helpful": 1}, "topic": "x", "weight": 2}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (item,) = read(tmp_path / "rows.jsonl", "aspects").items
    assert item == Rated(Prompt(text="q", meta={"topic": "x"}), "a", 2.0, {"helpful": 1.0})


# -- runs ---------------------------------------------------------------------------------------------------------------------


def run(verb, folder, *words):
    classes, defaults = sections(verb)
    common = ["model_name_or_path=tiny", "bf16=false", f"output_dir={folder}"]
    return train(verb, load(classes, None, [*common, *words], defaults))


@pytest.fixture(scope="module", params=[True, False], ids=["lora", "full"])
def trained(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("aspects")
    told = {" Good, short.": (5, 5), " Good, but far too long, really.": (5, 1), " Bad.": (1, 5)}
    rows = [
        {"prompt": f"Q{i}?", "completion": said, "scores": {"helpful": h, "brief": b} if i % 2 else {"helpful": h}}
        for i in range(16)
        for said, (h, b) in told.items()
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    peft = f"use_peft={str(request.param).lower()}"
    words = [peft, f"train_file={root / 'rows.jsonl'}", "max_steps=30", "learning_rate=1e-2", "eval_steps=15"]
    run("aspects", root / "rm", *words)
    return root, peft


def test_the_folder_keeps_names_and_scales_and_learns_each_aspect(trained):
    root, _ = trained
    log = [json.loads(line) for line in (root / "rm" / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in log if "eval_pearson/brief" in line][-1]
    assert last["eval_pearson/brief"] > 0.8 and last["eval_pearson/helpful"] > 0.8
    assert list(reward_info(root / "rm" / "model").aspects) == ["brief", "helpful"]
    network = load_reward(root / "rm" / "model", dtype=torch.float32, device=torch.device("cpu"))
    scores = torch.tensor(Scorer(network).each([[5, 6, 7], [9, 3]]))
    assert network.aspects == ("brief", "helpful") and scores.shape == (2, 2)


def test_ppo_is_rewarded_by_the_weighted_sum_and_its_critic_starts_from_it(trained):
    root, peft = trained
    words = [peft, f"train_file={root / 'rows.jsonl'}", f"reward_model_path={root / 'rm' / 'model'}", "max_steps=1"]
    words += ["aspect_weights={helpful: 2.0, brief: -0.5}", "max_completion_length=4", "eval_fraction=0"]
    run("ppo", root / "ppo", *words)
    samples = [json.loads(line) for line in (root / "ppo" / "samples.jsonl").read_text().splitlines()]
    assert samples
    for sample in samples:
        parts = sample["parts"]
        assert set(parts) == {"reward_model", "reward_model.brief", "reward_model.helpful"}
        wanted = 2 * parts["reward_model.helpful"] - 0.5 * parts["reward_model.brief"]
        assert sample["reward"] == parts["reward_model"] == pytest.approx(wanted)


def test_a_critic_says_at_the_end_what_the_reward_model_says(trained):
    root, peft = trained
    adapter = AdapterConfig(use_peft=peft.endswith("true"))
    assembly = Assembly(ModelConfig(model_name_or_path="tiny"), adapter, TrainingConfig(output_dir="x", bf16=False))
    folder = root / "rm" / "model"
    judge = assembly.reward(folder)
    critic = assembly.critic(judge, folder, new_head=False, weights=[2.0, -0.5])
    batch = from_rows([[5, 6, 7, 8]], [[0, 1, 1, 1]]).to(device())
    with torch.no_grad():
        value = critic(batch, {"value"}).value[0, -1]
    brief, helpful = Scorer(judge).each([[5, 6, 7]])[0]
    assert float(value) == pytest.approx(2 * brief - 0.5 * helpful, abs=1e-4)


def test_an_aspect_that_is_not_there_is_told_of(trained):
    root, peft = trained
    words = [peft, f"train_file={root / 'rows.jsonl'}", f"reward_model_path={root / 'rm' / 'model'}"]
    with pytest.raises(UserError, match="aspect_weights names helpfull"):
        run("ppo", root / "bad", *words, "aspect_weights={helpfull: 2.0}")
