"""Charts of the reports as files of their own, for pages of documentation."""

from __future__ import annotations

from plaudit.evaluation.report.scatter import Scatter, scatter

STYLE = (
    ".grid{stroke:#dcdfe5}.tick{font:10px sans-serif;fill:#5a6270}.dot.s0{fill:#1d5fc4}.dot.s1{fill:#8a5200;fill-opacity:.6}"
)
"""On a white ground: a file that is shown as an image knows nothing of the page's colours."""


def standing(one: Scatter) -> str:
    """An SVG file with its style in it."""
    drawn = scatter(one)
    inner = drawn[drawn.index("<svg ") : drawn.index("</svg>") + len("</svg>")]
    inner = inner.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" width="720" ', 1)
    return inner.replace(">", f"><style>{STYLE}</style><rect width='100%' height='100%' fill='#fff'/>", 1) + "\n"
