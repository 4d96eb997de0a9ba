import pytest
import torch

from plaudit.core import value

F64 = torch.float64


@pytest.mark.parametrize(
    ("now", "old", "returns", "loss", "slope"),
    [
        (1.1, 1.0, 2.0, 0.5 * 0.81, -0.9),  # inside the clip: plain squared error
        (
            1.5,
            1.0,
            2.0,
            0.5 * 0.64,
            0.0,
        ),  # moved too far towards the return: clipped error (1.2 - 2)^2 is the larger, no gradient
        (1.5, 1.0, 0.0, 0.5 * 2.25, 1.5),  # moved too far away from it: the plain error is the larger
        (0.5, 1.0, 0.0, 0.5 * 0.64, 0.0),  # too far down towards it: (0.8 - 0)^2
    ],
)
def test_the_clipped_loss_by_hand(now, old, returns, loss, slope):
    v = torch.tensor([now], dtype=F64, requires_grad=True)
    got = value.clipped_value_loss(v, torch.tensor([old], dtype=F64), torch.tensor([returns], dtype=F64), 0.2)
    got.sum().backward()
    assert got.tolist() == pytest.approx([loss]) and v.grad.tolist() == pytest.approx([slope])


RETURNS = torch.tensor([[1.0, 2.0, 4.0, 77.0]], dtype=F64)
MASK = torch.tensor([[1.0, 1.0, 1.0, 0.0]], dtype=F64)


def explained(values):
    return float(value.explained_variance(torch.tensor([[*values, -77.0]], dtype=F64), RETURNS, MASK))


def test_explained_variance():
    assert explained([1, 2, 4]) == 1.0
    assert explained([2, 3, 5]) == pytest.approx(1.0)  # a constant off is not variance
    assert explained([3, 3, 3]) == pytest.approx(0.0)
    # returns - values = (-2, -1, 2), variance 78/27; of the returns 42/27
    assert explained([3, 3, 2]) == pytest.approx(1 - 78 / 42)


def test_returns_that_do_not_vary_explain_nothing():
    same = torch.full((1, 4), 2.0, dtype=F64)
    assert float(value.explained_variance(RETURNS, same, MASK)) == 0.0
