"""lm-evaluation-harness with a Plaudit model and with its own Hugging Face backend: the same figures on local tasks."""

import json

import pytest

pytestmark = pytest.mark.slow
lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: make lm-eval")

CHOICE = """
task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{label}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLLING = """
task: local_prose
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""
WRITE = """
task: local_write
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: ["e "], max_gen_toks: 12}
metric_list: [{metric: exact_match}]
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The results of both backends, samples included."""
    import datasets
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from plaudit.evaluation.lm_eval_model import PlauditLM
    from plaudit.evaluation.tasks import read_task
    from plaudit.models.load import load, save_model

    folder = tmp_path_factory.mktemp("harness")
    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    loaded = load("tiny")
    save_model(loaded.model, loaded.tokenizer, folder / "model")
    prose = [row["text"] for row in read_task("prose").rows]
    rows = [
        {
            "question": row["question"],
            "choices": [f" {c}" for c in row["choices"]],
            "label": i % 4,
            "text": " ".join(prose[i : i + 9]),
        }
        for i, row in enumerate(read_task("facts").rows[:12])
    ]
    (folder / "rows.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in (("choice", CHOICE), ("prose", ROLLING), ("write", WRITE)):
        (folder / f"{name}.yaml").write_text(text.replace("FILE", str(folder / "rows.json")))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    names = ["local_choice", "local_prose", "local_write"]
    ours = PlauditLM(str(folder / "model"), batch_size=5, max_length=512)
    # One row at a time: in batches its rolling windows differ from its own single ones by up to 0.2 % (0.4.13).
    theirs = HFLM(pretrained=str(folder / "model"), device="cpu", batch_size=1, max_length=512, dtype="float32")
    return [
        lm_eval.simple_evaluate(model=model, tasks=names, task_manager=manager, log_samples=True, bootstrap_iters=0)
        for model in (ours, theirs)
    ]


def test_the_figures_are_those_of_its_own_backend(both):
    ours, theirs = (one["results"] for one in both)
    compared = [(task, name) for task in theirs for name, value in theirs[task].items() if isinstance(value, float)]
    assert {("local_choice", "acc,none"), ("local_prose", "bits_per_byte,none")} <= set(compared)
    for task, name in compared:
        assert ours[task][name] == pytest.approx(theirs[task][name], rel=1e-5), (task, name)


def test_every_likelihood_and_every_answer_is_the_same(both):
    ours, theirs = (one["samples"] for one in both)
    for task in theirs:
        for mine, other in zip(ours[task], theirs[task], strict=True):
            for a, b in zip(mine["resps"], other["resps"], strict=True):
                if task == "local_choice":
                    assert a[0][0] == pytest.approx(b[0][0], abs=1e-3) and a[0][1] == b[0][1]
                elif task == "local_prose":
                    assert a[0] == pytest.approx(b[0], rel=1e-5)
                else:
                    assert a == b
    assert max(len(row["text"]) for row in (s["doc"] for s in theirs["local_prose"])) > 512, "some texts take several windows"


def test_options_that_the_engine_cannot_follow_are_refused(both):
    from lm_eval.api.instance import Instance

    from plaudit.evaluation.lm_eval_model import PlauditLM
    from plaudit.schema import UserError

    model = PlauditLM("tiny")
    for options, says in (({"num_beams": 4}, "beam search"), ({"typical_p": 0.5}, "typical_p")):
        request = Instance("generate_until", {}, ("Hi", {"until": ["x"], **options}), 0)
        with pytest.raises(UserError, match=says):
            model.generate_until([request])
