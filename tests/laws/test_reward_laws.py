"""Law 1 for batches of their own kind: rankings of any length, answers with pre-training rows beside them, dense rewards."""

import pytest
import torch
from test_gradient_invariance import apart, gradient

from small_networks import rankings


def kept(kind, batch, **settings):
    """Fail where micro-batches, padding, packing or the order of rows move the gradient; else that gradient."""
    whole = gradient(kind, batch, micro_batch=99, **settings)
    assert whole.abs().max() > 1e-3
    for size in (1, 2, 3):
        assert apart(gradient(kind, batch, micro_batch=size, **settings), whole) < 1e-12
    assert apart(gradient(kind, batch.pad_to(batch.ids.shape[1] + 7), micro_batch=2, **settings), whole) < 1e-12
    assert apart(gradient(kind, batch, micro_batch=2, packing=True, **settings), whole) < 1e-12
    shuffled = batch.rows(torch.randperm(len(batch), generator=torch.Generator().manual_seed(5)))
    assert apart(gradient(kind, shuffled, micro_batch=2, **settings), whole) < 1e-12
    return whole


@pytest.mark.parametrize("loss_type", ["auto", "bradley_terry", "plackett_luce"])
def test_rankings_of_any_length_keep_the_law(loss_type):
    kept("reward", rankings(margins=loss_type != "plackett_luce"), options={"loss_type": loss_type})
