"""The lean layers against their slow twin: transformers' own layers, rows padded, gradients by autograd."""

import pytest
import torch

from family_models import family_model
from plaudit.core.batch import from_rows
from plaudit.models import attention
from plaudit.models.attention import Grid
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.dropout import Draw
from plaudit.models.layout import Layout
from plaudit.models.lean import Cast
from plaudit.models.network import Network
from plaudit.training.optimizers import Optimizer
from plaudit.training.options import OptimizerConfig
from small_networks import F64, VOCABULARY, adapter, head, llama, pairs, rollouts, whole

WANT = {"logp", "entropy", "value"}
LEAN = ["llama", "mistral", "mistral, window", "qwen2", "qwen2, windows"]


def network(family, dtype, *, full=False, autocast=False, **options):
    model = family_model(family, torch.float32).to(dtype)
    made = Base(model, None, "d", family, AdapterConfig(use_peft=not full, lora_r=4, lora_alpha=8.0, **options))
    if full:
        return Network("critic", made, whole=True, head=head(1, dtype, width=32), autocast=autocast)
    found = adapter(made, "critic", autocast=autocast)
    found.head = head(1, dtype, width=32)
    return found


def results(made, slow, batch, **how):
    """Outputs and gradients, with the lean layers or without."""
    made.base._known = not slow
    assert (made.base.lean is None) == slow
    out = made(batch, WANT, **how)
    for p in made.parameters().values():
        p.grad = None
    weight = torch.linspace(-1, 1, batch.ids.numel(), dtype=batch.mask.dtype).view(batch.ids.shape)
    sum((getattr(out, name).double() * weight).sum() for name in sorted(WANT - {"entropy"})).backward()
    found = {name: p.grad for name, p in made.parameters().items() if p.grad is not None}
    return {**{name: getattr(out, name).detach() for name in WANT}, **found}


def apart(a, b):
    """The largest difference of one tensor over its largest magnitude."""
    assert a.keys() == b.keys()
    return max(float((a[k].double() - b[k].double()).abs().max() / (b[k].double().abs().max() + 1e-30)) for k in a)


@pytest.mark.usefixtures("exact_norm")
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("family", LEAN)
def test_float64_agrees_to_1e_10(family, full):
    made, batch = network(family, F64, full=full), rollouts(5)
    assert apart(results(made, False, batch), results(made, True, batch)) < 1e-10


@pytest.mark.usefixtures("exact_norm")
def test_long_rows_and_weights_made_again_say_the_same(monkeypatch):
    made, batch = network("llama", F64), rollouts(5)
    wanted = results(made, True, batch)
    for name, value in (("STEP", 1), ("BLOCK", 4), ("KEPT", 1)):  # keys and queries in blocks; then weights made again too
        monkeypatch.setattr(attention, name, value)
        assert apart(results(made, False, batch), wanted) < 1e-10
    monkeypatch.setattr(attention, "LONG", 1)  # torch's fused kernel
    assert apart(results(made, False, batch), wanted) < 1e-10


def siblings(prompt, answers, dtype=F64):
    """Two prompts of `prompt` tokens with answers of these lengths; every token of an answer is trained."""
    generator = torch.Generator().manual_seed(0)
    ids, mask, group = [], [], []
    for g in range(2):
        beginning = torch.randint(3, VOCABULARY, (prompt + g,), generator=generator).tolist()
        for length in answers:
            ids.append(beginning + torch.randint(3, VOCABULARY, (length,), generator=generator).tolist())
            mask.append([0] * len(beginning) + [1] * length)
            group.append(g)
    return from_rows(ids, mask, group=group, dtype=dtype)


@pytest.mark.usefixtures("exact_norm")
@pytest.mark.parametrize("family", ["llama", "mistral, window"])
@pytest.mark.parametrize(("prompt", "answers", "standing"), [(60, (1, 2, 3, 2, 1, 1), 2), (3, (20, 25, 18, 22), 8)])
def test_shared_prompts_in_lines_or_again_in_each_row_say_the_same(family, prompt, answers, standing, monkeypatch):
    monkeypatch.setattr(attention, "STEP", 1)
    made, batch = network(family, F64), siblings(prompt, answers)
    wanted = results(made, True, batch)
    made.sharing = True
    layout = Layout(batch, True, True)
    assert layout.grid(fused=True).lines == 2 * len(answers) and layout.grid(2, fused=True).lines == standing
    assert layout.grid().lines == standing and layout.ids.numel() == 2 * (prompt + sum(answers)) + 1
    assert apart(results(made, False, batch), wanted) < 1e-10
    for name in ("SHORT", "LONG"):
        monkeypatch.setattr(attention, name, 1)
    assert apart(results(made, False, batch), wanted) < 1e-10


