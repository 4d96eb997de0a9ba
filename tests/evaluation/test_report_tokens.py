"""The per-token view and the answers side by side."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.evaluation.report import Answer, Comparison, TokenTrace
from plaudit.evaluation.report.answers import DIFF_LIMIT, comparison, word_diff
from plaudit.evaluation.report.tokens import scale, shade, trace

NAN = float("nan")


def classes(text: str) -> list[str]:
    return re.findall(r'<span class="tok (\w+)"', text)


def test_scale_is_the_95th_percentile_so_that_the_final_score_does_not_grey_the_rest():
    # 20 absolute values: the 95th percentile by nearest rank is the 19th.
    values = [-0.01 * k for k in range(1, 20)] + [9.0]
    assert scale(values) == pytest.approx(0.19)
    assert scale([0.0] * 30 + [2.0]) == 2.0, "all but one are zero: the one sets the scale"
    assert scale([0.0]) == scale([]) == scale([None, NAN]) == 0.0


def test_shades_by_hand():
    assert [shade(v, 0.8) for v in (0.8, 0.6, -0.4, -0.2, 0.05, 7.0, -7.0)] == ["p4", "p3", "n2", "n1", "z", "p4", "n4"]
    assert [shade(v, 0.8) for v in (None, NAN, float("inf"))] == ["none"] * 3
    assert shade(0.0, 0.0) == "z"


def test_colours_show_the_default_stream_and_carry_every_other():
    shown = TokenTrace(["Hi", " you"], {"kl": [0.0, 1.0], "advantage": [1.0, -1.0]})
    text = trace(shown)
    assert classes(text) == ["p4", "n4"], "the advantage is shown unless another is named"
    assert re.findall(r'data-c="([^"]+)"', text) == ["z p4", "p4 n4"]
    assert classes(trace(TokenTrace(shown.tokens, shown.streams, default="kl"))) == ["z", "p4"]
    assert re.search(r'value="1"[^>]* checked><span>advantage', text)


def test_every_value_is_readable_without_script():
    text = trace(TokenTrace(["Hi", "\n"], {"kl": [0.25, None], "reward": [-0.5, 1.31]}))
    cells = re.findall(r'<td class="num">([^<]*)</td>', text)
    assert cells == ["1", "0.250", "−0.500", "2", "–", "1.31"]
    assert 'title="token 1: “Hi”\nkl 0.250\nreward −0.500"' in text


def test_hostile_tokens_and_stream_names():
    text = trace(TokenTrace(['"><b onclick=x>', "\x00", "\u202e", ""], {"<i>": [1.0, 2.0, 3.0, 4.0]}))
    assert "<b" not in text.replace('<b class="which">', "") and "<i>" not in text
    assert "␀" in text and "⟨U+202E⟩" in text and "∅" in text


def test_streams_must_speak_of_every_token():
    with pytest.raises(ValueError, match="'kl' has 1 values for 2 tokens"):
        TokenTrace(["a", "b"], {"kl": [0.1]})
    with pytest.raises(ValueError, match="default stream 'x'"):
        TokenTrace(["a"], {"kl": [0.1]}, default="x")


def test_an_answer_without_tokens_or_streams():
    assert "no tokens" in trace(TokenTrace([], {"kl": []}))
    assert classes(trace(TokenTrace(["a"], {}))) == ["none"]


def test_diff_by_hand():
    old, new = word_diff("Your order is late.", "Your blue order is on time.")
    assert old == [("Your", False), (" order is", False), (" late.", True)]
    assert new == [("Your", False), (" blue", True), (" order is", False), (" on time.", True)]


@given(st.text(alphabet="ab \n", max_size=30), st.text(alphabet="ab \n", max_size=30))
def test_diff_loses_no_character(before, after):
    old, new = word_diff(before, after)
    assert "".join(text for text, _ in old) == before
    assert "".join(text for text, _ in new) == after


def test_very_long_answers_are_shown_without_a_diff():
    text = "word " * (DIFF_LIMIT + 1)
    assert word_diff(text, "x") == ([(text, False)], [("x", False)])


def test_comparison_shows_models_in_order_with_their_scores():
    text = comparison(
        Comparison("Q", Answer("old", {"gold": 0.5}), Answer("new", {"gold": None}), Answer("raw", truncated=True))
    )
    assert re.findall(r"<h4>([^<]+)</h4>", text) == ["Untouched model", "Before PPO (SFT)", "After PPO"]
    assert re.findall(r"<dd>([^<]+)</dd>", text) == ["0.50", "–"]
    assert text.count("cut off") == 1
    assert "(empty answer)" in comparison(Comparison("Q", Answer(""), Answer("x")))
