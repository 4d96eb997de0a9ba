"""Progress that a person can read: a bar with the figures that matter and the time left; silent where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What long work tells."""

    def task(self, title: str, total: int) -> None:
        """A new piece of work begins."""

    def advance(self, done: int, figures: Mapping[str, float] | None = None) -> None:
        """So much of it is done; with figures to show."""

    def tell(self, text: str) -> None:
        """A line that stays."""


class Silent:
    """Shows nothing; lines go to standard error."""

    def task(self, title: str, total: int) -> None: ...

    def advance(self, done: int, figures: Mapping[str, float] | None = None) -> None: ...

    def tell(self, text: str) -> None:
        print(text, file=sys.stderr)


class Bar:
    """A rich progress bar on standard error; plain lines now and then where it is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.current: object | None = None
        self.title, self.total, self.shown = "", 0, -1

    def task(self, title: str, total: int) -> None:
        self.title, self.total, self.shown = title, total, -1
        self.current = self.bar.add_task(title, total=total, figures="")

    def advance(self, done: int, figures: Mapping[str, float] | None = None) -> None:
        text = "  ".join(f"{name} {value:.3g}" for name, value in (figures or {}).items())
        self.bar.update(self.current, completed=done, **({"figures": text} if figures else {}))  # type: ignore[arg-type]
        tenth = 10 * done // max(1, self.total)
        if not self.console.is_terminal and tenth != self.shown:
            self.shown = tenth
            self.console.print(f"{self.title}: {done}/{self.total}  {text}", markup=False, soft_wrap=True)

    def tell(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)  # one line stays one line in a log


@contextmanager
def shown() -> Iterator[Progress]:
    """A progress bar for as long as the block runs."""
    bar = Bar()
    with bar.bar:
        yield bar
