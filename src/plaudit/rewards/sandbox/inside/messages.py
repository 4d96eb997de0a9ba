"""How the tests' process and the written code's process speak: questions and answers in JSON over a socket pair.

Plain data goes over as copies of exact built-in types, so that an object which calls itself equal to everything arrives as
what it is. Whatever else the code makes stays with it, and the tests hold a `Remote`. What the tests expect is never sent:
a `Remote` is compared with another `Remote` only. The code's side may ask nothing but calls of functions that the tests
handed to it.
"""

from __future__ import annotations

import builtins
import json
import operator
import socket
import struct
import types
from collections.abc import Callable
from importlib import import_module
from typing import Any

LARGEST = 1 << 26
"""Bytes of a message, at most."""
TEXTS = ("decimal.Decimal", "fractions.Fraction", "uuid.UUID")
DATES = ("datetime.date", "datetime.datetime", "datetime.time")
"""Classes of the standard library that go over as text and are made of it again."""


class Gone(BaseException):
    """The other process ended, or speaks no sense."""


class Late(BaseException):
    """The time is up."""


class Forbidden(PermissionError):
    """Something that written code may not do here."""


def _is(value: Any, kind: type) -> bool:
    """isinstance that an object cannot lie to."""
    return issubclass(type(value), kind)


