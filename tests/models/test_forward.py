import pytest
import torch

from family_models import OTHERS, family_model, other_model
from plaudit.core.batch import from_rows
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.forward import Layout, decoder_of, has_plain_layers, hidden_states, read
from plaudit.models.network import Network
from plaudit.schema import UserError
from small_networks import F64, base, by_transformers, demonstrations, head, llama, rollouts

ALL = {"logp", "entropy", "value", "score"}


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_outputs_are_those_of_the_whole_hugging_face_model(packing, tied):
    model, scalar = llama(3, tie_word_embeddings=tied), head(1)
    batch = demonstrations(6)
    wanted = by_transformers(model, scalar, batch, temperature=0.7)
    network = Network("critic", base(model=model), head=scalar, packing=packing, chunk=5)
    with torch.no_grad():
        out = network(batch.pad_to(batch.ids.shape[1] + 4), ALL, temperature=0.7)
    width = batch.ids.shape[1]
    for mine, theirs in zip((out.logp, out.entropy, out.value), wanted, strict=False):
        assert torch.allclose(mine[:, :width], theirs, rtol=1e-10, atol=1e-12)
        assert not mine[:, width:].any()
    assert torch.allclose(out.score, wanted[3], rtol=1e-10, atol=1e-12)


def test_a_model_that_asks_for_eager_attention_is_causal_all_the_same():
    model, scalar = llama(3), head(1)
    batch = demonstrations(3)
    wanted = by_transformers(model, scalar, batch)
    eager = llama(3, attn_implementation="eager")
    for packing in (False, True):
        with torch.no_grad():
            out = Network("policy", base(model=eager), head=scalar, packing=packing)(batch, ALL)
        assert torch.allclose(out.logp, wanted[0], rtol=1e-10)


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_model_families_are_run_whole_and_say_the_same(name, packing):
    """Cohere and Granite scale their logits; Bloom has no positions but a bias of the scores by distance; OPT's last
    states may be narrower than its layers."""
    dtype = torch.float32 if name == "mixtral" else F64  # transformers' experts know no float64
    model = other_model(name, dtype)
    assert not has_plain_layers(model)
    scalar, batch = head(1, dtype, width=24 if name == "opt" else 32), rollouts(5)
    wanted = by_transformers(model, scalar, batch, temperature=0.7)
    made = Base(model, None, "d", name, AdapterConfig(use_peft=True, lora_layers=1))
    assert made.shared_layers == 0 and made.width == scalar.in_features
    with torch.no_grad():
        out = Network("critic", made, head=scalar, packing=packing)(batch, ALL, temperature=0.7)
    for mine, theirs in zip((out.logp, out.entropy, out.value, out.score), wanted, strict=True):
        assert torch.allclose(mine.double(), theirs, rtol=1e-5, atol=1e-5)


def test_a_model_whose_logits_are_more_than_its_head_is_refused():
    model = other_model("opt", F64)
    plain = model.forward

    def shifted(*args, **kwargs):
        out = plain(*args, **kwargs)
        out.logits = out.logits * 2
        return out

    model.forward = shifted
    with pytest.raises(UserError, match="log-probabilities cannot be read"):
        Base(model, None, "d", "opt", AdapterConfig())


def test_a_model_that_sees_later_tokens_is_refused():
    model = family_model("gemma", use_bidirectional_attention=True)
    assert not has_plain_layers(model)
    with pytest.raises(UserError, match="no causal language model"):
        hidden_states(model, Layout(rollouts(2), False))


def test_layers_in_two_halves_are_the_layers():
    model = llama(2)
    batch = rollouts(4)
    for packed in (False, True):
        layout = Layout(batch, packed)
        with torch.no_grad():
            whole = hidden_states(model, layout)
            half = hidden_states(model, layout, start=1, hidden=hidden_states(model, layout, stop=1))
        assert torch.equal(half, whole)
    with pytest.raises(ValueError, match="layer by layer"):
        hidden_states(other_model("opt", F64), Layout(batch, False), stop=1)


