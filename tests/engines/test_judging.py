"""A judge model behind a real server: pairs, stars, rankings; what fails is counted, and one that is gone is said."""

from __future__ import annotations

import re
from threading import Event

import pytest

from openai_server import serving
from plaudit.engines.judging import Judge
from plaudit.judgements.ai_forms import Question
from plaudit.schema import Assignment, Prompt, UserError


def pairs(number):
    """The better answer holds `good`; it stands first in every other pair."""
    return [
        Question(Assignment(f"p{i}", ("x", "y")), Prompt(text=f"q{i}"), ("good", "bad") if i % 2 else ("bad", "good"))
        for i in range(number)
    ]


def honest(said):
    """Finds `good` wherever it stands."""
    first = re.search(r"<A \w+>\n(.*)\n</A", said)[1]
    return f"Because.\n[[{'A' if first == 'good' else 'B'}]]", "stop"


def test_both_orders_are_asked_and_an_honest_judge_is_steady():
    with serving(says=honest) as server:
        judge = Judge(f"{server.url}#toy", retries=0)
        found = sorted(judge.ask(pairs(4), concurrency=2), key=lambda one: one.shown.prompt_id)
    assert len(server.asked) == 8 and {body["temperature"] for _, body in server.asked} == {0}
    assert [one.act.judgement["choice"] for one in found] == ["b", "a", "b", "a"]
    assert all(one.act.source == "judge" and one.act.judgement["comment"].startswith("Because") for one in found)
    assert all(
        one.act.judgement["orders"] in (["a", "a"], ["b", "b"]) and one.act.annotator == judge.annotator for one in found
    )


def test_a_judge_that_favours_a_place_gives_ties():
    with serving(says=lambda said: ("[[A]]", "stop")) as server:
        found = list(Judge(f"{server.url}#toy").ask(pairs(3)))
    assert [one.act.judgement["choice"] for one in found] == ["tie"] * 3
    assert {tuple(one.act.judgement["orders"]) for one in found} == {("a", "b")}


def test_what_fails_is_counted_and_the_others_go_on():
    def says(said):
        return ("I cannot choose.", "stop") if "q1" in said else honest(said)

    with serving(says=says, plan=[(400, {"error": "no"})]) as server:
        found = list(Judge(f"{server.url}#toy", retries=0).ask(pairs(4), concurrency=1))
    assert sorted(one.failure for one in found) == ["", "", "no verdict", "refused"]
    assert [one.said for one in found if one.failure == "no verdict"] == ["I cannot choose."]


def lengths(said):
    """Ranks the answers by their length, equal ones together, and rates an answer by it, at most five."""
    answers = re.findall(r"<(\w+) \w+>\n(.*?)\n</", said, re.DOTALL)[1:]
    groups = {}
    for letter, text in sorted(answers, key=lambda one: -len(one[1])):
        groups.setdefault(len(text), []).append(letter)
    if [letter for letter, _ in answers] == ["answer"]:
        return f"[[S1={len(answers[0][1])}, S2=2, S3=2]]", "stop"
    return f"By length. [[{' > '.join(' = '.join(group) for group in groups.values())}]]", "stop"


def question(kind, *texts, aspects=()):
    return Question(Assignment("p", tuple(f"c{i}" for i in range(len(texts))), kind), Prompt(text="q"), texts, aspects)


def test_a_ranking_is_asked_both_ways_round_and_read_in_the_places_shown():
    with serving(says=lengths) as server:
        (one,) = Judge(f"{server.url}#toy", retries=0).ask([question("ranking", "aa", "aaaa", "bb", "a")])
    assert one.act.judgement["order"] == [[1], [0, 2], [3]] and one.act.judgement["orders"] == [[[1], [0, 2], [3]]] * 2
    assert len(server.asked) == 2 and one.act.source == "judge" and one.act.assignment.kind == "ranking"


def test_a_judge_that_ranks_by_place_ranks_nothing():
    with serving(says=lambda said: ("[[A > B > C]]", "stop")) as server:
        (one,) = Judge(f"{server.url}#toy", retries=0).ask([question("ranking", "x", "y", "z")])
    assert one.act.judgement["order"] == [[0, 1, 2]] and one.act.judgement["orders"] == [[[0], [1], [2]], [[2], [1], [0]]]


def test_an_answer_is_rated_as_a_whole_and_by_aspect():
    with serving(says=lengths) as server:
        judge = Judge(f"{server.url}#toy", retries=0)
        found = list(judge.ask([question("rating", "x" * n, aspects=("helpful", "safe")) for n in (1, 4, 6)], concurrency=1))
    numbers = [sorted([one.act.judgement["stars"], *one.act.judgement["aspects"].values()]) for one in found[:2]]
    assert numbers == [[1, 2, 2], [2, 2, 4]] and set(found[0].act.judgement["aspects"]) == {"helpful", "safe"}
    assert found[2].act is None and found[2].failure == "no verdict", "six stars are none"
    assert len(server.asked) == 3 and all("helpful" in body["messages"][0]["content"] for _, body in server.asked)


@pytest.mark.parametrize("kind", ["rating", "ranking"])
def test_what_is_no_verdict_is_counted_and_never_written(kind):
    texts = ("one",) if kind == "rating" else ("one", "two", "three")
    with serving(says=lambda said: ("I am not able to judge this.", "stop"), plan=[(400, {"error": "no"})]) as server:
        found = list(Judge(f"{server.url}#toy", retries=0).ask([question(kind, *texts)] * 3, concurrency=1))
    assert sorted(one.failure for one in found) == ["no verdict", "no verdict", "refused"] and not any(one.act for one in found)


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{"message": None}]}, [1]])
def test_what_is_no_answer_is_a_failure(body):
    with serving(plan=[(200, body)]) as server:
        (one,) = Judge(f"{server.url}#toy", retries=0).ask(pairs(1), concurrency=1)
    assert one.act is None and one.failure == "no answer" and "no chat completion" in one.said


def test_a_judge_that_is_gone_is_not_asked_for_ever():
    with serving() as server:
        url = server.url
    with pytest.raises(UserError, match="failed 5 times in a row: no server answers"):
        list(Judge(f"{url}#toy", retries=0).ask(pairs(50), concurrency=1))


def test_a_judge_that_is_stopped_asks_no_more():
    stop = Event()
    with serving(says=honest) as server:
        for _ in Judge(f"{server.url}#toy").ask(pairs(50), concurrency=1, stop=stop):
            stop.set()
        assert len(server.asked) < 20


@pytest.mark.parametrize("name", ["toy", "http://127.0.0.1:1/v1", "ftp://x#toy", "http://user:secret@x/v1#toy"])
def test_a_name_that_is_no_judge_is_refused(name):
    with pytest.raises(UserError, match=r"URL#MODEL|address|password"):
        Judge(name)
