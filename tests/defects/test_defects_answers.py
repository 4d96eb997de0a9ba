"""Defects of TRL's PPO around answers (letters as in docs/trl-ppo-defects.md): when they end, and what their end is worth."""

import pytest
import torch
from defects_world import ppo_learner

from plaudit.algorithms.ppo import PPOConfig
from plaudit.data.collate import collate_rollouts
from plaudit.data.template import encode_answer
from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.load import load
from plaudit.rewards.functions import FunctionReward
from plaudit.rewards.mix import RewardConfig, RewardMix
from plaudit.rewards.model import ModelReward
from plaudit.schema import Prompt, Sampling

PROMPTS = [Prompt(text=f"Where is order {i}?") for i in range(8)]
OFTEN = tuple(range(10, 60))
"""Stop ids that a random model writes every few tokens."""


def answers(tokenizer=None, n=4, **sampling):
    """(engine, answers) of the tiny model: some end, some run into the limit."""
    loaded = load("tiny")
    engine = TorchEngine.from_model(loaded.model, tokenizer or loaded.tokenizer, slots=8)
    rows = []
    step = engine.decoder.step

    def counted(ids, *args):
        rows.append(len(ids))
        return step(ids, *args)

    engine.decoder.step = counted
    done = engine.generate(PROMPTS, n, Sampling(**{"max_new_tokens": 12, "stop_token_ids": OFTEN, **sampling}))
    assert {c.finish_reason for c in done} == {"stop", "length"}
    return done, rows, loaded.tokenizer


def test_defect_e_a_finished_answer_leaves_generation():
    """There: all rows run until the longest is done. Here each costs one decoded row for each of its tokens after the first."""
    done, rows, _ = answers()
    lengths = [len(c.tokens) for c in done]
    assert sum(rows) == sum(lengths) - len(lengths)
    assert sum(rows) < 0.6 * len(lengths) * (max(lengths) - 1), "answers must differ in length, or this shows nothing"
    assert max(rows) == 8, "waiting answers must take the free places"


def scored(done, **options):
    mix = RewardMix((FunctionReward(lambda completions: [0.5] * len(completions), "half"),), (1.0,), RewardConfig(**options))
    by_id = {p.id: p for p in PROMPTS}
    return mix.score([by_id[c.prompt_id] for c in done], done)


@pytest.mark.parametrize("ends", [{"stop_token_ids": OFTEN}, {"stop_token_ids": (), "stop": ("a", "e", "i", "o", "u")}])
@pytest.mark.parametrize(("rule", "paid"), [({"missing_eos_score": -1.0}, -1.0), ({"missing_eos_penalty": 2.0}, -1.5)])
def test_defect_o_a_missing_end_is_judged_by_how_the_answer_ended_and_may_replace_the_score(ends, rule, paid):
    """There: by the tokenizer's EOS even where another id or a text ends answers, and the penalty is only subtracted."""
    done, _, tokenizer = answers(**ends)
    assert not any(tokenizer.eos_token_id in c.tokens for c in done if not c.truncated and c.tokens[-1] in OFTEN)
    for item in scored(done, **rule):
        assert item.reward == (paid if item.completion.finish_reason == "length" else 0.5)


def with_pad_as_eos():
    tokenizer = load("tiny").tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    return tokenizer


def eager_to_end(tokenizer):
    """Answers of a model whose EOS is likely, with a tokenizer whose pad is that EOS."""
    loaded = load("tiny")
    weights = dict(loaded.model.state_dict())
    table = weights["model.embed_tokens.weight"].clone()
    table[tokenizer.eos_token_id] = 1.0
    engine = TorchEngine.from_model(loaded.model, tokenizer, slots=8)
    engine.load({**weights, "model.embed_tokens.weight": table, "lm_head.weight": table}.items(), "step-0")
    done = engine.generate(PROMPTS, 8, Sampling(max_new_tokens=40))
    ended = [c for c in done if c.tokens[-1] == tokenizer.eos_token_id]
    assert ended and all(c.finish_reason == "stop" for c in ended)
    return ended


def test_defect_p_where_pad_is_eos_the_end_token_is_sampled_trained_and_scored():
    """There: the end of the answer lands before EOS, which is then neither scored nor trained."""
    tokenizer = with_pad_as_eos()
    done = eager_to_end(tokenizer)
    batch = ppo_learner(PPOConfig(kl_coef=0.0, whiten_advantages=False)).prepared(collate_rollouts(scored(done)))
    for row, completion in enumerate(done):
        last = int(batch.length[row]) - 1
        assert last + 1 == len(completion.prompt_tokens) + len(completion.tokens)
        assert int(batch.ids[row, last]) == tokenizer.eos_token_id
        assert float(batch.mask[row, last]) == 1 and float(batch.weight["policy"][row, last]) == 1
        assert float(batch["token_reward"][row, last]) == 0.5
        assert float(batch["old"][row, last]) < 0
        assert float(batch["advantage"][row, last]) == pytest.approx(0.5)  # the critic's values are 0 at first
        assert float(batch["token_reward"][row, :last].abs().sum()) == 0


def test_defect_p_where_pad_is_eos_the_reward_model_and_demonstrations_read_the_end_token():
    tokenizer = with_pad_as_eos()
    done = eager_to_end(tokenizer)
    read = []
    reward = ModelReward(lambda rows: read.extend(rows) or [0.0] * len(rows), tokenizer)
    reward.score([PROMPTS[0]] * len(done), done, None)
    assert read == [[*c.prompt_tokens, *c.tokens] for c in done]
    row = encode_answer(tokenizer, PROMPTS[0], "It is late.")
    assert (row.ids[-1], row.mask[-1]) == (tokenizer.eos_token_id, 1)
    assert torch.tensor(row.mask).sum() == len(row) - row.prompt_length
