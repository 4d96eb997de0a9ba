"""What a classifier's predictions are worth: confusion, accuracy, precision, recall and F1, with intervals. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plaudit.stats import wilson


@dataclass(frozen=True)
class ClassificationReport:
    """confusion[a][p]: rows of class a of which p was said. Everything else follows from it."""

    classes: tuple[str, ...]
    confusion: np.ndarray

    @staticmethod
    def of(labels: Sequence[int], said: Sequence[int], classes: Sequence[str]) -> ClassificationReport:
        """From the classes' numbers of each row. ValueError where the two are not equally many."""
        table = np.zeros((len(classes), len(classes)), dtype=int)
        for label, prediction in zip(labels, said, strict=True):
            table[label, prediction] += 1
        return ClassificationReport(tuple(classes), table)

    @property
    def rows(self) -> int:
        return int(self.confusion.sum())

    def per_class(self) -> list[dict[str, Any]]:
        """For each class: rows, precision and recall with their Wilson intervals (95 %), F1; None where nothing was counted."""
        return [self._of_class(number) for number in range(len(self.classes))]

    def _of_class(self, number: int) -> dict[str, Any]:
        right = int(self.confusion[number, number])
        rows, said = int(self.confusion[number].sum()), int(self.confusion[:, number].sum())
        return {
            "class": self.classes[number],
            "rows": rows,
            **_share("precision", right, said),
            **_share("recall", right, rows),
            "f1": 2 * right / (rows + said) if rows + said else None,
        }

    def as_json(self) -> dict[str, Any]:
        """All figures, as JSON. Micro F1 is the accuracy, since each row has one label; macro F1 leaves out classes that were
        neither there nor said."""
        each = self.per_class()
        scores = [one["f1"] for one in each if one["f1"] is not None]
        weighted = sum(one["f1"] * one["rows"] for one in each if one["f1"] is not None)
        return {
            "rows": self.rows,
            **_share("accuracy", int(np.trace(self.confusion)), self.rows),
            "f1_macro": sum(scores) / len(scores) if scores else None,
            "f1_micro": int(np.trace(self.confusion)) / self.rows if self.rows else None,
            "f1_weighted": weighted / self.rows if self.rows else None,
            "per_class": each,
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
        }


def _share(name: str, right: int, count: int) -> dict[str, Any]:
    if not count:
        return {name: None, f"{name}_ci": None}
    interval = wilson(right, count)
    return {name: right / count, f"{name}_ci": [interval.low, interval.high]}
