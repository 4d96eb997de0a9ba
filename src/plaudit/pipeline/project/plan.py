"""Read `plaudit.yaml` and check all of it at once: stages, options, references, order. Nothing is run."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from plaudit.config import Resolved, checked, options
from plaudit.flatyaml import Given, Loader
from plaudit.pipeline.project.kinds import Kind, kind
from plaudit.schema import UserError
from plaudit.store import Where, located

REFERENCE = re.compile(r"\$\{([^}]*)\}")
NAME = re.compile(r"[a-z][a-z0-9_-]*")
OURS = ("output_dir",)
"""Options that the project sets, so a stage may not."""
Places = Mapping[str, Mapping[str, str]]
"""Stage -> output -> path."""


@dataclass(frozen=True)
class Stage:
    """One stage: what it does with which options. `given` may hold references such as `${sft.model}`."""

    name: str
    kind: Kind
    given: Mapping[str, Given]
    line: int
    needs: tuple[str, ...]

    def value(self, option: str) -> Any:
        """What the file gives for an option; None where it gives nothing."""
        return self.given[option].value if option in self.given else None

    def changed(self, options: Mapping[str, Any]) -> Stage:
        """The stage with other values for some options."""
        given = {**self.given, **{name: Given(value, None, "") for name, value in options.items()}}
        return replace(self, given=given, needs=_needs(given))

    def outputs(self, folder: str) -> dict[str, str]:
        """What other stages may take from this one, where it runs in `folder`."""
        return {"folder": folder, **{name: f"{folder}/{file}" for name, file in self.kind.outputs.items()}}

    def resolved(self, places: Places, folder: str) -> tuple[Resolved | None, list[str]]:
        """The stage's options with every reference replaced by its path in `places`, and the mistakes in them."""
        given = {
            name: Given(_filled(g.value, places), None, g.where) if _references(g.value) else g
            for name, g in self.given.items()
        }
        if self.kind.trains:
            given["output_dir"] = Given(folder, None, "")
        return checked(self.kind.sections, given, self.kind.defaults)


@dataclass(frozen=True)
class Project:
    """A checked project; stages stand in an order in which they can run."""

    name: str
    path: Path
    store: str
    stages: Mapping[str, Stage]

    @property
    def place(self) -> Where:
        """Where the store is; a path of the file's own folder."""
        return located(self.store, Path())

    def changed(self, changes: Mapping[str, Mapping[str, Any]]) -> Project:
        """The project with other options: stage -> option -> value."""
        return replace(self, stages={name: stage.changed(changes.get(name, {})) for name, stage in self.stages.items()})

    def only(self, names: Collection[str] | None) -> Project:
        """The project with these stages alone; None leaves it as it is."""
        return self if names is None else replace(self, stages={n: s for n, s in self.stages.items() if n in names})

    def needed(self, name: str) -> list[str]:
        """The stage and every stage that it needs, directly or through others, in order."""
        found = {name}
        for stage in reversed(list(self.stages.values())):
            if stage.name in found:
                found.update(stage.needs)
        return [one for one in self.stages if one in found]

    def needing(self, name: str) -> list[str]:
        """The stage and every stage that needs it, directly or through others, in order."""
        found = {name}
        for stage in self.stages.values():
            if found & set(stage.needs):
                found.add(stage.name)
        return [one for one in self.stages if one in found]


def read(path: Path) -> Project:
    """The project of a file. One UserError tells every mistake with its line and stage."""
    try:
        text = path.read_text(encoding="utf-8")
        loader = Loader(text)
        root = loader.get_single_node()
        content = loader.construct_document(root) if root is not None else None
    except FileNotFoundError:
        raise UserError(f"there is no project file {path}; `plaudit init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the project file {path}: {getattr(error, 'strerror', None) or error}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: this is not valid YAML: {error.problem}") from None
    if not isinstance(root, yaml.MappingNode) or not isinstance(content, dict):
        raise UserError(f"{path}: expected `project:` and `stages:`, found something else")
    reader = _Reader(path, content, root)
    project = reader.project()
    if reader.mistakes:
        head = [f"{path}: {len(reader.mistakes)} mistakes, nothing was run:"] if len(reader.mistakes) > 1 else []
        raise UserError("\n".join([*head, *reader.mistakes]))
    return project


