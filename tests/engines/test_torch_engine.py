import math
import weakref

import pytest
import torch
from engine_models import PROMPTS, TOKENIZER, engine, forward_logits, llama

from plaudit.engines.base import row_seed
from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.products import Laid, tiled
from plaudit.schema import Message, Prompt, Sampling, UserError

SAMPLED = Sampling(max_new_tokens=24, temperature=0.9, seed=5)
GREEDY = Sampling(max_new_tokens=24, temperature=0)
ROPES = {
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    "yarn": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}
MODELS = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "one key-value head": {"num_key_value_heads": 1},
    "no grouping": {"num_key_value_heads": 4},
    "own head size": {"head_dim": 16},
    "gelu, other eps": {"hidden_act": "gelu", "rms_norm_eps": 1e-3},
    "theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
    **{name: {"rope_parameters": rope} for name, rope in ROPES.items()},
}


def tokens(completions):
    return [completion.tokens for completion in completions]


def transformers_greedy(model, completion, count):
    ids = torch.tensor([completion.prompt_tokens])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count)
    return tuple(out[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_greedy_answers_are_those_of_transformers_in_float32(options):
    model = llama(torch.float32, **options)
    for completion in engine(model, slots=3).generate(PROMPTS, 1, GREEDY):
        assert completion.tokens == transformers_greedy(model, completion, 24)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_recorded_logprobs_are_those_of_a_plain_forward(options):
    model = llama(**options)
    for completion in engine(model, slots=3).generate(PROMPTS, 2, SAMPLED):
        logp = torch.log_softmax(forward_logits(model, completion) / 0.9, -1)
        expected = logp.gather(1, torch.tensor(completion.tokens)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs, dtype=torch.float64), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "filters", [{"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.1}, {"top_k": 30, "top_p": 0.9, "min_p": 0.02}], ids=str
)
def test_recorded_logprobs_under_filters_are_renormalised_over_what_transformers_keeps(filters):
    from transformers.generation.logits_process import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    model = llama()
    sampling = Sampling(max_new_tokens=16, temperature=1.7, **filters)
    for completion in engine(model).generate(PROMPTS, 2, sampling):
        scores = forward_logits(model, completion) / 1.7
        for name, warper in (("top_k", TopKLogitsWarper), ("top_p", TopPLogitsWarper), ("min_p", MinPLogitsWarper)):
            if name in filters:
                scores = warper(filters[name])(None, scores)
        expected = torch.log_softmax(scores, -1).gather(1, torch.tensor(completion.tokens)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs, dtype=torch.float64), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("filters", [{}, {"top_p": 0.9, "top_k": 40}], ids=["all tokens", "filtered"])
def test_a_row_depends_on_its_prompt_and_seed_alone(filters):
    model = llama()
    sampling = Sampling(max_new_tokens=20, seed=3, **filters)
    writer = engine(model, slots=4)
    alone = {prompt.id: tokens(writer.generate([prompt], 3, sampling)) for prompt in PROMPTS}
    assert len({row for rows in alone.values() for row in rows}) > 10  # the answers differ, so that equality says something
    for slots in (1, 2, 5, 64):
        for order in (PROMPTS, PROMPTS[2:] + PROMPTS[:2]):
            for n in (1, 3, 4):
                found = engine(model, slots=slots).generate(order, n, sampling)
                for place, prompt in enumerate(order):
                    rows = found[place * n : (place + 1) * n]
                    assert [(row.prompt_id, row.index) for row in rows] == [(prompt.id, i) for i in range(n)]
                    assert tokens(rows)[:3] == alone[prompt.id][:n]


def test_seeds_differ_between_siblings_prompts_and_requests_and_are_written_down():
    first = engine(llama()).generate(PROMPTS, 2, SAMPLED)
    assert len({row.seed for row in first}) == 10
    assert first[3].seed == row_seed(5, PROMPTS[1].id, 1) < 2**53
    other = engine(llama()).generate(PROMPTS, 2, Sampling(max_new_tokens=24, temperature=0.9, seed=6))
    assert tokens(first) != tokens(other)


def test_row_seed_is_the_same_for_ever():
    assert row_seed(0, "abc", 0) == 3458798871921495


def test_siblings_share_one_prefill(monkeypatch):
    writer = engine(llama(), slots=3)
    read = []
    prefill = writer.decoder.prefill
    monkeypatch.setattr(writer.decoder, "prefill", lambda ids, *rest: read.append(len(ids)) or prefill(ids, *rest))
    writer.generate(PROMPTS, 7, SAMPLED)
    assert sum(read) == len(PROMPTS)


def test_answers_to_prompts_of_many_lengths_with_few_slots_equal_those_with_many():
    prompts = [Prompt(text="order " * (i % 7 + 1) + str(i)) for i in range(23)]
    sampling = Sampling(max_new_tokens=60, temperature=3.0)
    few, many = (engine(llama(), slots=slots).generate(prompts, 2, sampling) for slots in (4, 100))
    assert [c.id for c in few] == [c.id for c in many]
    assert len({len(c.tokens) for c in few}) > 2  # some ended early, so that holes were filled


def test_eos_ends_an_answer_and_stays_in_its_tokens_but_not_in_its_text():
    sampling = Sampling(max_new_tokens=200, temperature=2.0)
    rows = engine(llama(), slots=8).generate(PROMPTS, 8, sampling)
    ended = [row for row in rows if row.finish_reason == "stop"]
    assert ended and len(ended) < len(rows)
    for row in rows:
        assert (row.tokens[-1] == TOKENIZER.eos_token_id) == (row.finish_reason == "stop")
        assert TOKENIZER.eos_token_id not in row.tokens[:-1]
        assert "<|im_end|>" not in row.text
        assert row.truncated == (len(row.tokens) == 200 and row.finish_reason == "length")


def test_stop_token_ids_and_those_of_the_generation_config_end_an_answer():
    model = llama()
    free = engine(model).generate(PROMPTS[:1], 1, SAMPLED)[0]
    chosen = free.tokens[6]
    asked = Sampling(**{**vars(SAMPLED), "stop_token_ids": (chosen,)})
    row = engine(model).generate(PROMPTS[:1], 1, asked)[0]
    assert row.tokens == free.tokens[: free.tokens.index(chosen) + 1] and row.finish_reason == "stop"
    model.generation_config.eos_token_id = [TOKENIZER.eos_token_id, chosen]
    assert engine(model).generate(PROMPTS[:1], 1, SAMPLED)[0].tokens == row.tokens


def test_a_stop_string_cuts_the_text_and_keeps_the_tokens_that_completed_it():
    model = llama()
    free = engine(model).generate(PROMPTS, 4, SAMPLED)
    text, stop = next(
        (c.text, c.text[i : i + 2]) for c in free for i in range(5, len(c.text) - 2) if c.text[i : i + 2].isascii()
    )
    found = engine(model, slots=3).generate(PROMPTS, 4, Sampling(**{**vars(SAMPLED), "stop": (stop,)}))
    assert any(row.text == text[: text.index(stop)] and row.finish_reason == "stop" for row in found)
    for before, row in zip(free, found, strict=True):
        texts = [TOKENIZER.decode(before.tokens[:t], skip_special_tokens=True) for t in range(len(before.tokens) + 1)]
        first = next((t for t, text in enumerate(texts) if stop in text), len(before.tokens))
        assert row.tokens == before.tokens[:first]
        assert row.text == before.text.split(stop)[0] and stop not in row.text


def test_an_answer_that_reaches_max_length_ends_there_with_finite_numbers():
    model = llama(max_position_embeddings=40)
    prompts = [*PROMPTS, Prompt(text="x" * 39)]
    rows = engine(model, slots=3).generate(prompts, 2, Sampling(max_new_tokens=1000, temperature=0.7))
    assert max(len(row.prompt_tokens) + len(row.tokens) for row in rows) == 40
    assert len(rows[-1].tokens) == 1
    for row in rows:
        assert all(map(math.isfinite, row.logprobs))
        assert row.finish_reason == "stop" or len(row.prompt_tokens) + len(row.tokens) == 40


def test_a_prompt_without_room_for_an_answer_is_refused_with_the_numbers():
    writer = engine(llama(), max_length=20)
    with pytest.raises(UserError, match=r"prompt 1 .* has 20 tokens.*max_length 20"):
        writer.generate([PROMPTS[1], Prompt(text="x" * 20)], 1, SAMPLED)
    with pytest.raises(UserError, match="no tokens"):
        writer.generate([Prompt(text="")], 1, SAMPLED)


def test_conversations_are_read_through_the_chat_template():
    row = engine(llama()).generate([Prompt(messages=(Message("user", "hi"),))], 1, SAMPLED)[0]
    assert TOKENIZER.decode(row.prompt_tokens).endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")


def test_progress_counts_finished_rows_to_the_last():
    seen = []
    engine(llama(), slots=3).generate(PROMPTS, 3, SAMPLED, lambda done, total: seen.append((done, total)))
    assert seen == sorted(set(seen)) and seen[-1] == (15, 15)
    assert engine(llama()).generate([], 3, SAMPLED) == []


def test_the_cache_grows_between_calls_and_can_be_given_back():
    writer = engine(llama(), slots=2)
    short = tokens(writer.generate(PROMPTS[:1], 1, SAMPLED))
    keys = writer.cache.keys
    assert tokens(writer.generate(PROMPTS[:1], 1, SAMPLED)) == short and writer.cache.keys is keys
    writer.generate(PROMPTS, 2, Sampling(max_new_tokens=180, stop_token_ids=()))
    assert writer.cache.length > keys.shape[3] and writer.cache.slots == 2
    writer.release()
    assert writer.cache.keys.numel() == 0
    assert tokens(writer.generate(PROMPTS[:1], 1, SAMPLED)) == short


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unloaded_it_holds_nothing_and_refuses_until_weights_come_again(dtype):
    model = llama(dtype)
    writer = engine(model)
    before = tokens(writer.generate(PROMPTS, 2, SAMPLED))
    embeddings, first = writer.decoder.weights.embed, writer.decoder.weights.layers[0]
    packed = first.up.packed
    matrix = first.up.weight if packed is None else packed.numbers if isinstance(packed, Laid) else packed
    held = [weakref.ref(tensor) for tensor in (embeddings, matrix, writer.cache.keys)]
    del packed, matrix
    del embeddings, first
    writer.unload()
    assert [ref() for ref in held] == [None] * 3 and writer.cache.keys.numel() == 0 and writer.version == ""
    with pytest.raises(RuntimeError, match="call load first"):
        writer.generate(PROMPTS, 2, SAMPLED)
    writer.load(model.state_dict().items(), "v1")
    assert tokens(writer.generate(PROMPTS, 2, SAMPLED)) == before


@pytest.mark.skipif(tiled() is None, reason="needs matrix units")
def test_products_follow_the_kernels_that_are_asked_for_at_the_next_load():
    """A run that began with torch's kernels goes on with them, products included."""
    model = llama(torch.bfloat16)
    writer = engine(model)

    def packed():
        return isinstance(writer.decoder.weights.layers[0].up.packed, Laid)

    assert packed() and writer.use("torch")
    writer.load(model.state_dict().items(), "v1")
    assert not packed() and writer.use("compiled")
    writer.load(model.state_dict().items(), "v2")
    assert packed()


def test_load_swaps_weights_in_place_and_names_them():
    old, new = llama(seed=0), llama(seed=1)
    writer = engine(old)
    buffers = [layer.qkv.weight.data_ptr() for layer in writer.decoder.weights.layers]
    before = writer.generate(PROMPTS, 2, SAMPLED)
    writer.load(new.named_parameters(), "v2")
    after = writer.generate(PROMPTS, 2, SAMPLED)
    assert buffers == [layer.qkv.weight.data_ptr() for layer in writer.decoder.weights.layers]
    assert {row.policy for row in before} == {"v1"} and {row.policy for row in after} == {"v2"}
    assert tokens(after) == tokens(engine(new).generate(PROMPTS, 2, SAMPLED)) != tokens(before)
    new.model.layers[0].mlp.up_proj.weight.data.zero_()  # the engine's weights are its own
    assert tokens(writer.generate(PROMPTS, 2, SAMPLED)) == tokens(after)


def test_tied_weights_may_come_once_by_either_name_or_twice_if_equal():
    model = llama(tie_word_embeddings=True)
    expected = tokens(engine(model).generate(PROMPTS, 1, SAMPLED))
    sent = dict(model.named_parameters())
    embed = sent["model.embed_tokens.weight"]
    assert "lm_head.weight" not in sent
    by_head = {("lm_head.weight" if name == "model.embed_tokens.weight" else name): w for name, w in sent.items()}
    for weights in (sent, by_head, {**sent, "lm_head.weight": embed}):
        writer = TorchEngine(model.config, TOKENIZER, dtype=torch.float64)
        writer.load(weights.items(), "v1")
        assert tokens(writer.generate(PROMPTS, 1, SAMPLED)) == expected
    with pytest.raises(UserError, match="ties"):
        writer.load({**sent, "lm_head.weight": embed + 1}.items(), "v2")


def test_weights_that_do_not_fit_are_refused_and_leave_no_half_loaded_engine():
    model = llama()
    writer = engine(model)
    sent = dict(model.named_parameters())
    name = "model.layers.1.self_attn.k_proj.weight"
    for wrong, words in (
        ({k: w for k, w in sent.items() if k != name}, f"1 of 21 weights did not come.*{name}"),
        ({k: w for k, w in sent.items() if k != "lm_head.weight"}, "lm_head.weight"),
        ({**sent, "model.layers.2.mlp.up_proj.weight": sent[name]}, "model.layers.2.mlp.up_proj.weight.*does not have"),
        ({**sent, name: sent[name].T}, r"\[32, 16\].*\[16, 32\]"),
    ):
        with pytest.raises(UserError, match=words):
            writer.load(wrong.items(), "v2")
        with pytest.raises(RuntimeError, match="load"):
            writer.generate(PROMPTS, 1, SAMPLED)
    writer.load(sent.items(), "v3")
    assert writer.generate(PROMPTS[:1], 1, SAMPLED)[0].policy == "v3"


def test_weights_that_are_not_finite_stop_generation_and_leave_nothing_behind():
    model = llama()
    writer = engine(model)
    expected = tokens(writer.generate(PROMPTS, 2, SAMPLED))
    poisoned = {name: weight * (math.nan if "v_proj" in name else 1) for name, weight in model.named_parameters()}
    writer.load(poisoned.items(), "bad")
    with pytest.raises(FloatingPointError, match="not finite"):
        writer.generate(PROMPTS, 2, SAMPLED)
    writer.load(model.named_parameters(), "good")
    assert tokens(writer.generate(PROMPTS, 2, SAMPLED)) == expected


def test_models_that_cannot_be_computed_are_refused():
    from transformers import OPTConfig

    with pytest.raises(UserError, match=r"'opt' are not among llama, mistral"):
        TorchEngine(OPTConfig(), TOKENIZER)
    with pytest.raises(UserError, match=r"max_length 300 .*256"):
        engine(llama(), max_length=300)
    with pytest.raises(UserError, match="slots"):
        engine(llama(), slots=0)


def test_bfloat16_answers_are_near_those_of_the_same_weights_in_float32():
    model = llama(torch.bfloat16, initializer_range=0.1)
    rows = engine(model, slots=3).generate(PROMPTS, 3, SAMPLED)
    wide = model.float()
    gaps = []
    for row in rows:
        logp = torch.log_softmax(forward_logits(wide, row) / 0.9, -1).gather(1, torch.tensor(row.tokens)[:, None])[:, 0]
        gaps += (torch.tensor(row.logprobs) - logp).abs().tolist()
    assert 0 < sum(gaps) / len(gaps) < 0.02


def test_the_thread_count_is_left_alone():
    before = torch.get_num_threads()
    engine(llama()).generate(PROMPTS, 1, SAMPLED)
    assert torch.get_num_threads() == before
