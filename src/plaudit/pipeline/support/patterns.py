"""What the rubric listens for: regular expressions over lower-case sentences, wide enough for a model's own wording.

A step of the shop is a subject (I, we, our team), then helpers (have, will, am), then a verb of the intent, then in the
same sentence an object of the intent: "we will | send | you a **replacement**". Or the passive: "a **replacement** has been sent".
"""

from __future__ import annotations

import re

FUNCTION_WORDS = frozenset(
    "a about after again all already also am an and any are as at back be because been before being both but by can could did do does"
    " down each else even every few for from further get go had has have he her here him his how i if in into is it its itself just let"
    " like may me might more most must my need no nor not now of off on once one only or other our out over own please same shall she"
    " should since so some such than thank thanks that the their them then there these they this those through to too under until up us"
    " very was we were what when where whether which while who why will with within without would yes yet you your yours i'm i've i'll"
    " we're we've we'll you're you've you'll it's that's there's don't doesn't didn't isn't can't won't".split()
)
FINITE = re.compile(
    r"\b(?:am|is|are|was|were|has|have|had|do|does|did|will|would|can|could|may|might|must|shall|should|thanks?|please|let|apologi[sz]e|"
    r"hope|see|know|understand|write|note|looks?|seems?|sounds?|arrived|came|got)\b|'(?:m|re|ve|ll|s)\b"
)
_SUBJECT = (
    r"(?:i|we|our (?:\w+ ){0,2}?(?:team|colleagues?|warehouse|department|staff|accounts|courier|carrier|partner|driver)"
    r"|(?:a|my) colleagues?|the (?:warehouse|courier|carrier|driver|team|depot|accounts team)|and)"
)
_HELPER = (
    r"(?:'ve|'ll|'m|'re| have| has| will| shall| am| are| is| be| been| just| now| already| also| immediately| gladly| today|"
    r" personally| going to| happy to| glad to| then| right away| at once| directly| can| could| would| make sure to| start(?:ed)? to|"
    r" begun to| working to| trying to| asked them to)"
)
_BE = r"(?:is|are|was|were|has been|have been|will be|is being|are being|has now been|is now|has already been|should be|can be)"
HEDGED = re.compile(r"\b(?:can|could|would|may|might|if|try|trying)\b")
NEGATED = re.compile(r"\b(?:not|cannot|never|unable|unfortunately no)\b|n't\b")
WEAK_VERBS = re.compile(r"^(?:check|look|review|investigat|confirm|process|forward|pass|escalat|track|monitor|verif|note)")

_SEND = (
    "send|sending|sent|ship|shipping|shipped|dispatch|dispatched|dispatching|mail|mailed|resend|resent|bring|deliver|delivered"
)
_ASK = (
    "ask|asked|asking|contact|contacted|contacting|call|called|calling|tell|told|write to|written to|wrote to|inform|informed"
)
_CHECK = "check|checked|checking|look|looked|looking|review|investigate|investigated|investigating|confirm|verify|forwarded|escalated"
_REFUND = (
    "refund|refunded|refunding|return|returning|returned|pay|paying|paid|transfer|transferred|transferring|issue|issued|issuing|reverse|"
    "reversed|reversing|credit|credited|book|booked|booking|release|released|start|started|initiate|initiated|process|processed|processing"
)
_MAKE = "arrange|arranged|arranging|order|ordered|ordering|prepare|prepared|preparing|book|booked|organise|organised|set|reserve|reserved"
_CHANGE = (
    "change|changed|changing|update|updated|updating|redirect|redirected|correct|corrected|correcting|enter|entered|adjust|adjusted|"
    "reroute|rerouted|switch|switched|amend|amended|replace|replaced|put|set|add|added"
)
_STOP = (
    "cancel|cancell?ed|cancell?ing|stop|stopped|stopping|remove|removed|removing|halt|halted|block|blocked|withdraw|withdrawn|take|taken|"
    "taking|delete|deleted|hold|put|call|called"
)
_COURIER = r"carrier|courier|driver|depot|delivery (?:company|service|partner)|postal|post office|shipping (?:company|partner)|warehouse"
_NEW = r"replacement|new \w+|new one|another|fresh|substitute"
_MONEY = r"refund|money|payments?|amount|accounts? (?:team|department)|accounting|bank|transfer|credit|card|finance"

