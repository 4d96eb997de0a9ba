"""Reward functions with the signature of TRL's GRPO and RLOO, for every algorithm here, PPO included.

    f(prompts, completions, completion_ids, <every column of the prompts as a list>, trainer_state, log_extra, log_metric)
        -> list of numbers, None where the function does not apply, a list of numbers where each token earns its own

All by keyword, so a function names what it wants and takes the rest as `**kwargs` (or leaves it: it is then given only what
it names). Prompts and completions are strings, or lists of messages where the prompt is a conversation. `async def` may be
used: such functions run at the same time, on one event loop that lives as long as the process.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from typing import Any

from plaudit.registry import find
from plaudit.rewards.base import Context, Scores, checked
from plaudit.schema import Completion, Message, Prompt, UserError

GIVEN = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")


class FunctionReward:
    """A Python function as a reward. `options` are fixed keyword arguments, such as a pattern or a length."""

    def __init__(self, function: Callable[..., Any], name: str | None = None, options: Mapping[str, Any] | None = None) -> None:
        self.function = function
        plain = getattr(function, "func", function)  # what a functools.partial holds
        self.name = name or getattr(plain, "__name__", None) or type(plain).__name__
        self.options = dict(options or {})
        called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
        self.concurrent = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
        self.parameters = self._parameters()

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[Completion], context: Context
    ) -> Scores | Awaitable[Scores]:
        """Call the function once for all rows. UserError where it raises (with its file and line) or returns something else."""
        given = self._arguments(prompts, completions, context)
        lengths = [len(completion.tokens) for completion in completions]
        try:
            values = self.function(**given)
        except Exception as error:
            raise self._raised(error, len(lengths)) from error
        if inspect.isawaitable(values):
            return self._awaited(values, lengths)
        return checked(values, len(lengths), self._what, lengths)

    async def _awaited(self, values: Awaitable[Any], lengths: Sequence[int]) -> Scores:
        try:
            result = await values
        except Exception as error:
            raise self._raised(error, len(lengths)) from error
        return checked(result, len(lengths), self._what, lengths)

    @property
    def _what(self) -> str:
        return f"reward function {self.name}"

    def _parameters(self) -> dict[str, inspect.Parameter] | None:
        """The parameters by name; None where the function takes any keyword."""
        try:
            parameters = inspect.signature(self.function).parameters
        except (TypeError, ValueError):  # written in C
            return None
        anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        unknown = [key for key in self.options if key not in parameters and not anything]
        if unknown:
            raise UserError(f"{self._what} has no option {unknown[0]}; its parameters are {', '.join(parameters)}")
        if anything:
            return None
        return {key: p for key, p in parameters.items() if p.kind is not inspect.Parameter.VAR_POSITIONAL}

    def _arguments(self, prompts: Sequence[Prompt], completions: Sequence[Completion], context: Context) -> dict[str, Any]:
        columns = list(dict.fromkeys(key for prompt in prompts for key in prompt.meta))
        if taken := [key for key in columns if key in GIVEN]:
            raise UserError(
                f"the prompts have a column {taken[0]}, a name that reward functions use for something else: rename it"
            )
        given: dict[str, Any] = {key: [prompt.meta.get(key) for prompt in prompts] for key in columns}
        given |= {
            "prompts": [_messages(p.messages) if p.text is None else p.text for p in prompts],
            "completions": [_answer(p, c.text) for p, c in zip(prompts, completions, strict=True)],
            "completion_ids": [list(c.tokens) for c in completions],
            "trainer_state": context.state,
            "log_extra": context.log_extra,
            "log_metric": context.log_metric,
            **self.options,
        }
        if self.parameters is None:
            return given
        for key, parameter in self.parameters.items():
            if key not in given and parameter.default is inspect.Parameter.empty:
                there = ", ".join(columns) or "no columns beside the prompt"
                raise UserError(f"{self._what} asks for the column {key}, which the prompts do not have; there are {there}")
        return {key: value for key, value in given.items() if key in self.parameters}

    def _raised(self, error: Exception, rows: int) -> UserError:
        if isinstance(error, UserError):
            return error
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames[1:] if frame.filename == frames[1].filename]  # frames[0] is ours
        where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        said = " ".join(str(error).split())
        return UserError(
            f"{self._what} raised {type(error).__name__}{f': {said}' if said else ''} on a batch of {rows} answers{where}"
        )


def load_function(name: str, options: Mapping[str, Any] | None = None) -> FunctionReward:
    """A reward function by its registered name, as `module:function`, or as `path/to/file.py:function`."""
    function = find("rewards", name)
    if not callable(function):
        raise UserError(f"the reward {name} is a {type(function).__name__}, not a function")
    return FunctionReward(function, None if ":" in name else name, options)


def start(work: Awaitable[Scores]) -> Future[Scores]:
    """Run `work` on the event loop of the reward functions, beside whatever else runs there."""

    async def whole() -> Scores:
        return await work

    return asyncio.run_coroutine_threadsafe(whole(), _loop())


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One loop in a thread of its own: it works inside notebooks too, and clients that functions keep open stay valid."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="plaudit-rewards", daemon=True).start()
    return loop


def _messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def _answer(prompt: Prompt, text: str) -> str | list[dict[str, str]]:
    return text if prompt.text is not None else _messages([Message("assistant", text)])
