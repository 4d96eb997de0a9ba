"""Law 1: micro-batches, padding, packing and the order of rows cannot change a gradient. Float64, the real learner."""

import dataclasses

import pytest
import torch

from fake_ranks import ranked
from small_networks import BATCHES, KINDS, base, gradients, has, kind_of, learner, passes, weights


def gradient(kind, batch, **settings):
    """The gradient of the first optimiser step (the step itself changes nothing: its learning rate is next to 0)."""
    made = learner(
        kind, options={**passes(kind, 1), **settings.pop("options", {})}, optimizer={"learning_rate": 1e-300}, **settings
    )
    made.step(batch)
    return gradients(made)


def apart(a, b):
    """max |a - b| / max |b|."""
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_padding_packing_and_order_leave_the_gradient_alone(kind, full):
    batch = BATCHES[kind]()
    whole = gradient(kind, batch, micro_batch=99, full=full)
    assert whole.abs().max() > 1e-3
    for size in (1, 2, 3):
        assert apart(gradient(kind, batch, micro_batch=size, full=full), whole) < 1e-12
    assert apart(gradient(kind, batch.pad_to(batch.ids.shape[1] + 7), micro_batch=3, full=full), whole) < 1e-12
    assert apart(gradient(kind, batch, micro_batch=99, full=full, packing=True), whole) < 1e-12
    assert apart(gradient(kind, batch, micro_batch=2, full=full, packing=True, chunk=3), whole) < 1e-12
    assert apart(gradient(kind, batch, micro_batch=2, full=full, checkpointing=True), whole) < 1e-12
    shuffled = batch.rows(torch.randperm(len(batch), generator=torch.Generator().manual_seed(5)))
    assert apart(gradient(kind, shuffled, micro_batch=2, full=full), whole) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_trunk_leaves_the_gradient_alone(kind):
    batch = BATCHES[kind]()
    shared = gradient(kind, batch, micro_batch=2, lora={"lora_layers": 1})
    assert apart(gradient(kind, batch, micro_batch=99, lora={"lora_layers": 1}), shared) < 1e-12
    # packing runs every layer for every network: nothing is shared
    assert apart(gradient(kind, batch, micro_batch=3, lora={"lora_layers": 1}, packing=True), shared) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_whole_steps_of_several_mini_batches_end_at_the_same_weights(kind):
    options = {"num_mini_batches": 2} if has(kind, "num_mini_batches") else {}
    ends = []
    for micro_batch, packing, extra in ((99, False, 0), (1, False, 5), (2, True, 0)):
        made = learner(kind, options=options, micro_batch=micro_batch, packing=packing, optimizer={"adam_epsilon": 1e-3})
        start = weights(made)
        batch = BATCHES[kind]()
        for _ in range(2):
            made.step(batch.pad_to(batch.ids.shape[1] + extra))
        ends.append(weights(made) - start)
    assert apart(ends[1], ends[0]) < 1e-10 and apart(ends[2], ends[0]) < 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_two_ranks_with_unequal_shares_add_up_to_that_of_one(kind):
    """`total` is all that ranks share before the backward pass: sums of weights, and statistics."""
    batch = BATCHES[kind]()
    shares = [
        (learner(kind, options=passes(kind, 1), optimizer={"learning_rate": 1e-300}), batch.rows(rows))
        for rows in ([0, 1], list(range(2, len(batch))))
    ]

    def rank(made, rows, total):
        made.total = total
        made.step(rows)
        return gradients(made)

    assert apart(sum(ranked(rank, shares)), gradient(kind, batch)) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_the_usual_mean_of_each_micro_batch_would_break_the_law(kind):
    """The law has teeth: dividing in each micro-batch, as is usual, moves this very gradient by more than 1 %."""
    batch = BATCHES[kind]()
    made = learner(kind, options=passes(kind, 1), micro_batch=2)
    prepared, minis, trunks = made._prepared(batch)
    prepared = made._gathered(prepared, minis[0], trunks)
    for network in made.networks.values():
        for p in network.parameters().values():
            p.grad = None
    for role, network in made.networks.items():
        for index in minis[0]:
            micro = prepared.rows(index)
            terms = made.algorithm.loss(
                network(micro, made.algorithm.networks[role], temperature=made.algorithm.temperature), micro
            )
            sums = {name: micro.weight[name].sum() for name in terms}
            if any(sums.values()):  # rows for statistics alone weigh nothing
                loss = sum((term * micro.weight[name]).sum() / sums[name] for name, term in terms.items() if sums[name])
                (loss / len(minis[0])).backward()
    assert apart(gradients(made), gradient(kind, batch, micro_batch=2)) > 0.01