_ACTIONS: dict[str, tuple[str, str]] = {
    "late": (
        f"{_SEND}|{_ASK}|{_CHECK}|trac(?:e|ed|ing)|track(?:ed|ing)?|chas(?:e|ed|ing)|search(?:ed|ing)?|locat(?:e|ed|ing)|open(?:ed|ing)?|"
        "find|finding|follow(?:ed|ing)? up|speed(?:ing)? up|start(?:ed)?",
        rf"{_COURIER}|parcel|package|shipment|delivery|trac(?:e|king)|search|{_NEW}|it|order|again|status",
    ),
    "damaged": (
        f"{_SEND}|{_MAKE}|{_CHECK}|replac(?:e|ed|ing)|exchang(?:e|ed|ing)|{_REFUND}|collect|offer",
        rf"{_NEW}|exchange|money|refund|label|pick-?up|collect|return|it|damaged",
    ),
    "refund": (
        f"{_REFUND}|{_ASK}|{_CHECK}|send|sending|sent",
        rf"{_MONEY}|returns? (?:team|department)|warehouse|return|it",
    ),
    "wrong": (
        f"{_SEND}|{_MAKE}|{_CHECK}|exchang(?:e|ed|ing)|replac(?:e|ed|ing)|swap(?:ped|ping)?|collect|pick up|correct(?:ed|ing)?",
        rf"right|correct|colou?r|{_NEW}|label|exchange|return|refund|it",
    ),
    "login": (
        f"{_CHECK}|reset(?:ting)?|send|sending|sent|mail|mailed|resent|resend|unlock(?:ed|ing)?|restor(?:e|ed|ing)|open(?:ed|ing)?|"
        "reactivat(?:e|ed)|creat(?:e|ed)|set|chang(?:e|ed|ing)|issu(?:e|ed)|updat(?:e|ed|ing)",
        r"password|link|account|access|e-?mail|code|log-?in",
    ),
    "address": (
        f"{_CHANGE}|{_ASK}|{_CHECK}|{_SEND}|not(?:e|ed)|forward(?:ed|ing)?",
        rf"address|parcel|package|delivery|{_COURIER}|shipment|label|city|it|order",
    ),
    "cancel": (
        f"{_STOP}|{_ASK}|{_CHECK}|{_REFUND}",
        r"order|it|delivery|shipment|warehouse|payment|money|amount|parcel|package|refund|purchase|cancellation",
    ),
    "charged": (
        f"{_REFUND}|{_ASK}|{_CHECK}|cancell?ed|cancel|send|sending|sent|correct(?:ed|ing)?",
        rf"second|double|duplicate|extra|charges?|invoice|billing|{_MONEY}",
    ),
}
_PASSIVE: dict[str, tuple[str, str]] = {
    "late": (
        rf"{_COURIER}|trac(?:e|king)|search|{_NEW}",
        "asked|contacted|opened|started|sent|shipped|informed|called|looking",
    ),
    "damaged": (
        rf"{_NEW}|label|refund|money|exchange",
        "sent|shipped|packed|prepared|ordered|issued|booked|arranged|on (?:its|the) way",
    ),
    "refund": (
        r"refund|money|payment|amount",
        "issued|released|sent|paid|started|transferred|processed|booked|initiated|on (?:its|the) way",
    ),
    "wrong": (
        rf"{_NEW}|right \w+|correct \w+|label|exchange",
        "sent|shipped|packed|prepared|ordered|arranged|booked|on (?:its|the) way",
    ),
    "login": (
        r"password|link|account|access|log-?in",
        "sent|reset|unlocked|restored|opened|changed|mailed|on (?:its|the) way|in your \w+",
    ),
    "address": (
        r"address|parcel|package|delivery|label|carrier|order",
        "changed|updated|redirected|entered|corrected|told|informed|sent",
    ),
    "cancel": (
        r"order|purchase|delivery|payment|refund|cancellation",
        "cancell?ed|stopped|removed|refunded|entered|issued|started|withdrawn",
    ),
    "charged": (
        r"payment|charge|amount|refund|money|second \w+|invoice",
        "cancell?ed|reversed|refunded|returned|issued|started|paid back|sent|corrected|processed|credited",
    ),
}


def _active(verbs: str) -> re.Pattern[str]:
    return re.compile(rf"\b{_SUBJECT}(?P<helpers>{_HELPER}*) (?P<verb>{verbs})\b(?P<rest>.*)")


