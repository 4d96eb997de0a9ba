"""Classification: a label for each text, from a head at its last token.

    p(c | x) = softmax(W h(x))_c
    L = - (1 - eps) w_y log p(y | x) - eps w_y mean_c log p(c | x)      eps: Szegedy et al. 2016, arXiv:1512.00567, sec. 7
    w_y = n / (C n_y)  with class_weights=balanced (King and Zeng 2001, sec. 3.2; scikit-learn's rule), else 1

The mean is over the rows of the optimiser step, by their weights. Evaluations go by macro F1, which a model that always says
the most frequent class cannot win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt

from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import masked
from plaudit.core.batch import Batch, Outputs
from plaudit.schema import Label, UserError


@config
class ClassifyConfig:
    """Options of classification fine-tuning."""

    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """eps: share of each label that is spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rows of rare classes weigh more, so that every class has the same weight in all."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 2e-5, "lora_learning_rate": 2e-4, "num_train_epochs": 3.0}
    )


class Classify(Algorithm):
    Config = ClassifyConfig
    eats = "labels"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"classifier": frozenset({"classes"})})
    dropout = True
    best = ("eval_f1_macro", True)
    shown = ("loss", "accuracy")
    classes: tuple[str, ...] = ()
    """Names of the classes, by number."""
    class_weight: tuple[float, ...] = ()

    def study(self, items: Sequence[Label], held_out: Sequence[Label], classes: Sequence[str] = ()) -> None:
        """Which classes there are, and what their rows weigh."""
        values = [item.value for item in (*items, *held_out)]
        if odd := next((value for value in values if value != int(value) or value < 0), None):
            raise UserError(f"classify needs classes: names, or whole numbers from 0; there is the label {odd:g}")
        count = max(len(classes), 1 + int(max(values)))
        self.classes = tuple(classes) or tuple(str(number) for number in range(count))
        present = [0] * count
        for item in items:
            present[int(item.value)] += 1
        if sum(n > 0 for n in present) < 2:
            raise UserError("classify needs two classes or more; every training row has the same label")
        self.width = count
        even = len(items) / sum(n > 0 for n in present)
        balanced = self.options.class_weights == "balanced"
        self.class_weight = tuple(even / n if balanced and n else 1.0 for n in present)

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs the side label; adds the weight."""
        weight = batch["weight"] if "weight" in batch.sides else torch.ones_like(batch["label"])
        if self.options.class_weights == "balanced":
            weight = weight * weight.new_tensor(self.class_weight)[batch["label"].long()]
        return batch.with_(weight={"cross_entropy": weight})

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert outputs.classes is not None
        smoothing = self.options.label_smoothing
        return {
            "cross_entropy": F.cross_entropy(
                outputs.classes, batch["label"].long(), reduction="none", label_smoothing=smoothing
            )
        }

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        """Counts that add up over micro-batches: of each class its rows, its predictions, and where both agree."""
        assert outputs.classes is not None
        label, said = batch["label"].long(), outputs.classes.argmax(-1)
        one = torch.ones_like(batch["label"])
        found = {"accuracy": Moments.of((label == said).to(one.dtype), one)}
        for number in torch.cat([label, said]).unique().tolist():
            here = {"rows": label == number, "said": said == number, "right": (label == number) & (said == number)}
            found |= {f"{what}/{number}": Moments.of(flag.to(one.dtype), one) for what, flag in here.items()}
        return found

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        """Accuracy, and the mean F1 over the classes that came up as label or prediction."""
        scores = []
        for name, rows in moments.items():
            kind, _, number = name.partition("/")
            if kind == "rows":
                scores.append(2 * moments[f"right/{number}"].total / (rows.total + moments[f"said/{number}"].total))
        return {"accuracy": moments["accuracy"].mean, "f1_macro": sum(scores) / len(scores)}
