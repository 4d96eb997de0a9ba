"""Model output is hostile: what becomes of it on a page, and that ordinary text, code and formulas come through."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest

from plaudit.feedback.rendering import LONGEST, difference, markdown, plain
from plaudit.feedback.saying import said
from plaudit.schema import Assignment, Feedback

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<form action=//evil.example><button>x</button></form>",
    "<style>*{background:url(//evil.example)}</style>",
    "<link rel=stylesheet href=//evil.example>",
    "<object data=//evil.example></object>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:alert(1))",
    "[x](file:///etc/passwd)",
    '[x](https://a.example "onmouseover=alert(1)")',
    '[x](https://a.example/"onmouseover="alert(1))',
    "![x](https://evil.example/pixel.png)",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "![x][y]\n\n[y]: https://evil.example/pixel.png",
    "<https://evil.example/><javascript:alert(1)>",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "`<script>alert(1)</script>`",
    "$<script>alert(1)</script>$",
    r"$\href{javascript:alert(1)}{x}$",
    r"$\text{<img src=x onerror=alert(1)>}$",
    r"$$\unicode{<script>alert(1)</script>}$$",
    r"\(\style{color:red}{x}\) \[\class{x}{y}\]",
    "$" + "{" * 900 + "$",
    "$" + r"\frac{" * 200 + "$",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?><script>alert(1)</script>",
    "\u202e<script>alert(1)</script>",
    "\x00<scr\x00ipt>alert(1)</script>",
    "|<script>|\n|-|\n|<img src=x onerror=alert(1)>|",
    "# <script>alert(1)</script>",
    "1. <script>alert(1)</script>\n   - <svg onload=alert(1)>",
    "[<img src=x onerror=alert(1)>](https://a.example)",
    "<p style=position:fixed;inset:0 class=top id=main>x</p>",
    "{{ 7 * 7 }} {% include '/etc/passwd' %}",
    '" autofocus onfocus=alert(1) x="',
    "' onmouseover='alert(1)",
    "</div></article></main><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "javascript:alert(1)",
    "<a href=https://a.example target=_blank onclick=alert(1)>x</a>",
    "[x](//evil.example)",
    "[x](\\\\evil.example)",
]
TEXT = "p br hr h1 h2 h3 h4 h5 h6 em strong s code pre blockquote ul ol li table thead tbody tr th td a span div"
MATHS = "math mrow mi mn mo mtext mspace mfrac msqrt mroot mstyle msub msup msubsup munder mover munderover mtable mtr mtd"
SAFE = set(f"{TEXT} {MATHS}".split(" "))


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("render", [markdown, plain])
def test_nothing_hostile_becomes_an_element_or_an_attribute(payload, render):
    looked = Elements()
    looked.feed(render(payload))
    for tag, attributes in looked.found:
        assert tag in SAFE
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "id", "action", "target")]
        link = attributes.get("href")
        if link is not None:
            assert re.match(r"(https?:|mailto:)", link) and "noopener" in attributes["rel"]


def test_what_people_and_models_usually_write_comes_through():
    made = markdown(
        "# Title\n\nSome **bold** and `code`.\n\n```python\nx < 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n- two"
    )
    for piece in ("<h1>Title</h1>", "<strong>bold</strong>", "<code>code</code>", "x &lt; 1", "<td>2</td>", "<li>two</li>"):
        assert piece in made
    assert '<a href="https://a.example" rel="noopener noreferrer nofollow">x</a>' in markdown("[x](https://a.example)")


@pytest.mark.parametrize("text", ["$x^2$", r"\(x^2\)", "$$x^2$$", r"\[x^2\]", "a $x^2$ b"])
def test_formulas_become_mathml(text):
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in markdown(text)


def test_prices_are_no_formulas_and_strange_formulas_stay_text():
    assert "<math" not in markdown("It costs $5 and $6.") and "$5 and $6" in markdown("It costs $5 and $6.")
    assert "<code>" in markdown("$" + "x" * 2000 + "$")


def test_hidden_characters_are_shown():
    assert "⟨U+202E⟩" in markdown("a\u202eb") and "⟨U+200B⟩" in plain("a\u200bb")


def test_a_text_of_100_kb_is_shown_as_it_is():
    text = "**word** " * 12_000
    assert markdown(text) == plain(text) and len(text) > LONGEST
    assert html.escape("**word**") in markdown(text)


def test_the_difference_of_two_texts_by_words():
    assert difference("The cat sat.", "The dog sat!") == "The <del>cat</del><ins>dog</ins> sat<del>.</del><ins>!</ins>"
    assert difference("<b>", "<b> x") == "&lt;b&gt;<ins> x</ins>"
    assert difference("same", "same") == "same"


@pytest.mark.parametrize(
    ("kind", "judgement", "text"),
    [
        ("pairwise", {"choice": "a", "strength": 2}, "B >> A"),
        ("pairwise", {"choice": "b"}, "B < A"),
        ("pairwise", {"choice": "tie"}, "B = A"),
        ("pairwise", {"choice": "both_bad"}, "B ✗ A ✗"),
        ("ranking", {"order": [[1], [0, 2]]}, "A > B = ?"),
        ("rating", {"stars": 4, "aspects": {"safe": 5}}, "4/5 · safe 5/5"),
        ("thumb", {"value": 0}, "−1"),
        ("span", {"spans": [{"start": 0, "end": 12, "tag": "wrong"}]}, "wrong 0–12"),
        ("rubric", {"criteria": {"cites": True, "short": None}}, "cites ✓ · short –"),
        ("text", {"text": "free words"}, "free words"),
        ("correction", {}, ""),
    ],
)
def test_a_judgement_in_signs_names_the_answers_as_the_page_does(kind, judgement, text):
    """The act saw y first, then x; the page calls x A and y B, and knows nothing of z."""
    number = {"pairwise": 2, "ranking": 3}.get(kind, 1)
    act = Feedback(Assignment("p", ("y", "x", "z")[:number], kind), judgement, "ada", "human")
    assert said(act, {"x": "A", "y": "B"}) == text