class Endpoint:
    """One end of the line. `operations` is what the other end may ask of the objects that this one keeps."""

    def __init__(self, line: socket.socket, operations: dict[str, Callable[..., Any]]) -> None:
        self.line, self.operations = line, operations
        self.kept: list[Any] = []
        self.exceptions: dict[int, type] = {}

    # Messages

    def send(self, message: Any) -> None:
        data = json.dumps(message).encode()
        try:
            self.line.sendall(struct.pack("!I", len(data)) + data)
        except TimeoutError:
            raise Late from None
        except OSError:
            raise Gone from None

    def receive(self) -> Any:
        (size,) = struct.unpack("!I", self._bytes(4))
        if size > LARGEST:
            raise MemoryError
        try:
            found = json.loads(self._bytes(size))
        except (ValueError, RecursionError):
            raise Gone from None
        if type(found) is not list or not found:
            raise Gone
        return found

    def _bytes(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            self.wait()
            try:
                part = self.line.recv(min(count - len(found), 1 << 16))
            except TimeoutError:
                raise Late from None
            except OSError:
                raise Gone from None
            if not part:
                raise Gone
            found += part
        return bytes(found)

    def wait(self) -> None:
        """Until there is something to receive; the tests' side looks at the clock meanwhile."""

    # Questions

    def ask(self, operation: str, *values: Any, **named: Any) -> Any:
        """What the other end's `operation` on `values` gives, or raises. Lists, dicts and sets that it changed are changed."""
        packed = {key: self.pack(one) for key, one in named.items()}
        self.send(["ask", operation, [self.pack(one) for one in values], packed])
        while (message := self.receive())[:1] == ["ask"]:
            self.serve(message)
        try:
            kind, *rest = message
            if kind == "answer":
                found, changed = rest
                for place, packed in changed:
                    _change(values[place], self.unpack(packed))
                return self.unpack(found)
            reason, error, text = rest
            raised = _raised(self.unpack(error), str(text))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise Gone from None
        raised.remote = reason  # type: ignore[attr-defined]
        raise raised

    def serve(self, message: Any) -> None:
        """Do what the other end asks for, and answer."""
        try:
            _, operation, packed, named = message
            values = [self.unpack(one) for one in packed]
            found = self.operations[operation](*values, **{key: self.unpack(one) for key, one in named.items()})
            changed = [
                [place, after]
                for place, (one, before) in enumerate(zip(values, packed, strict=True))
                if type(one) in (list, dict, set, bytearray) and (after := self.pack(one)) != before
            ]
            answer: Any = ["answer", self.pack(found), changed]
        except (Gone, Late):
            raise
        except MemoryError:
            answer = ["raised", "memory", ["builtin", "MemoryError"], ""]
        except BaseException as error:
            answer = ["raised", reason_of(error), self.pack(type(error)), text_of(error)]
        self.send(answer)

    # Values

    def pack(self, value: Any) -> Any:
        """`value` in JSON's terms."""
        if value is None or _is(value, str) or _is(value, float) or value is True or value is False:
            return value
        if _is(value, int):
            return int.__add__(value, 0) if int.bit_length(value) < 10_000 else ["int", hex(value)]
        for kind in (list, tuple, set, frozenset):
            if _is(value, kind):
                return [kind.__name__, [self.pack(one) for one in kind.__iter__(value)]]
        if _is(value, dict):
            return ["dict", [[self.pack(key), self.pack(one)] for key, one in dict.items(value)]]
        for binary in (bytes, bytearray):
            if _is(value, binary):
                return [binary.__name__, binary.hex(value)]
        if _is(value, complex):
            return ["complex", value.real, value.imag]
        if type(value) is range:
            return ["range", value.start, value.stop, value.step]
        return self._pack_object(value)

    def _pack_object(self, value: Any) -> Any:
        if type(value) is Remote:
            return ["yours", object.__getattribute__(value, "_place")]
        for name, one in BUILTINS.items():
            if value is one:
                return ["builtin", name]
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if kind in TEXTS:
            return ["text", kind, str(value)]
        if kind in DATES:
            return ["date", kind, value.isoformat()]
        if _is(value, types.ModuleType) and value.__name__ in MODULES:
            return ["module", value.__name__]
        if _is(value, type) and issubclass(value, BaseException):
            base = next(name for one in value.__mro__ for name, known in BUILTINS.items() if one is known)
            return ["exception", self._keep(value), value.__name__, base]
        return ["kept", self._keep(value)]

    def _keep(self, value: Any) -> int:
        for place, one in enumerate(self.kept):
            if one is value:
                return place
        self.kept.append(value)
        return len(self.kept) - 1

    def unpack(self, packed: Any) -> Any:
        """The value again. Everything but the other end's honesty is checked: this reads what hostile code sent."""
        if type(packed) is not list:
            return packed
        tag, *rest = packed
        if tag in PLAIN:
            return PLAIN[tag]([self.unpack(one) for one in rest[0]])
        if tag == "dict":
            return {self.unpack(key): self.unpack(one) for key, one in rest[0]}
        if tag in MADE:
            return MADE[tag](*rest)
        if tag == "exception":
            place, name, base = rest
            return self.exceptions.setdefault(int(place), type(str(name), (BUILTINS[base],), {}))
        if tag == "kept":
            return Remote(self, int(rest[0]))
        if tag == "yours" and 0 <= rest[0] < len(self.kept):
            return self.kept[rest[0]]
        raise ValueError(f"a message of no known kind: {tag!r}")


NAMED = (
    "bisect cmath collections copy datetime decimal fractions functools heapq itertools json math operator random re "
    "statistics string typing"
)
MODULES = frozenset(NAMED.split())
"""What the tests may use of the code's imports: each side has its own, and none of them acts on the machine."""
PURE = "abs all any bin chr divmod hash hex len max min oct ord pow repr round sorted sum NotImplemented Ellipsis"
BUILTINS = {name: value for name, value in vars(builtins).items() if isinstance(value, type) or name in PURE.split()}


def _module(name: str) -> Any:
    if name not in MODULES:
        raise ValueError(f"no module that goes over: {name}")
    return import_module(name)


def _of_text(kind: str, text: str) -> Any:
    module, _, name = kind.partition(".")
    if kind not in TEXTS + DATES:
        raise ValueError(f"no class that goes over as text: {kind}")
    made = getattr(import_module(module), name)
    return made.fromisoformat(text) if kind in DATES else made(text)


PLAIN: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
MADE: dict[str, Callable[..., Any]] = {
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": complex,
    "range": range,
    "builtin": BUILTINS.__getitem__,
    "module": _module,
    "text": _of_text,
    "date": _of_text,
}


def reason_of(error: BaseException) -> str:
    """Why a program failed that raised this: memory, forbidden or error."""
    if isinstance(error, MemoryError):
        return "memory"
    return "forbidden" if isinstance(error, PermissionError) else "error"


def text_of(error: BaseException) -> str:
    """What it says, at most 1,000 characters of it."""
    try:
        return str(error)[:1000]
    except BaseException:  # written by the code that failed
        return ""


def _raised(kind: Any, text: str) -> BaseException:
    """An exception of that kind; one that would end this process, or needs more than a text, becomes a RuntimeError."""
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        raise ValueError(f"not an exception: {kind!r}")
    if not issubclass(kind, Exception):
        return RuntimeError(f"{kind.__name__} {text}".strip())
    try:
        return kind(text)
    except TypeError:
        return RuntimeError(f"{kind.__name__}: {text}")


def _change(value: Any, after: Any) -> None:
    """Make an argument what the function made of it."""
    if type(value) is not type(after):
        raise ValueError("an argument came back as something else")
    if isinstance(value, list | bytearray):
        value[:] = after
    else:
        value.clear()
        value.update(after)


class Remote:
    """An object in the other process: functions and classes can be called, attributes read, items and iterators followed."""

    def __init__(self, end: Endpoint, place: int) -> None:
        object.__setattr__(self, "_end", end)
        object.__setattr__(self, "_place", place)

    def __getattr__(self, name: str) -> Any:
        return self._end.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._end.ask("setattr", self, name, value)

    def __instancecheck__(self, instance: Any) -> bool:
        return type(instance) is Remote and bool(self._end.ask("isinstance", instance, self))


ALONE: dict[str, Callable[..., Any]] = {
    "__call__": lambda function, *values, **named: function(*values, **named),
    "__iter__": iter,
    "__next__": next,
    "__len__": len,
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__bool__": bool,
    "__str__": str,
    "__repr__": repr,
    "__int__": int,
    "__float__": float,
    "__hash__": hash,
    "__neg__": operator.neg,
    "__abs__": abs,
    "__enter__": lambda one: one.__enter__(),
    "__exit__": lambda one, *error: one.__exit__(None, None, None),
}
COMPARED = "eq ne lt le gt ge add sub mul truediv floordiv mod matmul"
PAIRED = {f"__{name}__": getattr(operator, name) for name in COMPARED.split()}
"""Between two objects of the code only: a number or list that the tests expect must not reach it."""
OPERATIONS: dict[str, Callable[..., Any]] = {
    "getattr": getattr,
    "setattr": setattr,
    "isinstance": isinstance,
    **ALONE,
    **PAIRED,
}


def _alone(name: str) -> Callable[..., Any]:
    if name == "__exit__":
        return lambda self, *error: self._end.ask(name, self)
    return lambda self, *values, **named: self._end.ask(name, self, *values, **named)


def _paired(name: str) -> Callable[..., Any]:
    return lambda self, other: self._end.ask(name, self, other) if type(other) is Remote else NotImplemented


for _name in ALONE:
    setattr(Remote, _name, _alone(_name))
for _name in PAIRED:
    setattr(Remote, _name, _paired(_name))
