"""Rewards of single tokens: their sum is the answer's reward, and where they stand is where they are learnt from."""

import json
import math

import pytest
import torch

from plaudit.algorithms.ppo import PPO, PPOConfig
from plaudit.algorithms.reinforce_pp import ReinforcePP, ReinforcePPConfig
from plaudit.config import load
from plaudit.core import advantage
from plaudit.core.batch import from_rows
from plaudit.data.collate import collate_rollouts
from plaudit.rewards.base import Dense, checked
from plaudit.rewards.functions import FunctionReward
from plaudit.rewards.mix import RewardConfig, RewardMix
from plaudit.schema import Completion, Prompt, UserError, to_json
from plaudit.training.run import sections, train

PROMPT = Prompt(text="q")
F64 = torch.float64


def answers(*ends):
    """Answers of three tokens, and of two where they ran into the limit."""
    sizes = [2 if end == "length" else 3 for end in ends]
    return [
        Completion(PROMPT.id, "x", (1,), (7, 8, 9)[:size], (-1.0,) * size, end, index=i)
        for i, (end, size) in enumerate(zip(ends, sizes, strict=True))
    ]


def scored(options, weights, *values, ends=("stop", "length")):
    rewards = tuple(FunctionReward(lambda table=table, **_: table, f"f{i}") for i, table in enumerate(values))
    return RewardMix(rewards, weights, RewardConfig(**options)).score([PROMPT] * len(ends), answers(*ends))


def test_the_sum_is_the_reward_and_tokens_are_weighted_with_their_part():
    first, second = scored({}, (2.0, 10.0), [[1, 0, -0.5], [0.25, 0.25]], [0.1, None])
    assert first.reward == pytest.approx(2.0) and first.parts == {"f0": 0.5, "f1": 0.1}
    assert first.dense == (2.0, 0.0, -1.0) and second.dense == (0.5, 0.5) and second.reward == 1.0
    assert json.loads(json.dumps(to_json(first)))["parts"]["f0"] == 0.5
    both = scored({}, (1.0, 3.0), [[1, 2, 3], None], [[1, 0, 0], [2, 2]])
    assert both[0].dense == (4.0, 2.0, 3.0) and both[1].dense == (6.0, 6.0)
    assert scored({}, (1.0,), [1.0, None])[0].dense == ()


def test_clipping_cuts_the_sum_and_leaves_the_tokens():
    """2 + 2 + 2 is clipped to 5: tokens keep their 2, and the last token gets what is missing from 5, which is -1."""
    (item,) = scored({"reward_clip_range": (-5.0, 5.0)}, (1.0,), [[2, 2, 2]], ends=("stop",))
    assert item.reward == 5.0 and item.dense == (2.0, 2.0, 2.0)
    batch = collate_rollouts([item])
    rewards = advantage.token_rewards(batch["reward"], torch.zeros_like(batch.mask), batch.mask, 0.0, batch["dense"])
    assert rewards.tolist() == [[0.0, 2.0, 2.0, 1.0]]


def test_normalisation_divides_the_tokens_and_takes_the_mean_off_the_last_one():
    """Sums 3 and 1: mean 2, deviation 1."""
    first, second = scored({"reward_normalization": "batch"}, (1.0,), [[3, 0, 0], [0, 1]])
    assert (first.reward, second.reward) == (pytest.approx(1), pytest.approx(-1))
    assert first.dense == pytest.approx((3, 0, 0)) and second.dense == pytest.approx((0, 1))


def test_the_missing_end_rule_counts_on_the_last_token():
    first, second = scored({"missing_eos_penalty": 4.0}, (1.0,), [[1, 1, 1], [1, 1]])
    assert (first.reward, second.reward) == (3.0, -2.0) and second.dense == (1.0, 1.0)
    assert second.parts["missing_eos"] == -4.0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[1.0], [1, 1]], "f0 returned 1 numbers for answer 1, which has 3 tokens; it must return one for each token"),
        ([[1, 2, 3], [1, 2, 3]], "f0 returned 3 numbers for answer 2, which has 2 tokens"),
        ([[1, None, 3], [1, 2]], "None for token 2 of answer 1; 0 is what"),
        ([[1, math.nan, 3], [1, 2]], "returned nan for answer 1; it must be finite"),
        ([[1, "a", 3], [1, 2]], "must be a number"),
    ],
)
def test_lists_that_do_not_fit_are_told_of(values, said):
    with pytest.raises(UserError, match=said):
        scored({}, (1.0,), values)