ACTIVE = {i: (_active(verbs), re.compile(rf"\b(?:{objects})\b")) for i, (verbs, objects) in _ACTIONS.items()}
"""Intent -> the pattern of subject, helpers, verb and rest, and the pattern of the objects looked for in the rest."""
PASSIVE = {
    i: re.compile(rf"\b(?:{objects})\b[^,;]{{0,40}}? {_BE}(?: \w+ly| now| already)? (?:{done})\b")
    for i, (objects, done) in _PASSIVE.items()
}
VAGUE = re.compile(
    r"look(?:ing)? into|have a look|check (?:this|it|that)|take care|working on|get back to you|passed (?:this |it )?on|see what|do our best|be in touch|"
    r"help you|assist you|resolve (?:this|it|the)|sort (?:this|it) out|forward(?:ed)?|investigat"
)
_NUMBER = r"(?:\d{1,2}|an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fourteen|few|next|couple of)"
_UNIT = r"(?:minutes?|hours?|(?:working |business |week)?days?|weeks?)"
_DAY = r"(?:tomorrow|today|tonight|noon|monday|tuesday|wednesday|thursday|friday|saturday|sunday|the weekend|next week|the end of (?:the|this) \w+|evening)"
WHEN = re.compile(
    rf"\b(?:within|in|in under|in about|takes?|no later than)(?: the)?(?: next| about| around)* {_NUMBER}(?:(?: to | or |-){_NUMBER})? ?{_UNIT}"
    rf"|\b(?:by|until|before|on|no later than) {_DAY}|\b(?:later today|this (?:afternoon|morning|evening|week)|tomorrow|first thing)"
    rf"|(?<!help you )(?<!assist you )(?<!you with )\btoday(?! at the lindenshop)|\bnext week\b|\b{_NUMBER} (?:to|-) {_NUMBER} {_UNIT}"
)
SOON = re.compile(r"\b(?:soon|shortly|as soon as possible|right away|immediately|in a moment|quickly|promptly)\b")
SORRY = re.compile(r"\b(?:sorry|apologi[sz]e|apologies|excuse|regret)\b")
FEELING = re.compile(
    r"\b(?:understand|frustrat\w+|annoy\w+|inconvenien\w+|disappoint\w+|imagine|upset\w*|trouble|should not (?:happen|have)|worr\w+)\b"
)
WILLING = re.compile(
    r"\b(?:thank(?:s| you) for (?:letting|telling|informing)|no problem|of course|happy to|glad to|gladly|certainly|understand|sure)\b"
)
POLITE = re.compile(
    r"^(?:hello|hi|dear|good (?:day|morning|evening|afternoon)|thank)|\b(?:regards|best wishes|have a (?:nice|great|good)|patience|"
    r"let (?:me|us) know|questions|write back|anything else|thank you for)\b"
)
SECOND_FILLER = re.compile(
    r"\b(?:as you may know|please be assured|best possible service|valued? customer|at the lindenshop we|we take every|many messages|"
    r"there are many shops|our customers are|highest priority|your satisfaction|ask for your understanding|reached the right place)"
)
CUSTOMER = re.compile(
    r"^(?:(?:hello|hi|dear \w+)[,.!]? )?(?:i (?:ordered|bought|want|need|cannot|can't|sent|returned|gave|paid|made|received|got|never|am moving|am locked|"
    r"have been waiting|would like to cancel|opened my|chose)|my (?!colleague|team|apolog|name|best|sincere)\w+)"
    r"|\bmy (?:order|parcel|package|refund|money|card|account|password|bank|return|invoice|old flat|mother|wife)\b|\bwhere is my\b|\bcan you (?:check|change|cancel)\b"
)
ASKING = re.compile(
    r"\b(?:could|can|would|may|please|kindly|need|want)\b[^.?!]{0,40}?\b(?:send|provide|share|give|tell|confirm|let (?:us|me) (?:know|have)|reply with|state|have)\b"
    r"[^.?!]{0,40}?\b(?:order (?:number|id|no)|order details|item|product|details|information|your (?:e-?mail|account))\b|what (?:is|was) your (?:order|e-?mail)"
)
ELSEWHERE = re.compile(
    r"\b(?:contact|call|reach out to|get in touch with|visit|write to|e-?mail|speak (?:to|with))\b(?: \w+){0,3}? "
    r"(?:customer (?:support|service|care)|support(?: team)?|website|help (?:centre|center|desk)|hotline|service team|the lindenshop|the seller|lindenshop)\b"
)
PLACEHOLDER = re.compile(r"\[[^\]]{2,40}\]|<[^>]{2,40}>|\{[^}]{2,40}\}|\bxxx+\b|lorem ipsum", re.IGNORECASE)
EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]*\w")
LINK = re.compile(r"(?:https?://|www\.)[^\s]+")
LONG_NUMBER = re.compile(r"(?<![\w.@])\d[\d ,-]*\d(?![\w@])|(?<![\w.@])\d(?![\w@])")
AMOUNT = re.compile(r"(?:[€$£] ?\d+(?:[.,]\d{1,2})?)|\b\d+[.,]\d{2}\b|\b\d+(?= ?(?:euros?|dollars?|eur|usd|pounds?)\b)")
ORDER_MENTION = re.compile(r"\border (?:number |no\.? |id |with the number )?#?(\d+)")
