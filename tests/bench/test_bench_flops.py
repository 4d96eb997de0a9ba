"""Counted operations: by hand, against torch's own counter, and the laws that tie the counts together."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from plaudit.bench.flops import Phase, attention, forward, generation, limit_seconds, phases, products, training
from plaudit.models.flops import Shape, causal, shape_of
from plaudit.models.tiny import tiny_model

SMALL = Shape(layers=1, width=2, heads=1, kv_heads=1, head_dim=2, inner=3, vocabulary=5)
"""Matrices of 2x2 (four) and 2x3 (three): 34 weights; a pair costs 4 x 2 = 8, a token's logits 2 x 5 x 2 = 20."""
GROUPS = [(3, [4, 2]), (2, [5])]


def test_a_forward_pass_by_hand():
    assert SMALL.matrices == 34
    # 3 tokens: 2 x 34 x 3; they see 1, 2 and 3 tokens: 6 pairs; one of them is the answer's
    assert forward(SMALL, [(2, [1])], logits=True) == 204 + 6 * 8 + 20
    # the prompt once: 2 + 1 + 1 tokens; the second answer sees the prompt and itself
    assert forward(SMALL, [(2, [1, 1])], logits=False) == 2 * 34 * 4 + (3 + 3 + 3) * 8


def test_generation_by_hand():
    read, *decoded = generation(SMALL, [(2, [3]), (2, [1])], slots=2)
    assert read == Phase("forward", 4, 2 * 34 * 4 + 6 * 8 + 2 * 20)
    # the answer of one token needs no further step; the other two steps have one row, which sees 3 and then 4 tokens
    assert decoded == [Phase("forward", 1, 2 * (68 + 20) + (3 + 4) * 8)]


@pytest.mark.parametrize("slots", [1, 2, 3, 64])
def test_generation_is_a_forward_pass_cut_into_steps(slots):
    """Token by token or at once, the products are the same; the last token of an answer is never read."""
    rows = [(prompt, [answer]) for prompt, answers in GROUPS for answer in answers]
    cut = sum(phase.flops for phase in generation(SMALL, rows, slots))
    whole = sum(products(SMALL, p + a - 1, a) + attention(SMALL, causal([p + a - 1])) for p, answers in rows for a in answers)
    assert cut == whole


def test_decoding_steps_are_sorted_by_how_many_rows_are_alive():
    sizes = [phase.rows for phase in generation(SMALL, [(2, [k]) for k in range(2, 10)], slots=8)]
    assert sizes[1:] == [2, 4, 6, 8]
    # with more rows than slots the slots stay full until none waits
    assert [phase.rows for phase in generation(SMALL, [(2, [4])] * 8, slots=4)][1:] == [4]


@pytest.fixture(scope="module")
def model():
    made = tiny_model(50)
    made.set_attn_implementation("eager")  # plain products, which torch's counter sees
    return made


def counted(model, ids, frozen, *, backward=True):
    """Operations that torch counts for ids [rows, tokens]: all logits, attention not cut to the causal half."""
    model.requires_grad_(not frozen)
    inputs = model.get_input_embeddings()(ids).detach().requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        out = model(inputs_embeds=inputs, use_cache=False).logits
        if backward:
            out.sum().backward()
    return counter.get_total_flops()


def test_torch_counts_the_same(model):
    shape, rows, tokens = shape_of(model.config), 2, 7
    ids = torch.arange(rows * tokens).view(rows, tokens) % 50
    weights, pairs = products(shape, rows * tokens, rows * tokens), attention(shape, rows * tokens * tokens)
    assert counted(model, ids, True, backward=False) == weights + pairs
    assert counted(model, ids, False) == 3 * weights + 3 * pairs
    assert counted(model, ids, True) == 2 * weights + 3 * pairs


def test_training_takes_the_factors_that_torch_was_seen_to_take():
    pairs, answers = 6 + (12 + 10) + (6 + 3) + 3 + (10 + 15), 11
    weights = products(SMALL, 3 + 4 + 2 + 2 + 5, answers)
    assert training(SMALL, GROUPS, logits=True, peft=False) == 3 * weights + 3 * attention(SMALL, pairs)
    assert training(SMALL, GROUPS, logits=True, peft=True) == 2 * weights + 3 * attention(SMALL, pairs)


def test_what_each_benchmark_needs():
    def total(name, **options):
        return sum(
            p.flops for p in phases(name, SMALL, GROUPS, **{"batch": 1, "slots": 4, "epochs": 4, "peft": False} | options)
        )

    policy, scalar = (forward(SMALL, GROUPS, logits=logits) for logits in (True, False))
    sampled = sum(phase.flops for phase in generation(SMALL, GROUPS, 4))
    assert total("rollout") == sampled
    assert (total("sft"), total("reward"), total("dpo")) == (3 * policy, 3 * scalar, 4 * policy)
    assert total("grpo") == sampled + 3 * policy
    assert total("ppo") == sampled + 2 * (policy + scalar) + 4 * 3 * (policy + scalar)
    assert total("ppo", epochs=1, peft=True) < total("ppo", epochs=1)


def test_the_limit_adds_up_the_phases_at_their_own_rates():
    work = [Phase("train", 8, 600), Phase("forward", 2, 100)]
    assert limit_seconds(work, {"train@8": 300.0, "forward@2": 50.0}) == 4.0
