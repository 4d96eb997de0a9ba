"""The pages docs/trl-ppo-defects.md and docs/formulas.md name what is there."""

import ast
import re
import string
from pathlib import Path

ROOT = Path(__file__).parents[2]


def table(page):
    """The rows of a page's one table, header left out, as lists of cells."""
    lines = [line for line in (ROOT / "docs" / page).read_text("utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def defect_tests():
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        found |= {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}
    return {name for name in found if name.startswith("test_defect_")}


def test_every_defect_has_a_row_and_every_row_its_tests():
    rows = table("trl-ppo-defects.md")
    assert "".join(row[0] for row in rows) == string.ascii_lowercase[:21]
    named = {row[0]: re.findall(r"`(test_\w+)`", row[-1]) for row in rows}
    assert [letter for letter, names in named.items() if not names] == []
    assert [name for letter, names in named.items() for name in names if not name.startswith(f"test_defect_{letter}_")] == []
    assert {name for names in named.values() for name in names} == defect_tests()


def test_every_function_that_the_formulas_page_names_is_there():
    rows = table("formulas.md")
    assert len(rows) >= 12
    for row in rows:
        places = re.findall(r"`([\w/]+\.py):([\w.]+)`", row[-1])
        assert places, row[0]
        for file, name in places:
            tree = ast.parse((ROOT / "src" / "plaudit" / file).read_text("utf-8"))
            for part in name.split("."):
                tree = next(node for node in tree.body if getattr(node, "name", None) == part)
