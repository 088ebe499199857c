"""States and the next steps from them: no person and no request ever reaches a dead end.

`labeling/ways.py` and `serving/ways.py` list them; the documentation's table is generated from
those (`tests/docs/generate.py`), and tests check them against the states in the code.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """One state: `Way("item", "set_aside", "the owner, on the queue's page", "*Send back*")`."""

    of: str
    """The kind of thing: candidate, labeler, item, task, export or gateway request."""
    state: str
    """The state's name in the code."""
    seen: str
    """Who sees it, and where."""
    on: str
    """The next step, in Markdown."""
    means: tuple[str, ...] = ()
    """Its means: routes like "POST /api/owner/queue/fill", commands like "labelers decide"."""


def ways_table(ways: Sequence[Way]) -> str:
    """The table in Markdown."""
    rows = [f"| {way.of} | `{way.state}` | {way.seen} | {way.on} |" for way in ways]
    return "\n".join(["| what | state | who sees it | next step |", "|---|---|---|---|", *rows])
