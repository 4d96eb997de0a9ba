import json

import pytest
import torch

from plaudit.models.base import AdapterConfig, Base
from plaudit.models.heads import rescaled, scalar_head
from plaudit.models.load import load
from plaudit.models.network import Network
from plaudit.models.scorer import Scorer, load_reward, put_reward, reward_info, save_reward
from plaudit.schema import UserError
from small_networks import VOCABULARY, adapter, base, llama, rows, whole

CPU = torch.device("cpu")
F32 = torch.float32


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


def on_tiny(tiny, **options):
    """A base made of the tiny model, whose folder-free name `tiny` can be loaded again."""
    model = load("tiny").model
    return Base(model, tiny.tokenizer, tiny.digest, "tiny", AdapterConfig(use_peft=True, lora_r=4, **options))


def with_head(network, seed=5):
    generator = torch.Generator().manual_seed(seed)
    network.head = scalar_head(network.base.width)
    with torch.no_grad():
        for p in network.head.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return network


IDS, _ = rows(7, seed=4)


def test_an_adapter_comes_back_with_scores_of_mean_0_and_deviation_1(tiny, tmp_path):
    network = with_head(adapter(on_tiny(tiny), "reward"))
    raw = torch.tensor(Scorer(network)(IDS))
    save_reward(tmp_path / "rm", network, mean=float(raw.mean()), deviation=float(raw.std(correction=0)))
    wanted = (raw - raw.mean()) / raw.std(correction=0)
    beside = load_reward(tmp_path / "rm", dtype=F32, device=CPU)
    shared = put_reward(tmp_path / "rm", on_tiny(tiny), "critic")
    for again in (beside, shared):
        assert torch.tensor(Scorer(again)(IDS)) == pytest.approx(wanted, abs=1e-5)
    info = reward_info(tmp_path / "rm")
    assert (info.base, info.adapter, info.base_digest) == ("tiny", True, tiny.digest)


def test_an_adapter_keeps_its_rank_and_scale_on_a_base_with_other_options(tiny, tmp_path):
    """The base's own lora_alpha must not rescale a reward model that was trained with another: its scores would be wrong."""
    network = with_head(adapter(on_tiny(tiny), "reward"))
    raw = Scorer(network)(IDS)
    save_reward(tmp_path / "rm", network, mean=0.0, deviation=1.0)
    for other in ({"lora_alpha": 99.0}, {"lora_layers": 1}, {"lora_target_modules": ["q_proj"]}):
        on = on_tiny(tiny, **other)
        on.add_adapter("policy", seed=1)
        again = put_reward(tmp_path / "rm", on, "reward")
        assert Scorer(again)(IDS) == pytest.approx(raw, abs=1e-5)
        save_reward(tmp_path / "copy", again, mean=0.0, deviation=1.0)
        assert Scorer(load_reward(tmp_path / "copy", dtype=F32, device=CPU))(IDS) == pytest.approx(raw, abs=1e-5)


def test_the_adapter_form_is_read_by_peft(tiny, tmp_path):
    from peft import PeftModel

    network = with_head(adapter(on_tiny(tiny), "reward"))
    save_reward(tmp_path / "rm", network, mean=0.0, deviation=1.0)
    theirs = PeftModel.from_pretrained(load("tiny").model, str(tmp_path / "rm")).eval()
    ids = torch.tensor([IDS[0]])
    with torch.no_grad():
        states = theirs(ids, output_hidden_states=True).hidden_states[-1][0, -1]
    assert float(network.head(states).detach()) == pytest.approx(Scorer(network)([IDS[0]])[0], abs=1e-5)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_the_whole_form_is_a_sequence_classifier_to_transformers(tiny, tmp_path, tied):
    from transformers import AutoModelForSequenceClassification

    # the tiny tokenizer has more ids than these rows use; pad is none of them, so that transformers finds each row's end
    model = llama(
        1, dtype=F32, vocab_size=len(tiny.tokenizer), tie_word_embeddings=tied, pad_token_id=tiny.tokenizer.pad_token_id
    )
    own = Base(model, tiny.tokenizer, "d", "own", AdapterConfig())
    network = with_head(Network("reward", own, whole=True))
    raw = Scorer(network)(IDS)
    save_reward(tmp_path / "rm", network, mean=0.5, deviation=2.0)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    assert theirs.config.num_labels == 1
    ours = Scorer(load_reward(tmp_path / "rm", dtype=F32, device=CPU))(IDS)
    bias = float(network.head.bias.detach())
    for ids, unnormalised, score in zip(IDS, raw, ours, strict=True):
        with torch.no_grad():
            logit = float(theirs(torch.tensor([ids])).logits[0, 0])
        assert logit + bias == pytest.approx(unnormalised, abs=1e-4)  # a classifier's head has no bias
        assert score == pytest.approx((logit + bias - 0.5) / 2.0, abs=1e-4)


