"""Proposals meet the store: what is open, and what accepting one changes. Everything is kept with its evidence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from plaudit import __version__
from plaudit.feedback.questions import ASPECTS
from plaudit.feedback.server import Server
from plaudit.judgements.proposals import Proposal, proposals
from plaudit.schema import JSON, UserError, content_hash
from plaudit.store import Missing, Store
from plaudit.store.mechanism import ACCEPTED, LEFT_OUT, REFUSED

WEIGHTS = "aspect weights"
"""The setting with what aspects are to weigh in a reward, for those that are not to weigh 1."""
LONGEST = 1_000_000
"""Bytes of a config file that is looked into."""
TOUCHES = {
    "unclear": "guideline",
    "drop": "aspects",
    "same": "aspects",
    "ties": "quarantine",
    "weight_unclear": WEIGHTS,
    "weight_unrelated": WEIGHTS,
    "leave_person": LEFT_OUT,
    "leave_judge": LEFT_OUT,
}
"""Rule -> what accepting it changes."""


@dataclass(frozen=True)
class Open:
    """A proposal that nobody has decided. `content` is what is kept of it; names stand in `proposal` only."""

    id: str
    proposal: Proposal
    content: JSON


def waiting(server: Server) -> list[Open]:
    """What the judgements propose now. What was decided does not come again, unless what it would change has changed since."""
    quality, acts = server.quality(), server.acts()
    with server.readers.lend() as store:
        aspects, out, weights = store.setting("aspects", list(ASPECTS)), store.left_out(), store.setting(WEIGHTS, {})
        decided = {one.id for one in store.proposals()}
        kept_out = set(store.quarantined())
        fresh = [act for act in acts if act.assignment.prompt_id not in kept_out]
        found = [_open(store, one, store.newest()[1]) for one in proposals(quality, fresh, aspects, out, weights)]
    return [one for one in found if one.id not in decided]


def _open(store: Store, one: Proposal, newest: int) -> Open:
    subject: object = one.subject
    if TOUCHES[one.rule] == LEFT_OUT:
        source, _, name = one.subject.partition(":")
        subject = [source, store.number_of(name)]
    state: object = store.setting("guideline", "") if one.rule == "unclear" else list(one.prompt_ids)
    if TOUCHES[one.rule] == WEIGHTS:
        state = one.figures["from"]
    content: JSON = {
        "rule": one.rule,
        "subject": subject,
        "prompts": list(one.prompt_ids),
        "evidence": {**one.figures, "up_to_act": newest, "version": __version__},
    }
    return Open(content_hash([one.rule, subject, state]), one, content)


def decide(server: Server, proposal_id: str, accept: bool, by: str, note: str = "", text: str = "") -> None:
    """Accepts or refuses what is open. `text` is what an accepted `unclear` adds to the guideline; it must say something.

    Missing for a proposal that is not open (any more).
    """
    found = next((one for one in waiting(server) if one.id == proposal_id), None)
    if found is None:
        raise Missing("this proposal is not open any more: look at the list again")
    if accept and found.proposal.rule == "unclear" and not text.strip():
        raise UserError("write what the guideline is to say, or refuse the proposal")

    def change(store: Store) -> None:
        with store.together():
            store.propose(found.id, found.content)
            if accept:
                _apply(store, found, by, text.strip())
            store.decide(found.id, ACCEPTED if accept else REFUSED, by, note)

    server.writer.do(change)
    server.questions.changed()


def _apply(store: Store, found: Open, by: str, text: str) -> None:
    one = found.proposal
    if one.rule == "unclear":
        store.change_setting("guideline", f"{store.setting('guideline', '')}\n\n{text}".strip(), by, found.id)
    elif one.rule in ("drop", "same"):
        left = [aspect for aspect in store.setting("aspects", list(ASPECTS)) if aspect != one.subject]
        store.change_setting("aspects", left, by, found.id)
    elif TOUCHES[one.rule] == WEIGHTS:
        store.change_setting(WEIGHTS, {**store.setting(WEIGHTS, {}), one.subject: one.figures["to"]}, by, found.id)
    elif one.rule == "ties":
        for prompt_id in one.prompt_ids:
            store.quarantine(prompt_id, f"proposal {found.id}")
    else:
        store.change_setting(LEFT_OUT, [*store.setting(LEFT_OUT, []), found.content["subject"]], by, found.id)


def weights_line(weights: Mapping[str, float]) -> str:
    """The line of a training config that says what the aspects weigh, `aspect_weights: {brief: 0.2}`."""
    return f"aspect_weights: {{{', '.join(f'{_key(name)}: {weight}' for name, weight in weights.items())}}}"


def _key(name: str) -> str:
    """A name as YAML has it on one line: plain where that reads back, else in double quotes."""
    if re.fullmatch(r"[^\W\d][\w-]*", name) and yaml.safe_load(name) == name:
        return name
    signs = (sign if sign.isprintable() and sign not in '"\\' else f"\\U{ord(sign):08x}" for sign in name)
    return f'"{"".join(signs)}"'


def weights_places(folder: Path) -> list[str]:
    """Where the config files of a project's folder name `aspect_weights`: `ppo.yaml, line 12`."""
    found = []
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            lines = file.read_text("utf-8").splitlines() if file.stat().st_size <= LONGEST else []
        except (OSError, UnicodeDecodeError):
            continue  # no config of ours
        found += [f"{file.name}, line {i}" for i, line in enumerate(lines, 1) if re.match(r"\s*aspect_weights\s*:", line)]
    return found
