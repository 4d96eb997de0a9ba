"""The http engine against a real server on this machine."""

import json
import logging
import socket

import pytest
from typer.testing import CliRunner

from openai_server import serving
from plaudit.engines.base import Engine, require_token_ids, row_seed
from plaudit.engines.http import HttpEngine
from plaudit.engines.opening import open_engine
from plaudit.registry import find
from plaudit.schema import Message, Prompt, Sampling, UserError

TALK = Prompt(messages=(Message("system", "Be kind."), Message("user", "Wo ist 订单?")))
PLAIN = Prompt(text="once upon")
ONE = Sampling(max_new_tokens=9, seed=4)


def engine(served, **options):
    return HttpEngine(served.url, **{"backoff": 0.0, "retries": 2, **options})


def test_conversations_and_plain_text_go_to_their_paths_with_their_options():
    filters = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1}
    sampling = Sampling(max_new_tokens=9, stop=("END",), stop_token_ids=(3,), seed=4, **filters)
    with serving() as served:
        rows = engine(served).generate([TALK, PLAIN], 2, sampling)
    assert [(row.prompt_id, row.index) for row in rows] == [(p.id, i) for p in (TALK, PLAIN) for i in (0, 1)]
    seeds = [row_seed(4, prompt.id, 0) for prompt in (TALK, PLAIN)]
    said = [f"{text} 你好 {seed}:{i}" for text, seed in zip(("Wo ist 订单?", PLAIN.text), seeds, strict=True) for i in (0, 1)]
    assert [row.text for row in rows] == said
    assert rows[0].sampling == sampling and rows[0].seed == seeds[0] and rows[0].policy == rows[3].policy
    assert rows[0].policy.startswith("toy@127.0.0.1:") and not rows[0].tokens and not rows[0].logprobs
    asked = dict(served.asked)
    assert asked["/v1/chat/completions"]["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Wo ist 订单?"},
    ]
    assert asked["/v1/completions"]["prompt"] == "once upon"
    for body, seed in zip((asked["/v1/chat/completions"], asked["/v1/completions"]), seeds, strict=True):
        wanted = {"model": "toy", "max_tokens": 9, "n": 2, "stop": ["END"], "stop_token_ids": [3], "seed": seed, **filters}
        assert {name: body[name] for name in wanted} == wanted


def test_options_that_are_off_are_not_sent():
    with serving() as served:
        engine(served).generate([PLAIN], 1, ONE)
    assert not {"top_k", "min_p", "stop", "stop_token_ids"} & set(served.asked[0][1])


def test_ids_and_logprobs_are_kept_where_the_server_sends_them():
    with serving(ids=True) as served:
        writer = engine(served)
        assert isinstance(writer, Engine) and not writer.returns_token_ids
        assert writer.probe() and writer.returns_token_ids
        for row in writer.generate([TALK, PLAIN], 2, ONE):
            assert (row.prompt_tokens, row.tokens, row.logprobs) == ((1, 2), (7, 8, 9), (-0.5, -0.25, -1.0))
        require_token_ids(writer, "PPO")
        greedy = writer.generate([TALK], 1, Sampling(temperature=0))
        assert greedy[0].logprobs == (0.0, 0.0, 0.0)  # a point mass
        warm = writer.generate([TALK], 1, Sampling(temperature=0.7))
        assert warm[0].tokens == (7, 8, 9) and warm[0].logprobs == ()  # of another distribution than was drawn from
        assert not writer.returns_token_ids


def test_a_server_of_text_only_is_refused_for_policy_gradients_and_takes_no_weights():
    with serving() as served:
        writer = engine(served)
        assert not writer.probe()
    with pytest.raises(UserError, match="PPO needs the token ids"):
        require_token_ids(writer, "PPO")
    with pytest.raises(UserError, match="weights of the server"):
        writer.load([], "v2")