def test_a_whole_model_is_no_adapter(tiny, tmp_path):
    model = llama(1, dtype=F32, vocab_size=len(tiny.tokenizer))
    network = with_head(Network("reward", Base(model, tiny.tokenizer, "d", "own", AdapterConfig()), whole=True))
    save_reward(tmp_path / "rm", network, mean=0.0, deviation=1.0)
    assert not reward_info(tmp_path / "rm").adapter
    with pytest.raises(UserError, match="holds a whole model, not an adapter"):
        put_reward(tmp_path / "rm", on_tiny(tiny), "reward")


def test_an_adapter_for_another_base_is_refused(tiny, tmp_path):
    save_reward(tmp_path / "rm", with_head(adapter(on_tiny(tiny), "reward")), mean=0.0, deviation=1.0)
    other = load("tiny:7")
    on = Base(other.model, other.tokenizer, other.digest, "tiny:7", AdapterConfig(use_peft=True))
    with pytest.raises(UserError, match=r"was trained on another base .*'tiny:7'.*give the base it was trained on"):
        put_reward(tmp_path / "rm", on, "reward")
    assert "reward" not in on._adapters


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "reward.json").unlink(), "no scalar head"),
        (lambda f: (f / "reward.json").write_text("{"), r"reward\.json is damaged"),
        (lambda f: (f / "reward.json").write_text(json.dumps({"base": "x"})), r"reward\.json is damaged"),
        (lambda f: (f / "head.safetensors").unlink(), "no scalar head"),
        (lambda f: (f / "head.safetensors").write_bytes(b"half a f"), "no scalar head that can be read"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "no adapter that can be read"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"half a f"), "no adapter that can be read"),
    ],
)
def test_a_damaged_reward_model_is_told_of_in_one_sentence(tiny, tmp_path, harm, said):
    save_reward(tmp_path / "rm", with_head(adapter(on_tiny(tiny), "reward")), mean=0.0, deviation=1.0)
    harm(tmp_path / "rm")
    with pytest.raises(UserError, match=said):
        load_reward(tmp_path / "rm", dtype=F32, device=CPU)


def test_a_folder_that_does_not_exist_is_told_of(tmp_path):
    with pytest.raises(UserError, match="it does not exist"):
        reward_info(tmp_path / "nowhere")


def test_scores_come_in_the_order_of_the_rows_whatever_the_batches():
    network = adapter(base(), "reward", scalar=True)
    alone = [Scorer(network)([ids])[0] for ids in IDS]
    for size in (1, 2, 16):
        assert Scorer(network, size)(IDS) == pytest.approx(alone, rel=1e-10)
    assert len(set(alone)) == len(alone) and Scorer(network)([]) == []


def test_a_rescaled_head_by_hand():
    head = torch.nn.Linear(2, 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, -4.0]]))
        head.bias.fill_(3.0)
    new = rescaled(head, mean=1.0, deviation=4.0)
    assert new.weight.tolist() == [[0.5, -1.0]] and new.bias.tolist() == [0.5]
    state = torch.tensor([1.0, 2.0])
    assert new(state).tolist() == [(head(state).item() - 1.0) / 4.0]


def test_a_new_head_says_0():
    head = scalar_head(8)
    assert not head.weight.any() and not head.bias.any() and head.weight.dtype == F32


def test_a_whole_critic_is_scored_like_any_other():
    network = whole("reward", scalar=True)
    assert len(Scorer(network)(IDS)) == 7 and max(max(ids) for ids in IDS) < VOCABULARY
