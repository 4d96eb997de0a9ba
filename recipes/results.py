"""Small models on real human data: reward models, DPO, SimPO, KTO and classification, three seeds each, beside plain baselines.

    python recipes/results.py DATA [--out FOLDER] [--only WORD ...] [--seeds 1 2 3] [--model NAME] [--write docs/results.md]

DATA is the folder that holds the files named in EXPERIMENTS. Every run is resumable and finished ones are not repeated: started
again, the command goes on where it was killed, and it writes the page from whatever is finished.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plaudit import stats
from plaudit.config import load
from plaudit.data.columns import to_row
from plaudit.data.readers import read, read_jsonl, write_jsonl
from plaudit.data.split import split_by_prompt
from plaudit.data.template import encode_answer
from plaudit.evaluation.perplexity import answer_logprobs
from plaudit.models.load import load as load_model
from plaudit.schema import JSON, Message, Ranking, UserError
from plaudit.training.run import sections, train

LORA = {"use_peft": True, "lora_r": 16, "lora_alpha": 32, "share_prompts": True}
SHARED = {**LORA, "per_device_train_batch_size": 16, "max_length": 512, "eval_on_start": False, "lr_scheduler_type": "cosine"}
REWARD = {"learning_rate": 5e-4, "center_rewards_coefficient": 0.01, "warmup_steps": 5}
# The same 16 pairs a step, 4 at a time: long answers would need 17 GB otherwise.
LONG = {**REWARD, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
HELD_OUT = 0.2


@dataclass(frozen=True)
class Experiment:
    """One algorithm on one file. `metric` is read from the run's last evaluation."""

    name: str
    file: str
    algorithm: str
    metric: str
    options: dict[str, Any] = field(default_factory=dict)
    rows: Callable[[Path], list[JSON]] | None = None
    """Makes rows in our columns where the file's are not among the layouts that are read."""


def pandalm(path: Path) -> list[JSON]:
    """Votes of three annotators (0 tie, 1 the first answer, 2 the second): the majority's order, and how sure it is."""
    found = []
    for row in read_jsonl(path):
        votes = Counter(row["annotators"])
        first, second = votes[1] + votes[0] / 2, votes[2] + votes[0] / 2
        if first == second or row["response_a"] == row["response_b"]:
            continue
        sides = (row["response_a"], row["response_b"]) if first > second else (row["response_b"], row["response_a"])
        question = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
        chosen, rejected = ([{"role": "assistant", "content": text}] for text in sides)
        ask = [{"role": "user", "content": question}]
        sure = max(first, second) / len(row["annotators"])
        found.append({"prompt": ask, "chosen": chosen, "rejected": rejected, "probability": sure})
    return found


def oasst(path: Path) -> list[JSON]:
    """The dialogue so far is the prompt; the higher of two ranked replies is the better."""
    sides = ("chosen", "rejected")
    return [
        {"prompt": row["messages"], **{side: [{"role": "assistant", "content": row[side]}] for side in sides}}
        for row in read_jsonl(path)
    ]


def banking(path: Path) -> list[JSON]:
    return [{"text": row["text"], "label": row["category"]} for row in read_jsonl(path)]


def twitter(path: Path) -> list[JSON]:
    return [{"text": row["text"], "label": row["label"]} for row in read_jsonl(path)]


LFS = "llms_from_scratch_dpo/pairs.jsonl"
PAIRS = {"num_train_epochs": 2, "learning_rate": 2e-4, "warmup_steps": 5}
ACCURACY = "eval_rewards/accuracies"
EXPERIMENTS = (
    Experiment("reward on llms_from_scratch_dpo", LFS, "reward", "eval_accuracy", {**REWARD, "num_train_epochs": 2}),
    Experiment(
        "reward on pandalm",
        "pandalm_testset/pairs.jsonl",
        "reward",
        "eval_accuracy",
        {**LONG, "num_train_epochs": 2},
        pandalm,
    ),
    Experiment(
        "reward on oasst",
        "oasst_en_100_trees/pairs.jsonl",
        "reward",
        "eval_accuracy",
        # a quarter of the pairs and more have an answer that ends behind 512 tokens, and its length matters here
        {**LONG, "num_train_epochs": 2, "max_length": 1024},
        oasst,
    ),
    Experiment("reward on hh_rlhf_harmless", "hh_rlhf_harmless_test/pairs.jsonl", "reward", "eval_accuracy", LONG),
    Experiment("dpo on llms_from_scratch_dpo", LFS, "dpo", ACCURACY, PAIRS),
    Experiment("simpo on llms_from_scratch_dpo", LFS, "simpo", ACCURACY, PAIRS),
    Experiment("kto on llms_from_scratch_dpo", LFS, "kto", ACCURACY, PAIRS),
    Experiment(
        "classify twitter_financial_sentiment",
        "twitter_financial_sentiment/valid.jsonl",
        "classify",
        "eval_accuracy",
        {"num_train_epochs": 4, "learning_rate": 5e-4, "share_prompts": False},
        twitter,
    ),
    Experiment(
        "classify banking77",
        "banking77/train.jsonl",
        "classify",
        "eval_accuracy",
        {"num_train_epochs": 2, "learning_rate": 5e-4, "share_prompts": False},
        banking,
    ),
)


