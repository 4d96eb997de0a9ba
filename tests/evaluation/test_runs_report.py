"""`plaudit report`: several runs on one page, broken ones too, hostile text, attribution, and the cards in Markdown."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from plaudit.cli.main import main
from plaudit.evaluation.runs import read_run, run_folders, runs_page
from plaudit.evaluation.runs.attribution import leave_out, words
from plaudit.evaluation.runs.lineage import cost, lineage
from plaudit.evaluation.runs.markdown import code, dataset_card, model_card
from plaudit.evaluation.runs.reading import names_of
from plaudit.schema import Prompt, UserError

EVIL = "</textarea><script>alert(1)</script>\u202e`|\n# x"


def make(folder, verb="ppo", *, reward=(0.1, 0.4), lr=1e-3, text="Hello", prompt="Where?", part="short", **config):
    """A run folder as training leaves it."""
    folder.mkdir(parents=True)
    config = {"model_name_or_path": "org/base", "learning_rate": lr, "seed": 0, "train_file": "p.jsonl", **config}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [
        {"step": step, "reward": value, "eval_reward": value, "objective/kl": float(step)} for step, value in enumerate(reward)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    samples = [
        {"step": step, "prompt": prompt, "answer": f"{text} {step}", "reward": 0.5, "parts": {part: 0.5}, "held_out": True}
        for step in (0, 1)
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples))
    streams = {"logp": [-1.0, -2.0], "advantage": [0.5, None], "mask": [1.0, 0.0], "torn": [1.0]}
    trace = {"prompt": prompt, "tokens": [text, " there"], "streams": streams, "reward": 0.5, "parts": {part: 0.5}}
    (folder / "trace.json").write_text(json.dumps([trace, "nonsense", {"tokens": 3}]))
    (folder / "inputs.json").write_text(json.dumps({"model_name_or_path": "c0fe" * 16, "train_file": "907f"}))
    usage = {"seconds": {"rollout": 60.0, "update": 120.0}, "total_seconds": 180.0, "tokens": {"trained_on": 1000}}
    (folder / "usage.json").write_text(json.dumps(usage))
    (folder / "summary.json").write_text(
        json.dumps({"verb": verb, "status": "finished", "steps": 2, "best": {"eval_reward": 0.4}})
    )
    return folder


def test_two_runs_share_charts_and_prompts_and_show_what_differs(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", reward=(0.1, 0.9), lr=2e-3)
    page = runs_page([read_run(one), read_run(two)], price_per_hour=20)
    assert page.count("<h3>Reward ") == 1 and 'id="tokens"' in page
    differences = page.split('id="differences"')[1].split("</section>")[0]
    assert "learning_rate" in differences and "seed" not in differences
    answers = page.split('id="answers"')[1].split("</section>\n")[0]
    assert all(title in answers for title in ("one, step 0", "one, step 1", "two, step 1"))
    prices = page.split('id="cost"')[1].split("</section>")[0]
    assert "3 min" in prices and "<td>1.00</td>" in prices.replace("<td>1</td>", "<td>1.00</td>")
    assert "Complete" in page and "default-src 'none'" in page and "http://" not in page


def test_traces_show_mask_parts_and_leave_torn_streams_out(tmp_path):
    page = runs_page([read_run(make(tmp_path / "one"))]).split('id="tokens"')[1].split("</section>")[0]
    assert "mask" in page and re.search(r"reward 0\.50* \(short 0\.50*\)", page) and "torn" not in page


def test_broken_runs_are_shown_with_what_is_wrong(tmp_path):
    folder = make(tmp_path / "one")
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "rew')
    (folder / "summary.json").write_text("[1]")
    (folder / "usage.json").write_text("{")
    (folder / "config.yaml").write_text("a: [")
    run = read_run(folder)
    assert len(run.metrics) == 2 and run.state == "unfinished" and cost(run)["seconds"] is None
    page = runs_page([run])
    for says in (
        "1 lines of metrics.jsonl",
        "summary.json holds no object",
        "usage.json cannot be read",
        "config.yaml cannot be read",
    ):
        assert says in page
    assert "Incomplete" in page
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(UserError, match="no run"):
            run_folders([tmp_path / name])


@pytest.mark.parametrize("odd", ["text", [1], {"a": {"b": []}}, None, float("nan"), -1])
def test_nothing_that_a_file_holds_ends_a_report(tmp_path, odd):
    folder = make(tmp_path / "one")
    keys = [
        "seconds",
        "total_seconds",
        "tokens",
        "peak_memory_bytes",
        "steps",
        "best",
        "verb",
        "status",
        "tasks",
        "regressions",
    ]
    keys += ["reasons", "accuracy", "gate", "win_rate", "win_rate_ci", "train_file"]
    for file in ("usage", "summary", "evaluate", "card", "inputs", "estimate"):
        (folder / f"{file}.json").write_text(json.dumps(dict.fromkeys(keys, odd)))
    line = json.dumps(
        dict.fromkeys(["step", "reward", "loss", "prompt", "answer", "parts", "tokens", "streams", "held_out"], odd)
    )
    for file in ("metrics.jsonl", "samples.jsonl"):
        (folder / file).write_text(f"{line}\n")
    (folder / "trace.json").write_text(f"[{line}, 3]")
    (folder / "config.yaml").write_text(yaml.safe_dump({"model_name_or_path": odd, "train_file": "\0", "seed": odd}))
    run = read_run(folder)
    assert "</html>" in runs_page([run, run], price_per_hour=1.0) and model_card(run, [run]).startswith("---")


def test_the_stages_of_a_demo_are_runs(tmp_path):
    for verb in ("sft", "ppo"):
        make(tmp_path / "demo" / verb, verb)
    folders = run_folders([tmp_path / "demo"])
    assert sorted(names_of(folders)) == ["demo/ppo", "demo/sft"]


def test_hostile_text_stays_text_everywhere(tmp_path):
    folder = make(tmp_path / "one", text=EVIL, verb=EVIL, prompt=EVIL, part=EVIL, model_name_or_path=EVIL, train_file=EVIL)
    (folder / "evaluate.json").write_text(json.dumps({"tasks": {EVIL: {"rows": 1, "acc": 0.5, "acc_ci": [0.1, 0.9]}}}))
    card = {
        "gate": EVIL,
        "reasons": [{"rule": EVIL, "state": "act", "says": EVIL}],
        "accuracy": {"accuracy": 0.6, "ci": [0.5, 0.7]},
    }
    (folder / "card.json").write_text(json.dumps(card))
    run = read_run(folder, EVIL)
    page = runs_page([run, run])
    assert "<script>alert" not in page and "\u202e" not in page and "&lt;script&gt;alert(1)" in page
    text = model_card(run)
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "transformers"
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", body)
    assert "<script>" not in outside and "\n# x" not in body


@pytest.mark.parametrize("text", ["`", "``a`", "a|b", "x\ny", "", "```"])
def test_code_spans_hold_their_content(text):
    from markdown_it import MarkdownIt

    children = MarkdownIt().parse(code(text).replace("\\|", "|"))[1].children
    assert [child.type for child in children] == ["code_inline"]


def test_lineage_names_the_run_that_made_the_input(tmp_path):
    sft = make(tmp_path / "sft", "sft")
    ppo = make(tmp_path / "ppo", model_name_or_path=str(sft / "model"))
    rows = lineage(read_run(ppo), [read_run(sft), read_run(ppo)])
    assert rows[0]["from"] == "sft" and rows[0]["digest"].startswith("c0fe") and rows[1]["from"] == ""


def test_cards_say_what_is_known_and_what_is_not(tmp_path):
    folder = make(tmp_path / "one")
    text = model_card(read_run(folder), license_id="apache-2.0")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "apache-2.0" and front["base_model"] == "org/base" and "rlhf" in front["tags"]
    assert "have not been measured" in text and "model-index" not in front
    told = {"win_rate": 0.6, "win_rate_ci": [0.5, 0.7], "tasks": {"facts": {"rows": 9, "acc": 0.5, "acc_ci": [0.2, 0.8]}}}
    told["regressions"] = [{"task": "facts", "forgotten": True}]
    (folder / "evaluate.json").write_text(json.dumps(told))
    text = model_card(read_run(folder))
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["model-index"][0]["results"][0]["metrics"] == [{"type": "acc", "value": 0.5}]
    assert "| win_rate | 0.6 | 0.5 to 0.7 |" in text and "significantly worse" in text and "license" not in front
    data = dataset_card("pairs", "abc", "rankings", ["9 items"], 2000, sources={"web": 9})
    assert yaml.safe_load(data.split("---\n")[1])["size_categories"] == ["1K<n<10K"] and "| `web` | 9 |" in data


def test_leave_out_by_hand():
    asked = []

    def score(prompts, texts):
        asked.append(texts)
        return [None if "none" in text else float(text.count("good") * 2 - text.count("bad")) for text in texts]

    whole, found = leave_out(Prompt(text="?"), ["good", " ", "and", " bad"], score)
    assert whole == 1.0 and found == [2.0, 0.0, 0.0, -1.0]
    assert len(asked[0]) == 4, "white space is not asked"
    assert leave_out(Prompt(text="?"), ["none", " good"], score) == (None, [None, None])
    assert words("  Two words\n here") == ["  ", "Two ", "words\n ", "here"] and "".join(words(" a b ")) == " a b "


def test_the_verb_writes_page_and_cards(tmp_path, capsys):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", train_file=str(tmp_path / "p.jsonl"))
    (tmp_path / "p.jsonl").write_text('{"prompt": "Where?", "source": "web"}\n')
    files = {name: tmp_path / name for name in ("r.html", "model.md", "data.md")}
    words = ["report", str(one), str(two), "--output", str(files["r.html"]), "--model-card", str(files["model.md"])]
    with pytest.raises(SystemExit) as end:
        main([*words, "--dataset-card", str(files["data.md"]), "--license", "mit"])
    assert not end.value.code and all(path.is_file() for path in files.values())
    assert "license: mit" in files["data.md"].read_text() and "1 prompts" in files["data.md"].read_text()
    with pytest.raises(SystemExit) as end:
        main(["report", str(one), "--dataset-card", str(files["data.md"])])
    assert end.value.code == 2 and "no longer at p.jsonl" in capsys.readouterr().err
