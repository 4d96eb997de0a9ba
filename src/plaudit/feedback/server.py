"""What the server holds while it runs: the store's writer and readers, who may come in, what to ask, the templates."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from plaudit.evaluation.report.words import duration, figure, percent, visible
from plaudit.feedback import rendering
from plaudit.feedback.branches import Branches
from plaudit.feedback.identity import LOCAL, Gate
from plaudit.feedback.judge_seats import Seats, failures
from plaudit.feedback.models import ChatModel, ChildModel, opened
from plaudit.feedback.questions import Questions
from plaudit.feedback.writer import Readers, Writer
from plaudit.judgements.disagreements import Disagreement, disagreements
from plaudit.judgements.quality import AnnotatorQuality, Quality, assess
from plaudit.schema import Feedback
from plaudit.store import Where


@dataclass(frozen=True)
class Settings:
    """How the server is started."""

    store: Where
    project: str = "plaudit"
    runs: Path = Path("runs")
    """The folder whose runs can be watched."""
    models: tuple[str, ...] = ()
    """Models to talk to: URL#MODEL of an OpenAI-compatible server, or a run or model that is loaded in a process of its own."""
    drafts: float = 0.2
    """Share of turns in the chat that get two blind drafts."""
    local: bool = True
    """Whoever comes over loopback needs no login while there are no accounts."""
    hosts: frozenset[str] | None = None
    """Host names that are answered; None answers to all."""
    judges: tuple[str, ...] = ()
    """Judge models that admins may let judge, as URL#MODEL."""


@dataclass
class Server:
    """Opened by `start`, closed by `close`."""

    settings: Settings
    writer: Writer
    readers: Readers
    gate: Gate
    questions: Questions
    models: tuple[ChatModel | ChildModel, ...]
    seats: Seats
    branches: Branches
    templates: Environment = field(default_factory=lambda: environment())
    ending: threading.Event = field(default_factory=threading.Event)
    """Set when the server is asked to stop: streams end."""
    _looking: threading.Lock = field(default_factory=threading.Lock)
    _seen: tuple[int, int, int, int] | None = None
    _found: Any = None

    def quality(self) -> Quality:
        """How good the labels are; looked at anew when there are new acts."""
        return self._figures()[0]

    def overall(self) -> list[str]:
        """The report on the labels without the part that names people."""
        lines = self.quality().lines()
        return lines[: lines.index("annotators:")] if "annotators:" in lines else lines

    def own_figures(self, name: str) -> AnnotatorQuality | None:
        """What the report says of one person, for that person."""
        return next((one for one in self.quality().annotators if one.name == f"human:{name}"), None)

    def disagreements(self) -> list[Disagreement]:
        """What people disagree on and nobody has decided, the most uncertain first."""
        return self._figures()[1]

    def acts(self) -> list[Feedback]:
        """The current acts, read anew when there are new ones."""
        return self._figures()[2]

    def _figures(self) -> tuple[Quality, list[Disagreement], list[Feedback]]:
        with self._looking, self.readers.lend() as store:
            newest = store.newest()
            if self._seen != newest:
                acts = store.feedback()
                said = {one.name: one.about for one in store.accounts()} | {LOCAL: store.setting("about local", {})}
                groups = {name: about for name, about in said.items() if about}
                quality = assess(acts, store.completions(), groups=groups, failed=failures(store))
                self._found = quality, disagreements(acts), acts
                self._seen = newest
        return self._found

    @property
    def project(self) -> str:
        return self.settings.project

    @classmethod
    def start(cls, settings: Settings) -> Server:
        """UserError where the store cannot be opened."""
        writer = Writer(settings.store)
        readers = Readers(settings.store)
        gate, questions = Gate(writer, readers, settings.local), Questions(writer, readers)
        seats = Seats(writer, readers, settings.judges)
        models = tuple(opened(name) for name in settings.models)
        return cls(settings, writer, readers, gate, questions, models, seats, Branches(settings.runs))

    def close(self) -> None:
        self.seats.close()
        for model in self.models:
            model.close()
        self.readers.close()
        self.writer.close()


def environment() -> Environment:
    """The templates; everything is escaped but what `rendering` made."""
    made = Environment(
        loader=PackageLoader("plaudit.feedback"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "markdown": lambda text: Markup(rendering.markdown(text)),
        "plain": lambda text: Markup(rendering.plain(text)),
        "ours": lambda html: Markup(html),
        "visible": visible,
        "figure": figure,
        "percent": percent,
        "duration": duration,
    }
    made.filters.update(filters)
    return made
