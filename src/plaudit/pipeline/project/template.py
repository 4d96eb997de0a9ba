"""The texts of a new project: plaudit.yaml with its comments, rewards.py, README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plaudit.pipeline.project.start import Sources

HEAD = """\
# A Plaudit project. `plaudit run` runs the stages below, each when something that it depends on has changed.
# Paths are relative to this file. ${{stage.output}} means what another stage made.
# `plaudit config VERB` lists the options of a verb that trains.

project: {name}
seed: 1                     # everything random follows from it
model: {model}   # where training starts: a folder, a .gguf file, a hub name, or tiny (random, to try things)
store: store.sqlite         # answers, judgements, and what every model was made of

stages:
"""
SFT = """
  sft:                      # imitate good answers
    verb: sft
    train_file: {demonstrations}
    per_device_train_batch_size: 8
    num_train_epochs: 1
    use_peft: true          # train small adapters (LoRA) instead of all weights
    learning_rate: 1e-3
"""
ANSWERS = """
  answers:                  # several answers to each question, to be compared
    verb: generate
    model: {policy}
    prompts: {prompts}
    num_generations: 2
    max_new_tokens: 80
"""
JUDGE = """
  judge:                    # judgements of pairs of answers
    verb: judge
    prompts: {prompts}
    completions: ${{answers.completions}}
    annotators: simulated   # programs, not people. `people` takes the judgements that the store holds
    reward_func: rewards.py:helpful   # what the simulated annotators go by, with errors; leave it out with `people`
    votes: 3
"""
REWARD = """
  reward:                   # a model of the judgements
    verb: reward
    model_name_or_path: {policy}
    train_file: {pairs}
{eval_pairs}    per_device_train_batch_size: 8
    num_train_epochs: 2
    use_peft: true
    learning_rate: 5e-4
"""
PPO = """
  ppo:                      # optimise the reward
    verb: ppo
    model_name_or_path: {policy}
{rewards}    train_file: {prompts}
    max_steps: 4
    per_device_train_batch_size: 8
    num_generations: 2
    max_completion_length: 80
    num_ppo_epochs: 1
    num_mini_batches: 2
    use_peft: true
    learning_rate: 6e-4
    critic_learning_rate: 5e-4
    critic_head: zero
    missing_eos_penalty: 1  # an answer that never ends is no answer
"""
EVALUATE = """
  evaluate:                 # on questions that nothing was trained on
    verb: evaluate
    model: {last}
{against}    prompts: {held_out}{caution}
    reward_funcs: [rewards.py:helpful]
    max_new_tokens: 80
"""

REWARDS = '''\
"""What makes a good answer here: change it to what matters to you. `rewards.py:helpful` names this function in plaudit.yaml."""


def helpful(prompts, completions, **columns):
    """0 to 1: friendly, to the point, and finished. One number for each answer; None where a row cannot be judged."""
    scores = []
    for answer in completions:
        text = answer if isinstance(answer, str) else answer[-1]["content"]
        words = text.split()
        friendly = any(word in text.lower() for word in ("thank", "sorry", "happy to", "glad"))
        finished = text.rstrip().endswith((".", "!", "?"))
        brief = max(0.0, 1 - abs(len(words) - 40) / 80)
        scores.append(0.3 * friendly + 0.3 * finished + 0.4 * brief)
    return scores
'''

README = """\
# {name}

A Plaudit project with the stages {stages}.

```bash
plaudit run              # run what has changed; Ctrl-C and run again to go on
plaudit run --dry-run    # say what would run, and why
plaudit run --only {first}
```

- `plaudit.yaml` says what the stages do. Change it, a data file or `rewards.py`: only what depends on the change runs again.
- `runs/{name}/latest/STAGE` leads to each stage's newest folder, `runs/{name}/report.html` shows them all.
- `plaudit chat runs/{name}/latest/{last}` talks to the result.
{note}"""
SAMPLE_NOTE = """\
- The rows in `data/` are samples made by a program, too few to teach much: put your own in their place.
- The annotators of the stage `judge` are simulated. Judgements of your colleagues go into `store.sqlite`.
"""


def possible(
    asked: Sequence[str], demonstrations: str | None, prompts: str | None, pairs: str | None
) -> tuple[list[str], dict[str, str]]:
    """The stages that these files are enough for, and of the others why they are left out."""
    kept: list[str] = []
    left: dict[str, str] = {}
    lacks = {
        "sft": "" if demonstrations else "sft needs answers to imitate (columns prompt and completion, messages, or text)",
        "answers": "" if prompts else "answers needs questions (a column prompt)",
        "judge": "" if prompts and "answers" in asked else "judge needs the stage answers",
        "reward": "" if pairs or (prompts and {"answers", "judge"} <= set(asked)) else "reward needs pairs (chosen, rejected)",
        "ppo": "" if prompts else "ppo needs questions (a column prompt)",
        "evaluate": "" if prompts else "evaluate needs questions (a column prompt)",
    }
    for name in asked:
        if pairs and name in ("answers", "judge"):
            left[name] = f"{name} is not needed: the file holds pairs"
        elif lacks[name]:
            left[name] = lacks[name]
        else:
            kept.append(name)
    return kept, left


def project(name: str, model: str, stages: Sequence[str], left: Mapping[str, str], sources: Sources) -> str:
    """plaudit.yaml with these stages; those left out are named with the reason."""
    base = "${sft.model}" if "sft" in stages else model
    trained = [stage for stage in ("sft", "ppo") if stage in stages]
    last = f"${{{trained[-1]}.model}}" if trained else model
    other = base if trained and last != base else model
    judged = "judge" in stages
    rewards = "    reward_model_path: ${reward.model}\n" if "reward" in stages else ""
    weights = "    reward_weights: {helpful: 0.0}   # shown, but not optimised\n" if rewards else ""
    values = {
        "demonstrations": sources.demonstrations,
        "prompts": sources.prompts,
        "held_out": sources.held_out,
        "caution": "" if sources.held_out != sources.prompts else "   # better: a file of questions that nothing trained on",
        "policy": base,
        "pairs": "${judge.pairs}" if judged else sources.pairs,
        "eval_pairs": "    eval_file: ${judge.eval_pairs}\n" if judged else "",
        "rewards": f"{rewards}    reward_funcs: [rewards.py:helpful]\n{weights}",
        "last": last,
        "against": f"    against: {other}\n" if trained else "",
    }
    texts = {"sft": SFT, "answers": ANSWERS, "judge": JUDGE, "reward": REWARD, "ppo": PPO, "evaluate": EVALUATE}
    body = "".join(texts[stage].format(**values) for stage in stages)
    gone = "".join(f"\n# Left out: {reason}." for reason in left.values())
    return HEAD.format(name=name, model=model) + body + gone + ("\n" if gone else "")


def readme(name: str, stages: Sequence[str], samples: bool = True) -> str:
    """README.md of the project."""
    trained = [stage for stage in ("sft", "ppo") if stage in stages] or ["sft"]
    return README.format(
        name=name, stages=", ".join(stages), first=stages[0], last=trained[-1], note=SAMPLE_NOTE if samples else ""
    )
