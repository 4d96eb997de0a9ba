"""Both sides in turns, and what is said of them: medians, the ratio and its spread, memory, the share of the limit. No torch.

seconds      median of the measured steps of all turns
ratio        peer's seconds / ours; above 1 ours is faster
ratio_range  lowest and highest ratio of the medians of one turn of each side
memory_ratio peer's peak / ours, each the largest of its turns
limit_share  seconds of ours if all its products ran at the machine's measured ceilings, / ours (bench/flops.py)
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from plaudit.bench import children
from plaudit.bench.flops import Phase, limit_seconds, phases
from plaudit.bench.work import Work
from plaudit.models.flops import Shape
from plaudit.schema import JSON, UserError
from plaudit.training.progress import Progress

GB = 1e9
SLOTS = 64
"""Rows that are decoded at one time, on both sides."""
MADE = ("model", "endless", "reward", "reward-adapter")
"""Folders that `prepare` makes."""
SAME_TOKENS = 0.01
"""Both sides must have worked on the same number of tokens, within this share."""


@dataclass(frozen=True)
class Plan:
    """How a comparison is run."""

    against: str | None = None
    peers: Path = Path(".")
    """Folder with the peers' environments."""
    rounds: int = 2
    """Turns of each side."""
    dtype: str = "auto"
    peer_dtype: str = "default"
    words: list[str] = field(default_factory=list)
    """`key=value` options of ours, as of `plaudit train`."""
    peer_options: dict[str, Any] = field(default_factory=dict)
    probe_seconds: float = 1.5


@dataclass(frozen=True)
class Turn:
    """One run of one side: seconds and tokens of its measured steps, the process's peak."""

    version: str
    dtype: str
    seconds: list[float]
    tokens: list[float]
    peak_bytes: int
    losses: list[float | None] = field(default_factory=list)

    @classmethod
    def of(cls, found: JSON) -> Turn:
        """From what a child wrote."""
        return cls(*(found[name] for name in ("version", "dtype", "seconds", "tokens", "peak_bytes", "losses")))


def side(turns: Sequence[Turn]) -> JSON:
    """{"seconds", "tokens_per_s", "peak_gb", "dtype"} of all turns of one side."""
    seconds = statistics.median(s for turn in turns for s in turn.seconds)
    tokens = statistics.median(t for turn in turns for t in turn.tokens)
    return {
        "seconds": seconds,
        "tokens_per_s": tokens / seconds,
        "peak_gb": max(turn.peak_bytes for turn in turns) / GB,
        "dtype": turns[0].dtype,
    }


def ratios(ours: Sequence[Turn], theirs: Sequence[Turn]) -> tuple[float, list[float]]:
    """(ratio of the medians of all steps, [lowest, highest] ratio of one turn's medians)."""
    turns = [statistics.median(b.seconds) / statistics.median(a.seconds) for a, b in zip(ours, theirs, strict=True)]
    return side(theirs)["seconds"] / side(ours)["seconds"], [min(turns), max(turns)]


def result(name: str, ours: Sequence[Turn], peer: str, theirs: Sequence[Turn], work: Sequence[Phase], machine: JSON) -> JSON:
    """What `plaudit bench NAME --json` prints."""
    mine = side(ours)
    ceilings = machine["flops_per_s"].get(mine["dtype"], machine["flops_per_s"]["fp32"])
    found: JSON = {"name": name, "ours": mine, "peer": None, "ratio": None, "ratio_range": None, "memory_ratio": None}
    if theirs:
        other = side(theirs)
        found["peer"] = {"name": peer, "version": theirs[0].version, **other}
        found["ratio"], found["ratio_range"] = ratios(ours, theirs)
        found["memory_ratio"] = other["peak_gb"] / mine["peak_gb"]
    return {**found, "limit_share": limit_seconds(work, ceilings) / mine["seconds"], "machine": machine}


def differing(ours: Sequence[Turn], theirs: Sequence[Turn]) -> str:
    """Why the two sides did not do the same work, in words; "" where they did."""
    if not theirs:
        return ""
    mine, other = (statistics.median(t for turn in turns for t in turn.tokens) for turns in (ours, theirs))
    if abs(mine - other) > SAME_TOKENS * mine:
        return f"the sides did not work on the same tokens: ours {mine:.0f} a step, the peer's {other:.0f}"
    return ""