class _Reader:
    """Collects the mistakes of a file while it is read."""

    def __init__(self, path: Path, content: Mapping[str, Any], root: yaml.MappingNode) -> None:
        self.path, self.content, self.mistakes = path, content, list[str]()
        self.nodes = {key.value: (key.start_mark.line + 1, value) for key, value in root.value}

    def wrong(self, line: int, text: str) -> None:
        self.mistakes.append(f"{self.path}, line {line}: {text}")

    def project(self) -> Project:
        known = ("project", "seed", "model", "store", "stages")
        for name, (line, _) in self.nodes.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                self.wrong(line, f"there is no {name} here; " + (f"did you mean {near[0]}?" if near else ", ".join(known)))
        name = str(self.content.get("project") or self.path.resolve().parent.name)
        if not re.fullmatch(r"[\w.-]+", name):
            self.wrong(self.nodes.get("project", (1, None))[0], f"project {name!r} must be letters, digits, . _ or -")
        seed = self.content.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool):
            self.wrong(self.nodes["seed"][0], f"seed must be an integer, not {seed!r}")
        line, node = self.nodes.get("stages", (1, None))
        if not isinstance(node, yaml.MappingNode) or not node.value:
            self.wrong(line, "stages must be a mapping of at least one stage, such as `sft: {verb: sft, ...}`")
            return Project(name, self.path, "", {})
        stages = {stage.name: stage for key, value in node.value if (stage := self._stage(key, value))}
        stages = self._ordered(stages)
        self._check_options(stages)
        return Project(name, self.path, str(self.content.get("store") or "store.sqlite"), stages)

    def _stage(self, key: yaml.ScalarNode, node: yaml.Node) -> Stage | None:
        name, line = str(key.value), key.start_mark.line + 1
        if not NAME.fullmatch(name):
            self.wrong(line, f"stage {name!r}: a name begins with a letter and has small letters, digits, _ and - only")
        content = self.content["stages"].get(name)
        if not isinstance(node, yaml.MappingNode) or not isinstance(content, dict) or "verb" not in content:
            self.wrong(line, f"stage {name} needs a mapping with `verb:` and options")
            return None
        where = {key.value: key.start_mark.line + 1 for key, _ in node.value}
        try:
            made = kind(str(content["verb"]))
        except UserError as unknown:
            self.wrong(where["verb"], f"stage {name}: {unknown}")
            return None
        known = options(made.sections, made.defaults)
        raw = {k.value: v.value for k, v in node.value if isinstance(v, yaml.ScalarNode)}
        given = {
            option: Given(value, raw.get(option), f"{self.path}, line {where[option]}: stage {name}: ")
            for option, value in content.items()
            if option != "verb"
        }
        for option in OURS:
            if option in given:
                self.wrong(where[option], f"stage {name}: {option} is set by the project; leave it out")
                del given[option]
        for option, shared in (("seed", "seed"), ("model_name_or_path", "model")):
            if option in known and option not in given and shared in self.content:
                given[option] = Given(self.content[shared], None, f"{self.path}, line {self.nodes[shared][0]}: ")
        return Stage(name, made, given, line, _needs(given))

    def _ordered(self, stages: dict[str, Stage]) -> dict[str, Stage]:
        """By what they need, else as they stand in the file; mistakes in references are told."""
        for stage in stages.values():
            for given in stage.given.values():
                for reference in _references(given.value):
                    self._check_reference(stage, given, reference, stages)
        done: dict[str, Stage] = {}
        waiting = dict(stages)
        while waiting:
            ready = next((s for s in waiting.values() if all(n in done or n not in stages for n in s.needs)), None)
            if ready is None:
                first = next(iter(waiting.values()))
                self.wrong(first.line, f"the stages {', '.join(waiting)} need each other in a circle")
                return {}
            done[ready.name] = waiting.pop(ready.name)
        return done

    def _check_reference(self, stage: Stage, given: Given, reference: str, stages: Mapping[str, Stage]) -> None:
        name, _, output = reference.partition(".")
        if name not in stages:
            if name in self.content["stages"]:
                return  # that stage has mistakes of its own
            near = difflib.get_close_matches(name, self.content["stages"], n=1)
            self.mistakes.append(
                f"{given.where}there is no stage {name}" + (f"; did you mean {near[0]}?" if near else f": ${{{reference}}}")
            )
        elif output not in ("folder", *stages[name].kind.outputs):
            there = ", ".join(("folder", *stages[name].kind.outputs))
            self.mistakes.append(f"{given.where}stage {name} gives no {output or 'output of that name'}; it has {there}")

    def _check_options(self, stages: Mapping[str, Stage]) -> None:
        places = {name: stage.outputs(name) for name, stage in stages.items()}
        for stage in stages.values():
            _, mistakes = stage.resolved(places, stage.name)
            start = f"{self.path}, line {stage.line}: stage {stage.name}: "
            self.mistakes += [one if one.startswith(f"{self.path}, line") else start + one for one in mistakes]


def _references(value: Any) -> list[str]:
    """Every `stage.output` that a value names, in order."""
    if isinstance(value, str):
        return REFERENCE.findall(value)
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [found for one in inner for found in _references(one)]


def _needs(given: Mapping[str, Given]) -> tuple[str, ...]:
    """The stages that the options name."""
    return tuple(dict.fromkeys(found.split(".")[0] for g in given.values() for found in _references(g.value)))


def _filled(value: Any, places: Places) -> Any:
    """`value` with each reference replaced by the path that it means."""
    if isinstance(value, str):
        return REFERENCE.sub(lambda match: _path(match, places), value)
    if isinstance(value, Mapping):
        return {key: _filled(one, places) for key, one in value.items()}
    return [_filled(one, places) for one in value] if isinstance(value, list) else value


def _path(match: re.Match[str], places: Places) -> str:
    """A reference to what has no place stays as it is."""
    name, _, output = match[1].partition(".")
    return places.get(name, {}).get(output, match[0])
