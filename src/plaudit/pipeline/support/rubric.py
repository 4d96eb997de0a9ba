"""How good is an answer to a customer? A rubric in words, and the same as a number between 0 and 1.

Credits (they add up to 1):
  order .13, item .13, fact .13   the answer takes up the order number, the item and the customer's fact, inside a sentence
  understanding .10               an apology or understanding where something went wrong; thanks or readiness for a request
  step .25                        what the shop has done or does now, fitting the matter ("we will look into it" earns .3 of it)
  when .13                        by when it happens or the customer hears from us
  readable .09                    complete sentences, about 25 to 60 words, a proper end
  polite .04                      a greeting or a closing offer

Deductions (each takes a share off the sum, one after the other): invented numbers, amounts, addresses or things; repetition;
copying the question; keywords in place of sentences; padding; very short; asking for what was given; speaking as the
customer; sending the customer elsewhere; blanks such as "[Your Name]"; no proper end; truncated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from plaudit.pipeline.support import deductions, patterns, steps
from plaudit.pipeline.support.reading import Answer, details_taken_up, ramp, read
from plaudit.schema import Prompt, UserError

WEIGHTS = {
    "order": 0.13,
    "item": 0.13,
    "fact": 0.13,
    "understanding": 0.10,
    "step": 0.25,
    "when": 0.13,
    "readable": 0.09,
    "polite": 0.04,
}
REQUESTS = ("address", "cancel")
OTHER, VAGUE = 0.4, 0.3
"""What a step of another matter, and a vague one, are worth of a fitting step."""
BEST_LENGTH, FAR_TOO_LONG = 200, 550
"""Characters, about 36 and 100 words; counted in characters so that two answers rarely tie."""

RUBRIC_TEXT = """\
Judge which answer helps this customer more.

A good answer takes up what the customer wrote: the order number, the item and the particular fact (how long, which date,
which colour, how much), in sentences. It shows understanding: an apology where something went wrong, thanks or readiness
where the customer asks for a change. It names one concrete step that the shop has taken or takes now and that fits the
matter, and says by when. It is friendly, easy to read, complete, and about 25 to 60 words long.

Mark down: details that the customer never mentioned; asking for what was already given; sending the customer elsewhere;
copying the question; lists of keywords; repetition; padding; speaking as if one were the customer; breaking off.

Do not prefer an answer because it is longer."""

LABELS = {
    "order": "takes up the order number",
    "item": "takes up the item",
    "fact": "takes up the customer's fact",
    "understanding": "shows understanding",
    "step": "names a concrete step that fits",
    "when": "says by when",
    "readable": "reads well",
    "polite": "greets or closes politely",
}


@dataclass(frozen=True)
class RubricScore:
    """`total` in 0..1; `parts`: points earned of WEIGHTS; `deductions`: name -> share taken off, only those above 0."""

    total: float
    parts: dict[str, float]
    deductions: dict[str, float]


def score(prompt: Prompt, answer: str, *, truncated: bool = False) -> RubricScore:
    """The rubric's judgement of `answer`, without noise: total = sum(parts) * product(1 - deduction).

    `prompt` is one of `questions` (its meta names intent and details); `truncated` says that the answer ran into the length
    limit. An empty answer scores 0. Raises UserError where the prompt has no details.
    """
    if not {"intent", "details"} <= prompt.meta.keys():
        raise UserError("the rubric needs a prompt with intent and details in its meta: make it with support.questions")
    text = read(answer)
    if not text.words:
        return RubricScore(0.0, dict.fromkeys(WEIGHTS, 0.0), {"empty": 1.0})
    intent, details = prompt.meta["intent"], prompt.meta["details"]
    step = _step(text, intent, details["item"])
    shares = details_taken_up(text, intent, details) | {
        "understanding": _understanding(text, intent),
        "step": step,
        "when": _when(text) * (0.4 + 0.6 * ramp(step, 0.0, 0.5)),
        "readable": _readable(text),
        "polite": 1.0 if patterns.POLITE.search(text.lower) else 0.0,
    }
    parts = {name: weight * shares[name] for name, weight in WEIGHTS.items()}
    taken = deductions.all_of(prompt, text, truncated=truncated)
    total = sum(parts.values())
    for share in taken.values():
        total *= 1.0 - share
    return RubricScore(total, parts, taken)


def explain(result: RubricScore) -> list[str]:
    """The score in lines for a reader: what was earned of what, then what was taken off."""
    lines = [f"{LABELS[name]}: {points:.2f} of {WEIGHTS[name]:.2f}" for name, points in result.parts.items()]
    lines += [f"{name}: {share:.0%} taken off" for name, share in result.deductions.items()]
    return [*lines, f"total: {result.total:.2f}"]


def _step(text: Answer, intent: str, item: str) -> float:
    """The best sentence counts: a fitting step 1, hedged or weak .6 to .75, another matter's step .4, vague .3."""
    best = 0.0
    for sentence, quality in zip(text.sentences, text.qualities, strict=True):
        said = re.sub(rf"\b(?:(?:the|your|this) )?(?:{re.escape(item)}|{re.escape(item.split()[-1])})\b", "it", sentence)
        fit = steps.firmness(said, intent)
        other = OTHER * steps.other_firmness(said, intent) if fit < OTHER else 0.0
        vague = VAGUE if patterns.VAGUE.search(sentence) else 0.0
        best = max(best, quality * max(fit, other, vague))
    return best


def _when(text: Answer) -> float:
    """A time 1, "soon" .3; a time in a sentence that hardly is one counts less."""
    shares = (
        quality * (1.0 if patterns.WHEN.search(sentence) else 0.3 if patterns.SOON.search(sentence) else 0.0)
        for sentence, quality in zip(text.sentences, text.qualities, strict=True)
    )
    return max(shares, default=0.0)


def _understanding(text: Answer, intent: str) -> float:
    """For a complaint an apology or a word of feeling .8, both 1; for a request readiness or thanks 1, an apology .4."""
    sorry, feeling = bool(patterns.SORRY.search(text.lower)), bool(patterns.FEELING.search(text.lower))
    if intent in REQUESTS:
        return 1.0 if patterns.WILLING.search(text.lower) else 0.4 if sorry or feeling else 0.0
    return min(1.0, 0.8 * (sorry or feeling) + 0.2 * (sorry and feeling))


def _readable(text: Answer) -> float:
    """Sentences and length, half each; the length credit is 1 at BEST_LENGTH and falls slowly to 0 at 0 and FAR_TOO_LONG."""
    count = len(text.text)
    length = ramp(count, 0, BEST_LENGTH) ** 0.7 if count < BEST_LENGTH else 1.0 - ramp(count, BEST_LENGTH, FAR_TOO_LONG)
    return 0.5 * text.fluency + 0.5 * length
