"""NEFTune, FGM and R-Drop against what their papers say, computed another way."""

import pytest
import torch

from plaudit.core.divergence import bernoulli, head_divergence
from plaudit.models.dropout import Draw, row_noise
from plaudit.schema import UserError
from plaudit.training import regularise
from plaudit.training.regularise import RegularisationConfig
from small_networks import F64, adapter, algorithm, base, demonstrations, gradients, learner, pairs


def test_a_bernoulli_divergence_by_hand():
    """p = 1/2, q = 3/4: half of (1/2 ln(1/2 : 3/4) + 1/2 ln(1/2 : 1/4) + 3/4 ln(3/4 : 1/2) + 1/4 ln(1/4 : 1/2)) = ln(3) / 8."""
    said = bernoulli(torch.tensor(0.0, dtype=F64), torch.tensor(3.0, dtype=F64).log())
    assert said.item() == pytest.approx(0.125 * 1.0986122886681098, rel=1e-12)


def test_the_chunked_divergence_is_torchs_kl_both_ways():
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(7, 5, generator=generator, dtype=F64, requires_grad=True) for _ in range(2))
    weight, bias = torch.randn(11, 5, generator=generator, dtype=F64), torch.randn(11, generator=generator, dtype=F64)
    logp, logq = (((x @ weight.T + bias) / 0.7).log_softmax(-1) for x in (one, two))
    kl = torch.nn.functional.kl_div
    wanted = 0.5 * (kl(logp, logq, log_target=True, reduction="none") + kl(logq, logp, log_target=True, reduction="none")).sum(
        -1
    )
    for chunk in (2, 99):
        said = head_divergence(one, two, weight, bias=bias, temperature=0.7, chunk=chunk)
        assert torch.allclose(said, wanted, rtol=1e-12)
        ours = torch.autograd.grad(said.square().sum(), (one, two))
        theirs = torch.autograd.grad(wanted.square().sum(), (one, two), retain_graph=True)
        assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(ours, theirs, strict=True))


def test_noise_has_neftunes_size_and_is_the_rows_own():
    network, batch = adapter(base(), "policy"), demonstrations(4)
    noise = regularise._noise(RegularisationConfig(neftune_noise_alpha=5.0), network, batch, Draw(0, 3))
    for r, length in enumerate(batch.length.tolist()):
        bound = 5.0 / (length * 16) ** 0.5
        assert noise[r, :length].abs().max() <= bound and (noise[r, length:] == 0).all()
        assert noise[r, :length].abs().mean().item() == pytest.approx(bound / 2, rel=0.25)
    embeddings = network.embeddings(batch)
    alone = row_noise(Draw(0, 3), batch.rows([2]), network.embeddings(batch.rows([2])))
    assert torch.equal(alone[0], row_noise(Draw(0, 3), batch, embeddings)[2, : alone.shape[1]])
    assert not torch.equal(row_noise(Draw(0, 4), batch, embeddings), row_noise(Draw(0, 3), batch, embeddings))


