"""What the stages do that train nothing: answers, judgements, evaluation. Each writes its files and returns its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit.config import Resolved
from plaudit.data.readers import read_jsonl, read_prompts, write_jsonl
from plaudit.data.split import split_by_prompt
from plaudit.engines.opening import open_engine
from plaudit.evaluation.against import Table, compared, figures, judges_of, rewards_of
from plaudit.judgements.pairwise import assignments, convert
from plaudit.judgements.panel import Panel, flipped_share
from plaudit.pipeline.project.acts import SOURCES, counted_acts
from plaudit.pipeline.project.kinds import EvaluateConfig, GenerateConfig, JudgeConfig
from plaudit.pipeline.rows import completion, pair_row
from plaudit.rewards.base import Context
from plaudit.rewards.functions import load_function, start
from plaudit.rewards.mix import RewardConfig
from plaudit.schema import JSON, Completion, Feedback, Prompt, Sampling, UserError, to_json
from plaudit.store import Store, Where
from plaudit.training.progress import Progress


class NoPairs(UserError):
    """Nobody preferred an answer: there is nothing to learn from yet."""


@dataclass(frozen=True)
class Work:
    """One stage's options, its folder, the project's store."""

    options: Resolved
    folder: Path
    store: Where
    progress: Progress

    def answer(self, model: str, prompts: Sequence[Prompt], n: int) -> tuple[list[Completion], Any]:
        """Prompt-major answers, and the tokenizer that wrote them."""
        engine = open_engine(model)
        self.progress.task(f"answers of {Path(model).name}"[:22], len(prompts) * n)
        return engine.generate(
            prompts, n, self.options[Sampling], lambda done, _: self.progress.advance(done)
        ), engine.tokenizer


def generate(work: Work) -> JSON:
    """Answer prompts; completions.jsonl, and both in the store, where people may judge them."""
    o = work.options[GenerateConfig]
    prompts = read_prompts(o.prompts)
    answers, _ = work.answer(o.model, prompts, o.num_generations)
    with Store(work.store) as store:
        store.add_prompts(prompts)
        store.add_completions(answers)
    write_jsonl(work.folder / "completions.jsonl", [to_json(one) for one in answers])
    found, _ = figures(prompts, answers, None)
    return {"prompts": len(prompts), "answers": len(answers), **found}


def judge(work: Work) -> JSON:
    """Judgements of pairs, simulated now or those of the store, converted into preference pairs."""
    o = work.options[JudgeConfig]
    prompts, answers = read_prompts(o.prompts), completions_of(Path(o.completions))
    simulated, found = o.annotators == "simulated", dict[str, Any]()
    with Store(work.store) as store:
        store.add_prompts(prompts)
        store.add_completions(answers)
        if simulated:
            gold = _scores(o.reward_func or "", prompts, answers)
            panel = Panel(seed=o.seed, tolerance=1e-9)
            acts = panel.judge_all(assignments(answers, per_prompt=o.pairs_per_prompt, seed=o.seed), gold, votes=o.votes)
            store.add_feedback(acts)
            found["flipped_share"], _ = flipped_share(acts, gold, panel.tolerance)
        else:
            counted = counted_acts(store, SOURCES[o.annotators], o.until)
            acts = of_answers(counted, {one.id for one in answers})
        done = convert(acts, answers, prompts)
        if not done.rows:
            raise NoPairs(
                f"the stage judge found no pair with a preference: {len(acts)} judgements of {len(answers)} answers "
                f"({', '.join(f'{name} {count}' for name, count in done.counts.items() if count)}); judge more pairs"
            )
        found["dataset"] = store.snapshot("rankings", done.rows, done.feedback_ids)
    fractions = (1 - o.eval_fraction, o.eval_fraction, 0.0)
    split = split_by_prompt(done.rows, fractions=fractions, seed=o.seed)
    write_jsonl(work.folder / "pairs.jsonl", [pair_row(row) for row in split.train])
    write_jsonl(work.folder / "eval_pairs.jsonl", [pair_row(row) for row in split.validation])
    work.progress.tell(f"{'simulated: ' if simulated else ''}{len(acts)} judgements gave {len(done.rows)} pairs")
    return {
        "annotators": o.annotators,
        "judgements": len(acts),
        "pairs": len(split.train),
        "eval_pairs": len(split.validation),
        **found,
        "counts": dict(done.counts),
    }


def evaluate(work: Work) -> JSON:
    """Figures of a model's answers to held-out prompts, and its win rate against another's."""
    o, rewards = work.options[EvaluateConfig], work.options[RewardConfig]
    prompts, judges = read_prompts(o.prompts), judges_of(rewards)
    result: JSON = {"prompts": len(prompts), "samples": o.num_generations}
    tables: list[Table] = []
    rows: list[JSON] = [{"prompt": to_json(prompt)} for prompt in prompts]
    for role, name in {"model": o.model, "against": o.against}.items():
        if name is None:
            continue
        answers, tokenizer = work.answer(name, prompts, o.num_generations)
        found, table = figures(prompts, answers, rewards_of(rewards, judges, tokenizer))
        result[role] = {"name": name, **found}
        tables.append(table)
        for i, row in enumerate(rows):
            own = slice(i * o.num_generations, (i + 1) * o.num_generations)
            row[role] = {"answers": [one.text for one in answers[own]], "rewards": table[i] if table else []}
    if len(tables) == 2 and all(tables):
        result |= compared(*tables)
    write_jsonl(work.folder / "answers.jsonl", rows)
    return result


def completions_of(path: Path) -> list[Completion]:
    try:
        return [completion(row) for row in read_jsonl(path)]
    except (TypeError, KeyError) as wrong:
        raise UserError(f"{path} holds no completions as a `generate` stage writes them ({wrong}); run that stage") from None


def _scores(name: str, prompts: Sequence[Prompt], answers: Sequence[Completion]) -> dict[str, float]:
    """What the reward function says of each answer; UserError where it has nothing to say of one."""
    by_id = {prompt.id: prompt for prompt in prompts}
    asked = [by_id[one.prompt_id] for one in answers if one.prompt_id in by_id]
    if len(asked) < len(answers):
        raise UserError(f"{len(answers) - len(asked)} completions answer none of the prompts; give the file that they answered")
    scores = load_function(name).score(asked, answers, Context())
    values = scores if isinstance(scores, list) else start(scores).result()
    missing = sum(value is None for value in values)
    if missing:
        raise UserError(f"reward_func {name} has no score for {missing} of {len(values)} answers; simulated judges need all")
    return {one.id: float(value) for one, value in zip(answers, values, strict=True) if value is not None}


def of_answers(acts: Sequence[Feedback], known: set[str]) -> list[Feedback]:
    """The acts on these completions."""
    return [act for act in acts if set(act.assignment.completion_ids) <= known]
