import pytest

from plaudit.evaluation.classification import ClassificationReport
from plaudit.stats import wilson


def test_a_report_by_hand():
    """Labels 0 0 0 1 1 2, said 0 0 1 1 0 1."""
    report = ClassificationReport.of([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 1], ("a", "b", "c"))
    found = report.as_json()
    assert found["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    a, b, c = found["per_class"]
    assert (a["rows"], a["precision"], a["recall"], a["f1"]) == (3, 2 / 3, 2 / 3, pytest.approx(2 / 3))
    assert (b["rows"], b["precision"], b["recall"], b["f1"]) == (2, 1 / 3, 1 / 2, pytest.approx(2 / 5))
    assert (c["rows"], c["precision"], c["precision_ci"], c["recall"], c["f1"]) == (1, None, None, 0.0, 0.0)
    assert a["recall_ci"] == list(wilson(2, 3)[1:]) and 0 <= a["recall_ci"][0] < 2 / 3 < a["recall_ci"][1] <= 1
    assert found["accuracy"] == found["f1_micro"] == 0.5
    assert found["f1_macro"] == pytest.approx((2 / 3 + 2 / 5) / 3)
    assert found["f1_weighted"] == pytest.approx((3 * 2 / 3 + 2 * 2 / 5) / 6)


def test_a_class_that_never_came_up_does_not_lower_the_mean():
    found = ClassificationReport.of([0, 1], [0, 1], ("a", "b", "c")).as_json()
    assert found["f1_macro"] == 1.0 and found["per_class"][2]["f1"] is None


def test_no_rows_at_all_and_rows_that_do_not_match():
    found = ClassificationReport.of([], [], ("a", "b")).as_json()
    assert found["accuracy"] is None and found["f1_macro"] is None
    with pytest.raises(ValueError):
        ClassificationReport.of([0], [0, 1], ("a", "b"))
