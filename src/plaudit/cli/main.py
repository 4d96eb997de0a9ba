"""`plaudit VERB`: the verbs together, and what the shell sees when something goes wrong.

Exit codes: 0 done; 1 a bug of ours (with traceback), or the doctor says act, or a card's gate is shut;
2 a mistake the user can mend (one sentence); 3 the guard paused a run; 130 Ctrl-C; 143 a run that SIGTERM, or somebody on the
pages, stopped.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.core import TyperCommand

from plaudit import __version__
from plaudit.cli import (
    bench,
    branch,
    card,
    chat,
    classify,
    config,
    data,
    demo,
    doctor,
    estimate,
    evaluate,
    feedback,
    find_lr,
    generate,
    init,
    judge,
    merge,
    migrate,
    preflight,
    report,
    run,
    runs,
    train,
    tune,
)
from plaudit.cli.show import NamingAlgorithms
from plaudit.schema import UserError

# What the machine says when a path the user chose cannot be used; any other OSError is ours.
PATHS = {
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that is not read-only",
    errno.ENOSPC: "make room on the disk, then go on with --resume",
    errno.EDQUOT: "make room in your quota, then go on with --resume",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter path",
}

app = typer.Typer(
    name="plaudit",
    help="People's feedback in, a better language model out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS = (
    *(demo, init, run, estimate, train, branch, tune, find_lr, generate, evaluate, card, preflight, report),
    *(classify, chat, feedback, judge, merge, runs, config, migrate, bench, doctor),
)
for verb in VERBS:
    name = verb.__name__.rpartition(".")[2]
    kind = NamingAlgorithms if name in ("train", "estimate", "find_lr", "config") else TyperCommand
    asks = name in (
        "train",
        "branch",
        "estimate",
        "tune",
        "migrate",
        "find_lr",
        "generate",
        "evaluate",
        "card",
        "preflight",
        "report",
        "classify",
        "chat",
        "judge",
        "merge",
        "config",
        "bench",
    )
    app.command(name.replace("_", "-"), cls=kind, no_args_is_help=asks)(getattr(verb, name))
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"plaudit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main(words: Sequence[str] | None = None) -> None:
    """Run one verb and leave with its exit code; `words` are the shell's by default."""
    try:
        app(args=None if words is None else list(words), prog_name="plaudit")
    except SystemExit as end:
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            print("Stopped.", file=sys.stderr)
        raise
    except UserError as mistake:
        _refuse(str(mistake))
    except OSError as error:
        if error.errno not in PATHS:
            raise
        where = f" {error.filename}" if error.filename else ""
        _refuse(f"cannot use{where}: {error.strerror}; {PATHS[error.errno]}")
    except Exception as error:
        if "(os error 28)" not in str(error):  # safetensors reports a full disk as an error of its own
            raise
        _refuse(f"cannot write: the disk is full; {PATHS[errno.ENOSPC]}")


def _refuse(sentence: str) -> None:
    print(f"plaudit: {sentence}", file=sys.stderr)
    raise SystemExit(2) from None
