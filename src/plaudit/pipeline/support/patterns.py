"""What the rubric listens for beside steps: regular expressions over lower-case text."""

from __future__ import annotations

import re

_FUNCTION_WORDS = """
a about after again all already also am an and any are as at back be because been before being both but by can could did do
does down each else even every few for from further get go had has have he her here him his how i if in into is it its itself
just let like may me might more most must my need no nor not now of off on once one only or other our out over own please
same shall she should since so some such than thank thanks that the their them then there these they this those through to
too under until up us very was we were what when where whether which while who why will with within without would yes yet
you your yours i'm i've i'll we're we've we'll you're you've you'll it's that's there's don't doesn't didn't isn't can't won't
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
FINITE = re.compile(
    r"\b(?:am|is|are|was|were|has|have|had|do|does|did|will|would|can|could|may|might|must|shall|should|thanks?|please|let|sorry"
    r"|apologi[sz]e|hope|see|know|understand|write|note|looks?|seems?|sounds?|arrived|came|got)\b|'(?:m|re|ve|ll|s)\b"
    r"|\b(?:it|we|i|you|they) [a-z]{3,}"
)
VAGUE = re.compile(
    r"look(?:ing)? into|have a look|check (?:this|it|that)|take care|working on|get back to you|passed (?:this |it )?on"
    r"|see what|do our best|be in touch|help you|assist you|resolve (?:this|it|the)|sort (?:this|it) out|forward|investigat"
)
_NUMBER = r"(?:\d{1,2}|an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fourteen|few|next|couple of)"
_UNIT = r"(?:minutes?|hours?|(?:working |business |week)?days?|weeks?)"
_WEEKDAY = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_DAY = rf"(?:tomorrow|today|tonight|noon|{_WEEKDAY}|the weekend|next week|evening|the end of (?:the|this) \w+)"
WHEN = re.compile(
    r"\b(?:within|in|in under|in about|takes?|no later than)(?: the)?(?: next| about| around)*"
    rf" {_NUMBER}(?:(?: to | or |-){_NUMBER})? ?{_UNIT}"
    rf"|\b(?:by|until|before|no later than) {_DAY}|\bwill\b[^.]* on (?:{_WEEKDAY})"
    r"|\b(?:later today|this (?:afternoon|morning|evening|week)|tomorrow|first thing)"
    rf"|(?<!help you )(?<!assist you )(?<!you with )\btoday\b|\bnext week\b|\b{_NUMBER} (?:to|-) {_NUMBER} {_UNIT}"
)
SOON = re.compile(r"\b(?:soon|shortly|as soon as possible|right away|immediately|in a moment|quickly|promptly)\b")
SORRY = re.compile(r"\b(?:sorry|apologi[sz]e|apologies|excuse|regret)\b")
FEELING = re.compile(
    r"\b(?:understand|frustrat\w+|annoy\w+|inconvenien\w+|disappoint\w+|imagine|upset\w*|trouble|worr\w+"
    r"|should not (?:happen|have))\b"
)
WILLING = re.compile(
    r"\b(?:thank(?:s| you) for (?:letting|telling|informing)"
    r"|no problem|of course|happy to|glad to|gladly|certainly|understand|sure)\b"
)
POLITE = re.compile(
    r"^(?:hello|hi|dear|good (?:day|morning|evening|afternoon)|thank)|\b(?:regards|best wishes|have a (?:nice|great|good)"
    r"|patience|let (?:me|us) know|questions|write back|anything else|thank you for)\b"
)
FILLER = re.compile(
    r"\b(?:as you may know|please be assured|best possible service|valued? customer|at the lindenshop we|we take every"
    r"|many messages|there are many shops|our customers are|highest priority|your satisfaction|reached the right place)"
)
_CUSTOMER_VERBS = (
    "ordered|bought|want|need|cannot|can't|sent|returned|gave|paid|made|received|got|never|am moving|am locked"
    "|have been waiting|would like to cancel|opened my|chose"
)
CUSTOMER = re.compile(
    rf"^(?:(?:hello|hi|dear \w+)[,.!]? )?(?:i (?:{_CUSTOMER_VERBS})\b(?! your? (?:message|request|e-?mail|order))"
    r"|my (?!colleague|team|apolog|name|best|sincere)\w+)"
    r"|\bmy (?:order|parcel|package|refund|money|card|account|password|bank|return|invoice|old flat|mother|wife)\b"
    r"|\bwhere is my\b|\bcan you (?:check|change|cancel)\b"
)
"""Tried on each sentence. A shop's own "I have received your message" and "I sent you" are meant to pass."""
_GIVE = "send|provide|share|give|tell|confirm|let (?:us|me) (?:know|have)|reply with|state"
_GIVEN = "order (?:number|id|no)|order details|item|product|your (?:e-?mail|account)"
ASKING = re.compile(
    rf"\b(?:could|can|may|please|kindly|need) (?:you |us )?(?:please |kindly |to )?(?:{_GIVE})\b[^.?!]{{0,40}}?\b(?:{_GIVEN})\b"
    r"|what (?:is|was) your (?:order|e-?mail)|need your order"
)
ELSEWHERE = re.compile(
    r"\b(?:contact|call|reach out to|get in touch with|visit|write to|e-?mail|speak (?:to|with))\b(?: \w+){0,3}? "
    r"(?:customer (?:support|service|care)|support(?: team)?|website|help (?:centre|center|desk)|hotline|service team|seller|"
    r"manufacturer|lindenshop)\b"
)
PLACEHOLDER = re.compile(r"\[[^\]]{2,40}\]|<[^>]{2,40}>|\{[^}]{2,40}\}|\bxxx+\b", re.IGNORECASE)
EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]*\w")
LINK = re.compile(r"(?:https?://|www\.)[^\s]+")
LONG_NUMBER = re.compile(r"(?<![\w.@])\d[\d ,-]*\d(?![\w@])")
AMOUNT = re.compile(r"[€$£] ?\d+(?:[.,]\d{1,2})?|\b\d+[.,]\d{2}\b|\b\d+(?= ?(?:euros?|dollars?|eur|usd|pounds?)\b)")
ORDER_MENTION = re.compile(r"\border (?:number |no\.? |id |with the number )?#?(\d+)")
