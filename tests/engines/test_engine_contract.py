import json

import pytest
from engine_models import PROMPTS, engine, llama

from plaudit.engines.base import Engine, check_request, require_token_ids
from plaudit.engines.replay import ReplayEngine
from plaudit.schema import Completion, Sampling, UserError, to_json


def recorded(prompt, *texts):
    return [Completion(prompt.id, text, (1,), (2, 3), (-0.5, -0.25), "stop", "v0", i) for i, text in enumerate(texts)]


def test_both_engines_keep_the_protocol():
    assert isinstance(engine(llama()), Engine)
    assert isinstance(ReplayEngine([]), Engine)


def test_replay_gives_what_was_recorded_in_order_and_then_says_what_is_missing():
    player = ReplayEngine([*recorded(PROMPTS[0], "a", "b", "c", "d"), *recorded(PROMPTS[1], "e", "f", "g")])
    seen = []
    first = player.generate([PROMPTS[1], PROMPTS[0]], 2, Sampling(), lambda *counts: seen.append(counts))
    assert [c.text for c in first] == ["e", "f", "a", "b"] and seen == [(4, 4)]
    assert [(c.text, c.index) for c in player.generate([PROMPTS[0]], 1, Sampling())] == [("c", 0)]
    with pytest.raises(UserError, match=f"prompt {PROMPTS[1].id} has 1 recorded completions left, and 2 are asked for"):
        player.generate([PROMPTS[0], PROMPTS[1], PROMPTS[1]], 1, Sampling())
    assert [c.text for c in player.generate(PROMPTS[:2], 1, Sampling())] == ["d", "g"]  # nothing was used up


def test_what_the_torch_engine_wrote_can_be_replayed_from_a_file(tmp_path):
    sampling = Sampling(max_new_tokens=5, stop=("\u2028",), stop_token_ids=(8,))
    written = engine(llama()).generate(PROMPTS, 2, sampling)
    path = tmp_path / "recorded.jsonl"
    path.write_text("\n".join(json.dumps(to_json(c), ensure_ascii=False) for c in written) + "\n", encoding="utf-8")
    assert ReplayEngine.from_jsonl(path).generate(PROMPTS, 2, sampling) == written


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not a recorded completion"),
        ('{"prompt_id": "x"}', "line 2: not a recorded completion"),
        ('{"answer": "x"}', "line 2: unknown keys .*answer"),
    ],
)
def test_a_broken_recording_is_refused_with_its_line(tmp_path, line, words):
    path = tmp_path / "recorded.jsonl"
    path.write_text(json.dumps(to_json(recorded(PROMPTS[0], "a")[0])) + "\n" + line + "\n")
    with pytest.raises(UserError, match=rf"recorded.jsonl, {words}"):
        ReplayEngine.from_jsonl(path)
    with pytest.raises(UserError, match="cannot read"):
        ReplayEngine.from_jsonl(tmp_path / "absent.jsonl")


def test_engines_without_token_ids_are_refused_for_policy_gradients():
    require_token_ids(ReplayEngine(recorded(PROMPTS[0], "a")), "PPO")
    text_only = ReplayEngine([Completion(PROMPTS[0].id, "a", (), (), (), "stop")])
    with pytest.raises(UserError, match="PPO needs the token ids"):
        require_token_ids(text_only, "PPO")


@pytest.mark.parametrize(
    "wrong",
    [{"max_new_tokens": 0}, {"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": 2}, {"stop": ("",)}],
)
def test_sampling_options_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        check_request(1, Sampling(**wrong))
    with pytest.raises(UserError, match="option n is 0"):
        check_request(0, Sampling())