def compare(work: Work, plan: Plan, progress: Progress) -> tuple[JSON, int]:
    """Prepare, probe the machine, then ours and the peer in turns; (the result as JSON, operations of a step).

    UserError where a child fails; its output is then kept, and the sentence says where.
    """
    chosen = children.peer(plan.against, work.name, plan.peers) if plan.against else None
    place = Path(tempfile.mkdtemp(prefix=f"plaudit-bench-{work.name}-"))
    try:
        found = _compare(work, plan, progress, chosen, place)
    except UserError:
        for folder in MADE:  # models; the logs stay
            shutil.rmtree(place / folder, ignore_errors=True)
        raise
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    shutil.rmtree(place, ignore_errors=True)
    return found


def _compare(
    work: Work, plan: Plan, progress: Progress, chosen: tuple[children.Peer, Path] | None, place: Path
) -> tuple[JSON, int]:
    """The work of `compare` in the folder `place`."""
    total = 2 + plan.rounds * (2 if chosen else 1)
    progress.task(f"bench {work.name}", total)
    made = children.run(
        children.ours("prepare", work.write(place / "work.json"), place / "made.json"), place / "made.json", place / "log"
    )
    progress.advance(1)
    shape, groups = Shape(**made["shape"]), [(prompt, answers) for prompt, answers in made["groups"]]
    needed = phases(work.name, shape, groups, batch=work.batch, slots=SLOTS, epochs=work.epochs, peft=work.peft)
    machine = probe(shape, needed, place, plan.probe_seconds)
    progress.advance(2)
    ready, ours, theirs = work.prepared(made), list[Turn](), list[Turn]()
    mine = replace(ready, dtype=plan.dtype, words=plan.words)
    for number in range(plan.rounds):
        ours.append(_turn(mine, place, f"ours-{number}", lambda *paths: children.ours("ours", *paths)))
        progress.advance(2 + len(ours) + len(theirs), {"ours, s": statistics.median(ours[-1].seconds)})
        if chosen:
            dtype = ours[-1].dtype if plan.peer_dtype == "ours" else plan.peer_dtype
            other = replace(ready, dtype=dtype, options=plan.peer_options)
            theirs.append(_turn(other, place, f"peer-{number}", lambda *paths: children.theirs(*chosen, *paths)))
            progress.advance(2 + len(ours) + len(theirs), {"peer, s": statistics.median(theirs[-1].seconds)})
    for line in filter(None, [differing(ours, theirs), losses(ours, theirs)]):
        progress.tell(line)
    found = result(work.name, ours, chosen[0].name if chosen else "", theirs, needed, machine)
    return found, sum(phase.flops for phase in needed)


def losses(ours: Sequence[Turn], theirs: Sequence[Turn]) -> str:
    """The first measured loss of each side, where both have one: the same up to rounding where they do the same."""
    first = [turns[0].losses[0] for turns in (ours, theirs) if turns and turns[0].losses]
    known = [loss for loss in first if loss is not None]
    return "loss of the first measured step: ours {:.4f}, the peer's {:.4f}".format(*known) if len(known) == 2 else ""


def _turn(work: Work, place: Path, name: str, command: Callable[..., Sequence[str | Path]]) -> Turn:
    """One run of one side in a folder of its own."""
    folder = place / name
    folder.mkdir()
    turn = Turn.of(
        children.run(command(work.write(folder / "work.json"), folder / "result.json"), folder / "result.json", folder / "log")
    )
    if len(turn.seconds) != work.steps:
        raise UserError(f"{name} did {len(turn.seconds)} measured steps, not {work.steps}; its output is in {folder / 'log'}")
    shutil.rmtree(folder)
    return turn


def probe(shape: Shape, needed: Sequence[Phase], place: Path, seconds: float) -> JSON:
    """The machine with its ceilings at the products that the work needs."""
    request, found = place / "probe.json", place / "machine.json"
    wanted = sorted({(phase.kind, phase.rows) for phase in needed})
    request.write_text(json.dumps({"shape": asdict(shape), "phases": wanted, "seconds": seconds}), encoding="utf-8")
    machine = children.run(children.ours("probe", request, found), found, place / "log")
    return {name: value for name, value in machine.items() if name != "peak_bytes"}
