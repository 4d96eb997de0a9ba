"""One flat YAML file as keys with their values, texts and lines, and values as one line of YAML: config.py's reader.

Scalars follow YAML 1.2, not PyYAML's 1.1: `3e-6` is a number; `no`, `2026-11-22` and `1:30` are text; `010` is ten.
Beyond it, `none` is null, since that is what people type.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from plaudit.schema import UserError


@dataclass
class Given:
    """A value as it was given: `raw` is the text of a plain scalar, for options that hold text (`run_name: 12`)."""

    value: Any
    raw: str | None
    where: str


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2, and no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own attribute)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        return cast(dict[Any, Any], super().construct_mapping(node, deep))


Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|none|None|)$"), ["~", "n", "N", ""])
_NUMBER_STARTS = list("-+.0123456789")
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), _NUMBER_STARTS)
_FLOAT = re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$")
Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, _NUMBER_STARTS)
# PyYAML's own would read 010 as eight and 1:30 as ninety.
Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value))


def read(path: Path) -> dict[str, Given]:
    """The keys of a flat YAML (or JSON) file. UserError: missing, unreadable, no YAML, no mapping, a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"cannot read the configuration file {path}: {why}") from None
    try:
        return _mapping(text, str(path))
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: this is not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: this is not valid YAML: {' '.join(str(error).split())}") from None


def _mapping(text: str, where: str) -> dict[str, Given]:
    loader = Loader(text)
    node = loader.get_single_node()
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{where}: expected lines of `option: value`, found something else")
    given: dict[str, Given] = {}
    for key, value in node.value:
        name, place = str(key.value), f"{where}, line {key.start_mark.line + 1}: "
        if name in given:
            raise UserError(f"{place}{name} is there twice; keep one of them")
        raw = value.value if isinstance(value, yaml.ScalarNode) else None
        given[name] = Given(loader.construct_object(value, deep=True), raw, place)
    return given


def word_value(text: str) -> Any:
    """The value of one word of the command line; what is no YAML is text."""
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError:
        return text


def one_line(value: Any) -> str:
    """`value` as one line of YAML that reads back to it here and in any other reader; plain words stay unquoted."""
    is_word = isinstance(value, str) and re.fullmatch(r"[A-Za-z./][\w./-]*", value)
    if is_word and yaml.load(value, Loader=Loader) == value == yaml.safe_load(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
