"""A talk in the terminal, with a replayed model that answers by what it was shown."""

from __future__ import annotations

import io

import pytest

from plaudit.cli.chat import spoken, talk
from plaudit.cli.main import main
from plaudit.schema import Completion, Message, Sampling, UserError


class Parrot:
    """An engine that says back all it was shown, with the seed; too long from four messages on."""

    version, returns_token_ids = "parrot", True

    def generate(self, prompts, n, sampling, progress=None):
        (prompt,) = prompts
        if len(prompt.messages) > 4:
            raise UserError("the prompt is too long")
        text = " ".join(m.content for m in prompt.messages) + f" #{sampling.seed} "
        return [Completion(prompt.id, text, (1,), (2,), (0.0,), "length" if "cut" in text else "stop")]

    def load(self, weights, version):
        raise AssertionError("a talk changes no weights")


def test_the_dialogue_is_kept_begun_anew_and_survives_its_end():
    lines = iter(["a", "b", "c", "/new", "d", "cut"])
    answers = list(talk(Parrot(), lines, Sampling(seed=5), (Message("system", "S"),)))
    assert answers[0] == "S a #5"
    assert answers[1] == "S a S a #5 b #6"
    assert answers[2] == "(the prompt is too long)"
    assert answers[3:5] == ["(a new dialogue)", "S d #9"]
    assert answers[5].endswith(" …")


def test_lines_end_at_quit_or_at_the_end_of_input():
    typed = iter([" hello ", "", "/quit", "never"])
    assert list(spoken(lambda _: next(typed))) == ["hello"]

    def ended(_):
        raise EOFError

    assert list(spoken(ended)) == []


def test_a_talk_with_the_tiny_model(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n/new\nHello\n"))
    with pytest.raises(SystemExit) as end:
        main(["chat", "tiny", "max_new_tokens=4", "temperature=0"])
    lines = capsys.readouterr().out.split("\n\n")
    assert not end.value.code and lines[0].endswith(lines[2]) and lines[1] == "(a new dialogue)"
