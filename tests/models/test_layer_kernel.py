"""layer.cpp against its slow twin, the steps of fused.py one after another: the same bits, but for the gradients of adapters,
which it rounds less often; those, and all others, against float64."""

import pytest
import torch

from family_models import family_model
from plaudit.core.batch import from_rows
from plaudit.models import layer_kernel
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.dropout import Draw
from plaudit.models.layout import Layout
from plaudit.models.network import Network
from plaudit.training.learner import Learner
from plaudit.training.options import OptimizerConfig
from small_networks import algorithm, demonstrations, head

WANT = {"logp", "value"}
WIDE = {"hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 32}
pytestmark = pytest.mark.skipif(
    layer_kernel.library() is None, reason="needs a processor with matrix units (AMX) and a C++ compiler"
)


def network(family="llama", *, full=False, exact=False, **options):
    """Trained whole (float32, computed in bf16), or adapters on a bf16 base; `exact`: the same numbers in float64."""
    model = family_model(family, torch.float32, **WIDE)
    model = model if full else model.bfloat16()
    base = Base(model, None, "d", family, AdapterConfig(use_peft=not full, lora_r=8, lora_alpha=4.0, **options))
    if not full:
        base.add_adapter("critic", seed=1)
        with torch.random.fork_rng():
            torch.manual_seed(2)
            for parameter in base.adapter_parameters("critic").values():
                parameter.data.normal_(0, 0.1)
    value = head(1, torch.float32, width=96)
    if exact:
        model.double()
        value.double()
    base.cast.collecting = True
    kind = {"whole": True} if full else {"adapter": "critic"}
    return Network("critic", base, head=value, autocast=not exact, **kind)


def rows(dtype=torch.float32):
    """Three prompts, with three answers of different lengths to each."""
    generator, ids, mask, group = torch.Generator().manual_seed(0), [], [], []
    for number in range(3):
        prompt = torch.randint(3, 29, (20 + number,), generator=generator).tolist()
        for length in (13, 40, 7):
            ids.append(prompt + torch.randint(3, 29, (length,), generator=generator).tolist())
            mask.append([0] * len(prompt) + [1] * length)
            group.append(number)
    return from_rows(ids, mask, group=group, dtype=dtype)


def results(made, monkeypatch, *, kernel, batch=None, passes=2, draw=None):
    """(outputs, gradients by name, layers that the kernel ran): gradients of so many passes, added up."""
    batch = rows() if batch is None else batch
    ran, run = [], layer_kernel.run
    with monkeypatch.context() as patch:
        patch.setattr(layer_kernel, "run", lambda *given: ran.append(1) or run(*given))
        if not kernel:
            patch.setattr(layer_kernel, "serves", lambda *_, **__: False)
        for parameter in made.parameters().values():
            parameter.grad = None
        weight = torch.linspace(-1, 1, batch.ids.numel(), dtype=batch.mask.dtype).view(batch.ids.shape)
        for _ in range(passes):
            out = made(batch, WANT, draw=draw)
            ((out.logp + out.value) * weight).sum().backward()
        with torch.no_grad():
            unmoved = made(batch, WANT, draw=draw)
    assert torch.equal(out.logp, unmoved.logp) and torch.equal(out.value, unmoved.value)
    grads = {name: p.grad.clone() for name, p in made.parameters().items() if p.grad is not None}
    return {"logp": out.logp.detach(), "value": out.value.detach()}, grads, len(ran)


def apart(a, b):
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


@pytest.mark.parametrize("sharing", [False, True])
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_it_says_what_the_steps_say(family, full, sharing, monkeypatch):
    """Tokens of a shared prompt stand in several lines of attention: their gradients are added up before they are rounded."""
    made = network(family, full=full)
    made.sharing = sharing
    assert (len(Layout(rows(), True, sharing).grid(fused=True).standing.again) > 0) == sharing
    out, grads, ran = results(made, monkeypatch, kernel=True)
    wanted, others, none = results(made, monkeypatch, kernel=False)
    assert ran == 3 * 3 and none == 0 and grads.keys() == others.keys()
    assert all(torch.equal(out[name], wanted[name]) for name in out)
    for name, grad in grads.items():
        if full and "norm" not in name and "bias" not in name:  # sums over rows are added to float32 in another order
            assert torch.equal(grad, others[name]), name
        assert apart(grad, others[name]) < (5e-6 if full else 5e-3), name


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_gradients_are_no_further_from_float64_than_those_of_the_steps(full, monkeypatch):
    exact = results(network(full=full, exact=True), monkeypatch, kernel=False, batch=rows(torch.float64))[1]

    def error(kernel):
        found = results(network(full=full), monkeypatch, kernel=kernel)[1]
        each = [(found[name].double() - exact[name]).norm() / exact[name].norm() for name in exact]
        return float(torch.stack(each).mean())

    assert 1e-4 < error(True) < 1.01 * error(False)


def test_the_first_norm_is_trained_below_embeddings_that_are_not(monkeypatch):
    made = network(full=True)
    made.base.model.get_input_embeddings().weight.requires_grad_(False)
    _, grads, ran = results(made, monkeypatch, kernel=True)
    _, others, _ = results(made, monkeypatch, kernel=False)
    assert ran == 9 and grads.keys() == others.keys() and "model.layers.0.input_layernorm.weight" in grads
    assert max(apart(grads[name], others[name]) for name in grads) < 5e-6


def test_adapters_on_some_maps_with_scales_and_ranks_of_their_own(monkeypatch):
    made = network(lora_target_modules=["q_proj", "v_proj", "o_proj", "up_proj"])
    layers = made.base.model.model.layers
    layers[0].self_attn.v_proj.scaling["critic"] = 0.75
    for name in ("lora_A", "lora_B"):  # two columns less
        weight = getattr(layers[1].self_attn.q_proj, name)["critic"].weight
        weight.data = (weight.data[:6] if name == "lora_A" else weight.data[:, :6]).contiguous()
    out, grads, ran = results(made, monkeypatch, kernel=True)
    wanted, others, _ = results(made, monkeypatch, kernel=False)
    assert ran == 9 and torch.equal(out["logp"], wanted["logp"]) and len(grads) == 2 * 4 * 3 + 2
    assert max(apart(grads[name], others[name]) for name in others) < 5e-3


def test_the_number_of_threads_changes_nothing(monkeypatch):
    made, before, found = network("qwen2", full=True), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(results(made, monkeypatch, kernel=True)[:2])
    finally:
        torch.set_num_threads(before)
    for outputs, grads in found[1:]:
        assert torch.equal(outputs["logp"], found[0][0]["logp"])
        assert all(torch.equal(grads[name], found[0][1][name]) for name in grads if "head" not in name)  # torch's


def test_layers_made_again_in_the_backward_pass_say_the_same(monkeypatch):
    made = network()
    out, grads, _ = results(made, monkeypatch, kernel=True)
    made.checkpointing = True
    again, others, ran = results(made, monkeypatch, kernel=True)
    assert ran == 3 * 5 and torch.equal(out["logp"], again["logp"])
    assert all(torch.equal(grads[name], others[name]) for name in grads)


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
def test_what_it_cannot_do_is_left_to_the_steps(monkeypatch):
    """Dropout, gradients that nobody said may be collected, and those that do not lie together; without gradients it runs."""
    assert results(network(lora_dropout=0.1), monkeypatch, kernel=True, draw=Draw(1, 2))[2] == 0
    made = network()
    wanted = results(made, monkeypatch, kernel=True)[1]
    made.base.cast.collecting = False
    _, grads, ran = results(made, monkeypatch, kernel=True)
    assert ran == 3 and max(apart(grads[name], wanted[name]) for name in wanted) < 5e-3
    made.base.cast.collecting = True
    parameter = made.base.adapter_parameters("critic")
    for weight in parameter.values():
        weight.grad = torch.zeros(weight.shape[::-1]).T
    out = made(rows(), WANT)
    (out.logp.sum() + out.value.sum()).backward()
    assert "_RunBackward" not in graph(out.value.grad_fn) and "ProjectBackward" in graph(out.value.grad_fn)


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_a_learner_takes_it(full, monkeypatch):
    made, ran, run = network(full=full), [], layer_kernel.run
    made.base.cast.collecting, made.head = False, None
    learner = Learner(algorithm("sft"), {"policy": made}, OptimizerConfig(learning_rate=1e-2), total_steps=9, micro_batch=4)
    monkeypatch.setattr(layer_kernel, "run", lambda *given: ran.append(1) or run(*given))
    batch = demonstrations(8, dtype=torch.float32)
    losses = [learner.step(batch)["loss"] for _ in range(5)]
    assert len(ran) == 5 * 2 * 3 and losses[4] < losses[1] < losses[0]


def graph(node, seen=None):
    """Names of all functions behind a tensor."""
    seen = {} if seen is None else seen
    if node is not None and node not in seen:
        seen[node] = type(node).__name__
        for behind, _ in node.next_functions:
            graph(behind, seen)
    return set(seen.values())


def test_an_adapter_that_is_added_or_switched_is_seen(monkeypatch):
    """The parts of a layer are remembered."""
    made = network()
    base = made.base
    bare = Network("reference", base, autocast=True)
    with torch.no_grad():
        first, plain = made(rows(), {"logp"}).logp, bare(rows(), {"logp"}).logp
        base.add_adapter("policy", seed=5)
        for name, parameter in base.adapter_parameters("policy").items():
            parameter.data.fill_(0.02 if "lora_B" in name else 0.01)
        other = Network("policy", base, adapter="policy", autocast=True)
        found = [network(rows(), {"logp"}).logp for network in (other, made, bare)]
        assert torch.equal(found[1], first) and torch.equal(found[2], plain)
        assert len({float(one.sum()) for one in found}) == 3
        monkeypatch.setattr(layer_kernel, "serves", lambda *_, **__: False)
        assert torch.equal(other(rows(), {"logp"}).logp, found[0])
