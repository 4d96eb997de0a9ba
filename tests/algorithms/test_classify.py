"""Classification: loss and metrics by hand, the folder as transformers reads it, and what a user sees."""

import json
import math

import pytest
import torch

from plaudit.algorithms.base import Moments
from plaudit.algorithms.classify import Classify, ClassifyConfig
from plaudit.cli.main import main
from plaudit.config import load
from plaudit.core.batch import Outputs, from_rows
from plaudit.data.encode import encode_labels
from plaudit.data.readers import read_labels
from plaudit.models.classifier import load_classifier
from plaudit.schema import Label, Prompt, UserError
from plaudit.training.run import sections, train
from plaudit.training.steplog import added

F64 = torch.float64


def labels(*values):
    return [Label(Prompt(text="q"), "a", float(value)) for value in values]


def made(*values, **options):
    algorithm = Classify(ClassifyConfig(**options))
    algorithm.study(labels(*values), [])
    return algorithm


def batch(*values, **sides):
    sides = {"label": [float(v) for v in values], **sides}
    return from_rows([[5, 6]] * len(values), [[0, 1]] * len(values), sides=sides, dtype=F64)


def logits(*rows):
    return Outputs(classes=torch.tensor(rows, dtype=F64).log())


THREE = logits([0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.8, 0.1, 0.1])


def value(algorithm, rows, out):
    prepared = algorithm.prepare(rows)
    prepared = prepared.normalised({name: float(total) for name, total in prepared.sums().items()})
    return sum(float((term * prepared.weight[name]).sum()) for name, term in algorithm.loss(out, prepared).items())


def test_the_loss_by_hand():
    assert value(made(0, 1, 2), batch(0, 1, 0), THREE) == pytest.approx(-(math.log(0.5) + math.log(0.2) + math.log(0.8)) / 3)


def test_label_smoothing_and_row_weights_by_hand():
    algorithm = made(0, 1, 2, label_smoothing=0.3)
    spread = [
        -(math.log(0.5) + 2 * math.log(0.25)) / 3,
        -(2 * math.log(0.2) + math.log(0.6)) / 3,
    ]
    each = [-0.7 * math.log(0.5) + 0.3 * spread[0], -0.7 * math.log(0.2) + 0.3 * spread[1]]
    two = Outputs(classes=THREE.classes[:2])
    assert value(algorithm, batch(0, 1, weight=[3.0, 1.0]), two) == pytest.approx((3 * each[0] + each[1]) / 4)


def test_balanced_weights_give_each_class_the_same_in_all():
    algorithm = made(0, 0, 0, 1, class_weights="balanced")
    assert algorithm.class_weight == pytest.approx((4 / 6, 4 / 2))
    prepared = algorithm.prepare(batch(0, 0, 0, 1))
    assert prepared.weight["cross_entropy"].tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])


def test_metrics_by_hand_and_over_micro_batches():
    """Labels 0 0 0 1 1 2, said 0 0 1 1 0 1: F1 of 0 is 2/3, of 1 is 2/5, of 2 is 0."""
    algorithm, label, said = made(0, 1, 2), [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 1]
    eye = torch.eye(3, dtype=F64)

    def moments(rows):
        return algorithm.metrics(Outputs(classes=eye[[said[r] for r in rows]]), batch(*(label[r] for r in rows)))

    found = algorithm.summarise(moments(range(6)))
    assert found == {"accuracy": 0.5, "f1_macro": pytest.approx((2 / 3 + 2 / 5 + 0) / 3)}
    parts = added(added(moments([0]), moments([5, 1, 2])), moments([3, 4]))
    # a class that a micro-batch did not see must not go missing from the sum
    parts = {name: parts.get(name, Moments()) for name in moments(range(6))}
    assert algorithm.summarise(parts) == pytest.approx(found)


@pytest.mark.parametrize(
    ("values", "said"),
    [((0.5, 1), "there is the label 0.5"), ((-1, 1), "there is the label -1"), ((1, 1, 1), "every training row has the same")],
)
def test_labels_that_are_no_classes(values, said):
    with pytest.raises(UserError, match=said):
        made(*values)


# -- runs ---------------------------------------------------------------------------------------------------------------------

TOPICS = {"order": "late", "refund": "money", "password": "account"}


def rows(first, last):
    return [{"text": f"Where is my {what} {i}?", "label": label} for i in range(first, last) for what, label in TOPICS.items()]


