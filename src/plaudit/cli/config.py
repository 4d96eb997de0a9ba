"""`plaudit config VERB`: every option with default and meaning, as a file that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from plaudit.cli.show import AsJson, emit


def config(
    verb: Annotated[str, typer.Argument(help="sft, reward, ppo or another algorithm; demo; generate; data.")],
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
    if verb == "data":
        from plaudit.data.options import ReadConfig

        return [ReadConfig], {}
    if verb in ("generate", "chat", "evaluate"):
        from plaudit.schema import Sampling

        if verb != "evaluate":
            return [Sampling], {}
        from plaudit.rewards.mix import RewardConfig

        return [Sampling, RewardConfig], {}
    from plaudit.training.run import sections

    classes, defaults = sections(verb)
    return list(classes), defaults


def _called(verb: str) -> str:
    return verb if verb in ("demo", "generate", "evaluate", "chat", "data") else f"train {verb}"
