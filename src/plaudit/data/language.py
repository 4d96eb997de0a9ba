"""A guess at a text's language, by its script and its commonest words. It is a guess: short texts often stay undetermined."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

UNKNOWN = "und"
"""ISO 639's code for "undetermined"."""
SCRIPTS = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "CYRILLIC": "ru",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
    "BENGALI": "bn",
    "TAMIL": "ta",
    "GREEK": "el",
    "HEBREW": "he",
    "THAI": "th",
}
OWN_LETTERS = {"uk": "іїєґ", "fa": "پچژگ"}
"""Letters that tell a language from the commonest one of its script."""
WORDS = {
    "en": "the of and to in is you that it for was on are with as this be have at what how can not i my your or from by",
    "de": "der die und das ist nicht ein ich zu sie mit es den auf für wie eine von im dem sich auch was wird sind",
    "fr": "le la les et de des un une est que pas je vous il dans pour qui ce sur avec nous du au en comment quel",
    "es": "el los las y que de una es en por con para no se lo del como qué cómo está mi su más al pero",
    "it": "il che di è non un una per sono con mi si come gli della questo cosa del ho ti anche più nel",
    "pt": "o os as e que de um uma não é para com em se do da no na por como você mais eu são ao",
    "nl": "de het een en van ik is dat niet je te zijn op voor met die hoe wat maar er aan ook wordt",
    "pl": "nie się na jest to że i z w do jak co czy po dla ale tak od ma jestem są",
    "tr": "bir ve bu ne için da de çok ben mi ile var nasıl daha olarak değil gibi en",
    "vi": "là của và có không tôi một cho được trong người này với để những các bạn như",
    "sv": "och att det i en jag är som på inte av för med han den till ett har om vad hur",
}
TABLE = {language: frozenset(words.split()) for language, words in WORDS.items()}
WORD = re.compile(r"[^\W\d_]+")
LOOKED_AT = 2000


def guess(text: str) -> str:
    """The ISO 639-1 code of the likeliest language, or `und`; by the first 2,000 characters."""
    letters = [letter for letter in text[:LOOKED_AT] if letter.isalpha()]
    scripts = Counter(unicodedata.name(letter, "").split(" ", 1)[0].split("-", 1)[0] for letter in letters)
    if not scripts:
        return UNKNOWN
    kana, chinese = scripts["HIRAGANA"] + scripts["KATAKANA"], scripts["CJK"]
    # letters of a script without blanks say more than one letter of an alphabet
    weighed = Counter({name: count * (3 if SCRIPTS.get(name) in ("zh", "ja", "ko") else 1) for name, count in scripts.items()})
    script, _ = max(weighed.items(), key=lambda pair: (pair[1], pair[0]))
    if script in ("CJK", "HIRAGANA", "KATAKANA"):
        return "ja" if kana > 0.1 * (kana + chinese) else "zh"
    if script == "LATIN":
        return _by_words(text[:LOOKED_AT])
    found = SCRIPTS.get(script, UNKNOWN)
    written = set(text[:LOOKED_AT].lower())
    for language, own in OWN_LETTERS.items():
        if SCRIPTS.get(script) == {"uk": "ru", "fa": "ar"}[language] and written & set(own):
            return language
    return found


def _by_words(text: str) -> str:
    words = Counter(WORD.findall(text.lower()))
    hits = {language: sum(words[word] for word in common) for language, common in TABLE.items()}
    first, second = sorted(hits.values(), reverse=True)[:2]
    return max(hits, key=lambda language: hits[language]) if first > second else UNKNOWN
