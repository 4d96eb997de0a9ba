import math

import pytest

from plaudit.core.schedule import factor


def course(steps, **how):
    return [factor(step, **how) for step in range(steps)]


def test_linear_by_hand():
    assert course(6, total=4, schedule="linear") == pytest.approx([1, 0.75, 0.5, 0.25, 0, 0])


def test_warm_up_climbs_to_1_and_the_next_step_has_it_too():
    assert course(7, total=6, warmup=2, schedule="linear") == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25, 0])


def test_cosine_by_hand():
    r = math.sqrt(0.5)
    assert course(5, total=4, schedule="cosine") == pytest.approx([1, (1 + r) / 2, 0.5, (1 - r) / 2, 0])


def test_constant_after_warm_up():
    assert course(5, total=4, warmup=2, schedule="constant") == [0.5, 1, 1, 1, 1]


def test_a_floor_is_where_it_ends():
    assert course(6, total=4, schedule="linear", floor=0.2)[-2:] == pytest.approx([0.2, 0.2])
    assert factor(2, total=4, schedule="cosine", floor=0.2) == pytest.approx(0.6)


def test_a_warm_up_as_long_as_the_run_is_no_division_by_0():
    assert course(4, total=3, warmup=3, schedule="linear") == pytest.approx([1 / 3, 2 / 3, 1, 1])


def test_the_hugging_face_name_of_constant():
    assert course(3, total=4, warmup=2, schedule="constant_with_warmup") == [0.5, 1, 1]


def test_cosine_with_a_least_rate_by_hand():
    assert course(5, total=4, schedule="cosine_with_min_lr", floor=0.1)[::2] == pytest.approx([1, 0.55, 0.1])


@pytest.mark.parametrize(
    ("decay", "wanted"),
    [
        ("linear", [1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]),
        ("1-sqrt", [1, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75), 0]),
    ],
)
def test_warm_up_stable_decay_by_hand(decay, wanted):
    how = {"total": 10, "warmup": 2, "schedule": "warmup_stable_decay", "decay": decay}
    assert course(11, decay_steps=4, **how) == pytest.approx([0.5, 1, 1, 1, 1, 1, *wanted])
    assert course(11, decay_steps=4, floor=0.2, **how)[-1] == pytest.approx(0.2)
    assert course(11, **how)[8:] == pytest.approx([1, wanted[2], 0])  # a fifth of the run: 2 steps
    assert course(11, decay_steps=99, **how)[:3] == pytest.approx([0.5, 1, 1])  # never before the end of the warm-up


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="not 'step'"):
        factor(0, total=1, schedule="step")
