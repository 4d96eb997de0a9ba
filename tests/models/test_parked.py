"""Weights in a mapped file: the same numbers, and no memory while nobody reads them."""

from __future__ import annotations

import pytest
import torch

from plaudit.models.network import Network
from plaudit.models.parked import Parked
from resident import MAPS, resident
from small_networks import adapter, base, demonstrations, head, llama, whole


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_parked_weights_are_the_same_and_tied_ones_stay_tied(dtype, tmp_path):
    model = llama(dtype=dtype, tie_word_embeddings=True).requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parked = Parked(list(model.parameters()), tmp_path)
    parked.rest()
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) and value.data_ptr() % 64 == 0 for name, value in model.state_dict().items())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not list(tmp_path.iterdir()), "the file has no name"


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux says what is in memory")
def test_at_rest_they_take_no_memory(tmp_path):
    weight = torch.nn.Parameter(torch.randn(1024, 1024), requires_grad=False)
    total = float(weight.double().sum())
    parked = Parked([weight], tmp_path)
    assert float(weight.double().sum()) == total and resident(weight) == weight.nbytes
    parked.rest()
    assert resident(weight) == 0
    assert float(weight.double().sum()) == total and resident(weight) == weight.nbytes


@pytest.mark.parametrize("adapted", [False, True])
def test_a_network_gives_the_same_outputs_parked_and_after_a_rest(adapted, tmp_path):
    network = adapter(base(), "reward", scalar=1) if adapted else Network("reward", base(), head=head(1))
    batch = demonstrations()
    before = network(batch, {"score", "logp"})
    network.base.park(tmp_path)
    network.base.rest()
    after = network(batch, {"score", "logp"})
    assert network.base.parked and torch.equal(after.logp, before.logp) and torch.equal(after.score, before.score)


def test_without_room_and_for_weights_that_are_trained_they_stay_where_they_are(tmp_path):
    frozen, trained = base(), whole("policy").base
    frozen.park(tmp_path / "nowhere")
    trained.park(tmp_path)
    for one in (frozen, trained):
        one.rest()
        assert not one.parked
