"""Reads Open Assistant's data: trees of messages whose replies people ranked.

Siblings with ranks make a ranking, the best of them a demonstration, and the first message a
prompt. Messages that were deleted or failed review are dropped together with their replies.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from understudy.records.convert import Json, RecordError, read_yes, shortened
from understudy.records.turns import Turns

_ROLES = {"prompter": "user", "assistant": "assistant"}


def is_tree(row: Json) -> bool:
    """Whether a row is a tree as Open Assistant exports it."""
    root = row.get("prompt")
    return isinstance(root, Mapping) and "text" in root and "role" in root


def rankings(row: Json) -> list[Json]:
    """The rankings in a tree: the replies to one message that have ranks, two or more."""
    made = []
    for path, replies in _asked(row["prompt"], []):
        ranked = [(text, rank) for text, rank in replies if rank is not None]
        if len(ranked) < 2:
            continue
        levels = sorted({rank for _, rank in ranked})
        tiers = [[i for i, (_, rank) in enumerate(ranked) if rank == level] for level in levels]
        made.append({"prompt": path, "responses": [text for text, _ in ranked], "tiers": tiers})
    return made


def demonstrations(row: Json) -> list[Json]:
    """The best reply to each message; an unranked one only if there is no other."""
    made = []
    for path, replies in _asked(row["prompt"], []):
        ranked = [(rank, place) for place, (_, rank) in enumerate(replies) if rank is not None]
        if ranked or len(replies) == 1:
            best = min(ranked)[1] if ranked else 0
            made.append({"prompt": path, "response": replies[best][0]})
    return made


def prompts(row: Json) -> list[Json]:
    """The first message of a tree."""
    return [{"prompt": _text(row["prompt"])}] if _kept(row["prompt"]) else []


def rankings_of_messages(row: Json) -> list[Json]:
    """The rankings among all messages of a file."""
    return [made for tree in _trees(row["rows"]) for made in rankings(tree)]


def demonstrations_of_messages(row: Json) -> list[Json]:
    """The demonstrations among all messages of a file."""
    return [made for tree in _trees(row["rows"]) for made in demonstrations(tree)]


def _asked(message: Any, before: Turns) -> Iterator[tuple[Turns, list[tuple[str, Any]]]]:
    """(conversation, its replies with their ranks) of each message of a user, parents first."""
    stack = [(message, before)]
    while stack:
        message, before = stack.pop()
        if not _kept(message):
            continue
        turns = [*before, {"role": _role(message), "content": _text(message)}]
        replies = message.get("replies") or []
        if not isinstance(replies, list | tuple):
            raise RecordError(f"field 'replies' is {shortened(replies)}; it must be a list")
        if turns[-1]["role"] == "user":
            kept = [reply for reply in replies if _kept(reply) and _role(reply) == "assistant"]
            yield turns, [(_text(reply), _rank(reply)) for reply in kept]
        stack += [(reply, turns) for reply in reversed(replies)]


def _kept(message: Any) -> bool:
    if not isinstance(message, Mapping):
        raise RecordError(f"{shortened(message)} is not a message; it must be an object")
    failed = message.get("review_result") not in (None, "") and not _yes(message, "review_result")
    return not failed and not _yes(message, "deleted")


def _yes(message: Mapping[str, Any], name: str) -> bool:
    return read_yes(message.get(name), name)


def _role(message: Json) -> str:
    if not isinstance(message.get("role"), str) or message["role"] not in _ROLES:
        raise RecordError(
            f"field 'role' is {shortened(message.get('role'))}; it must be prompter or assistant"
        )
    return _ROLES[message["role"]]


def _text(message: Json) -> str:
    if not isinstance(message.get("text"), str):
        raise RecordError(f"field 'text' is {shortened(message.get('text'))}; it must be text")
    return str(message["text"])


def _rank(message: Json) -> Any:
    rank = message.get("rank")
    if rank is not None and not (isinstance(rank, int | float) and rank >= 0):
        raise RecordError(f"field 'rank' is {shortened(rank)}; it must be a number, 0 is best")
    return rank


def _trees(rows: list[Json]) -> Iterator[Json]:
    """Nest messages under their parents; RecordError for a missing parent."""
    nodes: dict[Any, Json] = {}
    for row in rows:
        node = nodes.setdefault(_id(row, "message_id"), {**row, "replies": []})
        if node != {**row, "replies": []}:
            raise RecordError(f"two messages have the message_id {row['message_id']!r}")
    roots = []
    for node in nodes.values():
        parent = _id(node, "parent_id")
        if parent is None:
            roots.append(node)
        elif parent in nodes:
            nodes[parent]["replies"].append(node)
        else:
            raise RecordError(
                f"message {node['message_id']!r} replies to {parent!r}, which is missing"
            )
    reached = list(roots)
    for node in reached:
        reached += node["replies"]
    lost = nodes.keys() - {node["message_id"] for node in reached}
    if lost:
        raise RecordError(f"message {min(lost, key=str)!r} is in a cycle of replies")
    return ({"prompt": root} for root in roots)


def _id(row: Json, name: str) -> Any:
    if isinstance(row.get(name), str | int | None):
        return row.get(name)
    raise RecordError(f"field '{name}' is {shortened(row[name])}; it must be text")
