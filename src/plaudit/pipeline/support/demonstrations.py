"""Answers to learn from, as uneven as the tickets of real agents.

Each agent's answer is drawn with a diligence between -SPREAD and +SPREAD, added to every chance below: so some answers
are careful, some hurried, most in between, and a model fine-tuned on them imitates the mixture. That is the
headroom which preference learning then uses.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from plaudit.pipeline.support import phrases
from plaudit.pipeline.support.questions import capitalised
from plaudit.schema import Demonstration, Prompt, UserError

SPREAD = 0.2
DETAIL, WARMTH, STEP, WHEN, CLOSING = 0.45, 0.5, 0.55, 0.4, 0.5
GREETING, WORDY, ASK, ITEM_IN_STEP = 0.5, 0.12, 0.2, 0.4
"""ASK holds only for answers that neither name the order nor take a step; ITEM_IN_STEP only where there are both."""
SHORTEST = 22
"""Answers below so many words get a sentence that says nothing, as agents do."""


def demonstrations(prompts: Sequence[Prompt], seed: int) -> list[Demonstration]:
    """One answer for each prompt of `questions`, in their order; an answer hangs on the seed and its prompt alone.

    Raises UserError for a prompt that has no intent and details in its meta.
    """
    for position, prompt in enumerate(prompts):
        if not {"intent", "details"} <= prompt.meta.keys():
            raise UserError(f"prompt {position} has no intent and details in its meta: make the prompts with support.questions")
    return [Demonstration(prompt, answer(prompt, random.Random(f"support-answer-{seed}-{prompt.id}"))) for prompt in prompts]


def answer(prompt: Prompt, rng: random.Random, diligence: float | None = None) -> str:
    """One agent's answer. `diligence` is added to every chance (1.0: everything good is done, -1.0: nothing)."""
    d = rng.uniform(-SPREAD, SPREAD) if diligence is None else diligence

    def happens(chance: float) -> bool:
        return rng.random() < chance + d

    intent, details = prompt.meta["intent"], prompt.meta["details"]
    named = {name: happens(DETAIL) for name in ("order", "item", "fact")}
    warm, step, when = happens(WARMTH), happens(STEP), happens(WHEN)
    late_item = named["item"] and step and rng.random() < ITEM_IN_STEP
    sentences = [_opening(rng, intent, details, named, late_item, warm)]
    sentences += _step(rng, intent, details, late_item, when) if step else _vague(rng, when)
    if not named["order"] and not step and rng.random() < ASK - d:
        sentences.append(rng.choice(phrases.ASKS))
    if rng.random() < WORDY - d / 2:
        sentences.insert(rng.choice((0, len(sentences))), rng.choice(phrases.FILLERS))
    if sum(len(s.split()) for s in sentences) < SHORTEST:
        sentences.append(rng.choice(phrases.THIN))
    if happens(CLOSING):
        sentences.append(rng.choice(phrases.CLOSINGS))
    if happens(GREETING):
        sentences.insert(
            0, rng.choice([g for g in phrases.GREETINGS if "thank" not in sentences[0].lower() or "hank" not in g])
        )
    return _join(sentences)


def _opening(
    rng: random.Random, intent: str, details: dict[str, str], named: dict[str, bool], late_item: bool, warm: bool
) -> str:
    """The sentence that takes up the matter, with the details that this agent names in it."""
    bank = phrases.SUBJECTS[named["order"], named["item"] and not late_item]
    clause = rng.choice(phrases.CLAUSES[intent][0 if named["fact"] else 1])
    clause = clause.format(s=rng.choice(bank), fact="{fact}", other="{other}").format(**details)
    kind = "request" if intent in phrases.REQUESTS else "complaint"
    return rng.choice(phrases.WARM[kind] if warm else phrases.COOL).format(c=clause)


def _step(rng: random.Random, intent: str, details: dict[str, str], late_item: bool, when: bool) -> list[str]:
    """What the shop does, and perhaps by when: in one sentence or two."""
    it = f"the {details['item']}" if late_item else rng.choice(phrases.PLAIN_IT[intent])
    bank = [s for s in phrases.STEPS[intent] if "{it}" in s] if late_item else phrases.STEPS[intent]
    done = capitalised(rng.choice(bank).format(it=it))
    return _dated(rng, done, phrases.STEP_WHENS[intent]) if when else [f"{done}."]


def _vague(rng: random.Random, when: bool) -> list[str]:
    done = rng.choice(phrases.VAGUE)
    return _dated(rng, done, phrases.VAGUE_WHENS) if when else [f"{done}."]


def _dated(rng: random.Random, done: str, bank: Sequence[str]) -> list[str]:
    promise = rng.choice(bank).format(when=rng.choice(phrases.WHENS))
    return [f"{done}, and {promise}."] if rng.random() < 0.5 else [f"{done}.", f"{capitalised(promise)}."]


def _join(sentences: Sequence[str]) -> str:
    """One text; after a greeting that ends in a comma the next word goes small, except where it is I."""
    text = sentences[0]
    for before, sentence in itertools.pairwise(sentences):
        first = sentence.split(" ", 1)[0]
        small = before.endswith(",") and first != "I" and "@" not in first
        text += " " + (sentence[0].lower() + sentence[1:] if small else sentence)
    return text
