"""What models and people wrote, made into HTML. It is hostile: no HTML of theirs, no images, no scripts, safe links only.

markdown-it-py with HTML off makes the HTML, latex2mathml the formulas, nh3 lets only known elements and attributes through, and
the page's Content-Security-Policy forbids the rest.
"""

from __future__ import annotations

import difflib
import html
import re
from functools import lru_cache
from typing import Any

import nh3
from latex2mathml.converter import convert as mathml
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from mdit_py_plugins.dollarmath import dollarmath_plugin

from plaudit.evaluation.report.words import visible

LONGEST = 50_000
"""Characters that are read as Markdown; a longer text is shown as it is."""
LONGEST_FORMULA = 1_000
SCHEMES = ("http:", "https:", "mailto:")
_MATHML = [
    "math",
    "mrow",
    "mi",
    "mn",
    "mo",
    "ms",
    "mtext",
    "mspace",
    "mfrac",
    "msqrt",
    "mroot",
    "mstyle",
    "merror",
    "mpadded",
    "mphantom",
    "mfenced",
    "menclose",
    "msub",
    "msup",
    "msubsup",
    "munder",
    "mover",
    "munderover",
    "mmultiscripts",
    "mtable",
    "mtr",
    "mtd",
    "mlabeledtr",
]
_ELEMENTS = {
    *[
        "p",
        "br",
        "hr",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "em",
        "strong",
        "s",
        "code",
        "pre",
        "blockquote",
        "ul",
        "ol",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "a",
        "span",
        "div",
    ],
    *_MATHML,
}
_ATTRIBUTES: dict[str, set[str]] = {
    "a": {"href", "title"},
    "code": {"class"},
    "ol": {"start"},
    "math": {"display"},
    "mo": {"stretchy", "fence", "separator", "form"},
    "mi": {"mathvariant"},
    "mfrac": {"linethickness"},
    "mtable": {"columnalign"},
}


def plain(text: str) -> str:
    """A text as it was written, every hidden character shown."""
    return f'<pre class="plain" dir="auto">{html.escape(visible(text))}</pre>'


@lru_cache(maxsize=512)
def markdown(text: str) -> str:
    """Safe HTML of a text in Markdown, with `$…$`, `$$…$$`, `\\(…\\)` and `\\[…\\]` as MathML."""
    if len(text) > LONGEST:
        return plain(text)
    made = _READER.render(visible(text))
    return nh3.clean(
        made,
        tags=_ELEMENTS,
        attributes=_ATTRIBUTES,
        attribute_filter=_kept,
        url_schemes={scheme[:-1] for scheme in SCHEMES},
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )


def _kept(element: str, name: str, value: str) -> str | None:
    """Links lead to whole addresses only: a relative one would mean a page of ours, or another site without a scheme."""
    return value if name != "href" or value.lower().startswith(SCHEMES) else None


def formula(latex: str, options: dict[str, Any]) -> str:
    """MathML of a formula, or the formula as code where it is too long or cannot be read."""
    if len(latex) <= LONGEST_FORMULA:
        try:
            made: str = mathml(latex, display="block" if options.get("display_mode") else "inline")
            return made
        except Exception:
            pass
    return f"<code>{html.escape(latex)}</code>"


def _brackets(state: StateInline, silent: bool) -> bool:
    """`\\(…\\)` and `\\[…\\]`, as models write formulas too."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in (r"\(", r"\["):
        return False
    end = state.src.find(r"\)" if opening == r"\(" else r"\]", state.pos + 2)
    if end < 0:
        return False
    if not silent:
        token = state.push("math_inline_double" if opening == r"\[" else "math_inline", "math", 0)
        token.content = state.src[state.pos + 2 : end]
    state.pos = end + 2
    return True


def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    reader.disable(["image", "html_block", "html_inline", "autolink"])
    reader.use(dollarmath_plugin, renderer=formula, allow_digits=False, allow_space=False, allow_labels=False)
    reader.inline.ruler.before("escape", "math_brackets", _brackets)
    return reader


_READER = _reader()


def difference(before: str, after: str) -> str:
    """The words of both texts, what went in `<del>`, what came in `<ins>`; escaped. Texts over LONGEST are not compared."""
    if max(len(before), len(after)) > LONGEST:
        return f"<del>{html.escape(visible(before))}</del><ins>{html.escape(visible(after))}</ins>"
    old, new = (re.findall(r"\s+|\w+|[^\w\s]", visible(text)) for text in (before, after))
    pieces: list[str] = []
    for what, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone, come = html.escape("".join(old[a:b])), html.escape("".join(new[c:d]))
        if what == "equal":
            pieces.append(gone)
            continue
        pieces += [f"<del>{gone}</del>"] * bool(gone) + [f"<ins>{come}</ins>"] * bool(come)
    return "".join(pieces)
