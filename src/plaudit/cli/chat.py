"""`plaudit chat RUN`: talk to a model in the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from plaudit.cli.show import Words


def chat(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run's folder or id, a model folder, file or name.")],
    words: Words = None,
) -> None:
    """Talk to a run's model: `plaudit chat RUN temperature=0.7`. Leave with Ctrl-D or /quit."""
    from plaudit.config import load
    from plaudit.pipeline.chat import chat as talk
    from plaudit.schema import Sampling

    talk(model, load([Sampling], None, words or [], {"max_new_tokens": 256})[Sampling])