# -- data and baselines ----------------------------------------------------------------------------------------------------


def prepare(experiment: Experiment, data: Path, folder: Path, seed: int) -> tuple[Path, Path]:
    """train.jsonl and test.jsonl of this seed, split by prompt; written once."""
    paths = folder / "train.jsonl", folder / "test.jsonl"
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    source = data / experiment.file
    if not source.exists():
        raise UserError(f"there is no {source}; name the folder that holds the data")
    if experiment.rows is not None:
        write_jsonl(folder / "all.jsonl", experiment.rows(source))
        source = folder / "all.jsonl"
    if experiment.algorithm == "classify":
        rows = read_jsonl(source)
        held = np.random.Generator(np.random.Philox(key=[seed, 7])).permutation(len(rows)) < HELD_OUT * len(rows)
        parts = [[row for row, test in zip(rows, held, strict=True) if bool(test) is side] for side in (False, True)]
    else:
        found = read(str(source), "rankings", skip_refused=True)
        print(
            f"{experiment.name}: {len(found.items):,} pairs; {len(found.refused):,} rows say nothing and are left out",
            flush=True,
        )
        items = found.items
        splits = split_by_prompt(items, fractions=(1 - HELD_OUT, 0.0, HELD_OUT), seed=seed)
        parts = [[to_row(item) for item in part] for part in (splits.train, splits.test)]
    for path, part in zip(paths, parts, strict=True):
        write_jsonl(path, part)
    return paths


def words(answer: tuple[Message, ...] | str) -> list[str]:
    text = answer if isinstance(answer, str) else " ".join(turn.content for turn in answer)
    return re.findall(r"\w+", text.lower())


def fit(x: torch.Tensor, y: torch.Tensor, classes: int, decay: float = 1e-3) -> torch.Tensor:
    """Weights [features, classes] of a logistic regression without intercept, by L-BFGS."""
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=100)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weight, y) + decay * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    return weight.detach()


