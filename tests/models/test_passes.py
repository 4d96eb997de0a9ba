"""passes.cpp against its slow twin in torch, and that twin in float64 against autograd."""

import pytest
import torch

from plaudit.models import passes
from plaudit.models.passes import BLOCK, Compiled, Passes

F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16
ROWS, SIZE, HEADS, EPS = 2 * BLOCK + 3, 40, 3, 1e-5
pytestmark = pytest.mark.skipif(passes.library() is None, reason="needs a C++ compiler")


def given(stream, dtype):
    """What the passes of one layer are fed with, in these dtypes, made from the same float64 numbers."""
    g = torch.Generator().manual_seed(0)
    numbers = {name: 2 * torch.randn(ROWS, SIZE, generator=g, dtype=F64) for name in ("x", "grad", "gate", "up", "back")}
    numbers["scores"] = torch.randn(4, 37, 37, generator=g, dtype=F64) * 3
    numbers["heads"] = torch.randn(ROWS, HEADS, 16, generator=g, dtype=F64)
    angle = torch.rand(ROWS, 1, 8, generator=g, dtype=F64) * 6
    numbers |= {"cosine": angle.cos(), "sine": angle.sin(), "weight": 1 + torch.randn(SIZE, generator=g, dtype=F64) / 3}
    kinds = {"x": stream, "weight": F32 if dtype != F64 else F64}
    return {name: tensor.to(BF16).to(kinds.get(name, dtype)) for name, tensor in numbers.items()}


def run(by, n, dtype):
    """Every pass once: name -> result in float64."""
    normed, kept = by.norm(n["x"], n["weight"], EPS, dtype)
    grad_x, grad_weight = by.norm_back(n["x"], n["weight"], EPS, n["grad"], kept, True)
    product, grad_gate, grad_up = by.gate_back(n["gate"], n["up"], n["back"].clone())
    causal = torch.full((37, 37), float("-inf"), dtype=dtype).triu(1)
    weights = by.softmax(n["scores"].clone(), causal)
    last = by.softmax(n["scores"][:, 16:].clone(), causal[16:])  # a block of queries that looks at all keys up to its end
    found = {
        "normed": normed,
        "grad_x": grad_x,
        "grad_weight": grad_weight,
        "gate": by.gate(n["gate"], n["up"]),
        "product": product,
        "grad_gate": grad_gate,
        "grad_up": grad_up,
        "turned": by.turn(n["heads"], n["cosine"], n["sine"]),
        "turned back": by.turn(n["heads"], n["cosine"], n["sine"], sign=-1.0),
        "weights": weights,
        "weights of a block": last,
        "grad_scores of a block": by.softmax_back(last, n["scores"][:, 16:].sin()),
        "grad_scores": by.softmax_back(weights, n["scores"].sin()),
    }
    return {name: tensor.double() for name, tensor in found.items()}


def apart(a, b):
    return {name: float((a[name] - b[name]).norm() / b[name].norm()) for name in b}


def compiled():
    return Compiled(passes.library())


def test_float32_agrees_to_1e_6():
    found = run(compiled(), given(F32, F32), F32)
    assert max(apart(found, run(Passes(), given(F64, F64), F64)).values()) < 1e-6


@pytest.mark.parametrize("stream", [F32, BF16], ids=str)
def test_bf16_is_no_further_from_float64_than_torch_is(stream):
    exact = run(Passes(), given(F64, F64), F64)
    ours, torchs = (apart(run(by, given(stream, BF16), BF16), exact) for by in (compiled(), Passes()))
    for name, error in ours.items():
        assert error < 1.1 * torchs[name] + 1e-6, name


def test_the_number_of_threads_changes_nothing():
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(run(compiled(), given(F32, BF16), BF16))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_what_does_not_lie_together_is_read_right():
    n = given(F32, F32)
    spread = {name: torch.stack([tensor, tensor.flip(0)], -1)[..., 0] for name, tensor in n.items()}
    assert not spread["gate"].is_contiguous()
    spread["scores"] = n["scores"]
    found, plain = run(compiled(), spread, F32), run(compiled(), n, F32)
    assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_a_number_that_is_none_stays_visible():
    n = given(F32, BF16)
    for name in ("x", "gate", "scores"):
        n[name].view(-1)[0] = float("nan")
    found = run(compiled(), n, BF16)
    assert found["grad_weight"].isnan().all()  # a sum over rows
    for name in ("normed", "grad_x", "gate", "grad_gate", "weights", "grad_scores"):
        assert found[name].isnan().any() and not found[name].isnan().all(), name


def test_the_twin_is_autograds_gradient():
    n = {name: tensor.requires_grad_() for name, tensor in given(F64, F64).items()}
    found = run(Passes(), {name: tensor.detach().clone() for name, tensor in n.items()}, F64)
    out = torch.nn.functional.silu(n["gate"]) * n["up"]
    grad_gate, grad_up = torch.autograd.grad(out, (n["gate"], n["up"]), n["back"])
    normed = torch.nn.functional.rms_norm(n["x"], (SIZE,), n["weight"], EPS)
    grad_x, grad_weight = torch.autograd.grad(normed, (n["x"], n["weight"]), n["grad"])
    weights = n["scores"].masked_fill(torch.ones(37, 37, dtype=torch.bool).triu(1), float("-inf")).softmax(-1)
    (grad_scores,) = torch.autograd.grad(weights, n["scores"], n["scores"].detach().sin())
    wanted = {"grad_gate": grad_gate, "grad_up": grad_up, "grad_x": grad_x, "grad_weight": grad_weight}
    wanted |= {"grad_scores": grad_scores, "weights": weights.detach()}
    errors = apart({name: found[name] for name in wanted}, wanted)
    assert max(errors[name] for name in ("grad_gate", "grad_up", "grad_scores", "weights")) < 1e-12
    assert max(errors.values()) < 1e-6  # the norm's inverse is float32
