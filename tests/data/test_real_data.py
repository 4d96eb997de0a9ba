"""Public preference data, where a copy lies beside the repository; and the embedded model's own tokenizer."""

from pathlib import Path

import pytest
from data_tokenizers import build, trained_text

from plaudit.data.check import check
from plaudit.data.encode import encode_rankings
from plaudit.data.readers import read, read_jsonl, read_rankings, write_jsonl
from plaudit.data.split import split_by_prompt
from plaudit.data.template import encode_answer, encode_prompt
from plaudit.schema import Message, Prompt

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(params=["dpo_en_demo", "dpo_zh_demo"])
def pairs(request, tmp_path):
    source = DATA / "llamafactory_demos" / f"{request.param}.jsonl"
    if not source.exists():
        pytest.skip(f"{source} is not there")
    path = tmp_path / "pairs.jsonl"
    write_jsonl(
        path, ({"prompt": r["messages"], "chosen": r["chosen"], "rejected": r["rejected"]} for r in read_jsonl(source)[:100])
    )
    return read_rankings(path)


def test_real_pairs_keep_the_laws(pairs):
    tokenizer = build()
    splits = split_by_prompt(pairs, seed=1)
    assert sum(map(len, splits)) == len(pairs) and check(splits.named()).leaked_prompts == 0
    encoded, report = encode_rankings(tokenizer, pairs[:30])
    assert report.kept == report.total == 30
    for item in encoded:
        head = encode_prompt(tokenizer, pairs[item.source].prompt)
        for row, answer in zip(item.rows, pairs[item.source].answers, strict=True):
            assert row.ids[: row.prompt_length] == head and row.mask == [0] * len(head) + [1] * (len(row) - len(head))
            assert trained_text(tokenizer, row) == [answer[0].content + "<|im_end|>"]


def test_real_implicit_prompts_agree_with_explicit_ones(tmp_path):
    source = DATA / "hh_rlhf_harmless_test" / "pairs.jsonl"
    if not source.exists():
        pytest.skip(f"{source} is not there")
    rows = [r for r in read_jsonl(source) if r["chosen"] != r["rejected"]][:300]
    joined = tmp_path / "joined.jsonl"
    write_jsonl(joined, ({side: f"{r['prompt']} {r[side]}" for side in ("chosen", "rejected")} for r in rows))
    for row, found in zip(rows, read_rankings(joined, dataset_format="trl"), strict=True):
        assert found.prompt.text == row["prompt"] and found.answers == (f" {row['chosen']}", f" {row['rejected']}")


FILES = [
    ("hh_rlhf_harmless_test/pairs.jsonl", "rankings", "hh_rlhf", 1399),
    ("llms_from_scratch_dpo/pairs.jsonl", "rankings", "alpaca", 1094),
    ("llamafactory_demos/dpo_zh_demo.jsonl", "labels", "dialogue", 600),
    ("llamafactory_demos/kto_en_demo.jsonl", "labels", "dialogue", 300),
    ("llamafactory_demos/kto_en_demo.jsonl", "demonstrations", "dialogue", 150),
    ("oasst_en_100_trees/pairs.jsonl", "rankings", "dialogue", 344),
    ("oasst_en_100_trees/sft_top_ranked.jsonl", "demonstrations", "trl", 98),
    ("belle_zh/zh_seed_tasks.jsonl", "demonstrations", "alpaca", 175),
    ("self_instruct_human/user_oriented.jsonl", "demonstrations", "alpaca", 81),
    ("mt_bench_zh/question.jsonl", "prompts", "questions", 40),
    ("sst/dev.jsonl", "labels", "trl", 1095),
    ("crosswoz_zh/val.jsonl", "demonstrations", "trl", 500),
]


@pytest.mark.parametrize(("name", "wants", "layout", "count"), FILES, ids=[f"{f[0]}-{f[1]}" for f in FILES])
def test_real_files_are_recognised_and_read(name, wants, layout, count):
    """Rows with equal sides (6 of llms_from_scratch_dpo) are refused and counted; nothing else is."""
    source = DATA / name
    if not source.exists():
        pytest.skip(f"{source} is not there")
    found = read(source, wants, skip_refused=True)
    assert (found.layouts, len(found.items)) == ([layout], count)
    assert all("are equal" in reason for reason in found.refused) and len(found.refused) == (6 if "scratch" in name else 0)


@pytest.mark.model
def test_embedded_models_own_tokenizer():
    from plaudit.models.load import load

    tokenizer = load("smollm2-135m-instruct").tokenizer
    ask, said = Message("user", "Where is order 1182?"), Message("assistant", "On its way.\n\n1. Soon!")
    row = encode_answer(tokenizer, Prompt(messages=(ask,)), (said, ask, said))
    assert trained_text(tokenizer, row) == [said.content + "<|im_end|>"] * 2
    chat = [{"role": m.role, "content": m.content} for m in (ask, said, ask, said)]
    assert row.ids == tokenizer.apply_chat_template(chat)["input_ids"][: len(row)]
    head = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True)["input_ids"]
    assert row.ids[: row.prompt_length] == head == encode_prompt(tokenizer, Prompt(messages=(ask,)))


def test_tiny_models_tokenizer():
    from plaudit.models.load import load

    tokenizer = load("tiny").tokenizer
    ask, said = Message("user", "where is my order ?"), Message("assistant", "it is late .")
    row = encode_answer(tokenizer, Prompt(messages=(ask,)), (said, ask, said))
    assert row.ids[: row.prompt_length] == encode_prompt(tokenizer, Prompt(messages=(ask,)))
    assert row.mask[-1] == 1 and row.ids.count(row.ids[-1]) >= 2
