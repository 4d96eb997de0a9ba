"""Open-Assistant message trees (Köpf et al. 2023): a tree a row, whose replies people ranked.

Rankings: the ranked replies to one message, best first. Demonstrations: every best reply, once, after the path of best
replies to it. Prompts: the first message of each tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plaudit.data.layouts.base import Layout, Located, Tally, others
from plaudit.schema import JSON, UserError

ROLES = {"prompter": "user", "assistant": "assistant"}


def recognises(row: JSON) -> bool:
    root = row.get("prompt")
    return isinstance(root, dict) and "text" in root and "role" in root


def convert(row: JSON, where: str, wants: str, tally: Tally) -> list[JSON]:
    """Rows of the wanted kind; deleted messages are left out with what follows them, and counted."""
    root = row.get("prompt")
    if not isinstance(root, dict):
        raise UserError(f"{where}, prompt: must be a message of the tree, an object with text, role and replies.")
    rest = others(row, "prompt")
    if isinstance(root.get("lang"), str):
        rest["lang"] = root["lang"]
    if root.get("deleted"):
        tally["trees left out: the prompt was deleted"] += 1
        return []
    if wants == "prompts":
        return [{**rest, "prompt": [_message(root, where)]}]
    found = _rankings(root, (), where, tally) if wants in ("rankings", "labels") else _best(root, (), where, tally)
    return [{**rest, **one} for one in found]


def _rankings(node: JSON, path: tuple[JSON, ...], where: str, tally: Tally) -> Iterator[JSON]:
    path = (*path, _message(node, where))
    replies = _replies(node, where, tally)
    if path[-1]["role"] == "user" and replies:
        ranked = [reply for reply in replies if reply.get("rank") is not None]
        if len(ranked) < len(replies) and len(replies) > 1:
            tally["replies left out of rankings: they have no rank"] += len(replies) - len(ranked)
        if len(ranked) > 1:
            best = sorted(ranked, key=lambda reply: reply["rank"])
            yield {"prompt": list(path), "answers": [[_message(reply, where)] for reply in best]}
    for reply in replies:
        yield from _rankings(reply, path, where, tally)


def _best(node: JSON, path: tuple[JSON, ...], where: str, tally: Tally) -> Iterator[JSON]:
    path = (*path, _message(node, where))
    replies = _replies(node, where, tally)
    if path[-1]["role"] == "assistant":
        yield {"prompt": list(path[:-1]), "completion": [path[-1]]}
    elif len(replies) > 1:
        ranked = [reply for reply in replies if reply.get("rank") is not None]
        tally["replies left out of demonstrations: another was ranked above them"] += len(replies) - 1
        replies = [min(ranked, key=lambda reply: reply["rank"])] if ranked else replies[:1]
    for reply in replies:
        yield from _best(reply, path, where, tally)


def _replies(node: JSON, where: str, tally: Tally) -> list[JSON]:
    found = node.get("replies") or []
    if not isinstance(found, list) or not all(isinstance(reply, dict) for reply in found):
        raise UserError(f"{where}, replies: must be a list of messages.")
    kept = [reply for reply in found if not reply.get("deleted")]
    if len(kept) < len(found):
        tally["messages left out: deleted"] += len(found) - len(kept)
    return kept


def _message(node: Any, where: str) -> JSON:
    if not isinstance(node.get("text"), str) or node.get("role") not in ROLES:
        raise UserError(
            f"{where}: a message of the tree needs text and the role prompter or assistant, not {node.get('role')!r}."
        )
    return {"role": ROLES[node["role"]], "content": node["text"]}


def is_message(row: JSON) -> bool:
    """A row of the flat files (oasst1, oasst2): one message that names its parent."""
    return {"message_id", "message_tree_id", "text", "role"} <= set(row)


def trees(rows: Iterator[Located]) -> Iterator[Located]:
    """The trees of the messages of flat files, in the order of their first messages; `where` is that of the root.

    UserError for a message whose parent is not there.
    """
    nodes: dict[str, JSON] = {}
    wheres: dict[str, str] = {}
    for where, row in rows:
        name = row.get("message_id")
        if not isinstance(name, str):
            raise UserError(f"{where}, message_id: must be a string.")
        nodes[name] = {**row, "replies": []}
        wheres[name] = where
    for name, node in nodes.items():
        parent = node.get("parent_id")
        if parent is None:
            continue
        if parent not in nodes:
            raise UserError(f"{wheres[name]}: its parent_id {parent!r} is no message of the file.")
        nodes[parent]["replies"].append(node)
    for name, node in nodes.items():
        if node.get("parent_id") is None:
            yield wheres[name], {"message_tree_id": node.get("message_tree_id", name), "prompt": node}


MESSAGES = Layout(
    "open_assistant_messages",
    "Open-Assistant's flat files: a message a row, with message_id and parent_id",
    is_message,
    convert,
    40,
    trees,
)
LAYOUT = Layout(
    "open_assistant", "Open-Assistant trees: a prompt with ranked replies and their replies", recognises, convert, 40
)
