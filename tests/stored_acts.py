"""Prompts, answers and acts of feedback that the store's tests fill it with."""

from dataclasses import replace

import pytest

from plaudit.schema import Assignment, Completion, Feedback, Message, Prompt, Sampling
from plaudit.store import Store

FILES = pytest.mark.parametrize("path", ["sqlite"], indirect=True)
"""What can happen to a file only."""
LATE = Prompt(messages=(Message("user", "Wo ist Bestellung 1182? 订单"),), meta={"template": "late-1", "n": [1, 2]})
PLAIN = Prompt(text="Once upon a time")
SETTINGS = Sampling(max_new_tokens=8, temperature=0.7, top_k=5, stop=("\n\n", "END"), stop_token_ids=(2, 7), seed=3)


def answer(place, prompt=LATE, text="On its way."):
    return Completion(
        prompt.id, f"{text} {place}", (1, 5, 49151), (17, 4, 2), (-0.1, -1 / 3, -1e-300), "stop", "run-1@4", place, 11, SETTINGS
    )


def act(choice="a", annotator="ada", **changes):
    shown = Assignment(LATE.id, (answer(0).id, answer(1).id), reason="random")
    return replace(
        Feedback(shown, {"choice": choice, "strength": 2}, annotator, "human", 4.5, "2026-11-22T10:00:00Z"), **changes
    )


def fill(path, *acts):
    with Store(path) as store:
        store.add_prompts([LATE, PLAIN])
        store.add_completions([answer(0), answer(1), answer(0, PLAIN, "there was")])
        store.add_feedback(acts)
