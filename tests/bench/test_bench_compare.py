"""What is said of two sides: medians, ratios and their spread by hand; the shape that scripts read."""

from __future__ import annotations

from plaudit.bench.compare import Turn, differing, losses, ratios, result, side
from plaudit.bench.flops import Phase
from plaudit.bench.growth import scaled
from plaudit.bench.work import Sizes

OURS = [Turn("1", "bf16", [1.0, 3.0, 2.0], [100, 100, 100], 2_000_000_000, [0.5]), Turn("1", "bf16", [2.0], [100], 10**9)]
PEER = [Turn("9", "fp32", [6.0], [100], 6 * 10**9, [0.51]), Turn("9", "fp32", [10.0], [100], 4 * 10**9)]
MACHINE = {"flops_per_s": {"fp32": {"train@8": 50.0}, "bf16": {"train@8": 100.0}}}


def test_a_side_is_its_median_step_and_its_largest_peak():
    assert side(OURS) == {"seconds": 2.0, "tokens_per_s": 50.0, "peak_gb": 2.0, "dtype": "bf16"}


def test_ratios_by_hand():
    # all steps: 8 / 2; turn by turn: 6 / 2 and 10 / 2
    assert ratios(OURS, PEER) == (4.0, [3.0, 5.0])


def test_the_result_has_the_documented_shape():
    found = result("sft", OURS, "trl", PEER, [Phase("train", 8, 40)], MACHINE)
    assert list(found) == ["name", "ours", "peer", "ratio", "ratio_range", "memory_ratio", "limit_share", "machine"]
    assert found["peer"] == {
        "name": "trl",
        "version": "9",
        "seconds": 8.0,
        "tokens_per_s": 12.5,
        "peak_gb": 6.0,
        "dtype": "fp32",
    }
    assert (found["ratio"], found["ratio_range"], found["memory_ratio"]) == (4.0, [3.0, 5.0], 3.0)
    assert found["limit_share"] == 40 / 100 / 2  # at the rate of our own precision
    alone = result("sft", OURS, "", [], [Phase("train", 8, 40)], MACHINE)
    assert alone["peer"] is alone["ratio"] is alone["ratio_range"] is alone["memory_ratio"] is None


def test_sides_that_did_other_work_are_told_apart():
    fewer = [Turn("9", "fp32", [1.0], [90], 1)]
    assert differing(OURS, PEER) == "" == differing(OURS, [])
    assert "ours 100 a step, the peer's 90" in differing(OURS, fewer)
    assert losses(OURS, PEER) == "loss of the first measured step: ours 0.5000, the peer's 0.5100"
    assert losses(OURS, fewer) == ""


def test_sizes_grow_by_samples_or_by_length():
    assert scaled(Sizes(), samples=8) == Sizes(pairs=64, prompts=512, samples=256)
    assert scaled(Sizes(), length=4) == Sizes(words=(80, 600), lengths=(32, 512), new_tokens=256)
