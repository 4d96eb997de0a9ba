"""The README and docs/ say what is there: commands, files, links, options, examples."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
import yaml

from plaudit.cli import main as cli
from plaudit.cli.config import FLAGS, OTHERS, sections_of
from plaudit.config import options
from plaudit.registry import names

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
VERBS = tuple(typer.main.get_command(cli.app).commands)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"(?:src|docs|tests)/[\w./-]+\.(?:py|md)")
BOOLEAN = {"--json", "--resume", "--quick", "--help", "-h"}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fenced(page: Path, *languages: str) -> list[str]:
    """Code blocks of these languages."""
    return [code for language, code in FENCE.findall(page.read_text("utf-8")) if language in languages]


def commands(page: Path) -> list[str]:
    """Every `plaudit ...` and `make ...` of a page: lines of shell blocks, and text between backticks."""
    text = page.read_text("utf-8")
    lines = [line for code in fenced(page, "bash", "") for line in code.splitlines()]
    spans = INLINE.findall(FENCE.sub("", text))
    split = [part.strip() for line in [*lines, *spans] for part in line.split("&&")]
    return [re.sub(r"\s+#.*", "", part) for part in split if re.match(r"(plaudit|make) \S", part)]


EVERY_COMMAND = sorted({command for page in PAGES for command in commands(page)})


def option_names(words: list[str]) -> set[str]:
    """The options that the `key=value` words of a command may set."""
    verb = words[1] if words[0] in ("train", "estimate", "find-lr") or words[:2] == ["data", "augment"] else words[0]
    verb = "ppo" if verb == "branch" else verb  # of whatever was run
    classes, defaults = sections_of(verb) if verb not in FLAGS else ([], {})
    return set(options(classes, defaults))


def test_there_are_commands_to_check():
    assert len(EVERY_COMMAND) > 25


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_every_command_names_what_is_there(command, capsys):
    words = shlex.split(command)
    if words[0] == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
        variables = set(re.findall(r"\b(ARGS|TORCH_INDEX|PYTHON)\b", (ROOT / "Makefile").read_text("utf-8")))
        given = {word.split("=")[0] for word in words[1:] if "=" in word}
        assert {word for word in words[1:] if "=" not in word} <= targets and given <= variables
        return
    verb, rest = words[1], words[2:]
    if verb.startswith("-"):
        assert verb in ("--help", "--version")
        return
    if verb == "VERB":
        return
    assert verb in VERBS
    with pytest.raises(SystemExit) as end:
        cli.main([verb, *(rest[:1] if verb == "data" else []), "--help"])
    helped = capsys.readouterr().out
    assert end.value.code in (0, None)
    flags = [word for word in rest if word.startswith("-") and word not in ("-h", "--help")]
    assert [flag for flag in flags if flag not in helped] == []
    if verb in ("train", "config") and rest and rest[0].islower() and not rest[0].startswith("-"):
        assert rest[0] in (*names("algorithms"), *OTHERS) or ":" in rest[0]
    if rest and re.fullmatch(r"\w+\.py:\w+", rest[0]):
        return  # an algorithm of the reader's own: tests/docs/test_extend.py runs these
    given = [word.split("=")[0].split(".")[0] for word in rest if re.match(r"[a-z_.]+=", word)]
    assert not given or set(given) <= option_names(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_is_named_is_there(page):
    named = set(PATH.findall(page.read_text("utf-8")))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_walk_names_files_and_functions_that_are_there():
    text = FENCE.sub("", (ROOT / "docs" / "walk.md").read_text("utf-8"))
    files = set(re.findall(r"`((?:\w+/)+\w+\.py|\w+\.py)`", text))
    assert len(files) > 25
    assert [file for file in sorted(files) if not (ROOT / "src" / "plaudit" / file).exists()] == []
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src" / "plaudit").rglob("*.py"))
    defined = set(re.findall(r"^\s*(?:def|class) (\w+)", source, re.MULTILINE))
    called = {part for span in INLINE.findall(text) if re.fullmatch(r"[A-Z]\w+(\.\w+)?", span) for part in span.split(".")}
    assert sorted(called - defined) == []


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert sorted(page for page in pages if f"({page})" not in index) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_python_block_is_python_and_every_yaml_block_has_options_that_exist(page):
    for code in fenced(page, "python"):
        ast.parse(code)
    for code in fenced(page, "yaml"):
        verbs = {"ppo", page.stem} & set(names("algorithms"))
        known = {name for verb in verbs for name in options(*sections_of(verb))}
        assert set(yaml.safe_load(code)) <= known


def test_both_readmes_have_the_same_shape():
    texts = [(ROOT / file).read_text("utf-8") for file in ("README.md", "README.zh-CN.md")]
    levels = [re.findall(r"^#+(?= )", FENCE.sub("", text), re.MULTILINE) for text in texts]
    tables = [len(re.findall(r"^\|", text, re.MULTILINE)) for text in texts]
    links = [{link for link in LINK.findall(text) if not link.startswith(("#", "README"))} for text in texts]
    assert levels[0] == levels[1] and tables[0] == tables[1] and links[0] == links[1]
    assert FENCE.findall(texts[0]) == FENCE.findall(texts[1])
    english, chinese = (sorted(set(commands(ROOT / file))) for file in ("README.md", "README.zh-CN.md"))
    assert english == chinese


def test_the_runs_page_names_every_exit_code_and_the_options_that_may_change():
    from plaudit.training.folder import MAY_CHANGE
    from plaudit.training.run import STOPPED

    text = (ROOT / "docs" / "runs.md").read_text("utf-8")
    may_change = text[text.index("What may change on resume:") : text.index("Any other change")]
    assert set(INLINE.findall(may_change)) == MAY_CHANGE
    assert [code for code in STOPPED.values() if f"| {code} |" not in text] == []


QUESTIONS = ("Where is my order?", "How do I reset my password?", "I was charged twice.", "Do you ship to Norway?")


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with the files that the README's example reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    good, bad = "Thank you, I will look into it.", "No."
    rows = {"prompts": {}, "demonstrations": {"completion": good}, "pairs": {"chosen": good, "rejected": bad}}
    for file, sides in rows.items():
        answers = {side: [{"role": "assistant", "content": text}] for side, text in sides.items()}
        lines = [json.dumps({"prompt": [{"role": "user", "content": question}], **answers}) for question in QUESTIONS]
        (tmp_path / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_example_of_the_readme_runs(shop, capsys):
    readme = ROOT / "README.md"
    function = next(code for code in fenced(readme, "python") if code.startswith("def "))
    program = next(code for code in fenced(readme, "python") if "train(" in code)
    (shop / "rules.py").write_text(function)
    (shop / "ppo.yaml").write_text(fenced(readme, "yaml")[0])
    lines = next(code for code in fenced(readme, "bash") if code.startswith("plaudit train sft")).splitlines()
    assert len(lines) == 5
    small = ["max_steps=1", "bf16=false"]
    extra = [["model_name_or_path=tiny", *small], small, *[[*small, "max_completion_length=8"]] * 2, ["max_new_tokens=8"]]
    for line, words in zip(lines, extra, strict=True):
        with pytest.raises(SystemExit) as end:
            cli.main([*shlex.split(line)[1:], *words])
        out = capsys.readouterr()
        assert end.value.code in (0, None), out.err
    assert "win_rate" in out.out
    (shop / "ppo.yaml").write_text((shop / "ppo.yaml").read_text().replace("runs/ppo", "runs/again") + "bf16: false\n")
    exec(compile(program.replace("max_steps=20", "max_steps=1"), "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("runs/again/model ")
