"""Charts: ticks, axes, gaps, one point, none, several lines."""

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.evaluation.report import Curve, curve
from plaudit.evaluation.report.curves import (
    BOTTOM,
    HEIGHT,
    HOVERS,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    band_words,
    chart,
    frame,
    nice_ticks,
    segments,
    tick_label,
)

NAN = float("nan")


def svg(text: str) -> ET.Element:
    return ET.fromstring(re.search(r"<svg viewBox=\"0 0 360.*?</svg>", text, re.S).group(0))


def by_class(root: ET.Element, name: str) -> list[ET.Element]:
    return [e for e in root.iter() if name in e.get("class", "").split()]


def test_ticks_by_hand():
    assert nice_ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert nice_ticks(0, 8) == [0, 2, 4, 6, 8]
    assert nice_ticks(-0.23, 0.41) == [-0.2, 0.0, 0.2, 0.4]
    assert nice_ticks(1, 800_002) == [200_000, 400_000, 600_000, 800_000]
    assert nice_ticks(3, 3) == [3]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_even_and_inside(low, span):
    ticks = nice_ticks(low, low + span)
    step = ticks[1] - ticks[0]
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-6 * span <= t <= low + span * (1 + 1e-6) for t in ticks)
    assert all(math.isclose(b - a, step, rel_tol=1e-5, abs_tol=1e-9) for a, b in pairwise(ticks))


def test_tick_labels_have_the_decimals_of_the_step():
    assert [tick_label(t, [-0.5, 0, 0.5, 1]) for t in (-0.5, 0, 1)] == ["−0.5", "0.0", "1.0"]
    assert tick_label(1500, [1000, 1500]) == "1\u202f500"


def test_axes_by_hand():
    # Values 0 to 10 with 8 % air: -0.8 to 10.8. The lowest value lies 0.8/11.6 above the bottom of the plot.
    axes = frame([(0, 0.0), (4, 10.0)], None)
    assert axes.y == pytest.approx((-0.8, 10.8))
    assert (axes.px(0), axes.px(4), axes.px(1)) == (LEFT, WIDTH - RIGHT, LEFT + (WIDTH - LEFT - RIGHT) / 4)
    assert axes.py(0) == pytest.approx(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * 0.8 / 11.6)
    assert axes.py(10) < axes.py(0), "up is more"


def test_a_far_healthy_band_does_not_flatten_the_line():
    near, far = [(0, 1.0), (1, 2.0)], [(0, 0.01), (1, 0.02)]
    assert frame(near, (0, 2.5)).y == pytest.approx((-0.2, 2.7))
    assert frame(far, (0, 10)).y[1] < 0.03
    assert by_class(svg(chart(Curve("a", "b", far, (0, 10)))), "band"), "the part that is in sight is drawn"
    assert not by_class(svg(chart(Curve("a", "b", far, (5, 10)))), "band"), "a band out of sight is not"


def test_gaps_cut_the_line_and_are_counted():
    points = [(0, 1.0), (1, 2.0), (2, NAN), (3, 2.5), (4, math.inf), (5, 3.0), (6, 4.0)]
    assert segments(points) == [[(0, 1.0), (1, 2.0)], [(3, 2.5)], [(5, 3.0), (6, 4.0)]]
    text = chart(Curve("KL", "nats", points))
    root = svg(text)
    (line,) = by_class(root, "line")
    assert line.get("d").count("M") == 2
    assert len(by_class(root, "dot")) == 2, "the lone point and the last one"
    assert "2 values not finite" in text
    assert "nan" not in text.lower() and "inf" not in text.lower()


def test_final_value_extremes_and_words_for_those_who_do_not_see():
    text = chart(curve("kl", [(0, 0.5), (10, 7.25), (20, 6.0)]))
    assert "<strong>6</strong>" in text and "nats per answer" in text
    assert "Lowest 0.500 at step 0, highest 7.25 at step 10; healthy range 0 to 10." in text
    assert svg(text).get("aria-label") == "KL to the reference, nats per answer. 0.500 at step 0, 6 at step 20."
    assert svg(text).get("role") == "img"


def test_one_point_is_a_dot_with_one_tick():
    text = chart(Curve("a", "u", [(7, 0.12)]))
    root = svg(text)
    assert not by_class(root, "line") and len(by_class(root, "dot")) == 1
    assert [t.text for t in by_class(root, "tick") if "step" in t.text] == ["step 7"]
    assert "One measurement, at step 7." in text


@pytest.mark.parametrize("points", [[], [(0, NAN)], [(0, NAN), (1, math.inf)]])
def test_nothing_measured_is_said(points):
    text = chart(Curve("a", "u", points))
    assert "No measurements" in text and "<strong>–</strong>" in text and "viewBox" not in text


def test_several_lines_share_axes_and_each_names_its_last_value():
    text = chart(
        Curve("Loss", "nats", [(0, 3.0), (10, 1.5)], label="train", others={"held-out": [(0, 3.1), (8, 1.75)], "none": []})
    )
    root = svg(text)
    assert {e.get("class") for e in by_class(root, "line")} == {"line s0", "line s1"}
    assert re.search(r"train <strong>1.50</strong>.*held-out <strong>1.75</strong>.*none <strong>–</strong>", text, re.S)
    titles = [e.text for e in root.iter("title")]
    assert titles == ["step 0: train 3; held-out 3.10 nats", "step 8: held-out 1.75 nats", "step 10: train 1.50 nats"]


def test_hover_places_are_thinned_but_the_last_stays_and_they_tile_the_plot():
    root = svg(chart(Curve("a", "u", [(s, s / 7) for s in range(1001)])))
    strips = [e.find("rect") for e in by_class(root, "at")]
    assert 50 < len(strips) <= HOVERS
    assert list(root.iter("title"))[-1].text.startswith("step 1\u202f000:")
    assert sum(float(s.get("width")) for s in strips) == pytest.approx(WIDTH - LEFT - RIGHT, abs=0.1 * len(strips))


def test_a_flat_line_has_room_around_it():
    for value in (0.0, 5.0, -3e-9, 1e9):
        axes = frame([(0, value), (1, value)], None)
        assert axes.y[0] < value < axes.y[1]


def test_bands_in_words():
    assert [band_words(b) for b in ((0, 10), (0.2, None), (None, -1.5), (None, None), None)] == [
        "0 to 10",
        "above 0.2",
        "below −1.5",
        "",
        "",
    ]
