"""Both languages say the same things, and every page finds its words."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from feedback_world import Browser, running, seeded
from plaudit.feedback import language
from plaudit.feedback.formats import FORMATS
from plaudit.feedback.screens.account import ABOUT
from plaudit.feedback.screens.judging import REASONS

TEMPLATES = Path(language.__file__).parent / "templates"
PAGES = ("/", "/judge", "/judge/pairwise", "/judge/ranking", "/judge/rating", "/judge/correction", "/judge/span", "/chat")
PAGES += (
    "/disagreements",
    "/people",
    "/data",
    "/exchange",
    "/runs",
    "/mechanism",
    "/account",
    "/guideline",
    "/help",
    "/judge/x",
)


def test_the_catalogues_have_the_same_keys_and_the_same_places_to_fill():
    english, chinese = (language.catalogue(one) for one in ("en", "zh"))
    assert list(english) == list(chinese)
    for key, text in english.items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", chinese[key])), key
        assert text.strip() and chinese[key].strip()


def test_every_key_is_used_and_every_word_of_a_list_has_one():
    english = language.catalogue("en")
    code = "".join(file.read_text("utf-8") for file in [*TEMPLATES.glob("*.html"), *TEMPLATES.parent.rglob("*.py")])
    families = tuple(re.findall(r"'([a-z_]+\.(?:done_)?)' [+~]", code))
    plainly = [key for key in english if not key.startswith(families)]
    assert [key for key in plainly if f"'{key}'" not in code and f'"{key}"' not in code] == []
    lists = {"format": FORMATS, "reason": REASONS, "about": ABOUT}
    assert [f"{family}.{one}" for family, some in lists.items() for one in some if f"{family}.{one}" not in english] == []


@pytest.mark.parametrize("code", ["en", "zh"])
def test_every_page_is_whole_in_both_languages(tmp_path, code):
    seeded(tmp_path / "store.sqlite")
    with running(tmp_path, models=("http://127.0.0.1:9/v1#toy",)) as app:
        here = Browser(app)
        for path in PAGES:
            page = here.get(path, headers={"accept-language": code})
            assert page.status_code == (404 if path == "/judge/x" else 200), path
            assert f'<html lang="{"zh-CN" if code == "zh" else "en"}"' in page.text
            assert "style=" not in page.text and not re.search(r"\son\w+=|<script>", page.text), (
                "the policy allows no inline code"
            )


def test_language_and_theme_are_chosen_by_hand_and_kept(tmp_path):
    with running(tmp_path) as app:
        here = Browser(app)
        back = here.submit("/display", {"language": "zh", "theme": "dark", "next": "/help"})
        assert back.status_code == 303 and back.headers["location"] == "/help"
        page = here.get("/help").text
        assert 'lang="zh-CN" data-theme="dark"' in page and "快捷键" in page
        here.submit("/display", {"language": "xx", "theme": "<b>"})
        assert 'lang="zh-CN" data-theme="dark"' in here.get("/help").text


@pytest.mark.parametrize(
    ("accepted", "found"), [("", "en"), ("zh-TW,zh;q=0.9", "zh"), ("de,zh;q=0.5", "zh"), ("fr", "en"), ("en-GB,zh", "en")]
)
def test_the_browsers_language_is_the_first_of_ours(accepted, found):
    assert language.preferred(accepted) == found


def sentences(folder, *names):
    """What `folder` raises as a UserError or one of its kinds: (file, sentence with {} where something is filled in)."""
    for file in sorted(Path(language.__file__).parents[1].joinpath(folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))) if not names or file.stem in names else ():
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
                continue
            said = node.exc.args[0]
            parts = said.values if isinstance(said, ast.JoinedStr) else [said]
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
            if getattr(node.exc.func, "id", "") not in {"ValueError", "RuntimeError", "TypeError", "SystemExit"} and text.strip(
                "{} "
            ):
                yield file.name, text.removeprefix("store {}: ")


SEEN = {
    "feedback": (),
    "judgements": ("forms", "pairwise", "ranking", "rating", "rubric", "span", "thumb", "text", "correction"),
    "store": ("accounts", "conversations", "leases", "mechanism", "records"),
}
"""Where the sentences are raised that a page can show: all of a folder, or of some of its files."""
UNSEEN = {"client.py"}


def test_every_sentence_that_a_page_can_show_is_there_in_chinese():
    known = json.loads((Path(language.__file__).parent / "languages" / "errors_zh.json").read_text("utf-8"))
    found = {text for folder, names in SEEN.items() for file, text in sentences(folder, *names) if file not in UNSEEN}
    assert len(found) > 80
    assert sorted(found - known.keys()) == []
    for english, chinese in known.items():
        places = sorted(int(place) for place in re.findall(r"{(\d)}", chinese))
        assert places == list(range(english.count("{}"))), english
        assert re.search("[\u4e00-\u9fff]", chinese)


def test_what_is_filled_in_stays_and_sentences_within_sentences_are_found():
    say = language.translated
    assert say("zh", "name is longer than 60 characters: shorten it") == "name 超过 60 个字符：请缩短"
    assert say("zh", "row 3: x must be text") == "第 3 行：x 必须是文字"
    assert say("zh", "row 3: {0} <b> is odd") == "第 3 行：{0} <b> is odd"
    assert say("zh", "nobody has translated this") == "nobody has translated this"
    assert say("en", "row 3: x must be text") == "row 3: x must be text"


def test_a_page_and_a_script_of_it_are_told_in_chinese_what_went_wrong(tmp_path):
    with running(tmp_path) as app:
        here = Browser(app)
        chinese = {"accept-language": "zh"}
        page = here.get("/judge/x", headers=chinese)
        assert "没有 " in page.text and "这种评判" in page.text and 'role="alert" lang="en"' not in page.text
        assert 'role="alert" lang="en"' in here.get("/judge/x").text
        answer = here.get("/runs/nothing", headers={**chinese, "accept": "application/json"})
        assert answer.json()["error"].startswith("这里没有训练")