@pytest.fixture(scope="module", params=[False, True], ids=["full", "lora"])
def trained(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("classify")
    for name, part in (("train", rows(0, 16)), ("test", rows(16, 24))):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    classes, defaults = sections("classify")
    words = ["model_name_or_path=tiny", f"use_peft={str(request.param).lower()}", "max_steps=30", "bf16=false"]
    words += [f"train_file={root / 'train.jsonl'}", f"output_dir={root / 'run'}", "learning_rate=1e-2", "eval_steps=10"]
    return root, train("classify", load(classes, None, [*words, f"eval_file={root / 'test.jsonl'}"], defaults))


def test_it_learns_and_says_how_well(trained):
    root, summary = trained
    assert summary["best"]["eval_f1_macro"] >= 0.9
    report = json.loads((root / "run" / "held_out.json").read_text())
    assert report["classes"] == ["account", "late", "money"] and report["rows"] == 24
    assert report["f1_macro"] == pytest.approx(summary["best"]["eval_f1_macro"])
    assert [sum(row) for row in report["confusion"]] == [8, 8, 8]
    log = [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]
    assert log[0]["eval_loss"] == pytest.approx(math.log(3)), "heads start at 0"


def test_transformers_reads_it_with_equal_logits_and_names(trained):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    root, _ = trained
    theirs = AutoModelForSequenceClassification.from_pretrained(root / "run" / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(root / "run" / "model")
    assert theirs.config.id2label == {0: "account", 1: "late", 2: "money"}
    assert theirs.config.label2id == {"account": 0, "late": 1, "money": 2}
    ours = load_classifier(root / "run", torch.device("cpu"))
    items = read_labels(root / "test.jsonl", classes=ours.classes)
    encoded = [item.rows[0].ids for item in encode_labels(tokenizer, items)[0]]
    assert all(ids[-1] != theirs.config.pad_token_id for ids in encoded)
    chances = ours(encoded)
    for ids, ours_here in zip(encoded, chances, strict=True):
        with torch.no_grad():
            alone = theirs(torch.tensor([ids])).logits[0].softmax(-1)
        assert ours_here.tolist() == pytest.approx(alone.tolist(), abs=1e-5)
    report = json.loads(
        (root / "run" / "held_out.json").read_text()
    )  # by the networks that were trained, before they were saved
    confusion = torch.zeros(3, 3, dtype=torch.long)
    for item, number in zip(items, chances.argmax(-1).tolist(), strict=True):
        confusion[int(item.value), number] += 1
    assert confusion.tolist() == report["confusion"]


def shell(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


def test_the_verb_reports_and_predicts(trained, capsys, tmp_path):
    root, _ = trained
    written = tmp_path / "new" / "said.jsonl"
    code, out, err = shell(capsys, "classify", root / "run", root / "test.jsonl", "--json", "-o", written)
    found = json.loads(out)
    assert code == 0 and found["rows"] == 24 and found["accuracy"] >= 0.9, err
    assert found["accuracy_ci"][0] <= found["accuracy"] <= found["accuracy_ci"][1]
    said = [json.loads(line) for line in written.read_text().splitlines()]
    assert [row["class"] for row in said] == [one["class"] for one in found["predictions"]]
    assert said[0]["text"] == "Where is my order 16?" and 0 < said[0]["probability"] <= 1
    plain = tmp_path / "plain.jsonl"
    plain.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows(16, 24)))
    code, out, _ = shell(capsys, "classify", root / "run" / "model", plain, "--json")
    assert code == 0 and json.loads(out)["predictions"] == found["predictions"]
    code, out, _ = shell(capsys, "classify", root / "run", root / "test.jsonl")
    assert code == 0 and "money" in out and "f1_macro" in out


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{"text": "a", "label": "late"}, {"text": "b"}], "row 2: has no label"),
        ([{"text": "a", "label": "lost"}], "one of the classes"),
        ([{"text": "a", "label": 7}], "none of the model's 3 classes"),
        ([{"question": "a"}], "needs the columns text"),
    ],
)
def test_rows_it_cannot_classify(trained, capsys, tmp_path, lines, said):
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, _, err = shell(capsys, "classify", trained[0] / "run", path)
    assert code == 2 and said in err and "Traceback" not in err


def test_folders_that_hold_no_classifier(capsys, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    code, _, err = shell(capsys, "classify", tmp_path / "nowhere", tmp_path / "rows.jsonl")
    assert code == 2 and "no model folder" in err
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    code, _, err = shell(capsys, "classify", tmp_path, tmp_path / "rows.jsonl")
    assert code == 2 and "not a classifier" in err
