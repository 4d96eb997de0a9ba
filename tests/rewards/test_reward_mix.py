import math
import statistics

import pytest

from plaudit.config import load, template
from plaudit.rewards.base import Context
from plaudit.rewards.functions import FunctionReward
from plaudit.rewards.mix import RewardConfig, RewardMix, metrics, mix
from plaudit.schema import Completion, Prompt, UserError

PROMPT = Prompt(text="q")
EOS = 2


def rows(*ends):
    """Completions that ended by `ends`; their ids say the contrary, so nobody may look at them."""
    made = [
        Completion(PROMPT.id, "x", (1,), (9, EOS if end == "length" else 9), (-1.0, -1.0), end, index=i)
        for i, end in enumerate(ends)
    ]
    return [PROMPT] * len(made), made


def fixed(name, *values):
    return FunctionReward(lambda **_: list(values), name)


def test_the_weighted_sum_with_raw_parts():
    mixed = RewardMix((fixed("helpful", 1.0, None, None), fixed("length", -0.5, -2, None)), (2.0, 0.1))
    scored = mixed.score(*rows("stop", "stop", "stop"))
    assert [s.reward for s in scored] == [pytest.approx(1.95), pytest.approx(-0.2), None]
    assert [s.parts for s in scored] == [
        {"helpful": 1.0, "length": -0.5},
        {"helpful": None, "length": -2.0},
        {"helpful": None, "length": None},
    ]
    assert [s.completion.index for s in scored] == [0, 1, 2]


def test_a_missing_end_is_judged_by_the_finish_reason_not_by_a_token():
    ends = rows("stop", "length")
    for options, expected in (
        ({"missing_eos_penalty": 1.5}, [3.0, 1.5]),
        ({"missing_eos_score": -1.0}, [3.0, -1.0]),
        ({"missing_eos_penalty": 0.0}, [3.0, 3.0]),
        ({}, [3.0, 3.0]),
    ):
        scored = RewardMix((fixed("f", 3, 3),), (1.0,), RewardConfig(**options)).score(*ends)
        assert [s.reward for s in scored] == expected
        if options:
            assert [s.parts["missing_eos"] for s in scored] == [0.0, expected[1] - 3.0]


def test_an_unscored_answer_stays_unscored_without_an_end():
    scored = RewardMix((fixed("f", None),), (1.0,), RewardConfig(missing_eos_score=-1.0)).score(*rows("length"))
    assert scored[0].reward is None


def test_clipping_comes_before_the_missing_end_rule():
    options = RewardConfig(reward_clip_range=(-1, 2), missing_eos_penalty=5)
    scored = RewardMix((fixed("f", 9, -9, 0.5, 9),), (1.0,), options).score(*rows("stop", "stop", "stop", "length"))
    assert [s.reward for s in scored] == [2.0, -1.0, 0.5, -3.0]
    assert scored[0].parts == {"f": 9.0, "missing_eos": 0.0}


def test_normalisation_over_the_batch_and_over_ranks():
    values = [1.0, 2.0, None, 6.0]
    mixed = RewardMix((fixed("f", *values),), (1.0,), RewardConfig(reward_normalization="batch"))
    ends = rows(*["stop"] * 4)
    got = [s.reward for s in mixed.score(*ends)]
    known = [1.0, 2.0, 6.0]
    spread = math.sqrt(statistics.pvariance(known) + 1e-8)
    assert got[2] is None and [got[i] for i in (0, 1, 3)] == pytest.approx([(v - 3.0) / spread for v in known])
    # Two ranks that gather get what one rank with all the rows gets.
    halves = [RewardMix((fixed("f", *half),), (1.0,), mixed.options) for half in (values[:2], values[2:])]
    both = [s.reward for half in halves for s in half.score(*rows("stop", "stop"), gather=lambda _: known)]
    assert both == pytest.approx(got)
    equal = RewardMix((fixed("f", 2, 2),), (1.0,), mixed.options).score(*rows("stop", "stop"))
    assert [s.reward for s in equal] == [0.0, 0.0]


