"""The report as a whole: offline, well formed, hostile text kept harmless, nothing shown that was not measured."""

import base64
import dataclasses
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from plaudit.evaluation.report import (
    Annotator,
    Answer,
    Comparison,
    Data,
    Definition,
    Headline,
    Interval,
    Report,
    RewardModel,
    TokenTrace,
    curve,
    render,
    write_report,
)
from plaudit.evaluation.report.style import DARK, LIGHT
from plaudit.evaluation.report.words import duration, figure, percent, safe
from plaudit.schema import UserError

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> &amp; \x00\x1b[2J\u202egnp.exe\u2066\u200b\ud800 </style> -->"
VOID = {"meta", "br", "img", "input", "hr", "link"}


class Page(HTMLParser):
    """Reads a page, insists that every tag is closed in order, and keeps elements, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += data


def full(text: str = "Where is order 1182?") -> Report:
    """A report with every part, whose every free text is `text`."""
    answer = Answer(text, {text: 0.5}, truncated=True)
    return Report(
        title=text,
        run=text,
        model=text,
        seed=7,
        machine=text,
        headline=Headline(
            240,
            Interval(0.63, 0.57, 0.69),
            Interval(0.8, 0.7, 0.9),
            0.5,
            0.6,
            0.3,
            RewardModel(0.69, 0.56, 0.75, 400),
            5.6,
            0.1,
            0.0,
        ),
        created_at=text,
        curves=[
            dataclasses.replace(
                curve("kl", [(0, 0.0), (1, 2.0)], others={text: [(0, 1.0)]}), name=text, unit=text, help=text, label=text
            )
        ],
        comparisons=[Comparison(text, answer, Answer(text + text), answer, note=text)],
        traces=[TokenTrace([text, "", "\n"], {text: [0.1, -0.2, None], "kl": [0.0, 1.0, 2.0]}, text, text)],
        seconds={text: 12.0, "PPO": 36.0},
        data=Data({text: 3}, [Annotator(text, 5, 0.25, text)], True, 0.4, text, 0.25, [text]),
        configuration={text: {text: text, "reward_weights": {text: 1}}},
        command=text,
        commit=text,
        definitions=[Definition(text, text, text)],
    )


def test_hostile_text_stays_text_wherever_it_stands():
    plain, evil = Page(render(full())), Page(render(full(EVIL)))
    assert [tag for tag, _ in evil.tags].count("script") == 1
    extra = {tag for tag, _ in evil.tags} - {tag for tag, _ in plain.tags}
    assert extra == set(), "model output made elements of its own"
    assert not any(name.startswith("on") for _, attributes in evil.tags for name in attributes)
    assert "<script>alert(1)</script>" in evil.text, "it is shown as it was written"


def test_hidden_characters_are_shown_not_obeyed():
    page = render(full(EVIL))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)
    assert "␀" in page and "␛[2J" in page and "⟨U+202E⟩" in page and "⟨U+200B⟩" in page
    assert page.encode("utf-8")


def test_safe_leaves_ordinary_text_of_every_script_alone():
    for text in ("naïve café\n\tline", "你好，世界", "שלום עולם", "می‌خواهم", "👩‍💻 ❤️", "a < b"):
        assert safe(text).replace("&lt;", "<") == text


def test_page_needs_no_network_and_runs_only_its_own_script():
    text = render(full())
    page = Page(text)
    assert not any(
        name in ("src", "srcset", "href", "action", "data") and not (value or "").startswith("#")
        for _, a in page.tags
        for name, value in a.items()
    )
    assert "url(" not in text and "@import" not in text and "http:" not in text and "https:" not in text
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'")
    script = re.search(r"<script>(.*?)</script>", text, re.S).group(1)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "innerHTML" not in script and "eval" not in script


def test_annotators_are_called_simulated_and_people_are_not():
    assert "Simulated annotator" in render(full()) and "are simulated: programs" in render(full())
    people = dataclasses.replace(full(), data=Data({"pairs": 3}, [Annotator("anna", 3)], simulated=False, agreement=0.5))
    assert "imulated annotator" not in render(people)


def test_empty_parts_are_left_out_and_unmeasured_figures_are_dashes():
    page = Page(render(Report("T", "r", "m", 1, "here", Headline(0))))
    ids = [a["id"] for tag, a in page.tags if tag == "section" and "id" in a]
    assert ids == ["definitions"]
    assert "Not measured" in page.text and page.text.count("–") >= 4


def test_every_link_of_the_contents_leads_to_a_section_and_ids_are_unique():
    page = Page(render(full()))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in page.tags if tag == "a"} <= set(ids)


def test_bars_of_time_and_their_shares():
    # 12 s and 36 s of 48 s: a quarter and three quarters; bars relative to the longest.
    page = render(full())
    assert 'style="width:33.3%"' in page and 'style="width:100.0%"' in page
    assert '<td class="num">25%</td>' in page and '<td class="num">75%</td>' in page and "48.0 s" in page


def test_written_whole_and_over_an_older_one(tmp_path):
    path = write_report(tmp_path / "new" / "report.html", full())
    write_report(path, dataclasses.replace(full(), title="Second"))
    assert "<title>Second</title>" in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"Cannot write the report to .*report\.html"):
        write_report(tmp_path / "file" / "report.html", full())
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UserError, match=r"folder\.html"):
        write_report(tmp_path / "folder.html", full())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.html"], "nothing half-written is left"


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.1 for #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_is_at_least_aa(theme):
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    shades = [f"{side}{i}" for side in "np" for i in range(1, 5)] + ["z"]
    for ink, grounds in {
        "ink": ["page", "sheet", "band", "wash", *shades],
        "soft": ["page", "sheet"],
        "accent": ["page", "sheet"],
    }.items():
        for ground in grounds:
            assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)
    assert contrast(theme["edge"], theme["page"]) >= 3, "lines and borders that carry meaning"


def test_figures_read_as_a_person_writes_them():
    assert [figure(v) for v in (0.0, 12, 1234567, -0.25, 5.6251, 123.4, 0.00004, None, float("nan"), float("inf"))] == [
        "0", "12", "1\u202f234\u202f567", "−0.250", "5.63", "123", "4.0e−05", "–", "–", "–",
    ]  # fmt: skip
    assert [percent(v) for v in (0, 0.634, 0.042, 0.995, 1, 0.0001, None)] == [
        "0%",
        "63%",
        "4.2%",
        "99.5%",
        "100%",
        "under 0.1%",
        "–",
    ]
    assert [duration(v) for v in (0.44, 59.96, 200, 3720, None)] == ["0.4 s", "1 min 00 s", "3 min 20 s", "1 h 02 min", "–"]


def test_report_is_light():
    code = "import sys, plaudit.evaluation.report, plaudit.evaluation.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
