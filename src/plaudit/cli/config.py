"""`plaudit config VERB`: every option with default and meaning, as a file that runs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from plaudit.cli.show import AsJson, emit
from plaudit.schema import UserError

OTHERS = {
    "demo": "demo",
    "generate": "generate",
    "evaluate": "evaluate",
    "card": "card",
    "preflight": "preflight",
    "chat": "chat",
    "data": "data",
    "augment": "data augment",
    "tune": "tune CONFIG",
    "judge": "run",
}
"""What has options and is no algorithm -> the command that takes them (`judge` is a stage of a project)."""
FLAGS = ("init", "run", "merge", "classify", "feedback", "bench", "branch", "runs", "report", "migrate", "doctor", "config")
"""Verbs whose options are flags."""


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
        print(template(classes, defaults, _title(verb)), end="")


def sections_of(verb: str) -> tuple[list[type], Mapping[str, Any]]:
    """The sections of a verb's options, and its own defaults. UserError: no such verb."""
    if verb in OTHERS:
        return _others(verb), {}
    if verb in FLAGS:
        raise UserError(f"{verb} takes no options of a file; `plaudit {verb} --help` lists its flags")
    if verb in ("train", "estimate", "find-lr", "find_lr"):
        raise UserError(f"the options of {verb} are those of its algorithm: `plaudit config sft`, for example")
    from plaudit.registry import names

    known = names("algorithms")
    if verb not in known and ":" not in verb:
        near = difflib.get_close_matches(verb, [*known, *OTHERS], n=1)
        there = f"algorithms {', '.join(known)}; verbs {', '.join(OTHERS)}; or your own algorithm as file.py:Class"
        raise UserError(f"{verb!r} has no options to print{f'; did you mean {near[0]}?' if near else ''} (there are {there})")
    from plaudit.training.run import sections

    classes, defaults = sections(verb)
    return list(classes), defaults


def _others(verb: str) -> list[type]:
    """The sections of what is no algorithm."""
    from plaudit.data.options import ReadConfig
    from plaudit.schema import Sampling

    if verb == "demo":
        from plaudit.pipeline.demo_config import DemoConfig

        return [DemoConfig]
    if verb == "tune":
        from plaudit.training.tuning.plan import TuneConfig

        return [TuneConfig]
    if verb == "judge":
        from plaudit.pipeline.project.kinds import JudgeConfig

        return [JudgeConfig]
    if verb == "augment":
        from plaudit.data.augment import AugmentConfig

        return [AugmentConfig, Sampling, ReadConfig]
    if verb in ("evaluate", "card", "preflight"):
        return _measuring(verb)
    sections: dict[str, list[type]] = {"data": [ReadConfig], "generate": [Sampling, ReadConfig], "chat": [Sampling]}
    return sections[verb]


def _measuring(verb: str) -> list[type]:
    """The sections of the verbs that measure."""
    from plaudit.data.options import ReadConfig
    from plaudit.evaluation.card.gate import CardConfig
    from plaudit.evaluation.judging import PairJudgeConfig
    from plaudit.evaluation.measuring import MeasureConfig
    from plaudit.evaluation.preflight import PreflightConfig
    from plaudit.rewards.mix import RewardConfig
    from plaudit.rewards.sandbox.running import SandboxConfig
    from plaudit.schema import Sampling

    return {
        "evaluate": [Sampling, RewardConfig, PairJudgeConfig, MeasureConfig, SandboxConfig, ReadConfig],
        "card": [CardConfig, RewardConfig, ReadConfig],
        "preflight": [Sampling, RewardConfig, PreflightConfig, ReadConfig],
    }[verb]


def _title(verb: str) -> str:
    """What stands above the options."""
    if verb == "judge":
        return "Options of a project's stage with `verb: judge`; what stands here are the defaults."
    more = " All other lines of its file are options of the algorithm that `verb` names." if verb == "tune" else ""
    return f"Options of `plaudit {OTHERS.get(verb, f'train {verb}')}`; what stands here are the defaults.{more}"