def test_rows_that_do_not_belong_together_are_our_own_mistake():
    prompts, made = rows("stop")
    with pytest.raises(ValueError, match="row 0"):
        RewardMix((fixed("f", 1),), (1.0,)).score([Prompt(text="other")], made)
    with pytest.raises(ValueError, match="shorter"):
        RewardMix((fixed("f", 1),), (1.0,)).score(prompts * 2, made)


def test_mistakes_in_the_mix():
    with pytest.raises(UserError, match="nothing to reward"):
        mix(RewardConfig())
    with pytest.raises(UserError, match="called f"):
        RewardMix((fixed("f", 1), fixed("f", 1)), (1.0, 1.0))
    with pytest.raises(UserError, match=r"2 numbers for 1 rewards \(length_penalty\)"):
        mix(RewardConfig(reward_funcs=("length_penalty",), reward_weights=(1.0, 2.0)))
    with pytest.raises(UserError, match=r"reward_weights names lenght_penalty.*did you mean length_penalty"):
        mix(RewardConfig(reward_funcs=("length_penalty",), reward_weights={"lenght_penalty": 2.0}))
    with pytest.raises(UserError, match="reward_kwargs names other"):
        mix(RewardConfig(reward_funcs=("length_penalty",), reward_kwargs={"other": {}}))
    with pytest.raises(UserError, match="length_penalty has no option colour"):
        mix(RewardConfig(reward_funcs=("length_penalty",), reward_kwargs={"length_penalty": {"colour": 1}}))
    with pytest.raises(ValueError, match="not both"):
        RewardConfig(missing_eos_penalty=1.0, missing_eos_score=-1.0)
    with pytest.raises(ValueError, match="must rise"):
        RewardConfig(reward_clip_range=(1.0, 1.0))


def test_the_mix_that_a_file_asks_for(tmp_path):
    (tmp_path / "mine.py").write_text("def bonus(completions, **kwargs):\n    return [1.0] * len(completions)\n")
    file = tmp_path / "ppo.yaml"
    file.write_text(
        f"reward_funcs: ['{tmp_path}/mine.py:bonus', length_penalty]\n"
        "reward_kwargs:\n  length_penalty: {upper: 1, margin: 4}\n"
        "reward_clip_range: [-3, 3]\n"
    )
    options = load([RewardConfig], file, ["reward_weights.length_penalty=-0.5", "reward_weights.model=10"])[RewardConfig]
    made = mix(options, models=[fixed("model", 0.1, 0.2)])
    assert [reward.name for reward in made.rewards] == ["model", "bonus", "length_penalty"]
    assert made.weights == (10.0, 1.0, -0.5)
    scored = made.score(*rows("stop", "length"))
    assert [s.reward for s in scored] == [1 + 1 + 0.125, 3.0]  # the second is clipped
    assert scored[0].parts == {"model": 0.1, "bonus": 1.0, "length_penalty": -0.25}


def test_the_printed_options_load_back(tmp_path):
    (tmp_path / "all.yaml").write_text(template([RewardConfig]))
    assert load([RewardConfig], tmp_path / "all.yaml")[RewardConfig] == RewardConfig()
    listed = load([RewardConfig], None, ["reward_funcs=[exact_match]", "reward_weights=[2]"])[RewardConfig]
    assert mix(listed).weights == (2.0,)


def test_metrics_have_trls_names():
    mixed = RewardMix((fixed("a", 1, 3, None), fixed("b", None, None, None)), (2.0, 1.0))
    found = metrics(mixed.score(*rows("stop", "length", "length"), Context()))
    assert found == {
        "reward": 4.0,
        "reward_std": pytest.approx(math.sqrt(8)),
        "rewards/a/mean": 2.0,
        "rewards/a/std": pytest.approx(math.sqrt(2)),
        "rewards/unscored": 1.0,
        "completions/clipped_ratio": pytest.approx(2 / 3),
    }