@pytest.mark.usefixtures("exact_norm")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_drops_the_same(checkpointing):
    made, batch = network("llama", F64, lora_dropout=0.3), pairs(3)
    made.checkpointing = checkpointing
    wanted = results(made, True, batch, draw=Draw(3, 1))
    assert apart(results(made, False, batch, draw=Draw(3, 1)), wanted) < 1e-10
    assert apart(results(made, False, batch), wanted) > 1e-3


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_float32_agrees_to_1e_4(full):
    made, batch = network("llama", torch.float32, full=full), rollouts(5, dtype=torch.float32)
    assert apart(results(made, False, batch), results(made, True, batch)) < 1e-4


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_bf16_is_no_further_from_float64_than_twice_its_slow_twin(full):
    exact = results(network("llama", F64, full=full), True, rollouts(9))
    dtype = torch.float32 if full else torch.bfloat16  # with adapters the base itself is in bf16

    def error(slow):
        made = network("llama", dtype, full=full, autocast=True)
        made.head = head(1, torch.float32, width=32)
        found = results(made, slow, rollouts(9, dtype=torch.float32))
        both = [(found[k].double() - exact[k]).norm() / exact[k].norm() for k in found]
        return float(torch.stack(both).mean())

    assert 1e-4 < error(slow=False) < 2 * error(slow=True)


def test_a_weight_is_cast_once_and_again_after_every_kind_of_change():
    made = whole("policy", dtype=torch.float32, autocast=True)
    cast, weight = Cast(), next(iter(made.parameters().values()))
    first = cast(weight, torch.bfloat16)
    assert cast(weight, torch.bfloat16) is first and torch.equal(first, weight.bfloat16())
    weight.grad = torch.ones_like(weight)
    Optimizer(made, OptimizerConfig(learning_rate=0.1)).step()
    assert torch.equal(cast(weight, torch.bfloat16), weight.bfloat16())
    assert cast(weight, torch.bfloat16).data_ptr() == first.data_ptr()  # the memory is used again
    made.restore({name: tensor + 1 for name, tensor in made.state().items()})
    assert torch.equal(cast(weight, torch.bfloat16), weight.bfloat16())


def test_a_grid_by_hand(monkeypatch):
    monkeypatch.setattr(attention, "STEP", 2)
    grid = Grid(torch.tensor([[0, 1, 2], [3, -1, -1]]))
    x = torch.arange(8.0).view(4, 2, 1)
    assert grid.laid(x)[1, :, 0, 0].tolist() == [6, 7] and grid.laid(x)[0, 1, :3, 0].tolist() == [1, 3, 5]
    assert torch.equal(grid.taken(grid.laid(x)), x) and grid.width == 4
    assert sorted(grid.idle(2).tolist()) == [3, 7, 9, 10, 11, 13, 14, 15]
    assert torch.equal(grid.summed(grid.laid(x)), x)


def test_a_token_at_two_places_by_hand(monkeypatch):
    monkeypatch.setattr(attention, "STEP", 2)
    grid = Grid(torch.tensor([[0, 1], [0, 2], [0, -1]]))  # token 0 begins three lines
    x = torch.arange(1.0, 7.0).view(3, 2, 1)
    laid = grid.laid(x)
    assert laid[:, 1, 0, 0].tolist() == [2, 2, 2]
    assert torch.equal(grid.taken(laid), x) and grid.idle(1).tolist() == [2, 4, 5]
    assert grid.summed(laid)[:, 0, 0].tolist() == [3 * 1, 3, 5]


def test_families_with_other_parts_and_adapters_of_other_kinds_keep_the_slow_layers():
    for family in ("qwen3", "gemma2", "phi3", "gpt2"):
        assert Base(family_model(family), None, "d", family, AdapterConfig()).lean is None
    for options in ({"use_dora": True}, {"peft_type": "ia3"}, {"peft_type": "prefix_tuning"}):
        made = Base(llama(), None, "d", "base", AdapterConfig(use_peft=True, **options))
        made.add_adapter("policy", seed=1)
        assert made.lean is None


@pytest.mark.parametrize("padding", [None, 7])
@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_that_are_collected_are_those_of_autograd(autocast, padding):
    """Those of matrices, embeddings and the output head are added to what stands in `grad`; a padding row gets none."""
    made, batch = network("llama", torch.float32, full=True, autocast=autocast), rollouts(5)
    made.base.model.get_input_embeddings().padding_idx = padding
    assert padding is None or bool((batch.ids == padding).any())
    weight = torch.linspace(-1, 1, batch.ids.numel()).view(batch.ids.shape)
    found = []
    for collecting in (False, True):
        made.base.cast.collecting = collecting
        for p in made.parameters().values():
            p.grad = None
        for _ in range(2):
            out = made(batch, WANT)
            ((out.logp + out.value) * weight).sum().backward()
        found.append({name: p.grad for name, p in made.parameters().items()})
    assert found[0].keys() == found[1].keys() and all(g is not None for g in found[1].values())
    assert apart(found[1], found[0]) < (2e-2 if autocast else 1e-5)