def tfidf(train: Sequence[Sequence[str]], test: Sequence[Sequence[str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of unit length over the words that come up in two training texts or more: (train, test)."""
    seen = Counter(word for text in train for word in set(text))
    index = {word: i for i, word in enumerate(sorted(word for word, count in seen.items() if count > 1))}
    idf = torch.tensor([np.log(len(train) / seen[word]) + 1 for word in index], dtype=torch.float32)

    def matrix(texts: Sequence[Sequence[str]]) -> torch.Tensor:
        found = torch.zeros(len(texts), len(index))
        for row, text in enumerate(texts):
            for word, count in Counter(word for word in text if word in index).items():
                found[row, index[word]] = count
        return torch.nn.functional.normalize(found * idf, dim=1)

    return matrix(train), matrix(test)


def baselines(experiment: Experiment, train_file: Path, test_file: Path) -> dict[str, float]:
    """TF-IDF with logistic regression, and length alone (or the largest class), trained and tested on the same rows."""
    if experiment.algorithm == "classify":
        train_rows, test_rows = read_jsonl(train_file), read_jsonl(test_file)
        names = sorted({row["label"] for row in train_rows})
        y = torch.tensor([names.index(row["label"]) for row in train_rows])
        x, seen = tfidf([words(row["text"]) for row in train_rows], [words(row["text"]) for row in test_rows])
        said = (seen @ fit(x, y, len(names), 1e-5)).argmax(1).tolist()
        most = Counter(row["label"] for row in train_rows).most_common(1)[0][0]
        right = [names[s] == row["label"] for s, row in zip(said, test_rows, strict=True)]
        return {"tfidf": float(np.mean(right)), "plain": float(np.mean([row["label"] == most for row in test_rows]))}
    first, second = (read(str(path), "rankings").items for path in (train_file, test_file))
    texts = [[words(answer) for item in part for answer in item.answers] for part in (first, second)]
    x, seen = tfidf(*texts)
    gaps, test_gaps = x[0::2] - x[1::2], seen[0::2] - seen[1::2]
    both = torch.cat([gaps, -gaps])
    y = torch.cat([torch.ones(len(gaps)), torch.zeros(len(gaps))]).long()
    weight = fit(both, y, 2)
    score = test_gaps @ (weight[:, 1] - weight[:, 0])

    def longer(part: Sequence[Ranking]) -> float:
        return float(np.mean([len(words(a)) > len(words(b)) for a, b in (item.answers for item in part)]))

    length = longer(second) if longer(first) > 0.5 else 1 - longer(second)
    found = {"tfidf": float((score > 0).double().mean()), "plain": length}
    sure = [item.probability for item in second]
    return found | ({"ceiling": stats.accuracy_ceiling(sure)} if min(sure) < 1 else {})


def preferred(trained: Path, untouched: str, test_file: Path) -> float:
    """Share of pairs where training raised the better answer's log-probability more than the other's: rewards/accuracies.

    KTO learns from single answers, so its own evaluation knows no pairs.
    """
    models = [load_model(trained), load_model(untouched)]
    pairs = read(str(test_file), "rankings").items
    rows = [encode_answer(models[0].tokenizer, pair.prompt, answer) for pair in pairs for answer in pair.answers]
    after, before = (answer_logprobs(model, rows) for model in models)
    gain = (after - before).reshape(-1, 2)
    return float(np.mean(gain[:, 0] > gain[:, 1]))


# -- runs and the page -----------------------------------------------------------------------------------------------------


def run(experiment: Experiment, data: Path, out: Path, seed: int, model: str) -> JSON:
    """One run to its end, or its result where it has ended before."""
    folder = out / re.sub(r"\W+", "-", experiment.name) / f"seed{seed}"
    result = folder / "result.json"
    train_file, test_file = prepare(experiment, data, folder, seed)
    if result.exists():
        return {**json.loads(result.read_text()), "prompts": prompts(test_file)}
    output = folder / "run"
    options = {**SHARED, "model_name_or_path": model, **experiment.options, "seed": seed, "output_dir": str(output)}
    options |= {"train_file": str(train_file), "eval_file": str(test_file)}
    if experiment.algorithm == "classify":
        options.pop("share_prompts", None)
    classes, defaults = sections(experiment.algorithm)
    resolved = load(classes, None, [f"{key}={json.dumps(value)}" for key, value in options.items()], defaults)
    summary = train(experiment.algorithm, resolved, resume=(output / "config.yaml").exists())
    if summary["status"] not in ("finished", "early"):
        raise SystemExit(f"{experiment.name}, seed {seed}: {summary['status']}; start again to go on")
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    said = [line[experiment.metric] for line in lines if experiment.metric in line]
    found = {
        "value": said[-1] if said else preferred(output / "model", model, test_file),
        "n": len(read_jsonl(test_file)),
        "seconds": summary["seconds"],
        **baselines(experiment, train_file, test_file),
    }
    result.write_text(json.dumps(found, indent=2) + "\n")
    return {**found, "prompts": prompts(test_file)}


def prompts(path: Path) -> int:
    """How many different prompts (or texts) a file of rows has."""
    return len({json.dumps(row.get("prompt", row.get("text")), sort_keys=True) for row in read_jsonl(path)})


def row_of(experiment: Experiment, results: Sequence[JSON]) -> str:
    """One line of the page's table. Pairs of one prompt are no independent trials, so the interval counts prompts."""
    values = [r["value"] for r in results]
    each = ", ".join(f"{value:.3f}" for value in values)
    n, independent = (sum(r[key] for r in results) for key in ("n", "prompts"))
    middle = stats.wilson(sum(r["value"] * r["n"] for r in results) / n * independent, independent)
    shown = f"{middle.mean:.3f} [{middle.low:.3f}, {middle.high:.3f}]"

    def mean(key: str) -> str:
        found = [r[key] for r in results if key in r]
        return f"{np.mean(found):.3f}" if found else "—"

    floors = [mean(key) for key in ("tfidf", "plain", "ceiling")]
    minutes = sum(r["seconds"] for r in results) / 60
    metric = experiment.metric.removeprefix("eval_")
    cells = [experiment.name, metric, shown, each, *floors, f"{n} ({independent})", f"{minutes:.0f}"]
    return f"| {' | '.join(cells)} |"


def page(done: dict[str, list[JSON]], model: str, seeds: int) -> str:
    """docs/results.md, with the experiments of which fewer than `seeds` are finished named."""
    head = (Path(__file__).parent / "results.md").read_text("utf-8")
    rows = [row_of(experiment, done[experiment.name]) for experiment in EXPERIMENTS if done.get(experiment.name)]
    counts = {experiment.name: len(done.get(experiment.name, [])) for experiment in EXPERIMENTS}
    missing = [f"{name} ({count} of {seeds} seeds)" for name, count in counts.items() if count < seeds]
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__.partition('+')[0]}"
    return (
        head.replace("{rows}", "\n".join(rows))
        .replace("{missing}", "Unfinished: " + "; ".join(missing) + "." if missing else "Everything was run.")
        .replace("{machine}", machine)
        .replace("{model}", model)
        .replace("{date}", time.strftime("%Y-%m-%d"))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument("--only", nargs="*", help="Run experiments whose name holds one of these words.")
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--write", type=Path, help="Write the page of what is finished.")
    given = parser.parse_args()
    done: dict[str, list[JSON]] = {}
    for experiment in EXPERIMENTS:
        wanted = given.only is None or any(word in experiment.name for word in given.only)
        for seed in given.seeds:
            folder = given.out / re.sub(r"\W+", "-", experiment.name) / f"seed{seed}"
            if wanted or (folder / "result.json").exists():
                done.setdefault(experiment.name, []).append(run(experiment, given.data, given.out, seed, given.model))
        if experiment.name in done:
            print(row_of(experiment, done[experiment.name]), flush=True)
    if given.write:
        given.write.write_text(page(done, given.model, len(given.seeds)), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"results: {error}")
