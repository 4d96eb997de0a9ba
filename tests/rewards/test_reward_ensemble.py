"""Several reward models as one reward, by hand and in a real run; halves of the prompts for two independent ones."""

import json
import math

import pytest
import torch

from plaudit.config import load
from plaudit.data.split import half
from plaudit.models.scorer import Scorer, load_rewards
from plaudit.rewards.base import Context
from plaudit.rewards.ensemble import EnsembleReward, member_name, together
from plaudit.rewards.functions import FunctionReward
from plaudit.rewards.mix import RewardConfig, RewardMix, metrics
from plaudit.schema import Completion, Demonstration, Prompt, Ranking, UserError
from plaudit.training.run import sections, train

PROMPT = Prompt(text="q")
TWO = ("one", "two")


def members(*tables):
    return [FunctionReward(lambda values=values, **_: values, f"m{i}") for i, values in enumerate(tables)]


def scored(options, *tables):
    context, rows = Context(), len(tables[0])
    answers = [Completion(PROMPT.id, "x", (1,), (9,), (-1.0,), "stop", index=i) for i in range(rows)]
    mix = RewardMix((EnsembleReward(members(*tables), options),), (2.0,))
    return mix.score([PROMPT] * rows, answers, context), context


@pytest.mark.parametrize(
    ("how", "first", "second"),
    [
        ({}, 2.0, -1.0),
        ({"reward_ensemble": "worst"}, 0.0, -1.0),
        ({"reward_ensemble": "lower_confidence_bound"}, 2.0 - math.sqrt(8 / 3), -1.0),
        ({"reward_ensemble": "lower_confidence_bound", "reward_ensemble_coefficient": 0.5}, 2 - math.sqrt(8 / 3) / 2, -1.0),
    ],
)
def test_the_rules_by_hand(how, first, second):
    """Scores 0, 2, 4: mean 2, variance 8/3. Where all agree, every rule says the same."""
    found, context = scored(RewardConfig(reward_model_path=TWO, **how), [0.0, -1.0], [2.0, -1.0], [4.0, -1.0])
    assert [item.reward for item in found] == [pytest.approx(2 * first), pytest.approx(2 * second)]
    assert found[0].parts == {"reward_model": pytest.approx(first), "m0": 0.0, "m1": 2.0, "m2": 4.0}
    assert context.metrics["rewards/ensemble/std"] == [pytest.approx(math.sqrt(8 / 3)), 0.0]
    assert metrics(found)["rewards/m2/mean"] == 1.5


def test_a_member_without_a_score_is_left_out_and_an_answer_without_any_has_none():
    found, context = scored(RewardConfig(reward_model_path=TWO, reward_ensemble="worst"), [None, None], [3.0, None])
    assert [item.reward for item in found] == [6.0, None]
    assert context.metrics["rewards/ensemble/std"] == [0.0]


def test_one_reward_model_is_itself():
    (alone,) = members([1.0])
    assert together(RewardConfig(reward_model_path="one"), [alone]) == [alone]
    assert together(RewardConfig(reward_funcs=("f",)), []) == []
    assert [member_name(1, 1), member_name(2, 3)] == ["reward_model", "reward_model_2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reward_ensemble=worst"], "needs a list of two or more"),
        (["reward_ensemble=worst", "reward_model_path=one"], "needs a list of two or more"),
        (["reward_model_path=[one, two, one]"], "names one twice"),
        (["reward_ensemble=best", "reward_model_path=[one, two]"], "lower_confidence_bound"),
    ],
)
def test_options_that_cannot_be_meant(words, said):
    with pytest.raises(UserError, match=said):
        load([RewardConfig], None, words)


# -- in a run -----------------------------------------------------------------------------------------------------------------

COMMON = ["model_name_or_path=tiny", "use_peft=true", "max_steps=2", "bf16=false", "learning_rate=1e-2"]


def run(verb, folder, *words):
    classes, defaults = sections(verb)
    return train(verb, load(classes, None, [*COMMON, f"output_dir={folder}", *words], defaults))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two reward models of the halves of the prompts, and a third of all, adapters on one base."""
    root = tmp_path_factory.mktemp("ensemble")
    rows = [{"prompt": f"Where is order {i}?", "chosen": f" On its way {i}.", "rejected": " No."} for i in range(24)]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, which in (("a", "a"), ("b", "b"), ("all", "none")):
        run("reward", root / name, f"train_file={root / 'rows.jsonl'}", f"data_half={which}", f"seed={len(name)}")
    return root


def test_ppo_takes_the_worst_of_two_that_share_one_base_in_memory(trained):
    paths = [str(trained / name / "model") for name in ("a", "b")]
    folder = trained / "ppo"
    run(
        *("ppo", folder, f"train_file={trained / 'rows.jsonl'}", f"reward_model_path=[{', '.join(paths)}]"),
        *("reward_ensemble=worst", "max_completion_length=4", "per_device_train_batch_size=4"),
    )
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for sample in samples:
        parts = sample["parts"]
        assert set(parts) == {"reward_model", "reward_model_1", "reward_model_2"}
        assert sample["reward"] == parts["reward_model"] == min(parts["reward_model_1"], parts["reward_model_2"])
    assert any(sample["parts"]["reward_model_1"] != sample["parts"]["reward_model_2"] for sample in samples)
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any(line.get("rewards/ensemble/std", 0) > 0 for line in logged)
    assert len(json.loads((folder / "inputs.json").read_text())["reward_model_path"].split()) == 2


def test_members_on_one_base_hold_it_once_and_score_as_they_do_alone(trained):
    paths = [trained / name / "model" for name in ("a", "b", "all")]
    options = {"dtype": torch.float32, "device": torch.device("cpu")}
    together_, ids = load_rewards(paths, **options), [[5, 6, 7], [5, 9, 3, 4]]
    assert len({id(network.base.model) for network in together_}) == 1
    alone = [Scorer(load_rewards([path], **options)[0])(ids) for path in paths]
    assert [Scorer(network)(ids) for network in together_] == [pytest.approx(scores) for scores in alone]
    assert alone[0] != pytest.approx(alone[1])


def test_halves_share_no_prompt_and_leave_none_out():
    items = [Demonstration(Prompt(text=f"Question  {i % 200}?"), f"answer {i}") for i in range(400)]
    a, b = ([items[i] for i in half(items, which)] for which in "ab")
    assert len(a) + len(b) == 400 and 150 < len(a) < 250
    assert not {item.prompt.id for item in a} & {item.prompt.id for item in b}
    backwards = [*reversed(items)]
    assert [backwards[i] for i in half(backwards, "a")] == [*reversed(a)]
    same = [Ranking(Prompt(text=item.prompt.text.upper().replace("  ", " ")), ("x", "y")) for item in a]
    assert half(same, "a") == [*range(len(same))], "case and blanks move no prompt, nor does the kind of row"


def test_an_empty_half_is_told_of():
    item = Demonstration(Prompt(text="only one"), "answer")
    empty = "b" if _is_a(item) else "a"
    with pytest.raises(UserError, match=f"no prompt of the 1 rows falls into data_half {empty}"):
        half([item], empty)


def _is_a(item):
    try:
        return bool(half([item], "a"))
    except UserError:
        return False


def test_the_run_says_how_many_rows_its_half_has(trained):
    told = {name: (trained / name / "events.log").read_text() for name in ("a", "b", "all")}
    counts = {name: int(told[name].split(f"data_half {name}: ")[1].split()[0]) for name in ("a", "b")}
    assert min(counts.values()) > 0 and "data_half" not in told["all"]
    assert "of 2" in told["a"]
