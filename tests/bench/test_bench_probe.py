"""The machine's ceilings: what is timed are the products that are counted, by each way to multiply."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from plaudit.bench.probe import measure, products, ways
from plaudit.models.flops import Shape
from plaudit.models.products import Products, tiled

CPU = torch.device("cpu")
SMALL = Shape(layers=2, width=64, heads=2, kv_heads=1, head_dim=32, inner=96, vocabulary=128, gated=True)


@pytest.mark.parametrize("kind", ["forward", "lora", "train"])
def test_what_is_counted_is_what_torch_multiplies(kind):
    run, amount = products(SMALL, kind, 7, torch.float32, CPU, Products())
    with FlopCounterMode(display=False) as counter:
        run()
    assert counter.get_total_flops() == amount


@pytest.mark.skipif(tiled() is None, reason="needs matrix units")
def test_our_own_kernel_is_timed_at_the_same_products_in_bfloat16_alone():
    assert [way.name for way in ways(torch.bfloat16, CPU)] == ["torch", "tiled"]
    assert [way.name for way in ways(torch.float32, CPU)] == ["torch"]
    for kind in ("forward", "lora", "train"):
        counted = set()
        for way in ways(torch.bfloat16, CPU):
            run, amount = products(SMALL, kind, 7, torch.bfloat16, CPU, way)
            run()
            counted.add(amount)
        assert len(counted) == 1


def test_the_fastest_way_is_the_ceiling(monkeypatch):
    calls = []

    def rate(run, amount, where, seconds):
        calls.append(amount)
        return float(len(calls) % 2)  # the first of two ways is the faster one

    monkeypatch.setattr("plaudit.bench.probe.ways", lambda dtype, where: [Products(), Products()])
    monkeypatch.setattr("plaudit.bench.probe.rate", rate)
    monkeypatch.setattr("plaudit.bench.probe.bandwidth", lambda where, seconds: 1.0)
    found = measure(SMALL, [("forward", 3)], 0.0)["flops_per_s"]
    assert all(ceilings == {"forward@3": 1.0} for ceilings in found.values()) and len(calls) == 2 * len(found)