@pytest.mark.slow
@pytest.mark.usefixtures("exact_norm")
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_answers_behind_one_copy_of_their_prompt_leave_the_gradient_alone(kind, full):
    batch = together(BATCHES[kind]())
    whole = gradient(kind, batch, micro_batch=99, full=full)
    for size in (1, 2, 99):
        assert apart(gradient(kind, batch, micro_batch=size, full=full, sharing=True), whole) < 1e-12
    assert apart(gradient(kind, batch, micro_batch=4, full=full, sharing=True, checkpointing=True), whole) < 1e-12
    trunk = {"lora_layers": 1}
    if not full:
        split = gradient(kind, batch, micro_batch=99, lora=trunk)
        assert apart(gradient(kind, batch, micro_batch=3, lora=trunk, sharing=True), split) < 1e-12


def together(batch):
    """The batch with every group's rows beginning alike: with the tokens before the first that is trained in its first row."""
    ids = batch.ids.clone()
    for rows in batch.groups():
        begin = min(int(batch.mask[row].argmax()) for row in rows)
        ids[rows, :begin] = ids[rows[0], :begin]
    return dataclasses.replace(batch, ids=ids)


VARIANTS = [
    ("grpo", {"loss_type": "grpo", "scale_rewards": "batch", "mask_truncated_completions": True}),
    ("grpo", {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    ("grpo", {"loss_type": "cispo", "epsilon_high": 5.0}),
    ("grpo", {"loss_type": "grpo", "importance_sampling_level": "sequence"}),
    ("rloo", {"normalize_advantages": True, "mask_truncated_completions": True}),
    *(("dpo", {"loss_type": name}) for name in ("sigmoid_norm", "hinge", "ipo", "robust", "apo_zero", "apo_down")),
    ("kto", {"loss_type": "apo_zero_unpaired"}),
    ("rating", {"loss_type": "cumulative_logit"}),
    ("best_of_n", {"min_reward": 0.0, "num_best": 2}),
]


@pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=lambda value: str(value))
def test_the_variants_keep_the_law_too(kind, options):
    batch = BATCHES[kind]()
    whole = gradient(kind, batch, micro_batch=99, options=options)
    assert whole.abs().max() > 1e-3
    for size in (1, 2):
        assert apart(gradient(kind, batch, micro_batch=size, options=options), whole) < 1e-12
    assert apart(gradient(kind, batch, micro_batch=2, options=options, packing=True), whole) < 1e-12


@pytest.mark.parametrize("kind", [name for name in KINDS if kind_of(name).dropout])
def test_dropout_keeps_the_law(kind):
    batch, dropped = BATCHES[kind](), {"lora_dropout": 0.3}
    whole = gradient(kind, batch, micro_batch=99, lora=dropped)
    assert apart(gradient(kind, batch, micro_batch=99), whole) > 0.01  # it does drop
    for size in (1, 2, 3):
        assert apart(gradient(kind, batch, micro_batch=size, lora=dropped), whole) < 1e-12
    assert apart(gradient(kind, batch.pad_to(batch.ids.shape[1] + 7), micro_batch=3, lora=dropped), whole) < 1e-12
    assert apart(gradient(kind, batch, micro_batch=2, packing=True, lora=dropped), whole) < 1e-12
    assert apart(gradient(kind, batch, micro_batch=2, checkpointing=True, lora=dropped), whole) < 1e-12
    shuffled = batch.rows(torch.randperm(len(batch), generator=torch.Generator().manual_seed(5)))
    assert apart(gradient(kind, shuffled, micro_batch=2, lora=dropped), whole) < 1e-12
    trunk = gradient(kind, batch, micro_batch=99, lora={**dropped, "lora_layers": 1})
    assert apart(gradient(kind, batch, micro_batch=1, packing=True, lora={**dropped, "lora_layers": 1}), trunk) < 1e-12


def test_the_learners_here_really_differ_from_their_base():
    """Adapters that did nothing would make these tests empty."""
    made = learner("sft")
    batch = BATCHES["sft"]()
    plain = base()
    with torch.no_grad():
        mine = made.networks["policy"](batch, {"logp"}).logp
        from plaudit.models.network import Network

        theirs = Network("reference", plain)(batch, {"logp"}).logp
    assert (mine - theirs).abs().max() > 0.1
