"""Typed configs: defaults <- one flat YAML file <- `key=value` words, checked once, here.

A section is a frozen dataclass that stands beside the code it configures:

    @config
    class PPOConfig:
        kl_coef: Annotated[float, Ge(0)] = 0.05
        \"""Weight of the KL penalty in the reward.\"""

Files are flat and use the option names of Hugging Face and TRL; `load` hands each key to the section that declares it.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform, get_type_hints

from plaudit.flatyaml import Given, one_line, read, word_value
from plaudit.hints import Misfit, fit, plain, words
from plaudit.schema import UserError

Section = TypeVar("Section")
REQUIRED = dataclasses.MISSING


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[Section]) -> type[Section]:
    """Make `cls` a section: a frozen, keyword-only dataclass that cannot hold a value its annotations forbid.

    Checks that need several fields go into the class's own `__post_init__`, which may raise ValueError (or UserError).
    """
    check_together = cls.__dict__.get("__post_init__")

    def __post_init__(self: Any) -> None:
        for name, hint in _hints(self.__class__).items():
            try:
                object.__setattr__(self, name, fit(hint, getattr(self, name)))
            except Misfit as bad:
                raise UserError(f"{name} must be {bad.wanted}, not {bad.value!r}") from None
        if check_together:
            check_together(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


@dataclass(frozen=True)
class Option:
    """One option of one section, as `template` and the command line show it."""

    name: str
    hint: Any
    default: Any
    """`REQUIRED` where there is none."""
    help: str
    section: type


def options(sections: Sequence[type], defaults: Mapping[str, Any] | None = None) -> dict[str, Option]:
    """Every option of `sections` by name, in the order declared; `defaults` replaces the classes' own.

    Two sections with one option name, or a default for no option, are mistakes of ours: TypeError.
    """
    found: dict[str, Option] = {}
    for section in sections:
        about, hints = _help(section), _hints(section)
        for field in dataclasses.fields(section):
            if field.name in found:
                raise TypeError(f"option {field.name} is in both {found[field.name].section.__name__} and {section.__name__}")
            default = field.default_factory() if field.default_factory is not REQUIRED else field.default
            found[field.name] = Option(field.name, hints[field.name], default, about.get(field.name, ""), section)
    for name, value in (defaults or {}).items():
        if name not in found:
            raise TypeError(f"a default is given for {name}, which is no option of {[s.__name__ for s in sections]}")
        found[name] = dataclasses.replace(found[name], default=value)
    return found


class Resolved:
    """A checked configuration: one instance of each section. `resolved[PPOConfig].kl_coef`."""

    def __init__(self, instances: Sequence[Any]) -> None:
        self._instances = {type(instance): instance for instance in instances}

    def __getitem__(self, section: type[Section]) -> Section:
        return cast(Section, self._instances[section])

    def __iter__(self) -> Iterator[type]:
        return iter(self._instances)

    def __contains__(self, section: object) -> bool:
        return section in self._instances

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resolved) and self._instances == other._instances

    def __repr__(self) -> str:
        return f"Resolved({self.flat()})"

    def flat(self) -> dict[str, Any]:
        """Every option by name as plain JSON values: what a run stores, and what `load` and `replace` read back."""
        return {
            field.name: plain(getattr(instance, field.name))
            for instance in self._instances.values()
            for field in dataclasses.fields(instance)
        }

    def replace(self, **flat: Any) -> Resolved:
        """A copy with some options changed; checked like a file, so UserError names what is wrong."""
        given = {name: Given(value, None, "") for name, value in (self.flat() | flat).items()}
        return _resolve(list(self), given, {}, [])


def load(
    sections: Sequence[type],
    path: Path | str | None = None,
    overrides: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Resolved:
    """Read `defaults`, then the YAML file at `path`, then the words of `overrides`, and check them together.

    A word is `key=value`; `key.part=value` sets one entry of an option that holds a mapping. Raises one UserError that lists
    every mistake: an unknown option with its nearest name, a wrong type, a value out of range, a required option missing.
    """
    errors: list[str] = []
    given = read(Path(path)) if path is not None else {}
    known = options(sections, defaults)
    for word in overrides:
        _override(word, given, known, errors)
    return _resolve(sections, given, defaults or {}, errors)


def template(sections: Sequence[type], defaults: Mapping[str, Any] | None = None, title: str = "") -> str:
    """Every option with default and meaning as a YAML file that `load` reads back to the same values.

    With `defaults=resolved.flat()` it writes a run's own configuration in full. A required option stands there commented out.
    """
    lines = textwrap.wrap(title, 100, initial_indent="# ", subsequent_indent="# ")
    section: type | None = None
    for option in options(sections, defaults).values():
        if option.section is not section:
            section = option.section
            lines += ["", f"# ---- {_headline(section)} ".ljust(100, "-")]
        about = " ".join(option.help.split())
        allowed = words(option.hint)
        lines += ["", *textwrap.wrap(f"{about} ({allowed})".strip(), 98, initial_indent="# ", subsequent_indent="# ")]
        required = option.default is REQUIRED
        lines.append(f"# {option.name}:   # required" if required else f"{option.name}: {one_line(plain(option.default))}")
    return "\n".join(lines).strip() + "\n"


def diff(before: Mapping[str, Any], after: Mapping[str, Any], ignore: Collection[str] = ()) -> list[str]:
    """What changed between two `flat()` dicts, one phrase for each option: `learning_rate was 3e-06 and is now 1e-05`."""
    changes = []
    for name in [*before, *(name for name in after if name not in before)]:
        if name in ignore or (name in before and name in after and plain(before[name]) == plain(after[name])):
            continue
        if name not in after:
            changes.append(f"{name} was {one_line(before[name])} and is gone")
        elif name not in before:
            changes.append(f"{name} is new, {one_line(after[name])}")
        else:
            changes.append(f"{name} was {one_line(before[name])} and is now {one_line(after[name])}")
    return changes


def _override(word: str, given: dict[str, Given], known: Mapping[str, Option], errors: list[str]) -> None:
    """Put one word of the command line into `given`; a dotted key changes one entry of a mapping."""
    key, equals, raw = word.partition("=")
    if not equals or not key:
        errors.append(f"{word!r} is not of the form key=value")
        return
    value = word_value(raw)
    name, *parts = key.split(".")
    if parts and name in known:
        before = given[name].value if name in given else known[name].default
        if not isinstance(before, Mapping | None):
            errors.append(f"{word!r}: {name} holds no mapping, so {key} cannot be set; write {name}=...")
            return
        value = _put(before or {}, parts, value)
    given[name] = Given(value, None if parts else raw, "")


def _put(mapping: Mapping[str, Any], parts: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of nested `mapping` with the entry at `parts` replaced."""
    head, *rest = parts
    inner = mapping.get(head)
    return {**mapping, head: _put(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def _resolve(sections: Sequence[type], given: Mapping[str, Given], defaults: Mapping[str, Any], errors: list[str]) -> Resolved:
    resolved, found = checked(sections, given, defaults)
    errors = [*errors, *found]
    if errors or resolved is None:
        raise UserError(errors[0] if len(errors) == 1 else "\n".join([f"{len(errors)} mistakes in the options:", *errors]))
    return resolved


def checked(
    sections: Sequence[type], given: Mapping[str, Given], defaults: Mapping[str, Any] | None = None
) -> tuple[Resolved | None, list[str]]:
    """What `given` makes of `sections` (None where there are mistakes), and every mistake as a sentence of its own."""
    errors: list[str] = []
    known = options(sections, defaults)
    errors += [_unknown(name, known, item.where) for name, item in given.items() if name not in known]
    values: dict[type, dict[str, Any]] = {section: {} for section in sections}
    failed: set[type] = set()
    for option in known.values():
        item = given.get(option.name, Given(option.default, None, ""))
        if item.value is REQUIRED:
            meaning = f" ({option.help.strip().splitlines()[0].rstrip('.')})" if option.help else ""
            errors.append(f"the option {option.name}{meaning} is required and was not given")
            failed.add(option.section)
            continue
        try:
            values[option.section][option.name] = _fit_or_text(option.hint, item)
        except Misfit as bad:
            errors.append(f"{item.where}{option.name} must be {bad.wanted}, not {one_line(plain(bad.value))}")
            failed.add(option.section)
    instances = []
    for section in sections:
        if section in failed:
            continue
        try:
            instances.append(section(**values[section]))
        except ValueError as error:  # the section's own check of several options together
            errors.append(str(error))
    return (None if errors else Resolved(instances)), errors


def _fit_or_text(hint: Any, item: Given) -> Any:
    try:
        return fit(hint, item.value)
    except Misfit:
        if item.raw is None or (item.value is None and item.raw.lower() != "none"):
            raise
        try:
            return fit(hint, item.raw)
        except Misfit:
            pass
        raise


def _unknown(name: str, known: Mapping[str, Option], where: str) -> str:
    near = difflib.get_close_matches(name.replace("-", "_").lower(), known, n=1, cutoff=0.6)
    advice = f"did you mean {near[0]}?" if near else "`plaudit config` prints every option"
    return f"{where}there is no option {name}; {advice}"


@functools.cache
def _hints(section: Any) -> dict[str, Any]:
    hints = get_type_hints(section, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(section)}


@functools.cache
def _help(section: Any) -> dict[str, str]:
    """Field -> the string literal written under it; a base class's fields included."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        try:
            (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        except (OSError, TypeError, ValueError):  # built in, or typed at a prompt: no source to read
            continue
        body = node.body if isinstance(node, ast.ClassDef) else []
        for above, below in itertools.pairwise(body):
            is_field = isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name)
            if is_field and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[above.target.id] = inspect.cleandoc(str(below.value.value))  # type: ignore[attr-defined]
    return found


def _headline(section: type) -> str:
    written = (section.__dict__.get("__doc__") or "").strip()
    automatic = written.startswith(f"{section.__name__}(")  # dataclass writes the signature where there is no docstring
    return section.__name__ if automatic or not written else written.splitlines()[0].split(". ")[0].rstrip(".")
