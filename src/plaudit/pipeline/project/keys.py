"""A stage's key: the hash of everything that decides what it makes. Contents count; names of files, dates and places do not."""

from __future__ import annotations

import glob
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from plaudit.config import Resolved
from plaudit.hints import plain
from plaudit.pipeline.lineage import file_digest
from plaudit.pipeline.project.acts import SOURCES, counted_acts
from plaudit.pipeline.project.plan import Stage
from plaudit.schema import UserError, content_hash
from plaudit.store import Store, Where

NOT_OF_THE_RESULT = frozenset({"output_dir", "place", "report_to", "save_total_limit"})
"""Options that change nothing in what a stage makes, so that another value does not run it again."""
READS = ("_file", "_path", "_func", "_funcs")
"""Endings of the options whose values are files, folders or functions."""
ALSO_READS = frozenset({"model", "against", "prompts", "completions"})


def inputs(stage: Stage, resolved: Resolved, keys: Mapping[str, str], store: Where, code: str) -> dict[str, Any]:
    """Everything that decides the stage's result, by name: options, with contents in the place of paths, and keys of stages.

    References in `resolved` are still references: what a stage takes from another is named by that one's key, so that
    every key is known before anything runs.
    """
    found = {
        name: content(plain(value)) if name.endswith(READS) or name in ALSO_READS else plain(value)
        for name, value in resolved.flat().items()
        if name not in NOT_OF_THE_RESULT
    }
    found |= {f"stage {name}": keys[name] for name in stage.needs}
    if found.get("annotators") in SOURCES:
        found["feedback"] = _feedback(store, SOURCES[found["annotators"]], found.get("until"))
    return {"verb": content(stage.kind.verb), **found, "code": code}


def key(found: Mapping[str, Any]) -> str:
    """16 hexadecimal digits."""
    return content_hash(found)


def content(value: Any) -> Any:
    """The content of what a value names: files, a folder, a function in a file; else the value itself."""
    if isinstance(value, list):
        return [content(one) for one in value]
    if isinstance(value, Mapping):  # a mixture of data files: its keys may be paths too
        return {f"{content(name)}": content(one) for name, one in value.items()}
    if not isinstance(value, str) or "${" in value:
        return value
    place, colon, _ = value.rpartition(":")
    if colon:
        source = Path(place if place.endswith(".py") else f"{place.replace('.', '/')}.py")
        return f"{value} {file_digest(source)}" if source.is_file() else value
    path = Path(value).expanduser()
    if path.is_file():
        return f"file {file_digest(path)}"
    if path.is_dir():
        return f"folder {_folder(path)}"
    matched = [Path(one) for one in sorted(glob.glob(str(path), recursive=True))] if glob.has_magic(value) else []
    return f"files {content_hash([file_digest(one) for one in matched if one.is_file()])}" if matched else value


def _folder(path: Path) -> str:
    """Of a run the model in it; of a model its weights, however sharded, and what says how to read them; else every file."""
    from plaudit.models.folder import folder_digest, weight_files

    path = path / "model" if (path / "model").is_dir() else path
    weights = {file.name for file in weight_files(path)}
    others = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name not in weights]
    if weights:
        others = [file for file in others if file.suffix in (".json", ".jinja", ".safetensors", ".model")]
    about = {str(file.relative_to(path)): file_digest(file) for file in others if not file.name.endswith(".index.json")}
    return content_hash([folder_digest(path) if weights else "", about])


def _feedback(store: Where, sources: Collection[str], until: int | None) -> list[str]:
    """Ids of the acts of a store that count."""
    if isinstance(store, Path) and not store.exists():
        raise UserError(f"there is no store {store} with people's judgements; collect some, or set annotators: simulated")
    with Store(store, readonly=True) as opened:
        return [act.id for act in counted_acts(opened, sources, until)]