def test_packed_rows_lie_end_to_end_without_padding():
    batch = from_rows([[5, 6, 7], [8, 9], [3, 4, 5, 6]], [[0, 0, 1], [0, 1], [0, 0, 1, 1]])
    layout = Layout(batch, True)
    assert layout.ids.tolist() == [[5, 6, 7, 8, 9, 3, 4, 5, 6]]
    assert layout.positions.tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3]]
    sees = layout.mask()[0, 0]
    assert sees[4].nonzero()[:, 0].tolist() == [3, 4]  # the second row's last token sees its own row alone
    assert sees[5].nonzero()[:, 0].tolist() == [5]
    assert layout.mask(2)[0, 0, 8].nonzero()[:, 0].tolist() == [7, 8]  # a window of two: itself and the one before
    assert layout.mask(2)[0, 0, 3].nonzero()[:, 0].tolist() == [3]  # which is not the last token of another row
    states = torch.arange(9.0)[None, :, None]
    assert layout.flat(states, torch.tensor([1, 2, 0]), torch.tensor([1, 0, 2])).tolist() == [[4.0], [5.0], [2.0]]


def test_values_and_scores_are_read_by_length_where_pad_is_eos():
    """Id 2 is EOS and pad. The states here are the token's own place, so a head of weight 1 tells which place was read."""
    batch = from_rows(
        [[5, 6, 7, 2], [5, 2, 2], [5, 6]],  # ends with EOS; ends with two of them; does not end with EOS
        [[0, 0, 1, 1], [0, 1, 1], [0, 1]],
    )
    assert batch.ids[1].tolist() == [5, 2, 2, 0]
    as_eos = batch.ids.clone()
    as_eos[1, 3:] = 2  # padding that looks like EOS changes nothing
    as_eos[2, 2:] = 2
    scalar = torch.nn.Linear(1, 1)
    torch.nn.init.ones_(scalar.weight)
    torch.nn.init.zeros_(scalar.bias)
    for ids in (batch.ids, as_eos):
        states = torch.arange(4.0).expand(3, 4)[..., None]
        same = type(batch)(ids, batch.mask, batch.length, batch.group, batch.place, batch.key)
        out = read(states, Layout(same, False), same, {"value", "score"}, scalar_head=scalar)
        assert out.score.tolist() == [3.0, 2.0, 1.0]
        assert out.value.tolist() == [[0, 0, 1, 2], [0, 0, 1, 0], [0, 0, 0, 0]]  # token t is worth what state t-1 says


def test_garbage_in_the_padding_changes_nothing():
    model, scalar = llama(1), head(2)
    batch = rollouts(5)
    filled = torch.where(torch.arange(batch.ids.shape[1]) < batch.length[:, None], batch.ids, 17)
    dirty = type(batch)(filled, batch.mask, batch.length, batch.group, batch.place, batch.key)
    for packing in (False, True):
        network = Network("critic", base(model=model), head=scalar, packing=packing)
        with torch.no_grad():
            clean, soiled = network(batch, ALL), network(dirty, ALL)
        for name in ALL:
            assert torch.equal(getattr(clean, name), getattr(soiled, name))


def test_only_what_was_wanted_is_made():
    network = Network("policy", base())
    out = network(rollouts(3), {"logp"})
    assert out.logp is not None and out.entropy is None and out.value is None and out.score is None


def test_the_first_token_of_a_row_cannot_be_trained():
    batch = from_rows([[5, 6]], [[1, 1]], dtype=F64)
    with pytest.raises(ValueError, match="first token"):
        Network("policy", base())(batch, {"logp"})


def test_a_batch_that_counts_nothing_gives_zeros():
    batch = from_rows([[5, 6], [7, 8, 9]], [[0, 0], [0, 0, 0]], dtype=F64)
    out = Network("policy", base())(batch, {"logp", "entropy"})
    assert out.logp.shape == (2, 3) and not out.logp.any() and not out.entropy.any()


def test_the_decoder_is_found_below_the_head():
    model = llama()
    assert decoder_of(model) is model.model and has_plain_layers(model)
