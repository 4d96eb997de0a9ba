"""`plaudit data augment`: rows rewritten by a model, chunk by chunk, so that a process that is killed goes on where it was.

While it works, `OUT.part` grows by a line for each chunk of rows: what was made of them, and why the rest was left out. The
rows themselves are written to OUT at the end, so OUT is whole wherever it is there.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Literal

from plaudit.config import diff
from plaudit.data.augment import AugmentConfig, Rows, Sieve, Source, cleaned, filled, marked, pivot
from plaudit.data.readers import write_rows
from plaudit.data.sides import swap
from plaudit.engines.base import Engine
from plaudit.schema import JSON, Message, Prompt, Sampling, UserError, content_hash, to_json

CHUNK = 64
"""Rows that are asked for together; what a killed process does again at most."""
Method = Literal["paraphrase", "back_translation"]
Told = Callable[[int, int], None]
Text = tuple[str, bool]
"""What a model wrote, and whether it was cut off."""


class Writer:
    """Asks a model for other words of a chunk of texts."""

    def __init__(self, engine: Engine, method: Method, options: AugmentConfig, sampling: Sampling, told: Told) -> None:
        self.engine, self.method, self.options, self.sampling, self.told = engine, method, options, sampling, told
        self.done, self.total = 0, 0

    @property
    def passes(self) -> int:
        """Answers that one new text takes."""
        return 2 if self.method == "back_translation" else 1

    def __call__(self, texts: Sequence[str], number: int) -> list[Text]:
        """The rewriting of this number (from 0) of each text, in order; a text cut off on the way is cut off."""
        sampling, o = replace(self.sampling, seed=self.sampling.seed + number), self.options
        if self.method == "paraphrase":
            return self._answers([filled(o.paraphrase_prompt, text) for text in texts], sampling)
        there = self._answers([filled(o.translate_prompt, text, pivot(o, number)) for text in texts], sampling)
        whole = [place for place, (text, cut) in enumerate(there) if text.strip() and not cut]
        back = self._answers(
            [filled(o.translate_prompt, there[place][0].strip(), o.source_language) for place in whole], sampling, len(texts)
        )
        return [*(dict(enumerate(there)) | dict(zip(whole, back, strict=True))).values()]

    def _answers(self, requests: Sequence[str], sampling: Sampling, counted: int | None = None) -> list[Text]:
        prompts = [Prompt(messages=(Message("user", request),)) for request in requests]
        said = self.engine.generate(prompts, 1, sampling, lambda done, _: self.told(self.done + done, self.total))
        self.done += len(requests) if counted is None else counted
        self.told(self.done, self.total)
        return [(one.text, one.truncated) for one in said]


def augment(
    rows: Rows, out: Path, engine: Engine, method: Method, options: AugmentConfig, sampling: Sampling, told: Told
) -> JSON:
    """Rewrite rows into the file `out`; what came of them. `told(done, total)` counts the model's answers.

    UserError: `out` is there, or was begun with other rows or options; nothing passed.
    """
    started = {
        "method": method,
        "model": engine.version,
        "rows": content_hash([source.row for source in rows.sources]),
        **to_json(options),
        **to_json(sampling),
    }
    write = Writer(engine, method, options, sampling, told)
    each = options.num_augmentations
    sieve = Sieve(rows, options)
    with journal(out, started) as (lines, file):
        chunks = [json.loads(line) for line in lines]
        for outcome in (outcome for chunk in chunks for outcome in chunk):
            if "text" in outcome:
                sieve.refusal(outcome["place"], outcome["text"], False)
        write.total, write.done = len(rows.sources) * each * write.passes, len(chunks) * CHUNK * each * write.passes
        for first in range(len(chunks) * CHUNK, len(rows.sources), CHUNK):
            chunks.append(_chunk(rows.sources[first : first + CHUNK], first, each, write, sieve))
            _append(file, chunks[-1])
        outcomes = [outcome for chunk in chunks for outcome in chunk]
        made = [_row(rows.sources[o["place"]], o, method, options, engine.version) for o in outcomes if "text" in o]
        left_out = Counter(o["left_out"] for o in outcomes if "left_out" in o)
        if not made:
            raise UserError(f"no text became a new row: {_reasons(left_out)}; {file.name} holds the reason of each")
        finish(out, made)
    return _summary(out, rows, made, left_out)


def swap_sides(rows: Rows, out: Path, options: AugmentConfig) -> JSON:
    """Write each row of two sides with its sides exchanged. UserError for rows that have none."""
    if out.exists():
        raise UserError(f"{out} is there already; take it away, or write to another --out")
    made, left_out = [], Counter[str]()
    for source in rows.sources:
        if missing := [name for name in options.sides if name not in source.row]:
            raise UserError(_no_sides(source, missing))
        new = swap(source.row, options.sides, options.side_labels)
        if isinstance(new, str):
            left_out[new] += 1
        else:
            made.append(marked(new, source, "swap_sides"))
    if not made:
        raise UserError(f"no row could be swapped: {_reasons(left_out)}")
    finish(out, made)
    return _summary(out, rows, made, left_out)


def _chunk(sources: Sequence[Source], first: int, each: int, write: Writer, sieve: Sieve) -> list[JSON]:
    """What came of the sources from place `first` on: a text, or the reason why there is none."""
    found: list[JSON] = []
    for number in range(each):
        asked = [i for i, source in enumerate(sources) if source.text.strip()]
        said = dict(zip(asked, write([sources[i].text for i in asked], number), strict=True))
        for i, source in enumerate(sources):
            text, cut = said.get(i, ("", False))
            text = cleaned(text, source.text)
            reason = sieve.refusal(first + i, text, cut) if i in said else "nothing to rewrite"
            found.append({"place": first + i, "number": number, **({"text": text} if reason is None else {"left_out": reason})})
    return found


def _row(source: Source, outcome: JSON, method: Method, options: AugmentConfig, by: str) -> JSON:
    through = {"language": pivot(options, outcome["number"])} if method == "back_translation" else {}
    return marked(source.with_text(outcome["text"]), source, method, by=by, **through)


def _no_sides(source: Source, missing: Sequence[str]) -> str:
    said = f"row {source.number} has no {' and no '.join(missing)}; name the columns of both answers with sides=[one, other]"
    if {"chosen", "rejected"} & set(source.row):
        said = (
            "chosen and rejected have no sides that could be swapped: the loss of a pair is the same in either order. For a "
            "judge that reads both at once, first `plaudit data convert --to judge`"
        )
    return said


def _reasons(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(left_out).most_common()) or "the file has no rows"


def _summary(out: Path, rows: Rows, made: Sequence[JSON], left_out: Mapping[str, int]) -> JSON:
    result: JSON = {"out": str(out), "rows": len(made), "rows_read": len(rows.sources), "notes": dict(rows.tally)}
    result["left_out"] = dict(Counter(left_out).most_common())
    if rows.refused:
        result |= {"refused_rows": len(rows.refused), "refused": rows.refused[:3]}
    return result


# -- files ------------------------------------------------------------------------------------------------------------------


@contextmanager
def journal(out: Path, started: Mapping[str, Any]) -> Iterator[tuple[list[str], IO[str]]]:
    """The whole lines that OUT.part holds already, and the file to append to; gone when the block ends well.

    UserError where OUT is there, where the journal was begun with something else, or where another process writes it.
    """
    if out.exists():
        raise UserError(f"{out} is there already; take it away, or write to another --out")
    path = out.with_name(f"{out.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is writing {path}; wait for it, or write to another --out") from None
        except (ImportError, OSError):
            pass  # Windows, or a file system without locks
        file.seek(0)
        lines = file.read().split("\n")
        file.seek(0)
        file.truncate(sum(len(line.encode()) + 1 for line in lines[:-1]))  # what was half written when it died
        file.seek(0, os.SEEK_END)
        if len(lines) < 2:
            _append(file, started)
        elif changed := diff(json.loads(lines[0]), started):
            raise UserError(
                f"{path} was begun with something else: {'; '.join(changed)}; put it back, or take the file away to begin anew"
            )
        yield lines[1:-1], file
    path.unlink()


def _append(file: IO[str], value: Any) -> None:
    file.write(json.dumps(value, ensure_ascii=False) + "\n")
    file.flush()
    os.fsync(file.fileno())


def finish(out: Path, rows: Sequence[JSON]) -> None:
    """Write the file beside, then move it into place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    half = out.with_name(f".part-{out.name}")
    try:
        write_rows(half, rows)
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)