def test_options_that_a_server_does_not_know_are_left_out_from_then_on():
    unknown = (400, {"error": {"message": "Unrecognized request argument supplied: return_token_ids"}})
    limit = (400, {"error": {"message": "Use 'max_completion_tokens' instead."}})
    with serving(plan=[limit, unknown]) as served:
        writer = engine(served)
        assert len(writer.generate([TALK], 1, ONE)) == 1
        writer.generate([TALK], 1, ONE)
    assert [("return_token_ids" in body, "max_tokens" in body) for _, body in served.asked] == [
        (True, True), (True, False), (False, False), (False, False)
    ]  # fmt: skip


def test_a_refusal_for_another_reason_is_told_and_forgets_nothing():
    too_long = (400, {"error": {"message": "maximum context length is 8 tokens"}})
    with serving(plan=[too_long, too_long]) as served:
        writer = engine(served)
        with pytest.raises(UserError, match=r"refuses the request \(400\): maximum context length is 8 tokens"):
            writer.generate([TALK], 1, ONE)
        writer.generate([TALK], 1, ONE)
    assert "return_token_ids" in served.asked[-1][1]


@pytest.mark.parametrize("most", [1, 2])
def test_servers_that_give_fewer_siblings_are_asked_again(most):
    with serving(most=most) as served:
        rows = engine(served).generate([TALK], 5, ONE)
    assert [row.index for row in rows] == [0, 1, 2, 3, 4]
    assert [body["n"] for _, body in served.asked] == ([5, 4, 3, 2, 1] if most == 1 else [5, 3, 1])
    assert len({row.seed for row in rows}) == len(served.asked)


def test_greedy_siblings_are_asked_for_one_by_one():
    with serving() as served:
        engine(served).generate([TALK], 2, Sampling(temperature=0))
    assert [body["n"] for _, body in served.asked] == [1, 1]


def test_busy_and_failing_servers_are_tried_again():
    plan = [(429, {"error": "busy"}, {"retry-after": "0"}), (503, "<html>no</html>")]
    with serving(plan=plan) as served:
        rows = engine(served).generate([TALK], 1, ONE)
    assert len(rows) == 1 and len(served.asked) == 3


def test_500_for_good_is_told_after_the_last_try():
    plan = [(500, {"error": {"message": "out of memory"}})] * 3
    with serving(plan=plan) as served, pytest.raises(UserError, match="answers 500 after 3 tries: out of memory"):
        engine(served).generate([TALK], 1, ONE)
    assert len(served.asked) == 3


def test_one_failure_ends_the_call_and_the_waiting_prompts_are_not_asked():
    prompts = [Prompt(text=f"p{i}") for i in range(30)]
    with serving(plan=[(422, {"error": "no"})] * 60) as served, pytest.raises(UserError, match="refuses the request"):
        engine(served, concurrency=2).generate(prompts, 1, ONE)
    assert len(served.asked) < 30


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{'not': json", "something that is not JSON"),
        ('{"choices": ', "something that is not JSON"),
        ("[1]", "no choices"),
        ('{"choices": []}', "no choices"),
        ('{"choices": [{"finish_reason": "stop"}]}', "no text"),
        ('{"choices": [{"message": {"content": 5}}]}', "no text"),
    ],
)
def test_answers_that_make_no_sense_are_told(body, words):
    with serving(plan=[(200, body)]) as served, pytest.raises(UserError, match=words):
        engine(served).generate([TALK], 1, ONE)


def test_a_server_that_does_not_answer_in_time_is_told():
    with serving(plan=[(200, None)]) as served, pytest.raises(UserError, match=r"gave no answer within 0\.05 s"):
        engine(served, timeout=0.05, retries=0, model="toy").generate([TALK], 1, ONE)


def test_no_server_is_told_with_its_address():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=f"no server answers at {url}"):
            HttpEngine(url, "toy", backoff=0.0, retries=1).generate([TALK], 1, ONE)


