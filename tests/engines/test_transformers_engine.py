"""Models that our decoder does not describe: the same answers, seeds and numbers, by transformers' own `generate`."""

import logging

import pytest
import torch
from engine_models import PROMPTS, TOKENIZER, engine, forward_logits, llama

from family_models import OTHERS, family_model, other_model
from plaudit.engines.base import Engine, require_token_ids
from plaudit.engines.opening import engine_for
from plaudit.engines.torch_engine import TorchEngine
from plaudit.engines.transformers_engine import TransformersEngine
from plaudit.schema import Prompt, Sampling, UserError

GREEDY = Sampling(max_new_tokens=20, temperature=0)
SAMPLED = Sampling(max_new_tokens=20, temperature=0.9, seed=5)


def general(model, **options):
    writer = TransformersEngine(model, TOKENIZER, **{"slots": 3, "dtype": model.dtype, **options})
    writer.load(model.state_dict().items(), "v1")
    return writer


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_say_what_transformers_says_and_record_what_they_drew(name):
    model = other_model(name)
    writer = engine_for(model, TOKENIZER, slots=3)
    assert isinstance(writer, TransformersEngine) and isinstance(writer, Engine)
    require_token_ids(writer, "PPO")
    writer.load(model.state_dict().items(), "v1")
    for row in writer.generate(PROMPTS, 1, GREEDY):
        ids = torch.tensor([row.prompt_tokens])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20)
        assert row.tokens == tuple(out[0, ids.shape[1] :].tolist())
    for row in writer.generate(PROMPTS, 2, SAMPLED):
        logp = torch.log_softmax(forward_logits(model, row) / 0.9, -1).gather(1, torch.tensor(row.tokens)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(row.logprobs), logp, rtol=0, atol=1e-4)


@pytest.mark.parametrize("filters", [{}, {"top_k": 20, "top_p": 0.9}], ids=["all tokens", "filtered"])
def test_both_engines_write_the_same_answers(filters):
    """The same seeds and the same sampler: a Llama through the general path is the Llama of the torch engine."""
    model = llama(torch.float32)
    sampling = Sampling(max_new_tokens=20, temperature=0.8, seed=3, stop=("a",), **filters)
    first, second = (writer.generate(PROMPTS, 3, sampling) for writer in (engine(model), general(model)))
    for one, other in zip(first, second, strict=True):
        assert (one.prompt_id, one.tokens, one.text, one.finish_reason, one.seed, one.index, one.policy) == (
            other.prompt_id, other.tokens, other.text, other.finish_reason, other.seed, other.index, other.policy
        )  # fmt: skip
        assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4)
    assert {row.finish_reason for row in second} == {"stop", "length"}


def test_defaults_of_the_models_own_generation_config_are_not_followed():
    model = other_model("opt")
    plain = general(model).generate(PROMPTS, 1, GREEDY)
    model.generation_config.repetition_penalty = 50.0
    model.generation_config.max_length = 3
    assert [row.tokens for row in general(model).generate(PROMPTS, 1, GREEDY)] == [row.tokens for row in plain]


def test_rows_end_at_max_length_beside_longer_ones():
    """OPT has a table of positions: a row that was padded beyond it would fail."""
    model = other_model("opt", max_position_embeddings=40)
    prompts = [*PROMPTS, Prompt(text="x" * 38)]
    rows = general(model).generate(prompts, 2, Sampling(max_new_tokens=1000, temperature=0.7))
    assert all(len(row.prompt_tokens) + len(row.tokens) <= 40 for row in rows)
    assert {len(row.prompt_tokens) + len(row.tokens) for row in rows if row.finish_reason == "length"} == {40}


def test_progress_counts_finished_rows_to_the_last():
    seen = []
    general(other_model("bloom")).generate(PROMPTS, 3, SAMPLED, lambda done, total: seen.append((done, total)))
    assert seen == sorted(set(seen)) and seen[-1] == (15, 15)


def test_weights_are_the_engines_own_and_wrong_ones_are_refused():
    old, new = other_model("opt", seed=0), other_model("opt", seed=1)
    writer = general(old)
    before = writer.generate(PROMPTS, 1, SAMPLED)
    sent = {name: weight.clone() for name, weight in new.state_dict().items()}
    writer.load(sent.items(), "v2")
    after = writer.generate(PROMPTS, 1, SAMPLED)
    assert {row.policy for row in after} == {"v2"} and [r.tokens for r in after] != [r.tokens for r in before]
    new.model.decoder.layers[0].fc1.weight.data.zero_()
    assert [row.tokens for row in writer.generate(PROMPTS, 1, SAMPLED)] == [row.tokens for row in after]
    del sent["model.decoder.layers.0.fc1.weight"]
    with pytest.raises(UserError, match=r"fc1\.weight"):
        writer.load(sent.items(), "v3")
    with pytest.raises(RuntimeError, match="load"):
        writer.generate(PROMPTS, 1, SAMPLED)


def test_bfloat16_keeps_rotary_angles_in_float32():
    model = other_model("granite", torch.bfloat16)
    assert general(model).model.model.rotary_emb.inv_freq.dtype == torch.float32


def test_the_slower_path_is_said_once_with_its_reason(caplog):
    model = other_model("opt")
    with caplog.at_level(logging.WARNING, logger="plaudit"):
        engine_for(model, TOKENIZER, max_length=77)
        engine_for(model, TOKENIZER, max_length=77)
        assert isinstance(engine_for(llama(), TOKENIZER), TorchEngine)
    said = [record.message for record in caplog.records]
    assert len(said) <= 1 and all("slower" in line and "'opt'" in line for line in said)


def test_options_that_the_decoder_does_not_know_take_the_general_path():
    for case, odd in (
        ("phi", {"qk_layernorm": True}),
        ("gemma3", {"attn_logit_softcapping": 5.0}),
        ("phi3, longrope", {"original_max_position_embeddings": 64}),
    ):
        model = family_model(case, **odd)
        assert isinstance(engine_for(family_model(case), TOKENIZER), TorchEngine)
        writer = engine_for(model, TOKENIZER)
        assert isinstance(writer, TransformersEngine)
        writer.load(model.state_dict().items(), "v1")
        row = writer.generate(PROMPTS[:1], 1, GREEDY)[0]
        ids = torch.tensor([row.prompt_tokens])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20)
        assert row.tokens == tuple(out[0, ids.shape[1] :].tolist())
