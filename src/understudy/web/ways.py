"""States and the ways on from them: no person and no request is ever at a dead end.

`labeling/ways.py` and `serving/ways.py` list them; the documentation's table is made from those
(`tests/docs/generate.py`), and tests hold them to the states that the code knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """One state: `Way("item", "set_aside", "the owner, on the queue's page", "*Send back*")`."""

    of: str
    """What is in the state: candidate, labeler, item, task, export or gateway request."""
    state: str
    """As the code calls it."""
    seen: str
    """Who sees it, and where."""
    on: str
    """The way on, in Markdown."""
    means: tuple[str, ...] = ()
    """What it takes: routes like "POST /api/owner/queue/fill", commands like "labelers decide"."""


def ways_table(ways: Sequence[Way]) -> str:
    """The table in Markdown."""
    rows = [f"| {way.of} | `{way.state}` | {way.seen} | {way.on} |" for way in ways]
    return "\n".join(["| what | state | who sees it | way on |", "|---|---|---|---|", *rows])