def test_the_key_comes_from_the_environment_and_is_in_no_error_or_log(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SHOP_KEY", "secret-42")
    with serving(plan=[(200, {"choices": [{"message": {"content": "hi"}}]}), (401, {"error": "bad key"})]) as served:
        writer = engine(served, api_key_variable="SHOP_KEY")
        writer.generate([TALK], 1, ONE)
        with pytest.raises(UserError, match=r"asks for a key \(401\).*SHOP_KEY holds a key that it does not accept") as refused:
            writer.generate([TALK], 1, ONE)
        monkeypatch.delenv("SHOP_KEY")
        served.plan = [(403, {})]
        with pytest.raises(UserError, match="SHOP_KEY is not set"):
            writer.generate([TALK], 1, ONE)
    assert served.keys == ["Bearer secret-42", "Bearer secret-42", None]
    assert "secret-42" not in caplog.text + str(refused.value) + repr(vars(writer)) + repr(vars(writer.client))


def test_models_are_found_or_named():
    with serving(models=("a", "b")) as served:
        with pytest.raises(UserError, match=r"has 2 models \(a, b\): name one"):
            engine(served)
        served.plan = [(404, {"error": {"message": "nope"}})]
        with pytest.raises(UserError, match=r"has no model 'c'; it has 2 models \(a, b\)"):
            engine(served, model="c").generate([TALK], 1, ONE)
    with serving(models=()) as served, pytest.raises(UserError, match="has no model: name one"):
        engine(served)


@pytest.mark.parametrize("url", ["ftp://x/v1", "localhost:8000", "http://"])
def test_addresses_that_are_none_are_refused(url):
    with pytest.raises(UserError, match="is no address of a server"):
        HttpEngine(url, "toy")
    with pytest.raises(UserError, match="PLAUDIT_API_KEY"):
        HttpEngine("http://me:word@127.0.0.1/v1", "toy")


def test_redirects_are_not_followed():
    with serving() as elsewhere, serving() as served:
        served.plan = [(307, {}, {"location": f"{elsewhere.url}/chat/completions"})]
        with pytest.raises(UserError, match=r"refuses the request \(307\)"):
            engine(served).generate([TALK], 1, ONE)
    assert not elsewhere.asked


def test_no_more_requests_at_a_time_than_allowed_and_progress_to_the_last():
    seen = []
    prompts = [Prompt(text=f"p{i}") for i in range(20)]
    with serving() as served:
        rows = engine(served, concurrency=3).generate(prompts, 2, ONE, lambda done, total: seen.append((done, total)))
    assert [row.text.split()[0] for row in rows] == [f"p{i}" for i in range(20) for _ in range(2)]
    assert served.busiest <= 3 and seen == [(2 * i, 40) for i in range(1, 21)]


def test_answers_that_the_server_cut_for_its_own_reasons_are_counted(caplog):
    with serving(finish="content_filter") as served:
        rows = engine(served).generate([TALK], 3, ONE)
    assert {row.finish_reason for row in rows} == {"stop"}
    assert "3 answers were ended" in caplog.text and "content_filter" in caplog.text
    with serving(finish="length") as served:
        assert engine(served).generate([TALK], 1, ONE)[0].truncated


def test_generate_and_the_registry_reach_it_by_url(tmp_path):
    from plaudit.cli.main import app

    assert find("engines", "http") is HttpEngine
    with serving() as served:
        assert isinstance(open_engine(f"{served.url}#toy"), HttpEngine)
        out = tmp_path / "said.jsonl"
        result = CliRunner().invoke(
            app, ["generate", f"{served.url}#toy", "-p", "hello", "-n", "2", "--output", str(out), "temperature=0.5"]
        )
        assert result.exit_code == 0, result.output
        shown = CliRunner().invoke(app, ["generate", served.url, "-p", "hello"]).output
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2 and rows[0]["text"].startswith("hello 你好") and rows[0]["policy"].startswith("toy@")
    assert "hello 你好" in shown and "0 tokens" not in shown
