"""The texts that both sides are given: questions of a shop's customers and answers to them, drawn from a seed."""

from __future__ import annotations

import random

ITEMS = ("kettle", "desk lamp", "rain jacket", "phone case", "coffee mill", "backpack", "garden hose", "alarm clock")
COLOURS = ("blue", "green", "black", "white", "red", "grey")
CITIES = ("Hamburg", "Leeds", "Porto", "Oslo", "Ghent", "Turin", "Cork", "Graz")
TROUBLES = (
    "has not arrived in {city} yet. Can you tell me where it is?",
    "came broken to {city} this morning. How do I send it back?",
    "was charged twice to my card. When do I get the money back?",
    "is the wrong colour. Could you send me the right one to {city}?",
)
SENTENCES = (
    "I am sorry that this has happened with your {item}.",
    "I have looked at your order and I can see what went wrong on our side.",
    "A colleague in the warehouse will check the shelf today and write to you before the evening.",
    "You will find a label for the parcel in the message that I have just sent to you.",
    "The money is on its way to your card, which takes three to five working days.",
    "If you would rather keep the {item}, we can take a quarter off its price instead.",
    "Please tell me whether the parcel may be left with a neighbour in {city}.",
    "Thank you for your patience, and please write again at any time.",
    "Our driver was in your street yesterday but nobody opened the door.",
    "I have put a note on your account so that you need not explain this again.",
)


def questions(count: int, seed: int) -> list[str]:
    """`count` different prompts of about 30 tokens."""
    rng, found = random.Random(f"bench-questions-{seed}"), []
    for number in range(count):
        about = f"{rng.choice(COLOURS)} {rng.choice(ITEMS)}"
        trouble = rng.choice(TROUBLES).format(city=rng.choice(CITIES))
        found.append(f"Customer: My order {10000 + 7 * number} for a {about} {trouble}\nAgent:")
    return found


def answers(words: list[int], seed: int, kind: str = "answer") -> list[str]:
    """One answer for each entry of `words`, so many words long; it begins with a blank, as it follows a prompt."""
    return [_answer(count, random.Random(f"bench-{kind}-{seed}-{number}")) for number, count in enumerate(words)]


def _answer(count: int, rng: random.Random) -> str:
    found: list[str] = []
    while len(found) < count:
        sentence = rng.choice(SENTENCES).format(item=rng.choice(ITEMS), city=rng.choice(CITIES))
        found += sentence.split()
    return " " + " ".join(found[:count]).rstrip(",.") + "."


def spread(count: int, low: int, high: int, seed: str) -> list[int]:
    """`count` whole numbers evenly from `low` to `high`, in an order drawn from `seed`."""
    even = [round(low + (high - low) * k / max(1, count - 1)) for k in range(count)]
    random.Random(f"bench-spread-{seed}").shuffle(even)
    return even
