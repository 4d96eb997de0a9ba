"""Plaudit against the recorded numbers of TRL, and the page that says how far apart they are.

python parity/compare.py         prints the table
python parity/compare.py --docs  writes docs/parity.md
"""

import argparse
import sys

import torch

import compare_offline
import compare_online
from ours import HERE, recorded

ALGORITHMS = {
    "sft": compare_offline.sft,
    "reward": compare_offline.reward,
    "dpo": compare_offline.dpo,
    "kto": compare_offline.kto,
    "ppo": compare_online.ppo,
    "grpo": compare_online.grpo,
    "rloo": compare_online.rloo,
}
"""Name of the recorded file -> the function that gives its lines."""

PAGE = HERE.parent / "docs" / "parity.md"


def table():
    """The lines of all algorithms."""
    return [line for compare in ALGORITHMS.values() for line in compare()]


def page(lines):
    """docs/parity.md."""
    rows = ["| algorithm | case | quantity | numbers | largest difference | allowed | note |", "|---|---|---|---|---|---|---|"]
    for line in lines:
        allowed = f"{line.tolerance:.0e}".replace("e-0", "e-") if line.tolerance else "none"
        cells = (line.algorithm, line.case, line.quantity, str(line.numbers), f"{line.largest:.1e}", allowed, line.note)
        rows.append(f"| {' | '.join(cells)} |")
    sources = []
    for name in ALGORITHMS:
        source = recorded(name)["source"]
        versions = ", ".join(f"{package} {version}" for package, version in source["versions"].items())
        sources.append(
            f"| [{name}.json](../parity/recorded/{name}.json) | {source['date']} | {source['machine']} | {versions} |"
        )
    template = (HERE / "page.md").read_text(encoding="utf-8")
    return template.replace("<!-- table -->", "\n".join(rows)).replace("<!-- sources -->", "\n".join(sources))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", action="store_true", help="write docs/parity.md")
    torch.set_num_threads(1)
    lines, failed = table(), 0
    for line in lines:
        bad = line.tolerance is not None and not line.largest <= line.tolerance
        failed += bad
        print(f"{line.algorithm:7} {line.case:26} {line.quantity:48} {line.numbers:5d} {line.largest:8.1e}{'  TOO FAR' * bad}")
    if parser.parse_args().docs:
        PAGE.write_text(page(lines), encoding="utf-8")
        print(f"{PAGE.relative_to(HERE.parent)} written")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