def test_tensors_and_arrays_are_lists_too_and_single_numbers_stay_numbers():
    found = checked([torch.tensor([1.0, 2.0]), torch.tensor([3.0]), 4], 3, "f", [2, 5, 5])
    assert found == [3.0, 3.0, 4.0] and isinstance(found[0], Dense) and found[0].tokens == (1.0, 2.0)
    assert not isinstance(found[1], Dense)
    with pytest.raises(UserError, match="must be a number"):
        checked([[1.0, 2.0]], 1, "reward model r")


def test_the_stream_holds_zeros_where_an_answer_has_none():
    first, second = scored({}, (1.0,), [[1, 2, 3], 5.0])
    batch = collate_rollouts([first, second])
    assert batch["dense"].tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]] and batch["reward"].tolist() == [6, 5]
    assert "dense" not in collate_rollouts([second]).streams


def test_ppo_gives_each_token_its_own_reward():
    """Without values and KL, gamma = lambda = 1: advantages are the rewards to go."""
    batch = from_rows(
        [[4, 5, 6, 7]],
        [[0, 1, 1, 1]],
        streams={name: [[0.0] * 4] for name in ("old", "ref", "value", "entropy")} | {"dense": [[0, 1, -2, 0]]},
        sides={"reward": [3.0]},
        dtype=F64,
    )
    options = {"kl_coef": 0.0, "lam": 1.0, "whiten_advantages": False}
    prepared = PPO(PPOConfig(**options)).prepare(batch)
    assert prepared["token_reward"].tolist() == [[0, 1, -2, 4]]  # 3 = 1 - 2 + 4
    assert prepared["advantage"].tolist() == [[0, 3, 2, 4]]
    other = ReinforcePP(ReinforcePPConfig(kl_coef=0.0, use_group_baseline=True)).prepare(batch)
    assert other["token_reward"].tolist() == [[0, 1, -2, 1]]  # the group's mean, 3, comes off the whole answer's share


@pytest.mark.parametrize("verb", ["ppo", "reinforce_pp", "grpo"])
def test_runs_take_them_whatever_the_algorithm(tmp_path, verb):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"prompt": f"Where is order {i}?"}) + "\n" for i in range(8)))
    (tmp_path / "r.py").write_text("def each(completion_ids, **_):\n  return [[i % 3 for i in a] for a in completion_ids]\n")
    classes, defaults = sections(verb)
    words = ["model_name_or_path=tiny", "use_peft=true", "bf16=false", "max_steps=2", "max_completion_length=5"]
    words += [f"train_file={tmp_path / 'rows.jsonl'}", f"output_dir={tmp_path / 'run'}", "num_generations=2"]
    words += [f"reward_funcs=[{tmp_path / 'r.py'}:each]", "learning_rate=1e-3"]
    train(verb, load(classes, None, words, defaults))
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert all(sample["reward"] == sample["parts"]["each"] == int(sample["reward"]) for sample in samples)
    if verb == "ppo":
        for trace in json.loads((tmp_path / "run" / "trace.json").read_text()):
            paid = [r + 0.05 * k for r, k in zip(trace["streams"]["reward"], trace["streams"]["kl"], strict=True)]
            assert paid == pytest.approx([round(p) for p in paid], abs=1e-5) and sum(paid) == pytest.approx(trace["reward"])
            assert trace["streams"]["mask"] == [1.0] * len(trace["tokens"]) == [1.0] * len(paid)
            assert len(paid) == 1 or any(round(p) for p in paid[:-1]) or trace["reward"] == round(paid[-1])
