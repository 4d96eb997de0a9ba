"""The numbers of docs/walk.md: one prompt followed through a PPO run on the tiny model.

python docs/walk.py           prints every block of the page
python docs/walk.py --write   puts them into docs/walk.md, between its marks
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("walk.md")
BLOCK = re.compile(r"(<!-- walk: (\w+) -->\n```\w*\n).*?(\n```)", re.DOTALL)
QUESTIONS = ("Where is my order 1182?", "How do I reset my password?", "I was charged twice.", "Do you ship to Norway?")
FOLLOWED = QUESTIONS[0]
COMMON = ["model_name_or_path=tiny", "eval_fraction=0", "use_peft=true", "learning_rate=0.01", "bf16=false"]
REWARD = [*COMMON, "train_file=pairs.jsonl", "output_dir=runs/reward", "max_steps=4"]
PPO = [
    "train_file=prompts.jsonl",
    "output_dir=runs/ppo",
    "reward_model_path=runs/reward/model",
    "missing_eos_penalty=0.5",
    "max_steps=2",
    "per_device_train_batch_size=4",
    "num_generations=2",
    "max_completion_length=8",
    "num_ppo_epochs=2",
    "num_mini_batches=2",
]


def blocks() -> dict[str, str]:
    """Every block of the page by name. It works in a temporary folder, on one thread."""
    import torch

    here, threads = Path.cwd(), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        torch.set_num_threads(1)
        try:
            return _blocks()
        finally:
            os.chdir(here)
            torch.set_num_threads(threads)


def _blocks() -> dict[str, str]:
    from plaudit.config import load
    from plaudit.training.build import build
    from plaudit.training.folder import RunFolder
    from plaudit.training.run import sections, train

    _files()
    quiet = _Quiet()
    train("reward", load(sections("reward")[0], None, REWARD, sections("reward")[1]), progress=quiet)
    options = load(sections("ppo")[0], None, [*COMMON, *PPO], sections("ppo")[1])
    train("ppo", options, progress=quiet)

    # The same run once more, stopped after every room of its second step.
    again = options.replace(output_dir="runs/walk")
    loop = build("ppo", again, RunFolder(Path("runs/walk"), again.flat(), resume=False), quiet)
    source, learner = loop.source, loop.learner
    learner.step(source.at(0, learner).batch)
    prompt = next(p for p in source.prompts if p.messages[-1].content == FOLLOWED)
    portion = source.at(1, learner)
    asked = [source.prompts[i] for i in source.feed.at(1)]
    completions, _ = source._generate(asked, 2, source._seed(1), 1, learner)
    scored = source.rewards.score([p for p in asked for _ in range(2)], completions)
    row = next(r for r, c in enumerate(completions) if c.prompt_id == prompt.id)
    plan = learner.plan(portion.batch)
    batch = learner.prepared(portion.batch)
    metrics = learner.step(portion.batch)
    logged = [line for line in map(json.loads, Path("runs/ppo/metrics.jsonl").read_text().splitlines()) if line["step"] == 2]
    assert all(logged[0][name] == value for name, value in metrics.items()), "the walk is not the run"

    one = scored[row]
    return {
        "prompt": _prompt(prompt, one.completion, learner.tokenizer),
        "feed": _feed(source, plan),
        "completion": _completion(one.completion, learner.tokenizer),
        "scored": json.dumps({"reward": _r(one.reward), "parts": {k: _r(v) for k, v in one.parts.items()}}),
        "batch": _batch(portion.batch, row),
        "prepared": _prepared(batch, row, learner.tokenizer),
        "weights": _weights(batch, plan),
        "step": "\n".join(f"{name:32}{metrics[name]:10.4f}" for name in STEP),
        "loaded": _loaded(source, learner, completions[0].policy),
        "folder": "\n".join(_listing(Path("runs/ppo"))),
    }


STEP = (
    "objective/scores",
    "objective/kl",
    "objective/non_score_reward",
    "objective/rlhf_reward",
    "val/first_pass_ratio_deviation",
    "loss/policy_avg",
    "loss/value_avg",
    "policy/approxkl_avg",
    "policy/clipfrac_avg",
    "val/explained_variance",
    "grad_norm/policy",
    "grad_norm/critic",
    "ppo_epochs",
    "lr",
)


class _Quiet:
    """Shows nothing."""

    def task(self, title: str, total: int) -> None: ...

    def advance(self, done: int, figures: Any = None) -> None: ...

    def tell(self, text: str) -> None: ...


def _files() -> None:
    good, bad = "Sorry, I will help with your order.", "No."
    with open("prompts.jsonl", "w") as prompts, open("pairs.jsonl", "w") as pairs:
        for question in QUESTIONS:
            row: dict[str, Any] = {"prompt": [{"role": "user", "content": question}]}
            print(json.dumps(row), file=prompts)
            row |= {side: [{"role": "assistant", "content": text}] for side, text in (("chosen", good), ("rejected", bad))}
            print(json.dumps(row), file=pairs)


def _prompt(prompt: Any, completion: Any, tokenizer: Any) -> str:
    text = tokenizer.decode(completion.prompt_tokens)
    return f"id      {prompt.id}\ntext    {json.dumps(text)}\ntokens  {len(completion.prompt_tokens)}"


def _feed(source: Any, plan: list[Any]) -> str:
    minis = " | ".join(", ".join(str(micro.tolist()) for micro in mini) for mini in plan)
    return f"feed.at(1)      {source.feed.at(1)}\nlearner.plan    {minis}"


def _completion(c: Any, tokenizer: Any) -> str:
    lines = ["token   id     logprob"]
    lines += [f"{_shown(tokenizer, i):8}{i:<5}{logp:9.4f}" for i, logp in zip(c.tokens, c.logprobs, strict=True)]
    return "\n".join([f"policy {c.policy}   index {c.index}   finish_reason {c.finish_reason}", *lines])


def _batch(batch: Any, row: int) -> str:
    rows, width = batch.ids.shape
    mask = "".join(str(int(m)) for m in batch.mask[row].tolist())
    return "\n".join(
        [
            f"ids      [{rows}, {width}]",
            f"length   {batch.length.tolist()}",
            f"group    {batch.group.tolist()}",
            f"place    {batch.place.tolist()}",
            f"row      {row}",
            f"mask     {mask}",
            f"streams  {', '.join(batch.streams)}",
            f"sides    {', '.join(batch.sides)}",
        ]
    )


COLUMNS = ("old", "ref", "kl", "value", "token_reward", "advantage", "returns")


def _prepared(batch: Any, row: int, tokenizer: Any) -> str:
    lines = ["token   " + "".join(f"{name:>14}" for name in COLUMNS)]
    for t in batch.mask[row].nonzero()[:, 0].tolist():
        figures = "".join(f"{_r(batch[name][row, t].item()):14.4f}" for name in COLUMNS)
        lines.append(f"{_shown(tokenizer, int(batch.ids[row, t])):8}{figures}")
    return "\n".join(lines)


def _weights(batch: Any, plan: list[Any]) -> str:
    import torch

    rows = [sorted(torch.cat(mini).tolist()) for mini in plan]
    sums = [{name: f"{weight.sum():g}" for name, weight in batch.rows(r).weight.items()} for r in rows]
    return "\n".join(
        f"mini-batch {i}  rows {r}  policy {s['policy']}  value {s['value']}"
        for i, (r, s) in enumerate(zip(rows, sums, strict=True))
    )


def _loaded(source: Any, learner: Any, before: str) -> str:
    answers, _ = source._generate(source.prompts[:1], 1, 0, 2, learner)
    return f"before  {before}\nafter   {answers[0].policy}"


def _listing(folder: Path) -> list[str]:
    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    models = ("adapter", "model")
    shown = [str(path) for path in found if len(path.parts) == 1 or path.parts[0] not in models]
    return shown + [f"{name}/..." for name in models if (folder / name).is_dir()]


def _shown(tokenizer: Any, token: int) -> str:
    """A token as a reader can see it: a blank as ␣, a lone byte as its number."""
    text = tokenizer.decode([token])
    return text.replace(" ", "␣") if text.isprintable() and "\ufffd" not in text else f"<{token}>"


def _r(value: float | None) -> float | None:
    return None if value is None else round(value, 4) + 0.0


def filled(page: str, made: dict[str, str]) -> str:
    """The page with its blocks replaced."""
    return BLOCK.sub(lambda found: f"{found[1]}{made[found[2]]}{found[3]}", page)


if __name__ == "__main__":
    made = blocks()
    if "--write" in sys.argv:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    else:
        print("\n\n".join(f"[{name}]\n{text}" for name, text in made.items()))
