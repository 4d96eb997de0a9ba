"""How a concrete step of the shop sounds, for each intent, wide enough for a model's own wording.

Active: a subject (I, we, our team), helpers (have, will, am), a verb of the intent, and after it in the same sentence an
object of the intent: "we | will | send | you a *replacement*". Passive: "a *replacement* | has been | sent".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SUBJECT = (
    r"(?:i|we|our (?:\w+ ){0,2}?(?:team|colleagues?|warehouse|department|staff|accounts|courier|carrier|partner|driver)"
    r"|(?:a|my) colleagues?|the (?:warehouse|courier|carrier|driver|team|depot|accounts team)|and)"
)
_HELPER = (
    r"(?:'ve|'ll|'m|'re| have| has| will| shall| am| are| is| be| been| just| now| already| also| immediately| gladly| today"
    r"| personally| going to| happy to| glad to| then| right away| at once| directly| can| could| would| make sure to"
    r"| start(?:ed)? to| begun to| trying to)"
)
_BE = r"(?:is|are|was|were|has been|have been|will be|is being|are being|has now been|is now|has already been|should be|can be)"
_HEDGED = re.compile(r"\b(?:can|could|would|trying|should)\b")
_NO = re.compile(r"\b(?:no|without a) $")
_CONDITION = re.compile(r"\bif you\b|\?$")
_NEGATED = re.compile(r"\b(?:not|cannot|never|unable)\b|n't\b")
_WEAK = re.compile(r"(?:check|review|investigat|confirm|process|forward|escalat|track|verif|note|noting)")
_MISTAKE = re.compile(r"(?:sent|shipped|delivered|ordered|booked|packed)")
HEDGE, WEAK = 0.7, 0.6
"""What a hedged step ("we can send ...") and a weak verb ("I will check the ...") are worth of a firm one."""


def _verbs(text: str) -> str:
    """Every form of regular verbs: `trace` gives trace, traced, tracing; irregular forms are written out."""
    stems = (word[:-1] + "(?:e|ed|ing)" if word.endswith("e") else word + "(?:ed|ing)?" for word in text.split())
    return "|".join(stems)


_SEND = _verbs("send ship dispatch mail resend deliver") + "|sent|resent|shipp(?:ed|ing)|bring"
_ASK = _verbs("ask contact call tell inform") + "|told|wr(?:ite|itten|iting|ote) to"
_CHECK = _verbs("check review investigate confirm forward escalate verify")
_REFUND = _verbs("refund return pay issue reverse credit book release start initiate process") + "|paid|transfer(?:r?ed|ring)?"
_MAKE = _verbs("pack arrange order prepare book organise reserve offer") + "|set"
_CHANGE = _verbs("change update redirect correct enter adjust reroute switch amend replace add") + "|put|putting|set"
_STOP = _verbs("cancel stop remove halt block withdraw take delete hold call") + "|cancell(?:ed|ing)|stopp(?:ed|ing)|taken|put"
_COURIER = (
    "carrier|courier|driver|depot|delivery (?:company|service|partner)|post office|shipping (?:company|partner)|warehouse"
)
_NEW = r"replacement|new \w+|another|substitute"
_MONEY = "refund|money|payments?|amount|accounts? (?:team|department)|accounting|bank|transfer|credit|card|finance"

_ACTIVE_BANK = {
    "late": (
        f"{_SEND}|{_ASK}|{_CHECK}|{_verbs('trace track chase search locate open follow start find')}"
        "|look(?:ing)? for|speed(?:ing)? up",
        f"{_COURIER}|parcel|package|shipment|delivery|trac(?:e|king)|search|{_NEW}|it|order|again|status",
    ),
    "damaged": (
        f"{_SEND}|{_MAKE}|{_CHECK}|{_REFUND}|{_verbs('replace exchange collect')}",
        f"{_NEW}|exchange|money|refund|label|pick-?up|collect|return|it|damaged",
    ),
    "refund": (f"{_REFUND}|{_ASK}|{_CHECK}|send|sending|sent", f"{_MONEY}|returns? (?:team|department)|warehouse|return|it"),
    "wrong": (
        f"{_SEND}|{_MAKE}|{_CHECK}|{_verbs('exchange replace swap collect correct pick')}|swapp(?:ed|ing)",
        f"right|correct|colou?r|{_NEW}|label|exchange|return|refund|it",
    ),
    "login": (
        f"{_CHECK}|{_verbs('reset unlock restore open reactivate create change issue update mail')}"
        "|resett?ing|sen(?:d|t|ding)|resen[dt]|set",
        "password|link|account|access|e-?mail|code|log-?in",
    ),
    "address": (
        f"{_CHANGE}|{_ASK}|{_CHECK}|{_SEND}|note|noted",
        f"address|parcel|package|delivery|{_COURIER}|shipment|label|city|it|order",
    ),
    "cancel": (
        f"{_STOP}|{_ASK}|{_CHECK}|{_REFUND}",
        "order|it|delivery|shipment|warehouse|payment|money|amount|parcel|package|refund|purchase|cancellation",
    ),
    "charged": (
        f"{_REFUND}|{_ASK}|{_CHECK}|cancel(?:led|ling)?|sen(?:d|t|ding)|{_verbs('correct')}",
        f"second|double|duplicate|extra|charges?|invoice|billing|{_MONEY}",
    ),
}
"""Intent -> (verbs, objects)."""
_PASSIVE_BANK = {
    "late": (f"{_COURIER}|trac(?:e|king)|search|{_NEW}", "asked|contacted|opened|started|sent|shipped|informed|called|looking"),
    "damaged": (
        f"{_NEW}|label|refund|money|exchange",
        "sent|shipped|packed|prepared|ordered|issued|booked|arranged|on (?:its|the) way",
    ),
    "refund": (
        "refund|money|payment|amount",
        "issued|released|sent|paid|started|transferred|processed|booked|on (?:its|the) way",
    ),
    "wrong": (
        rf"{_NEW}|right \w+|correct \w+|label|exchange",
        "sent|shipped|packed|prepared|ordered|arranged|booked|on (?:its|the) way",
    ),
    "login": (
        "password|link|account|access|log-?in",
        r"sent|reset|unlocked|restored|opened|changed|mailed|on (?:its|the) way|in your \w+",
    ),
    "address": (
        "address|parcel|package|delivery|label|carrier|order",
        "changed|updated|redirected|entered|corrected|told|informed|sent",
    ),
    "cancel": (
        "order|purchase|delivery|payment|refund",
        "cancell?ed|stopped|removed|refunded|entered|issued|started|withdrawn",
    ),
    "charged": (
        r"payment|charge|amount|refund|money|second \w+|invoice",
        "cancell?ed|reversed|refunded|returned|issued|started|paid back|sent|corrected|processed|credited",
    ),
}
"""Intent -> (objects, what was done to them)."""

_ACTIVE = {
    intent: (
        re.compile(rf"\b{_SUBJECT}(?P<helpers>{_HELPER}*) (?P<verb>{verbs})\b(?P<rest>.*)"),
        re.compile(rf"\b(?:{objects})\b"),
    )
    for intent, (verbs, objects) in _ACTIVE_BANK.items()
}
_PASSIVE = {
    intent: re.compile(rf"\b(?:{objects})\b[^,;]{{0,40}}? {_BE}(?: \w+ly| now| already)? (?:{done})\b")
    for intent, (objects, done) in _PASSIVE_BANK.items()
}
_REPLACED = re.compile(rf"\bit {_BE} (?:replaced|exchanged|swapped|collected)\b")


def firmness(sentence: str, intent: str) -> float:
    """How firmly a lower-case sentence states a step of the shop that fits the intent: 1 firm, less hedged or weak, 0 none.

    The customer's item should stand as "it" in the sentence, so that "I have cancelled your kettle" counts.
    """
    condition = HEDGE if _CONDITION.search(sentence) else 1.0
    passive = _PASSIVE[intent].search(sentence) or (intent in ("damaged", "wrong") and _REPLACED.search(sentence))
    if passive and not _NEGATED.search(passive.group(0)) and not _NO.search(sentence[: passive.start()]):
        return HEDGE if _HEDGED.search(passive.group(0)) else condition
    pattern, objects = _ACTIVE[intent]
    return max((condition * _worth(found, objects) for found in _overlapping(pattern, sentence)), default=0.0)


def other_firmness(sentence: str, intent: str) -> float:
    """The same for the steps of all other intents: a step, but for another matter."""
    return max(firmness(sentence, other) for other in _ACTIVE if other != intent)


def _worth(found: re.Match[str], objects: re.Pattern[str]) -> float:
    """1, or WEAK, or 0: no object, "and" without a helper, "check it", or our mistake told ("we sent you the wrong colour")."""
    if not objects.search(found["rest"]) or (found.group(0).startswith("and") and not found["helpers"]):
        return 0.0
    if "wrong" in found["rest"] and not found["helpers"] and _MISTAKE.match(found["verb"]):
        return 0.0
    if _WEAK.match(found["verb"]):
        return 0.0 if re.match(r"(?: into)? (?:it|this|that)\b", found["rest"]) else WEAK
    return HEDGE if _HEDGED.search(found["helpers"]) else 1.0


def _overlapping(pattern: re.Pattern[str], sentence: str) -> Iterator[re.Match[str]]:
    """Every match, overlapping ones too: the rest of one match may hold the next subject."""
    found = pattern.search(sentence)
    while found:
        yield found
        found = pattern.search(sentence, found.start() + 1)