def test_a_shift_of_the_embeddings_is_other_embeddings():
    """Moving the rows by what another table would give is the network with that table."""
    network, batch = adapter(base(), "policy"), demonstrations(4)
    table = network.base.model.get_input_embeddings().weight
    moved = torch.randn(table.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    for packing in (False, True):
        network.packing = packing
        with torch.no_grad():
            shifted = network(batch, {"logp"}, shift=moved[batch.ids]).logp
            table += moved
            wanted = network(batch, {"logp"}).logp
            table -= moved
        assert torch.allclose(shifted, wanted, rtol=1e-9)


def test_fgm_moves_each_row_to_where_its_loss_grows_by_epsilon_of_its_norm():
    epsilon, made, batch = 1e-3, learner("sft", options={"entropy_coef": 0.0}), demonstrations(4)
    network, micro = made.networks["policy"], made.algorithm.prepare(batch)

    def loss(shift):
        return (-network(micro, {"logp"}, shift=shift).logp * micro.weight["nll"]).sum(1)

    shift = torch.zeros_like(network.embeddings(micro), requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(shift).sum(), shift)
    worst = regularise._worst(epsilon, network.embeddings(micro), gradient)
    size, wanted = worst.flatten(1).norm(dim=1), epsilon * network.embeddings(micro).flatten(1).norm(dim=1)
    assert torch.allclose(size, wanted, rtol=1e-12)
    with torch.no_grad():
        rise, plain = loss(worst) - loss(None), gradient.flatten(1).norm(dim=1) * wanted
        assert torch.allclose(rise, plain, rtol=0.05) and (rise > 0).all()
        other = torch.randn(worst.shape, generator=torch.Generator().manual_seed(2), dtype=F64)
        other *= (wanted / other.flatten(1).norm(dim=1))[:, None, None]
        assert (loss(other) - loss(None) < rise).all()


def test_a_row_that_hurts_nothing_is_not_moved():
    assert torch.equal(regularise._worst(0.1, torch.ones(1, 2, 3), torch.zeros(1, 2, 3)), torch.zeros(1, 2, 3))


@pytest.mark.parametrize("kind", ["sft", "reward"])
def test_r_drop_by_hand(kind):
    """Mean of the two passes' losses and alpha times their divergence, from whole distributions and autograd alone."""
    batch = demonstrations(3) if kind == "sft" else pairs(2)
    how = {"lora": {"lora_dropout": 0.3}, "optimizer": {"learning_rate": 1e-300}}
    made = learner(kind, options={"entropy_coef": 0.0} if kind == "sft" else {}, **how)
    made.regularisation = RegularisationConfig(r_drop_alpha=0.7)
    told = made.step(batch)
    found = gradients(made)
    (network,) = made.networks.values()
    ready = algorithm(kind).prepare(batch)
    ready = ready.normalised({name: float(weight.sum()) for name, weight in ready.weight.items()})
    weight = next(iter(ready.weight.values()))
    passes = [
        network(ready, {"logp", "score", "hidden"} if kind == "reward" else {"logp", "hidden"}, draw=d)
        for d in (Draw(0, 0), Draw(0, 0, again=1))
    ]
    losses = [sum((t * ready.weight[n]).sum() for n, t in made.algorithm.loss(p, ready).items()) for p in passes]
    if kind == "sft":
        logp, logq = ((p.hidden @ network.base.model.get_output_embeddings().weight.T).log_softmax(-1) for p in passes)
        row, token = ready.mask.nonzero(as_tuple=True)
        apart = 0.5 * (((logp.exp() - logq.exp()) * (logp - logq)).sum(-1) * weight[row, token]).sum()
    else:
        gaps = [p.score[0::2] - p.score[1::2] for p in passes]
        p, q = (gap.sigmoid() for gap in gaps)
        kl = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        back = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
        apart = (0.5 * (kl + back) * weight[0::2]).sum()
    loss = 0.5 * sum(losses) + 0.7 * apart
    for p in network.parameters().values():
        p.grad = None
    loss.backward()
    assert told["loss"] == pytest.approx(loss.item(), rel=1e-9) and apart.item() > 1e-6
    assert torch.allclose(found, gradients(made), rtol=1e-7, atol=1e-12)


def test_r_drop_without_anything_random_is_refused():
    with pytest.raises(UserError, match=r"r_drop_alpha compares two passes with other dropout, and there is none"):
        RegularisationConfig(r_drop_alpha=1.0).check(dropout=0.0)
    RegularisationConfig(r_drop_alpha=1.0).check(dropout=0.1)
    RegularisationConfig(r_drop_alpha=1.0, neftune_noise_alpha=5.0).check(dropout=0.0)


def test_all_off_is_the_plain_step():
    """Evaluation too knows nothing of noise."""
    one, two = learner("sft"), learner("sft")
    two.regularisation = RegularisationConfig(neftune_noise_alpha=5.0, adversarial_epsilon=0.1)
    assert one.evaluate(iter([demonstrations()])) == two.evaluate(iter([demonstrations()]))
    assert one.step(demonstrations())["loss"] != two.step(demonstrations())["loss"]
