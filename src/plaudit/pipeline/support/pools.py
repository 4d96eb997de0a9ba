"""Details that customers name: items, cities, colours, damages, dates, amounts, e-mail addresses, order numbers.

Training and validation draw from the first pool, held-out questions from the second, and no word stands in both
(weekdays are the exception: there are seven). Order numbers are told apart by their remainder modulo 10.
"""

from __future__ import annotations

import random
from typing import Literal

Split = Literal["train", "validation", "heldout"]

HARD = {
    "train": (
        "kettle", "desk lamp", "coffee grinder", "bread bin", "wall clock", "bicycle bell", "garden chair", "salad bowl",
        "toaster", "lunch box", "watering can", "picture frame", "thermos flask", "hand mixer", "shoe rack", "bird feeder",
        "headset", "chess set", "letter opener", "alarm clock", "egg cooker", "umbrella stand", "soap dispenser",
        "spice rack", "music box", "step stool", "kitchen scale", "tool box", "yoga block", "phone stand",
    ),
    "heldout": (
        "teapot", "floor lamp", "rice cooker", "pepper mill", "fruit basket", "bookshelf", "camping stove", "laundry bin",
        "plant pot", "serving tray", "table fan", "sewing machine", "cake tin", "garden torch", "bath mirror",
    ),
}  # fmt: skip
SOFT = {
    "train": (
        "wool blanket", "rain jacket", "backpack", "bath towel", "door mat", "sun hat", "cushion cover", "sleeping bag",
        "apron", "winter scarf", "sports bag", "table cloth",
    ),
    "heldout": ("beach bag", "hooded jumper", "picnic rug", "bed sheet", "dressing gown", "shower curtain"),
}  # fmt: skip
ITEMS = {split: HARD[split] + SOFT[split] for split in HARD}
HARD_DAMAGES = {
    "train": ("cracked", "scratched", "dented", "chipped", "bent"),
    "heldout": ("crushed", "broken", "warped", "smashed"),
}
SOFT_DAMAGES = {"train": ("torn", "stained", "frayed"), "heldout": ("ripped", "faded", "soaked")}
COLOURS = {
    "train": ("blue", "green", "black", "white", "red", "grey"),
    "heldout": ("yellow", "brown", "purple", "orange", "beige"),
}
CITIES = {
    "train": (
        "Bremen", "Graz", "Leipzig", "Utrecht", "Basel", "Ghent", "Lyon", "Turin", "Malmo", "Aarhus", "Krakow", "Brno",
        "Cork", "Porto", "Bergen", "Tampere", "Seville", "Linz", "Rostock", "Nantes",
    ),
    "heldout": ("Kassel", "Bruges", "Parma", "Odense", "Gdansk", "Galway", "Braga", "Turku", "Dijon", "Potsdam"),
}  # fmt: skip
DAYS = {"train": (6, 8, 9, 11, 12, 14, 16, 19), "heldout": (7, 10, 13, 15, 17, 18)}
NAMES = {
    "train": ("mara", "jonas", "lena", "paul", "ines", "felix", "nora", "emil", "clara", "oskar", "vera", "hugo"),
    "heldout": ("alma", "bruno", "greta", "mika", "selma", "viktor", "tilda", "arno"),
}
SURNAMES = {
    "train": ("klein", "vogel", "berg", "winter", "lang", "haas"),
    "heldout": ("sommer", "weiss", "kern", "brandt", "frey"),
}
MAILS = {
    "train": ("mailbox.org", "postnet.com", "inbox.eu", "webpost.net"),
    "heldout": ("quickmail.org", "letterbox.com", "homemail.net"),
}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
REMAINDERS = {"train": (0, 1, 2, 3, 4, 5, 6), "validation": (7,), "heldout": (8, 9)}
"""Last digits of the order numbers of each split."""


def pool(split: Split) -> str:
    """Which of the two pools a split draws from: validation shares the training pool."""
    return "heldout" if split == "heldout" else "train"


def item(rng: random.Random, split: Split) -> str:
    return rng.choice(ITEMS[pool(split)])


def damage(rng: random.Random, split: Split, thing: str) -> str:
    """A damage that the thing can have: cloth tears, hard things crack."""
    side = pool(split)
    return rng.choice((SOFT_DAMAGES if thing in SOFT[side] else HARD_DAMAGES)[side])


def days(rng: random.Random, split: Split) -> str:
    """`9 days` or `nine days`."""
    number = rng.choice(DAYS[pool(split)])
    return f"{number if rng.random() < 0.5 else NUMBER_WORDS[number]} days"


def date(rng: random.Random, split: Split) -> str:
    """`12 March`; days that three divides are held out."""
    numbers = [day for day in range(1, 29) if (day % 3 == 0) == (split == "heldout")]
    return f"{rng.choice(numbers)} {rng.choice(MONTHS)}"


def amount(rng: random.Random, split: Split) -> str:
    """`34.90 euros`; the cents differ between the pools."""
    cents = rng.choice((40, 75, 85) if split == "heldout" else (90, 50, 95))
    return f"{rng.randint(9, 89)}.{cents} euros"


def mail(rng: random.Random, split: Split) -> str:
    side = pool(split)
    return f"{rng.choice(NAMES[side])}.{rng.choice(SURNAMES[side])}@{rng.choice(MAILS[side])}"


def colours(rng: random.Random, split: Split) -> tuple[str, str]:
    """Two different colours: the one ordered and the one that came."""
    first, second = rng.sample(COLOURS[pool(split)], 2)
    return first, second


def city(rng: random.Random, split: Split) -> str:
    return rng.choice(CITIES[pool(split)])


def weekday(rng: random.Random, split: Split) -> str:
    return rng.choice(WEEKDAYS)
