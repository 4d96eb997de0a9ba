"""Seeded questions of customers: eight intents, each with training templates and differently worded held-out templates.

Every question names an order number, an item and one fact of its intent (days waited, damage, date, colour, e-mail,
city, weekday, amount). The meta of one: `{"intent": "late", "template": "late-train-3", "split": "train",
"details": {"order": "48213", "item": "kettle", "fact": "nine days"}}`.
"""

from __future__ import annotations

import random

from plaudit.pipeline.support import pools
from plaudit.pipeline.support.pools import Split
from plaudit.pipeline.support.templates import HELDOUT, OPENERS, TRAIN
from plaudit.schema import Message, Prompt, UserError

SYSTEM = "You answer customers of the Lindenshop."
INTENTS = ("late", "damaged", "refund", "wrong", "login", "address", "cancel", "charged")
OPENER_SHARE = 0.4
"""Share of questions that begin with a greeting."""
HIGHEST_ORDER = 99_999
LOWEST_ORDER = 10_000

FACTS = {
    "late": pools.days,
    "refund": pools.date,
    "login": pools.mail,
    "address": pools.city,
    "cancel": pools.weekday,
    "charged": pools.amount,
}
"""The fact of each intent that does not hang on the item; damage and colour are drawn in `draw_details`."""


def questions(count: int, seed: int, split: Split) -> list[Prompt]:
    """`count` different questions; the same arguments give the same list, and intents come in equal shares.

    Order numbers are never used twice in one call, and each split has its own, so no question stands in two splits.
    Raises UserError for an unknown split and for more questions than the split has order numbers.
    """
    if split not in pools.REMAINDERS:
        raise UserError(f"split is {split!r}: choose train, validation or heldout")
    numbers = [n for n in range(LOWEST_ORDER, HIGHEST_ORDER + 1) if n % 10 in pools.REMAINDERS[split]]
    if not 0 <= count <= len(numbers):
        raise UserError(f"count is {count}: the split {split} has between 0 and {len(numbers)} questions")
    rng = random.Random(f"support-questions-{split}-{seed}")
    orders = rng.sample(numbers, count)
    intents = [INTENTS[i % len(INTENTS)] for i in range(count)]
    rng.shuffle(intents)
    return [_question(rng, split, intent, str(order)) for intent, order in zip(intents, orders, strict=True)]


def draw_details(rng: random.Random, split: Split, intent: str, order: str) -> dict[str, str]:
    """Order number, item and fact; for a wrong colour also `other`, the colour that came."""
    thing = pools.item(rng, split)
    details = {"order": order, "item": thing}
    if intent == "damaged":
        details["fact"] = pools.damage(rng, split, thing)
    elif intent == "wrong":
        details["fact"], details["other"] = pools.colours(rng, split)
    else:
        details["fact"] = FACTS[intent](rng, split)
    return details


def with_article(noun: str) -> str:
    """`a kettle`, `an apron`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def capitalised(text: str) -> str:
    """The text with its first letter large; an e-mail address at the start stays as it is."""
    return text if "@" in text.split(" ", 1)[0] else text[:1].upper() + text[1:]


def _question(rng: random.Random, split: Split, intent: str, order: str) -> Prompt:
    details = draw_details(rng, split, intent, order)
    side = pools.pool(split)
    templates = (HELDOUT if side == "heldout" else TRAIN)[intent]
    number = rng.randrange(len(templates))
    words = details | {f"a_{name}": with_article(value) for name, value in details.items()}
    text = capitalised(templates[number].format(**words))
    if rng.random() < OPENER_SHARE:
        text = f"{rng.choice(OPENERS[side])} {text}"
    meta = {"intent": intent, "details": details, "template": f"{intent}-{side}-{number}", "split": split}
    return Prompt(messages=(Message("system", SYSTEM), Message("user", text)), meta=meta)
