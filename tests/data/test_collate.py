import pytest
import torch
from data_tokenizers import build

from plaudit.data.collate import collate_demonstrations, collate_rankings, collate_rollouts
from plaudit.data.encode import Encoded, encode_demonstrations, encode_rankings
from plaudit.data.template import Row
from plaudit.schema import Completion, Demonstration, Prompt, Ranking, Scored, UserError


def sampled(prompt, tokens, index, reward=1.0, finish="stop", logprobs=None):
    logprobs = tuple(-0.5 - i for i in range(len(tokens))) if logprobs is None else logprobs
    return Scored(Completion(prompt, "", (1, 2), tuple(tokens), logprobs, finish, index=index), reward)


def test_demonstrations_by_hand():
    encoded = [Encoded((Row([5, 6, 7], [0, 1, 1], 1),), 0, weight=0.5), Encoded((Row([8, 9], [0, 1], 1, truncated=True),), 1)]
    batch = collate_demonstrations(encoded, dtype=torch.float64)
    assert batch.ids.tolist() == [[5, 6, 7], [8, 9, 0]] and batch.mask.tolist() == [[0, 1, 1], [0, 1, 0]]
    assert batch.mask.dtype == batch["weight"].dtype == torch.float64
    assert batch.length.tolist() == [3, 2] and batch.group.tolist() == [0, 1] and batch.place.tolist() == [0, 0]
    assert batch["weight"].tolist() == [0.5, 1.0] and batch["truncated"].tolist() == [0, 1]


def test_rankings_stand_together_best_first():
    rows = [Row([i, i + 1], [0, 1], 1) for i in range(5)]
    batch = collate_rankings([Encoded(tuple(rows[:3]), 0, margin=0.25), Encoded(tuple(rows[3:]), 1, 2.0, 0.0, 0.75)])
    assert batch.ids[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert batch.group.tolist() == [0, 0, 0, 1, 1] and batch.place.tolist() == [0, 1, 2, 0, 1]
    assert batch["margin"].tolist() == [0.25] * 3 + [0] * 2 and batch["probability"].tolist() == [1] * 3 + [0.75] * 2
    assert batch["weight"].tolist() == [1, 1, 1, 2, 2]


def test_keys_do_not_depend_on_who_else_is_in_the_batch():
    tokenizer = build(None)
    demos = [Demonstration(Prompt(text=f"order {i}"), " late") for i in range(4)]
    encoded, _ = encode_demonstrations(tokenizer, demos)
    keys = collate_demonstrations(encoded).key.tolist()
    assert len(set(keys)) == 4
    assert collate_demonstrations([encoded[i] for i in (2, 0)]).key.tolist() == [keys[2], keys[0]]
    pairs, _ = encode_rankings(tokenizer, [Ranking(Prompt(text=f"order {i}"), (" late", " soon")) for i in range(2)])
    assert collate_rankings(pairs[1:]).key.tolist() == collate_rankings(pairs).key.tolist()[2:]
    many = collate_rollouts([sampled("p", [3], i) for i in range(100)]).key
    assert len(set(many.tolist())) == 100 and int(many.min()) >= 0
    one, two = sampled("p", [3], 0), sampled("p", [3], 1)
    assert collate_rollouts([two]).key[0] == collate_rollouts([one, two]).key[1] != collate_rollouts([one]).key[0]


def test_rollouts_keep_the_sampled_ids_and_log_probabilities():
    batch = collate_rollouts(
        [sampled("p", [3, 4, 9], 0, 0.5), sampled("q", [5], 0, -1.0, "length"), sampled("p", [6, 9], 1, 2.0)],
        dtype=torch.float64,
    )
    assert batch.ids.tolist() == [[1, 2, 3, 4, 9], [1, 2, 5, 0, 0], [1, 2, 6, 9, 0]]
    assert batch.mask.tolist() == [[0, 0, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0]]
    assert batch["sampler"].tolist() == [[0, 0, -0.5, -1.5, -2.5], [0, 0, -0.5, 0, 0], [0, 0, -0.5, -1.5, 0]]
    assert batch.group.tolist() == [0, 1, 0] and batch.place.tolist() == [0, 0, 1] and batch.length.tolist() == [5, 3, 4]
    assert batch["reward"].tolist() == [0.5, -1, 2] and batch["truncated"].tolist() == [0, 1, 0]


def test_a_prompt_drawn_twice_is_two_groups():
    batch = collate_rollouts([sampled("p", [3], 0), sampled("p", [4], 1), sampled("p", [5], 0), sampled("p", [6], 1)])
    assert batch.group.tolist() == [0, 0, 1, 1]


def test_rollouts_without_reward_or_log_probabilities_are_refused():
    with pytest.raises(UserError, match="Completion 1 of prompt p has no reward"):
        collate_rollouts([sampled("p", [3], 1, None)])
    with pytest.raises(UserError, match="1 tokens but 0 log-probabilities"):
        collate_rollouts([sampled("p", [3], 0, logprobs=())])
