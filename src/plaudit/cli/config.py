"""`plaudit config VERB`: every option with default and meaning, as a file that runs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from plaudit.cli.show import AsJson, emit
from plaudit.schema import UserError

OTHERS = ("demo", "generate", "evaluate", "chat", "data")
"""Verbs with options that are no algorithms."""


def config(
    verb: Annotated[str, typer.Argument(help=f"{', '.join(OTHERS)}, or an algorithm: a name below, or file.py:Class.")],
    as_json: AsJson = False,
) -> None:
    """Print every option of a verb as commented YAML: `plaudit config ppo > ppo.yaml`."""
    from plaudit.config import REQUIRED, options, template
    from plaudit.hints import plain, words

    classes, defaults = sections_of(verb)
    if as_json:
        listed = options(classes, defaults).values()
        rows = {
            o.name: {"default": None if o.default is REQUIRED else plain(o.default), "required": o.default is REQUIRED}
            | {"allowed": words(o.hint), "help": " ".join(o.help.split())}
            for o in listed
        }
        emit(rows, True)
    else:
        print(template(classes, defaults, f"Options of `plaudit {_called(verb)}`; what stands here are the defaults."), end="")


def sections_of(verb: str) -> tuple[list[type], Mapping[str, Any]]:
    """The sections of a verb's options, and its own defaults. UserError: no such verb."""
    if verb == "demo":
        from plaudit.pipeline.demo_config import DemoConfig

        return [DemoConfig], {}
    if verb in OTHERS:
        from plaudit.data.options import ReadConfig
        from plaudit.schema import Sampling

        if verb == "evaluate":
            from plaudit.rewards.mix import RewardConfig

            return [Sampling, RewardConfig, ReadConfig], {}
        others: dict[str, list[type]] = {"data": [ReadConfig], "generate": [Sampling, ReadConfig], "chat": [Sampling]}
        return others[verb], {}
    from plaudit.registry import names

    known = names("algorithms")
    if verb not in known and ":" not in verb:
        near = difflib.get_close_matches(verb, [*known, *OTHERS], n=1)
        there = f"algorithms {', '.join(known)}; verbs {', '.join(OTHERS)}; or your own algorithm as file.py:Class"
        raise UserError(f"{verb!r} has no options to print{f'; did you mean {near[0]}?' if near else ''} (there are {there})")
    from plaudit.training.run import sections

    classes, defaults = sections(verb)
    return list(classes), defaults


def _called(verb: str) -> str:
    return verb if verb in OTHERS else f"train {verb}"
